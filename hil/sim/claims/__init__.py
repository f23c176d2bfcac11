"""Claims that need the inside of the simulator, and all claims together (docs/checkers.md)."""

from __future__ import annotations

from hil.checkers.checker import Checker
from hil.checkers.claims import every_checker
from hil.sim.claims.files import FilesKept
from hil.sim.claims.locks import LocksHeld
from hil.sim.claims.one_cluster import OneCluster
from hil.sim.claims.survivors import Survivors
from hil.sim.claims.volumes import VolumesKept
from hil.sim.claims.worked_on import WorkedOn


def every_claim(*, fence: str = "scsi", election: str = "paxos") -> list[Checker]:
    """One of each for one run: those of every run (:func:`hil.checkers.claims.every_checker`), then these."""
    return [
        *every_checker(fence=fence, election=election),
        WorkedOn(),
        OneCluster(),
        Survivors(),
        LocksHeld(),
        FilesKept(),
        VolumesKept(),
    ]
