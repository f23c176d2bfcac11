"""Mutants of the lock manager: those of `tests/unit/dlm_mutants.py`, in whole clusters, and of its place in these."""

from __future__ import annotations

from typing import Any, Final

from guestd.dlm.level import LockLevel
from guestd.dlm.programs import ProgramLocks
from hil.sim.claims.locks import LocksHeld
from hil.sim.run import CONVERGES, GIVEN_UP, NO_FAULT_OF_ITS_OWN, QUIET
from tests.mutations.borrowed import in_a_cluster
from tests.mutations.mutant import Mutant
from tests.mutations.patching import Patch
from tests.unit import dlm_mutants as library

HELD: Final = (LocksHeld.claim, GIVEN_UP)
ANY: Final = (*HELD, CONVERGES, QUIET, NO_FAULT_OF_ITS_OWN)
"""What a lock manager that is confused may come to: the node waits for its acknowledgement, or it stumbles."""

DEATHS: Final[dict[str, Any]] = {"weights": (("crash", 3), ("doom", 3)), "lockers": 3, "programs": 1}
ONE_LEAVES: Final[dict[str, Any]] = {"weights": (("leave", 1),), "fault_every_ms": 2500, "lockers": 4}
CALM: Final[dict[str, Any]] = {"weights": (("crash", 1),), "fault_every_ms": 8000, "lockers": 3}


def recovery_over_at_once(patch: Patch) -> None:
    """The lock manager is not told which recoveries are under way, and lets go at once of what a dead node held."""
    see = LockLevel.see

    def blind(self: LockLevel, view: Any) -> None:
        see(self, view)
        self._recovering = []
        if self.manager is not None:
            self.manager.recovering([])

    patch.replace(LockLevel, "see", blind)


def dead_programs_keep_locks(patch: Patch) -> None:
    """What a program held when it ended is held for ever."""
    patch.replace(ProgramLocks, "gone", lambda _self, _connection: None)


def waits_of_dead_programs_kept(patch: Patch) -> None:
    """What a program waited for when it ended is granted to it later, and never given up."""
    give_up = ProgramLocks._give_up

    def once(self: ProgramLocks, connection: int) -> None:
        if connection in self._dead:
            give_up(self, connection)
            self._dead.discard(connection)

    patch.replace(ProgramLocks, "_give_up", once)


MUTANTS: Final = (
    Mutant(recovery_over_at_once, HELD, DEATHS),
    Mutant(in_a_cluster("lock", library.parts_not_awaited), ANY, DEATHS),
    Mutant(dead_programs_keep_locks, HELD, CALM),
    Mutant(waits_of_dead_programs_kept, HELD, CALM),
    Mutant(in_a_cluster("lock", library.orphans_released_early), HELD, DEATHS),
    Mutant(in_a_cluster("lock", library.withheld_forgotten), HELD, DEATHS),
    Mutant(in_a_cluster("lock", library.value_valid_after_death), HELD, DEATHS),
    Mutant(in_a_cluster("lock", library.value_valid_without_a_guard), HELD, DEATHS),
    Mutant(in_a_cluster("lock", library.value_lost_with_a_leave), HELD, ONE_LEAVES, nodes=4),
    Mutant(in_a_cluster("lock", library.value_valid_after_an_end), HELD, CALM),
    Mutant(in_a_cluster("lock", library.value_valid_after_a_leave), HELD, ONE_LEAVES, nodes=4),
    Mutant(in_a_cluster("lock", library.write_forgotten), HELD, CALM),
    Mutant(in_a_cluster("lock", library.no_search), HELD, CALM),
    Mutant(in_a_cluster("lock", library.search_stops_at_the_first_node), HELD, CALM),
    Mutant(in_a_cluster("lock", library.waiting_locks_forgotten), ANY, DEATHS),
    Mutant(in_a_cluster("lock", library.directory_kept), ANY, CALM),
    Mutant(in_a_cluster("lock", library.never_let_go), HELD, DEATHS),
    Mutant(in_a_cluster("lock", library.two_masters), ANY, CALM),
    Mutant(in_a_cluster("lock", library.never_again), ANY, {**CALM, "loss_share": 50}),
)
