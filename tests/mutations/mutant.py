"""A mutant: one fault in guestd, what it takes to show, and the claims that must be found broken."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Final

from hil.sim.options import Options, draw
from hil.sim.run import CONVERGES, GIVEN_UP, NO_FAULT_OF_ITS_OWN, QUIET
from tests.mutations.patching import Patch, applied

NODES: Final = 3
BASE: Final[dict[str, Any]] = {
    "election": "paxos",
    "timing_factor": 1.0,
    "faults_ms": 30_000,
    "fault_every_ms": 1500,
    "converge_ms": 60_000,
    "quiet_ms": 3000,
    **dict.fromkeys(("filers", "volume_users", "services"), 0),
}
"""Small and quick: what goes wrong goes wrong with few nodes, and in half a minute."""

CUTS: Final = (("cut-node", 1), ("freeze-vcpu", 1), ("delay-writes", 2), ("crash", 1))
POWER: Final = (("crash", 2), ("doom", 4), ("power-failure", 2))
LEAVES: Final = (("crash", 1), ("doom", 2), ("leave", 3))


@dataclass(frozen=True)
class Mutant:
    """``broken`` says in its docstring, in one sentence, what is wrong; its name is the mutant's.

    ``claims``: those that are about it. ``changes``: to the options that the seed draws, where the fault needs it.
    ``nodes``: how many.
    """

    broken: Callable[[Patch], None]
    claims: tuple[str, ...]
    changes: dict[str, Any] = field(default_factory=dict)
    nodes: int = NODES

    @property
    def name(self) -> str:
        """As it is asked for."""
        return self.broken.__name__.replace("_", "-")

    @property
    def about(self) -> str:
        """What is wrong."""
        return (self.broken.__doc__ or "").strip()

    def is_caught_by(self, claim: str | None) -> bool:
        """Whether it is found when that claim is broken.

        By any one, for what goes wrong is wrong in many ways. But that something was raised, or that the cluster did
        not come together, counts for those mutants only that are about that: the mutant itself may be to blame.
        """
        return claim in self.claims or (
            claim is not None and claim not in (NO_FAULT_OF_ITS_OWN, CONVERGES, QUIET, GIVEN_UP)
        )

    def applied(self) -> AbstractContextManager[Patch]:
        """guestd with the fault, in this process, within the block."""
        return applied(self.broken)

    def options(self, seed: int) -> Options:
        """The run of that seed: of preset ``swarm``, with the changes."""
        return replace(draw(seed, "swarm", self.nodes, data_disks=0), **{**BASE, **self.changes})
