"""Mutants of the shared file system: of `tests/unit/sfs_mutants.py`, in whole clusters, and of its place in these."""

from __future__ import annotations

from typing import Any, Final

from guestd.sfs.level import SfsLevel
from hil.checkers.journal_first import JournalFirst
from hil.sim.claims.files import FilesKept
from hil.sim.run import ANSWERED, WHOLE
from tests.mutations.borrowed import in_a_cluster
from tests.mutations.mutant import Mutant
from tests.mutations.patching import Patch
from tests.unit import sfs_mutants as library

KEPT: Final = (FilesKept.claim, WHOLE, ANSWERED)

DEATHS: Final[dict[str, Any]] = {
    "weights": (("crash", 3), ("doom", 6), ("power-failure", 1)),
    "fault_every_ms": 3000,
    "filers": 3,
    "cache_share": 500,
}
POWER: Final[dict[str, Any]] = {**DEATHS, "weights": (("power-failure", 1),), "fault_every_ms": 5000}
CALM: Final[dict[str, Any]] = {"weights": (("leave", 1),), "fault_every_ms": 8000, "filers": 3}


def forced_leave_acknowledged_at_once(patch: Patch) -> None:
    """The file system acknowledges a forced leave without a replay."""

    def at_once(self: SfsLevel, position: Any) -> None:
        self._done.append(position)

    patch.replace(SfsLevel, "_recover", at_once)


MUTANTS: Final = (
    Mutant(forced_leave_acknowledged_at_once, (JournalFirst.claim, *KEPT), DEATHS),
    Mutant(in_a_cluster("file", library.only_the_own_journal), KEPT, POWER),
    Mutant(in_a_cluster("file", library.lock_given_up_unsaved), KEPT, CALM),
    Mutant(in_a_cluster("file", library.lock_given_up_uncleared), KEPT, DEATHS),
    Mutant(in_a_cluster("file", library.cleared_ignored), KEPT, DEATHS),
    Mutant(in_a_cluster("file", library.cache_kept), KEPT, CALM),
    Mutant(in_a_cluster("file", library.fsync_lies), KEPT, DEATHS),
)
