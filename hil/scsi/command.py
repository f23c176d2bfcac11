"""What passes between transport and device: a ``Command`` comes in, an ``Outcome`` goes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from hil.scsi.operation import Direction
from hil.scsi.sense import Refused, Sense, Status, sense_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hil.scsi.faults.fault import Fault, Run
    from hil.scsi.placement import Piece


class Nexus:
    """I_T nexus: one initiator name at one portal, whatever the session's ISID.

    Outlives its sessions. ``attentions[lun]`` are the unit attention conditions that the initiator has not been told
    yet, oldest first. ``identity`` is by what reservations know it, also over a restart of the target.
    """

    __slots__ = ("attentions", "identity", "index", "initiator", "portal")

    def __init__(self, index: int, initiator: str, portal: str) -> None:
        self.index = index
        self.initiator = initiator
        self.portal = portal
        self.identity = (initiator, portal)
        self.attentions: dict[int, list[Sense]] = {}

    def __repr__(self) -> str:
        return f"Nexus({self.index}, {self.initiator!r}, {self.portal!r})"


class Command:
    """One SCSI command at a logical unit.

    ``data`` is what the initiator sent (may be less than the CDB asks for) and only valid during execution. Filled in
    by the operation: ``data_out_bytes``, what the CDB asks for; ``lba``, ``blocks``, ``changed``, ``flushed`` and
    ``digest`` for the ledger, where ``changed`` says that data reached the medium, ``flushed`` that it, or the extent
    of a command that writes nothing, is not in the volatile cache any more; an empty ``digest`` is left to the ledger.

    ``faults`` have struck the command, and ``direction`` is only told to them. ``holder`` is the one that holds it in
    the target now; what lets it go calls ``resume``, which its session sets, with the function that goes on.
    ``placed`` is what reached the medium of ``offered`` bytes so far, None where nobody looked and it is what the CDB
    says.
    """

    __slots__ = (
        "arrival_ns", "blocks", "cdb", "changed", "data", "data_out_bytes", "digest", "direction", "faults",
        "flushed", "holder", "lba", "lun", "nexus", "offered", "placed", "resume",
    )  # fmt: skip

    def __init__(
        self, nexus: Nexus, lun: int, cdb: bytes, data: bytes | bytearray | memoryview, arrival_ns: int
    ) -> None:
        self.nexus = nexus
        self.lun = lun
        self.cdb = cdb
        self.data = data
        self.arrival_ns = arrival_ns
        self.data_out_bytes = 0
        self.lba = 0
        self.blocks = 0
        self.changed = False
        self.flushed = False
        self.digest = b""
        self.faults: Sequence[Fault] = ()
        self.direction = Direction.OTHER
        self.holder: Fault | None = None
        self.offered = 0
        self.placed: list[Piece] | None = None
        self.resume: Callable[[Run], None] | None = None


class Outcome(NamedTuple):
    """How a command ended. ``data`` is what goes to the initiator, not yet cut to what it expects."""

    status: int
    data: bytes | memoryview = b""
    sense: bytes = b""


DONE: Final = Outcome(Status.GOOD)
ABORTED: Final = Outcome(Status.TASK_ABORTED)


def check_condition(refused: Refused) -> Outcome:
    """CHECK CONDITION with autosense."""
    return Outcome(Status.CHECK_CONDITION, sense=sense_bytes(refused))
