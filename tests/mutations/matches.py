"""Who owns an epoch, mode `dekker`: flags, turns, and whoever holds the others up (S3.2)."""

from __future__ import annotations

from typing import Any, Final

from guestd.core.value import replace
from guestd.fence.fence import Outcome
from guestd.membership.database import Database
from guestd.membership.dekker import PHASES, Phase, Tournament
from guestd.membership.election import Election
from guestd.membership.office import Office
from hil.checkers.fence import Fence
from hil.checkers.flags import Flags
from hil.checkers.history import History
from hil.checkers.one_owner import OneOwner
from tests.mutations.mutant import Mutant
from tests.mutations.patching import Patch

CONTENTION: Final[dict[str, Any]] = {
    "election": "dekker",
    "weights": (("power-failure", 1),),
    "fault_every_ms": 3000,
    "boot_ms_max": 800,
    "slow_share": 800,
    "slow_ms_max": 200,
}
"""Nodes that come one after the other, at a slow disk: who is late bids while another one does."""


def flag_after_the_look(patch: Patch) -> None:
    """A contender looks at the other side first, and raises its flag then."""
    begin = Tournament.__init__

    def backwards(self: Tournament, node: int, incarnation: int, epoch: int, blocks: Any) -> None:
        begin(self, node, incarnation, epoch, blocks)
        self.phase = Phase.LOOKING

    patch.replace(Tournament, "__init__", backwards)


def turn_not_given_away(patch: Patch) -> None:
    """A contender leaves the turn as it is."""
    patch.replace(Tournament, "_with_turn_given", lambda self, _blocks: replace(self.block, bits=self.block.bits))


def not_waited_for(patch: Patch) -> None:
    """A contender goes on although the other one has its flag up and the turn."""
    patch.replace(Tournament, "_held_up_by", lambda _self, _blocks: iter(()))


def turn_bits_forgotten(patch: Patch) -> None:
    """A new life does not read its own match before it contends."""
    resume = Database.resume

    def forgetful(self: Database, found: Any) -> None:
        resume(self, found)
        self._blocks[self._context.node] = None

    patch.replace(Database, "resume", forgetful)


def rival_not_fenced(patch: Patch) -> None:
    """Who has held the others up for too long is gone past without a fence, neither then nor by the winner."""
    wait, may_have_begun = Election._wait, Tournament.may_have_begun

    def unfenced(self: Election, bid: Any) -> None:
        fence, self._keep_out = self._keep_out, lambda _rival, then: then(True)
        try:
            wait(self, bid)
        finally:
            self._keep_out = fence

    def forgetful(self: Tournament, known_epoch: int, blocks: Any) -> Any:
        return tuple(life for life in may_have_begun(self, known_epoch, blocks) if life not in self._ignored)

    patch.replace(Election, "_wait", unfenced)
    patch.replace(Tournament, "may_have_begun", forgetful)


def flag_of_an_earlier_round_lowered(patch: Patch) -> None:
    """Who goes on to the next round lowers the flag of the last one."""
    read = Tournament.read

    def lowering(self: Tournament, blocks: Any, unreadable: Any = ()) -> Phase:
        before = self.block.flags
        phase = read(self, blocks, unreadable)
        if phase is Phase.RAISING:
            self.block = replace(self.block, flags=self.block.flags & ~before)
        return phase

    patch.replace(Tournament, "read", lowering)


def owner_skips_the_fence(patch: Patch) -> None:
    """The owner of an epoch begins it without a fence."""
    ended = Office._bid_ended

    def unfenced(self: Office, won: bool, victims: Any) -> None:
        fence, self._fence = self._fence, _NoFence()  # type: ignore[assignment]
        try:
            ended(self, won, victims)
        finally:
            self._fence = fence

    patch.replace(Office, "_bid_ended", unfenced)


class _NoFence:
    """Says that all are fenced."""

    @staticmethod
    def keep_out(_own: Any, _victims: Any, then: Any) -> None:
        then(Outcome.FENCED)


def second_flag_not_seen(patch: Patch) -> None:
    """Whoever waits is taken to have passed."""
    patch.row(PHASES, Phase.WAITING, "held up", Phase.WON)


STUCK: Final[dict[str, Any]] = {
    **CONTENTION,
    "weights": (("power-failure", 1), ("freeze-process", 2), ("freeze-vcpu", 1), ("delay-writes", 1)),
    "fault_every_ms": 1200,
}
"""Contenders that stop in the middle, and go on when others have gone past."""

BUSY: Final[dict[str, Any]] = {
    **CONTENTION,
    "weights": (("cut-node", 3), ("leave", 3), ("freeze-process", 2), ("crash", 1)),
    "fault_every_ms": 700,
}
"""A master that has something to change when the others want to change the master."""

MUTANTS = (
    Mutant(flag_after_the_look, (OneOwner.claim, Flags.claim), CONTENTION),
    Mutant(turn_not_given_away, (OneOwner.claim,), BUSY),
    Mutant(not_waited_for, (OneOwner.claim,), CONTENTION),
    Mutant(second_flag_not_seen, (OneOwner.claim,), CONTENTION),
    Mutant(turn_bits_forgotten, (Flags.claim,), CONTENTION),
    Mutant(flag_of_an_earlier_round_lowered, (Flags.claim,), CONTENTION, nodes=4),
    Mutant(rival_not_fenced, (OneOwner.claim, History.claim, Fence.claim), STUCK, nodes=2),
    Mutant(owner_skips_the_fence, (Fence.claim,), BUSY),
)
