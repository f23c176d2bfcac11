"""Losing touch: who is dead, who survives, who may form a cluster (S5, S6.4)."""

from __future__ import annotations

from typing import Any, Final

from guestd.membership import formation, office, suspicion
from guestd.membership.connectivity import best_group, nodes_of
from guestd.membership.manager import Manager
from hil.checkers.panics import Panics
from hil.sim.claims.one_cluster import OneCluster
from hil.sim.claims.survivors import Survivors
from tests.mutations.mutant import Mutant
from tests.mutations.patching import Patch


def panics_when_the_disk_hangs(patch: Patch) -> None:
    """The rule of fence = "panic", where the disk is the fence."""
    tick = Manager.tick

    def nervous(self: Manager) -> None:
        tick(self)
        if self.member.role.inside and self._confirmed_ms:
            self._check_lease()

    patch.replace(Manager, "tick", nervous)


def wrong_tie(patch: Patch) -> None:
    """Of two groups of the same size the one without the master goes on."""

    def upside_down(candidates: int, hears: Any, master: int | None) -> int:
        others = candidates & ~(1 << master) if master is not None else candidates
        chosen, rest = best_group(candidates, hears, master), best_group(others, hears, None)
        return rest if rest.bit_count() == chosen.bit_count() else chosen

    patch.replace(suspicion, "best_group", upside_down)


def miscounted(patch: Patch) -> None:
    """A group goes on that is smaller by one than the largest."""

    def smaller(candidates: int, hears: Any, master: int | None) -> int:
        chosen = best_group(candidates, hears, master)
        rest = best_group(candidates & ~chosen, hears, None)
        return rest if rest and rest.bit_count() == chosen.bit_count() - 1 else chosen

    patch.replace(suspicion, "best_group", smaller)


def one_too_few(patch: Patch) -> None:
    """The last of those who hear each other is left out."""

    def without_the_last(candidates: int, hears: Any, master: int | None) -> int:
        chosen = best_group(candidates, hears, master)
        last = nodes_of(chosen)[-1:]
        return chosen & ~(1 << last[0]) if chosen != candidates and chosen.bit_count() > 1 else chosen

    patch.replace(suspicion, "best_group", without_the_last)


def second_cluster(patch: Patch) -> None:
    """A node that boots and hears nobody forms a cluster beside the one that lives."""

    def alone(view: Any, observer: Any, timing: Any) -> formation.Decision:
        return formation._who_forms(view, observer, timing)

    patch.replace(office, "decide", alone)


CUT: Final[dict[str, Any]] = {
    **dict.fromkeys(("loss_share", "late_share", "slow_share", "lost_share", "stale_share", "flip_share"), 0),
    "torn_share": 0,
    "drift_ppm_max": 100,
    "programs": 0,
    "weights": (("split", 3), ("cut-node", 1), ("cut-link", 2), ("cut-one-way", 1)),
    "fault_every_ms": 10_000,
    "boot_ms_max": 500,
}
"""Cuts, and nothing else, with time to come together again between them."""

MUTANTS = (
    Mutant(panics_when_the_disk_hangs, (Panics.claim,), {"weights": (("disk-hang-all", 1),)}),
    Mutant(wrong_tie, (Survivors.claim,), CUT, nodes=4),
    Mutant(miscounted, (Survivors.claim,), CUT, nodes=5),
    Mutant(one_too_few, (Survivors.claim,), CUT, nodes=5),
    Mutant(second_cluster, (OneCluster.claim,), {"weights": (("cut-node", 3), ("crash", 3))}),
)
