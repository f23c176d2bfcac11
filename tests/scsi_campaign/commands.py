"""What an initiator sends: a log entry per command, from which all that it sent can be made again."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from hil.scsi.medium import BLOCK_BYTES
from hil.scsi.sense import Sense
from tests.scsi_campaign.stamps import ZEROS, stamped

WRITE_SAME: Final = frozenset({0x41, 0x93})
UNMAP: Final = 0x42
COMPARE_AND_WRITE: Final = 0x89
ORWRITE: Final = 0x8B
PLAIN_WRITES: Final = frozenset({0x2A, 0xAA, 0x8A, 0x2E, 0xAE, 0x8E, 0x9C})
READS: Final = frozenset({0x28, 0xA8, 0x88})
REGISTER_OPCODE: Final = 0x5F  # PERSISTENT RESERVE OUT
_UNMAP_BIT: Final = 0x08  # of WRITE SAME
_NO_DATA_OUT: Final = 0x01  # of WRITE SAME (16)

ABORTED: Final = 0x40
"""Status of a command whose initiator had it aborted, as the ledger has it."""


class Sent:
    """One command. ``sent_ns`` and ``answered_ns`` are of the host's monotonic clock, ``status`` None: no answer.

    ``extents`` are those of an UNMAP; ``compared`` is the digest of what a COMPARE AND WRITE wanted to find; ``digest``
    of what a read got. ``received`` may be False: its session ended before the target can be known to have seen it.
    """

    __slots__ = (
        "answered_ns", "blocks", "cdb", "compared", "digest", "extents", "initiator", "lba", "order", "sense",
        "sent_ns", "sequence", "status",
    )  # fmt: skip

    def __init__(self, initiator: int, sequence: int, cdb: bytes, lba: int, blocks: int) -> None:
        self.initiator = initiator
        self.sequence = sequence
        self.cdb = cdb
        self.lba = lba
        self.blocks = blocks
        self.extents: tuple[tuple[int, int], ...] = ()
        self.compared = b""
        self.sent_ns = 0
        self.answered_ns = 0
        self.status: int | None = None
        self.sense: Sense | None = None
        self.digest = b""
        self.order = -1

    @property
    def opcode(self) -> int:
        return self.cdb[0]

    def __repr__(self) -> str:
        return (
            f"initiator {self.initiator} sequence {self.sequence}: CDB {self.cdb.hex()}, status {self.status}, "
            f"order {self.order}"
        )


class Natural(NamedTuple):
    """What a command is to place, when nothing is wrong: whole blocks, or (None) unmapped ones."""

    lba: int
    data: bytes | None
    blocks: int


def payload(sent: Sent) -> bytes:
    """What goes out with the command, without what a COMPARE AND WRITE wants to find."""
    code = sent.opcode
    if code in WRITE_SAME:
        if sent.cdb[1] & _NO_DATA_OUT:
            return b""
        return ZEROS if sent.cdb[1] & _UNMAP_BIT else stamped(sent.initiator, sent.sequence, sent.lba, 1)
    if code == UNMAP:
        return unmap_list(sent)
    if code in PLAIN_WRITES or code in (ORWRITE, COMPARE_AND_WRITE):
        return stamped(sent.initiator, sent.sequence, sent.lba, sent.blocks)
    return b""


def unmap_list(sent: Sent) -> bytes:
    """The parameter list of an UNMAP (SBC-3 5.28.2); reserved bytes make every one different."""
    descriptors = b"".join(struct.pack(">QI4x", lba, blocks) for lba, blocks in sent.extents)
    tag = sent.sequence & 0xFFFFFFFF
    return struct.pack(">HHI", 6 + len(descriptors), len(descriptors), tag) + descriptors


def natural(sent: Sent, old: bytes) -> list[Natural]:
    """What the command is to place, in order. ``old`` is what its blocks hold, which only an ORWRITE needs."""
    code = sent.opcode
    if code == UNMAP:
        return [Natural(lba, None, blocks) for lba, blocks in sent.extents if blocks]
    if code in WRITE_SAME:
        data = payload(sent) or ZEROS
        unmaps = bool(sent.cdb[1] & _UNMAP_BIT)
        return [Natural(sent.lba, None if unmaps else data * sent.blocks, sent.blocks)]
    data = payload(sent)
    if code == ORWRITE:
        data = (int.from_bytes(data, "big") | int.from_bytes(old, "big")).to_bytes(len(old), "big")
    return [Natural(sent.lba, data, len(data) // BLOCK_BYTES)] if data else []
