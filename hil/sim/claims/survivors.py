"""Claim: when links are cut the largest group in which all hear each other goes on (S5.2).

Among equals the group with the master, then the one with the lowest node ids; and what is decided is decided once.

It can be told only where a cut is all that is wrong: in runs with no other faults and no rates, of cuts that find the
cluster joined and quiet, and that change no more until the epoch that forces somebody out. Then the groups are counted
here by trying every set of nodes.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Final, cast

from hil.checkers.checker import Checker
from hil.checkers.observation import Observation

if TYPE_CHECKING:
    from guestd.membership.view import View
    from hil.checkers.checker import Bench
    from hil.checkers.observation import Life
    from hil.sim.options import Options
    from hil.sim.plan import Plan
    from hil.sim.world import World

CUTS: Final = ("cut-node", "cut-one-way", "cut-link", "split")
_NODES_MAX: Final = 10  # all sets of more would take too long
_QUIET_DEATHS: Final = 2  # so long nothing may have changed before a cut


def only_cuts(options: Options, plan: Plan) -> bool:
    """Whether cuts are all that is wrong in that run."""
    rates = (options.loss_share, options.late_share, options.slow_share, options.lost_share, options.stale_share)
    kinds = {fault.kind for fault in plan.faults}
    return bool(kinds) and kinds <= set(CUTS) and not any((*rates, options.flip_share, options.torn_share))


class Survivors(Checker):
    """What is cut since when, and who must survive that."""

    claim = "the largest group that hears each other survives, once; a tie goes to the master's, then the lowest (S5.2)"
    needs = (Observation.INSIDE,)

    def begin(self, bench: Bench) -> None:
        """Listens to the network if there is anything to be told."""
        super().begin(bench)
        self.world = world = cast("World", bench)
        self._view: View | None = None
        self._changed_us = 0  # the last commit, or the last change of the links: what was, may still be seen
        self._whole = True
        self._wanted: tuple[int, ...] | None = None
        if only_cuts(world.options, world.faults.plan) and world.options.nodes <= _NODES_MAX:
            world.network.on_changed = self._cut

    def committed(self, node: Life, life: int, view: View) -> None:
        """Who goes on in the next epoch."""
        before, self._view = self._view, view
        self._changed_us = self.world.queue.now_us
        wanted, self._wanted = self._wanted, None
        if before is None or wanted is None or view.epoch == before.epoch:
            return
        survivors = tuple(number for number in before.live() if not view.entries[number].forced)
        if survivors != wanted:
            self.fail(f"nodes {survivors} go on in {view.order}, and nodes {wanted} are the group that should")

    def _cut(self) -> None:
        quiet_us = self.world.queue.now_us - self._changed_us
        was_whole, self._whole = self._whole, self.world.network.whole
        self._wanted = None
        self._changed_us = self.world.queue.now_us
        if not was_whole or quiet_us < _QUIET_DEATHS * self.world.options.timing.death_ms * 1000 or self._view is None:
            return
        if self.world.why_not_converged() is None:
            self._wanted = self._best(self._view)

    def _best(self, view: View) -> tuple[int, ...]:
        """By trial, the largest first, and in the order of preference."""
        reaches = self.world.network.reaches
        live = view.live()
        for size in range(len(live), 0, -1):
            groups = [
                group
                for group in combinations(live, size)
                if all(reaches(one, other) and reaches(other, one) for one, other in combinations(group, 2))
            ]
            if groups:
                return min(groups, key=lambda group: (view.master not in group, group))
        return ()
