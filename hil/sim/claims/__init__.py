"""Claims that need the inside of the simulator, and all claims together (docs/checkers.md)."""

from __future__ import annotations

from hil.checkers.checker import Checker
from hil.checkers.claims import every_checker
from hil.sim.claims.files import FilesKept
from hil.sim.claims.grouped import Grouped
from hil.sim.claims.hung import Hung
from hil.sim.claims.locks import LocksHeld
from hil.sim.claims.notified import NotifiedOfIt
from hil.sim.claims.one_cluster import OneCluster
from hil.sim.claims.one_history import OneHistory
from hil.sim.claims.one_place import OnePlace
from hil.sim.claims.placed import Placed
from hil.sim.claims.recovered import Recovered
from hil.sim.claims.service_states import ServiceStates
from hil.sim.claims.survivors import Survivors
from hil.sim.claims.volumes import VolumesKept
from hil.sim.claims.worked_on import WorkedOn


def every_claim(*, fence: str = "scsi", election: str = "paxos") -> list[Checker]:
    """One of each for one run: those of every run (:func:`hil.checkers.claims.every_checker`), then these."""
    return [
        *every_checker(fence=fence, election=election),
        WorkedOn(),
        Hung(),
        OneCluster(),
        Survivors(),
        LocksHeld(),
        FilesKept(),
        VolumesKept(),
        OneHistory(),
        ServiceStates(),
        OnePlace(),
        Placed(),
        Grouped(),
        Recovered(),
        NotifiedOfIt(),
    ]
