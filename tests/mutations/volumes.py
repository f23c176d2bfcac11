"""Mutants of the virtual disk manager: those of `tests/unit/vdm_mutants.py`, in whole clusters."""

from __future__ import annotations

from typing import Any, Final

from hil.sim.claims.volumes import VolumesKept
from hil.sim.run import ANSWERED, WHOLE
from tests.mutations.borrowed import in_a_cluster
from tests.mutations.mutant import Mutant
from tests.unit import vdm_mutants as library

KEPT: Final = (VolumesKept.claim, WHOLE, ANSWERED)

DEATHS: Final[dict[str, Any]] = {
    "weights": (("crash", 3), ("doom", 6)),
    "fault_every_ms": 3000,
    "volume_users": 4,
    "cache_share": 500,
}
CALM: Final[dict[str, Any]] = {"weights": (("leave", 1),), "fault_every_ms": 8000, "volume_users": 4}

MUTANTS: Final = (
    Mutant(in_a_cluster("volume", library.no_intent), KEPT, DEATHS),
    Mutant(in_a_cluster("volume", library.not_durable), KEPT, DEATHS),
    Mutant(in_a_cluster("volume", library.intent_of_a_dead_node_ignored), KEPT, DEATHS),
    Mutant(in_a_cluster("volume", library.stale_tables), KEPT, CALM),
)
