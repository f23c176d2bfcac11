"""Everything that can happen to a stack. The time comes beside each input (`Stack.handle(given, now_ms)`)."""

from __future__ import annotations

from guestd.core.value import Value


class Input(Value):
    """Base of the inputs."""


class Start(Input):
    """The shared disk was found: the stack may begin. Given once, before anything else."""


class Tick(Input):
    """One heartbeat period has passed, or the time of a Wake has come. Late ticks are not made up for."""


class WriteDone(Input):
    """The write with this tag has ended; ok means that the data is on the disk."""

    tag: int
    ok: bool
    conflict: bool = False  # not ok: the disk refused it, since this node may not write (RESERVATION CONFLICT)


class ReadDone(Input):
    """The read with this tag has ended; data is empty if it failed."""

    tag: int
    ok: bool
    data: bytes


class ScsiDone(Input):
    """The SCSI command with this tag has ended."""

    tag: int
    status: int  # SCSI status, SAM-5 5.3.1; -1: it did not reach the disk, or its answer did not come
    data: bytes = b""
    sense_key: int = 0  # with the status CHECK CONDITION


class Datagram(Input):
    """Bytes that came over the interconnect, from anybody."""

    payload: bytes


class ProgramMessage(Input):
    """One line from a program that is connected to this node (docs/programs.md)."""

    connection: int  # numbered by the runtime; a number is never used again
    line: str


class ProgramGone(Input):
    """The connection has ended; the program is taken for dead."""

    connection: int


class Order(Input):
    """An order of the host. Numbers ascend; one that was seen already is ignored."""

    number: int
    order: str  # leave, panic, status
    reason: str = ""
