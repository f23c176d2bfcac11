"""All claims, one of each for one run."""

from __future__ import annotations

from typing import Final

from hil.checkers.barriers import Barriers
from hil.checkers.checker import Checker
from hil.checkers.choices import Choices
from hil.checkers.every_disk import EveryDisk
from hil.checkers.fence import Fence
from hil.checkers.fence_first import FenceFirst
from hil.checkers.flags import Flags
from hil.checkers.forced_out import ForcedOut
from hil.checkers.history import History
from hil.checkers.incarnations import Incarnations
from hil.checkers.journal_first import JournalFirst
from hil.checkers.level_order import LevelOrder
from hil.checkers.one_instance import OneInstance
from hil.checkers.one_owner import OneOwner
from hil.checkers.one_writer import OneWriter
from hil.checkers.own_level import OwnLevel
from hil.checkers.panics import Panics
from hil.checkers.program_states import ProgramStates
from hil.checkers.programs import ProgramsTold
from hil.checkers.promise import Promise
from hil.checkers.refused import Refused
from hil.checkers.states import States
from hil.checkers.steps import Steps
from hil.checkers.tables import Tables
from hil.checkers.transitions import Transitions
from hil.checkers.waits import Waits

OF_THE_SIMULATOR: Final = {
    "worked_on": "nothing moves on from what a program is at work on (S4.5, S4.8)",
    "hung": "a node is lost to a program only that hangs or is dead (S4.13)",
    "one_cluster": "a node that boots forms no second cluster beside one that lives (S5.4)",
    "survivors": "the largest group that hears each other survives, once; a tie goes to the master's, then the lowest"
    " (S5.2)",
    "locks": "locks exclude, wait for the recovery after their dead holders, and hand on their last value (S7.1, A13)",
    "files": "what is on the medium of the shared file system stays, and locks on files exclude (S7.3, A12, A13)",
    "volumes": "virtual disks are as they were made, and no two have the same blocks (S7.2, A12)",
    "one_history": "all event managers read one history of the services (S9.1)",
    "service_states": "what is told of services are steps of the table of their states (S9.7)",
    "one_place": "a service runs on one node at most, or once on each (S9.1, A6)",
    "placed": "a service is started only where it is allowed, when the cluster is mature for it (S9.2, S9.3)",
    "grouped": "a child service runs only where its parent does, is started after it and stopped before it (S9.4)",
    "recovered": "a service whose node was lost is recovered, once, before it is started again (S9.5, S9.7)",
    "notified": "a notify command runs for a service that is registered, on the other allowable nodes (S9.5)",
}
"""Claims that look inside the simulator, by the names of their files there (``hil/sim/claims``), which nothing here may
import. No other run is judged by them, and that is told."""


def every_checker(*, fence: str = "scsi", election: str = "paxos", refusals: bool = False) -> list[Checker]:
    """In the order in which they are asked.

    ``fence`` and ``election``: of the cluster file; where the disk fences nobody, three claims do not stand.
    ``refusals``: whether a machine may be refused, because the test gives two of them one node id, say.
    """
    fenced: list[Checker] = [Fence(), FenceFirst(), EveryDisk()] if fence == "scsi" else []
    return [
        OneOwner(election=election),
        OneWriter(),
        *fenced,
        Promise(),
        Choices(),
        Flags(),
        Incarnations(),
        History(),
        States(),
        Steps(),
        Transitions(),
        OwnLevel(),
        Barriers(),
        LevelOrder(),
        JournalFirst(),
        ProgramsTold(),
        ProgramStates(),
        OneInstance(),
        ForcedOut(),
        Refused(),
        Panics(fence=fence, refusals=refusals),
        Waits(),
        Tables(),
    ]
