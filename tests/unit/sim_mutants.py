"""Faults put into guestd on purpose, each with what it takes to show: the checkers must find every one.

A mutant is a function that breaks one thing by `monkeypatch`; `claims` are those that may be found broken first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from guestd.core.effects import Emit
from guestd.core.value import replace
from guestd.fence import persistent_reserve as pr
from guestd.fence.fence import Fence as GuestFence
from guestd.fence.fence import Outcome
from guestd.fence.registration import Registration
from guestd.membership.database import Database
from guestd.membership.manager import Manager
from guestd.membership.member import Member
from guestd.membership.office import Office
from guestd.membership.paxos import PHASES, Bid, Phase
from guestd.membership.states import NodeState
from guestd.transition import coordinator
from guestd.transition.program import Program
from hil.checkers.checker import Checker
from hil.checkers.fence import Fence
from hil.checkers.forced_out import ForcedOut
from hil.checkers.history import History
from hil.checkers.one_owner import OneOwner
from hil.checkers.one_writer import OneWriter
from hil.checkers.panics import Panics
from hil.checkers.programs import ProgramsTold
from hil.checkers.promise import Promise
from hil.checkers.steps import Steps
from hil.checkers.transitions import Transitions
from hil.sim.run import CONVERGES

Patch = pytest.MonkeyPatch


def no_fence(patch: Patch) -> None:
    """Nobody is fenced, and it is said that all are."""
    patch.setattr(GuestFence, "keep_out", lambda _self, _own, _victims, then: then(Outcome.FENCED))


def preempt_without_abort(patch: Patch) -> None:
    """What a victim has in the disk's queue lands after its fence."""
    patch.setattr(pr, "PREEMPT_AND_ABORT", 0x04)


def former_life_not_aborted(patch: Patch) -> None:
    """A new life does not end what its earlier one has queued."""
    patch.setattr(Registration, "_end", lambda self, _earlier, then: then(self._elsewhere))


def barrier_skipped(patch: Patch) -> None:
    """The master goes past the second barrier of a level."""
    next_entry = coordinator.next_entry

    def skipping(entry: Any, levels: Any) -> Any:
        following = next_entry(entry, levels)
        return next_entry(following, levels) if following.barrier else following

    patch.setattr(coordinator, "next_entry", skipping)


def one_not_awaited(patch: Patch) -> None:
    """The master does not wait for the last of those who take part."""

    def hasty(view: Any, position: Any, acknowledged: Any) -> bool:
        parties = [node for node, entry in enumerate(view.entries) if entry.takes_part(position.level)]
        return bool(parties) and all(position in acknowledged.get(node, ()) for node in parties[:-1] or parties)

    patch.setattr(coordinator, "is_acknowledged", hasty)


def ballot_forgotten(patch: Patch) -> None:
    """A new life does not go on from the ballot of the one before."""
    resume = Database.resume

    def forgetful(self: Database, found: Any) -> None:
        resume(self, found)
        self._blocks[self._context.node] = None

    patch.setattr(Database, "resume", forgetful)


def levels_in_another_order(patch: Patch) -> None:
    """Joins take level 30 before level 20."""
    following = coordinator._following_level
    swapped = {10: 30, 30: 20, 20: 40}

    def disordered(entry: Any, levels: Any) -> int | None:
        if entry.state is NodeState.JOINING:
            return swapped.get(entry.level, following(entry, levels))
        return following(entry, levels)

    patch.setattr(coordinator, "_following_level", disordered)


def nobody_gives_way(patch: Patch) -> None:
    """Everybody acts who sees a reason, and a bid does not look at what others have written."""
    patch.setattr(Office, "_is_my_turn", lambda _self, _group: True)
    patch.setattr(Bid, "read", lambda self, _blocks, _unreadable=(): _unopposed(self))


def _unopposed(bid: Bid) -> Phase:
    if bid.phase is Phase.READING_MBAL:
        bid.block = bid._with_value([None] * 64)
    bid.phase = PHASES.next(bid.phase, "clear")
    return bid.phase


def told_before_written(patch: Patch) -> None:
    """The master takes a view in before its record is on the disk."""
    commit = Office._commit

    def hasty(self: Office, view: Any, committed: Any) -> None:
        self._member.adopt(view)
        commit(self, view, committed)

    patch.setattr(Office, "_commit", hasty)


def does_not_panic(patch: Patch) -> None:
    """Who is out goes on as if nothing had happened."""

    def unmoved(self: Member, cause: Any, reason: str) -> None:
        self.context.effects.append(Emit("ignored", {"cause": cause.value, "reason": reason}))

    patch.setattr(Member, "expel", unmoved)


def writes_elsewhere(patch: Patch) -> None:
    """Heartbeats of odd numbers go to the region of the next node."""
    write = Database._write

    def astray(self: Database, sector: int, data: bytes, then: Any, *, durable: bool) -> None:
        if sector == 0 and self._heartbeat_sequence % 50 == 49:
            sector = 8
        write(self, sector, data, then, durable=durable)

    patch.setattr(Database, "_write", astray)


def panics_when_the_disk_hangs(patch: Patch) -> None:
    """The rule of fence = "panic", where the disk is the fence."""
    tick = Manager.tick

    def nervous(self: Manager) -> None:
        tick(self)
        if self.member.role.inside and self._confirmed_ms:
            self._check_lease()

    patch.setattr(Manager, "tick", nervous)


def programs_told_twice(patch: Patch) -> None:
    """A program hears of each of its notifications two times."""
    notify = Program.notify

    def stutter(self: Program, notification: Any) -> Any:
        notify(self, notification)
        return notify(self, notification)

    patch.setattr(Program, "notify", stutter)


def forced_out_comes_back(patch: Patch) -> None:
    """A forced leave ends with the same life as a member again."""
    next_entry = coordinator.next_entry

    def forgiving(entry: Any, levels: Any) -> Any:
        following = next_entry(entry, levels)
        if entry.state is NodeState.FORCED_LEAVING and following.state is NodeState.INACTIVE:
            return replace(following, state=NodeState.JOINED, reach=254, forced=False)
        return following

    patch.setattr(coordinator, "next_entry", forgiving)


@dataclass(frozen=True)
class Mutant:
    """weights: the faults that show it; checker: the only one that looks, so that no other is quicker."""

    broken: Callable[[Patch], None]
    checker: type[Checker]
    weights: tuple[tuple[str, int], ...]
    programs: int = 0
    claim: str = ""
    """Another one than the checker's."""
    fault_every_ms: int = 1500
    boot_ms_max: int = 3000

    @property
    def name(self) -> str:
        return self.broken.__name__

    @property
    def wanted(self) -> str:
        """The claim that must be found broken."""
        return self.claim or self.checker.claim


CUTS = (("cut-node", 1), ("freeze-vcpu", 1), ("delay-writes", 2), ("crash", 1))
POWER = (("crash", 2), ("doom", 4), ("power-failure", 2))
MUTANTS = [
    Mutant(no_fence, Fence, CUTS),
    Mutant(preempt_without_abort, Fence, CUTS),
    Mutant(former_life_not_aborted, Fence, (("crash", 1), ("doom", 2), ("delay-writes", 1))),
    Mutant(barrier_skipped, Transitions, POWER),
    Mutant(one_not_awaited, Steps, POWER, programs=3),
    Mutant(ballot_forgotten, Promise, (("doom", 3), ("power-failure", 1)), fault_every_ms=700, boot_ms_max=500),
    Mutant(levels_in_another_order, Transitions, POWER),
    Mutant(nobody_gives_way, OneOwner, CUTS),
    Mutant(told_before_written, History, POWER),
    Mutant(does_not_panic, ForcedOut, CUTS, claim=CONVERGES),
    Mutant(writes_elsewhere, OneWriter, POWER),
    Mutant(panics_when_the_disk_hangs, Panics, (("disk-hang-all", 1),)),
    Mutant(programs_told_twice, ProgramsTold, POWER, programs=1),
    Mutant(forced_out_comes_back, ForcedOut, CUTS),
]
