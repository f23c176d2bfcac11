"""Who owns an epoch, mode `paxos`: ballots, and what the owner does with its epoch (S3.2, S3.3)."""

from __future__ import annotations

from typing import Any, Final

from guestd.core.value import replace
from guestd.membership import records
from guestd.membership.database import Database
from guestd.membership.member import Member
from guestd.membership.office import Office
from guestd.membership.paxos import PHASES, Bid, Phase
from hil.checkers.choices import Choices
from hil.checkers.history import History
from hil.checkers.one_owner import OneOwner
from hil.checkers.promise import Promise
from hil.checkers.states import States
from hil.sim.run import NO_FAULT_OF_ITS_OWN
from tests.mutations.mutant import CUTS, POWER, Mutant
from tests.mutations.patching import Patch


def ballot_forgotten(patch: Patch) -> None:
    """A new life does not read its own ballot before it bids."""
    resume = Database.resume

    def forgetful(self: Database, found: Any) -> None:
        resume(self, found)
        self._blocks[self._context.node] = None

    patch.replace(Database, "resume", forgetful)


def ballot_erased(patch: Patch) -> None:
    """A new life begins with an empty ballot on the disk."""

    def erase(self: Database, _found: Any, then: Any) -> bool:
        self.write_block(records.Ballot(1, 0, 0, mbal=0, bal=0, owner=0, owner_incarnation=0), then)
        return True

    patch.replace(Database, "repair_block", erase)


def chosen_value_forgotten(patch: Patch) -> None:
    """In its next ballot of an epoch a node has forgotten what it chose in the one before."""
    begin = Bid.__init__

    def forgetful(self: Bid, node: int, incarnation: int, epoch: int, blocks: Any) -> None:
        begin(self, node, incarnation, epoch, blocks)
        self.block = replace(self.block, bal=0, owner=0, owner_incarnation=0)

    patch.replace(Bid, "__init__", forgetful)


def value_not_taken_over(patch: Patch) -> None:
    """A bid puts its own node forward whatever another one has chosen before."""
    with_value = Bid._with_value

    def selfish(self: Bid, blocks: Any) -> Any:
        return with_value(self, [block if node == self.node else None for node, block in enumerate(blocks)])

    patch.replace(Bid, "_with_value", selfish)


def second_read_left_out(patch: Patch) -> None:
    """After its value is written a bid does not look for a higher one."""
    read = Bid.read

    def blind(self: Bid, blocks: Any, unreadable: Any = ()) -> Phase:
        if self.phase is Phase.READING_VALUE:
            return read(self, [None] * len(blocks))
        return read(self, blocks, unreadable)

    patch.replace(Bid, "read", blind)


def nobody_gives_way(patch: Patch) -> None:
    """Everybody acts who sees a reason, and a bid does not look at what others have written."""
    patch.replace(Office, "_is_my_turn", lambda _self, _group: True)
    patch.replace(Bid, "read", lambda self, _blocks, _unreadable=(): _unopposed(self))


def _unopposed(bid: Bid) -> Phase:
    if bid.phase is Phase.READING_MBAL:
        bid.block = bid._with_value([None] * 64)
    bid.phase = PHASES.next(bid.phase, "clear")
    return bid.phase


def higher_ballot_not_seen(patch: Patch) -> None:
    """A bid goes on although another node has a higher ballot of the epoch."""
    patch.row(PHASES, Phase.READING_MBAL, "overtaken", Phase.WRITING_VALUE)
    patch.row(PHASES, Phase.READING_VALUE, "overtaken", Phase.DECIDED)


def slow_owner_left_alone(patch: Patch) -> None:
    """Who goes past an epoch does not fence the one that may own it."""
    patch.replace(Bid, "may_have_begun", lambda _self, _known_epoch, _blocks: ())


def living_master_not_fenced(patch: Patch) -> None:
    """Who takes the office from a master that lives, and against which it holds nothing, does not fence it."""
    patch.replace(Office, "_replaced_master", lambda _self: ())


def told_before_written(patch: Patch) -> None:
    """The master takes a view in before its record is on the disk."""
    commit = Office._commit

    def hasty(self: Office, view: Any, committed: Any) -> None:
        self._member.adopt(view)
        commit(self, view, committed)

    patch.replace(Office, "_commit", hasty)


def failed_commit_counts(patch: Patch) -> None:
    """A commit whose write has failed is taken for written."""
    write_commit = Database.write_commit
    patch.replace(Database, "write_commit", lambda self, view, then: write_commit(self, view, lambda _ok: then(True)))


def number_used_again(patch: Patch) -> None:
    """After a commit that failed another view is written under its number."""
    advance = Office.advance

    def forgetful(self: Office, *, news: bool) -> None:
        self._step = None
        advance(self, news=news)

    patch.replace(Office, "advance", forgetful)


def older_view_taken_in(patch: Patch) -> None:
    """A node goes back to an older view that comes late."""
    adopt = Member.adopt

    def gullible(self: Member, view: Any) -> None:
        if view.order < self.view.order and view.epoch:
            self.view = view
        adopt(self, view)

    patch.replace(Member, "adopt", gullible)


CONTENTION: Final[dict[str, Any]] = {
    "weights": (("power-failure", 1),),
    "fault_every_ms": 3000,
    "boot_ms_max": 800,
    "slow_share": 800,
    "slow_ms_max": 200,
}
"""Nodes that come one after the other, at a slow disk: who is late bids while another one does."""

STUCK: Final[dict[str, Any]] = {
    **CONTENTION,
    "weights": (("power-failure", 1), ("freeze-process", 2), ("freeze-vcpu", 1), ("delay-writes", 1)),
    "fault_every_ms": 1200,
}
"""Owners that stop before they have committed anything, and go on when others have gone past."""

LATE: Final[dict[str, Any]] = {
    "weights": (("doom", 5), ("delay-writes", 2), ("cut-node", 1)),
    "boot_ms_max": 8000,
    "slow_share": 800,
    "slow_ms_max": 200,
    "programs": 3,
    "answer_ms_max": 100,
}
"""Masters that die in the middle of a transition, with a commit in the disk's queue that lands later."""

MUTANTS = (
    Mutant(ballot_forgotten, (Promise.claim,), {"weights": (("doom", 3), ("power-failure", 1)), "fault_every_ms": 700}),
    Mutant(ballot_erased, (Promise.claim,)),
    Mutant(chosen_value_forgotten, (Choices.claim, OneOwner.claim), CONTENTION),
    Mutant(value_not_taken_over, (OneOwner.claim,), CONTENTION),
    Mutant(second_read_left_out, (OneOwner.claim,), CONTENTION),
    Mutant(nobody_gives_way, (OneOwner.claim,), {"weights": CUTS}),
    Mutant(higher_ballot_not_seen, (OneOwner.claim,), CONTENTION),
    Mutant(slow_owner_left_alone, (History.claim, States.claim), STUCK, nodes=2),
    Mutant(living_master_not_fenced, (States.claim, History.claim), LATE),
    Mutant(told_before_written, (History.claim,), {"weights": POWER}),
    Mutant(failed_commit_counts, (History.claim,)),
    Mutant(
        number_used_again,
        (History.claim,),
        {**LATE, "weights": (("disk-errors", 3), ("leave", 3), ("crash", 2))},
        nodes=4,
    ),
    Mutant(older_view_taken_in, (NO_FAULT_OF_ITS_OWN,)),
)
