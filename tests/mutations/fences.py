"""Who may write: the fence, the abort of an earlier life, keys, and what a node does that is out (S6)."""

from __future__ import annotations

from typing import Any

from guestd.core import disk
from guestd.core.effects import Emit
from guestd.core.value import replace
from guestd.fence import fence as guest_fence
from guestd.fence import keys, registration
from guestd.fence import persistent_reserve as pr
from guestd.fence.fence import Outcome
from guestd.fence.registration import Registration
from guestd.membership import manager
from guestd.membership.member import Member
from guestd.membership.regions import next_incarnation
from guestd.membership.states import NodeState
from guestd.transition import coordinator
from hil.checkers.every_disk import EveryDisk
from hil.checkers.fence import Fence
from hil.checkers.forced_out import ForcedOut
from hil.checkers.panics import Panics
from hil.checkers.refused import Refused
from hil.sim.run import CONVERGES
from tests.mutations.mutant import CUTS, Mutant
from tests.mutations.patching import Patch


def no_fence(patch: Patch) -> None:
    """Nobody is fenced, and it is said that all are."""
    patch.replace(guest_fence.Fence, "keep_out", lambda _self, _own, _victims, then: then(Outcome.FENCED))


def fence_after_the_commit(patch: Patch) -> None:
    """The epoch begins first, and its victims are fenced then."""
    patch.replace(guest_fence.Fence, "keep_out", _at_once(guest_fence.Fence.keep_out))


def _at_once(keep_out: Any) -> Any:
    """Says that all are fenced, and fences them then."""

    def early(self: Any, own: Any, victims: Any, then: Any) -> None:
        then(Outcome.FENCED)
        if victims:
            keep_out(self, own, victims, lambda _outcome: None)

    return early


def preempt_without_abort(patch: Patch) -> None:
    """What a victim has in the disk's queue lands after its fence."""
    patch.replace(pr, "PREEMPT_AND_ABORT", 0x04)


def fence_not_verified(patch: Patch) -> None:
    """Nobody looks whether the victims are off the disk, and a command that failed counts as done."""
    preempt = guest_fence.Fence.preempt
    patch.replace(guest_fence.Round, "_verify", lambda self: self.begin(self.lun + 1))
    patch.replace(
        guest_fence.Fence,
        "preempt",
        lambda self, lun, key, victim, then: preempt(self, lun, key, victim, lambda _status: then(pr.GOOD)),
    )


def last_disk_not_fenced(patch: Patch) -> None:
    """Of several LUNs the last one is left out of the fence."""
    disks = guest_fence.Fence.disks
    patch.replace(guest_fence.Fence, "disks", lambda self: max(1, disks(self) - 1))


def recovery_before_the_last_fence(patch: Patch) -> None:
    """The epoch begins when LUN 0 is fenced, and the further LUNs are fenced then."""
    begin = guest_fence.Round.begin

    def early(self: Any, lun: int) -> None:
        if lun != 1 or self._fence.disks() == 1:
            begin(self, lun)
            return
        victims, then, self._then = self._victims, self._then, lambda _outcome: None
        for node, incarnation in victims:
            self._fence.context.emit("fenced", subject=node, incarnation=incarnation)
        then(Outcome.FENCED)
        begin(self, lun)

    patch.replace(guest_fence.Round, "begin", early)


def data_disk_fenced_first(patch: Patch) -> None:
    """The LUNs are fenced from the last one to LUN 0."""
    patch.replace(guest_fence.Fence, "preempt", _the_other_way_round(guest_fence.Fence.preempt))
    patch.replace(guest_fence.Fence, "read_keys", _the_other_way_round(guest_fence.Fence.read_keys))


def _the_other_way_round(command: Any) -> Any:
    return lambda self, lun, *more: command(self, self.disks() - 1 - lun, *more)


def former_life_aborted_on_lun_0_only(patch: Patch) -> None:
    """A new life ends what its earlier one has queued on LUN 0, and not on the further LUNs."""
    end = Registration._end
    patch.replace(
        Registration, "_end", lambda self, earlier, then: then(True) if self.lun else end(self, earlier, then)
    )


def former_life_not_aborted(patch: Patch) -> None:
    """A new life does not end what its earlier one has queued."""
    patch.replace(Registration, "_end", lambda _self, _earlier, then: then(True))


def one_key_for_all_lives(patch: Patch) -> None:
    """The key of a node is the same in all its lives, so a fence of the former one hits the next one."""

    def key_of(node: int, _incarnation: int) -> int:
        return keys.key_of(node, 1)

    patch.replace(guest_fence, "key_of", key_of)
    patch.replace(registration, "key_of", key_of)


def same_incarnation_again(patch: Patch) -> None:
    """A node that boots takes the number of its former life once more."""
    end_earlier = Registration.end_earlier

    def forgetful(self: Registration, then: Any) -> None:
        def ended(elsewhere: Any) -> None:
            self.earlier = 0
            then(elsewhere)

        end_earlier(self, ended)

    patch.replace(manager, "next_incarnation", lambda node, regions: max(1, next_incarnation(node, regions) - 1))
    patch.replace(Registration, "end_earlier", forgetful)


def conflict_ignored(patch: Patch) -> None:
    """A node whose write the disk has refused goes on."""

    def written(self: disk.Disk, done: Any, then: Any) -> None:
        self.failed_count += not done.ok
        then(done.ok)

    patch.replace(disk.Disk, "_written", written)


def does_not_panic(patch: Patch) -> None:
    """Who is out goes on as if nothing had happened."""

    def unmoved(self: Member, cause: Any, reason: str) -> None:
        self.context.effects.append(Emit("ignored", {"cause": cause.value, "reason": reason}))

    patch.replace(Member, "expel", unmoved)


def forced_out_comes_back(patch: Patch) -> None:
    """A forced leave ends with the same life as a member again."""
    next_entry = coordinator.next_entry

    def forgiving(entry: Any, levels: Any) -> Any:
        following = next_entry(entry, levels)
        if entry.state is NodeState.FORCED_LEAVING and following.state is NodeState.INACTIVE:
            return replace(following, state=NodeState.JOINED, reach=254, forced=False)
        return following

    patch.replace(coordinator, "next_entry", forgiving)


FENCES = (*CUTS, ("fence-hang", 2), ("fence-errors", 2))
HELD_AND_GONE = (("crash", 1), ("doom", 2), ("delay-writes", 1))

MUTANTS = (
    Mutant(no_fence, (Fence.claim,), {"weights": CUTS}),
    Mutant(fence_after_the_commit, (Panics.claim, Fence.claim), {"weights": CUTS}),
    Mutant(preempt_without_abort, (Fence.claim,), {"weights": CUTS}),
    Mutant(
        fence_not_verified, (Fence.claim,), {"weights": (("cut-node", 3), ("disk-errors", 3)), "fault_every_ms": 700}
    ),
    Mutant(former_life_not_aborted, (Fence.claim,), {"weights": HELD_AND_GONE}),
    Mutant(one_key_for_all_lives, (Fence.claim,)),
    Mutant(same_incarnation_again, (ForcedOut.claim, Fence.claim)),
    Mutant(conflict_ignored, (Refused.claim,), {"weights": CUTS}),
    Mutant(does_not_panic, (CONVERGES, ForcedOut.claim), {"weights": CUTS}),
    Mutant(forced_out_comes_back, (ForcedOut.claim,), {"weights": CUTS}),
    Mutant(last_disk_not_fenced, (EveryDisk.claim,), {"weights": CUTS, "data_disks": 2}),
    Mutant(recovery_before_the_last_fence, (EveryDisk.claim,), {"weights": FENCES, "data_disks": 2}),
    Mutant(data_disk_fenced_first, (EveryDisk.claim,), {"weights": CUTS, "data_disks": 2}),
    Mutant(former_life_aborted_on_lun_0_only, (EveryDisk.claim,), {"weights": HELD_AND_GONE, "data_disks": 2}),
)
