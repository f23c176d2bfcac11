"""Everything that a stack can ask for. The runtime (or the simulator) carries effects out in the order of the list."""

from __future__ import annotations

from guestd.core.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Effect(Value):
    """Base of the effects."""


class WriteSectors(Effect):
    """Write at a block address of the whole disk `lun`. Answered by WriteDone with the tag.

    At most one disk effect of each lane (`guestd.core.disk.lane_of`) is out at a time. What depends on the data being
    on the disk (a datagram that tells of a commit record, for one) is emitted only when that answer has come in.
    """

    tag: int
    lba: int  # 512-byte blocks
    data: bytes  # a multiple of 512 bytes
    durable: bool = False  # on the medium when it ends, not in a cache that a power failure empties
    lun: int = 0  # which disk: 0 has the membership database


class ReadSectors(Effect):
    """Read `count` blocks of 512 bytes. Answered by ReadDone with the tag."""

    tag: int
    lba: int
    count: int
    lun: int = 0


class ScsiCommand(Effect):
    """A command of the SCSI primary set, to the logical unit `lun`. Answered by ScsiDone with the tag."""

    tag: int
    cdb: bytes
    data: bytes  # what goes out with it
    reply_size: int  # bytes that may come back
    lun: int = 0


class Broadcast(Effect):
    """Send to all nodes over the interconnect; may be lost or come twice."""

    payload: bytes


class Send(Effect):
    """Send to one node over the interconnect; may be lost or come twice. Others may hear it too."""

    node: int
    payload: bytes


class Wake(Effect):
    """Give one Tick more, that many milliseconds from now; the others come as they would."""

    after_ms: int


class Emit(Effect):
    """Tell the host: one event of the stream."""

    kind: str
    fields: dict[str, Any]


class Answer(Effect):
    """Tell a connected program: one JSON object, one line. Nothing happens if its connection has ended."""

    connection: int
    message: dict[str, Any]


class OfferFiles(Effect):
    """Programs may use the shared file system from now on: it is to be mounted (docs/mount.md)."""


class Panic(Effect):
    """Stop this machine's kernel at once. Nothing after this effect is carried out (spec S6.1)."""

    reason: str


class Exit(Effect):
    """End guestd: 0 after a graceful leave, anything else is a refusal to run."""

    status: int
