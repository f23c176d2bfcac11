"""What the initiators do: random commands of every kind at random extents, some contended by all, some their own."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from hil.scsi.digest import digest
from hil.scsi.medium import BLOCK_BYTES
from tests.scsi_campaign.commands import Sent, payload
from tests.unit.scsi_reserve import REGISTER_AND_IGNORE, out_cdb, out_data

if TYPE_CHECKING:
    from random import Random

INITIATORS: Final = 8
BLOCKS: Final = 8192
HOT_BLOCKS: Final = 512  # contended by all
_OWN_BLOCKS: Final = 640  # of each, after the hot ones
_LONG_BLOCKS: Final = 600  # more than a first burst, more than one Data-In
FUA: Final = 0x08
_APTPL: Final = 1


class Choice(NamedTuple):
    """A command with all that goes out with it."""

    sent: Sent
    data: bytes
    read_bytes: int


def cdb(code: int, lba: int, blocks: int, flags: int = 0) -> bytes:
    """The group code tells the layout (SPC-4 4.2.5.1)."""
    layout = {1: ">BBIxHx", 2: ">BBIxHx", 4: ">BBQIxx", 5: ">BBIIxx"}[code >> 5]
    return struct.pack(layout, code, flags, lba, blocks)


def key_of(sent: Sent) -> int:
    """The reservation key that a registration asks for."""
    return (sent.initiator + 1) << 32 | sent.sequence


class Work:
    """Of one initiator. ``long_transfers``: some commands need R2Ts. ``registers``: it now and then changes its key."""

    def __init__(self, number: int, random: Random, *, long_transfers: bool = True, registers: bool = False) -> None:
        self.number = number
        self.random = random
        self.sequence = 0
        self._long_transfers = long_transfers
        self._registers = registers
        self._seen: tuple[int, bytes] | None = None

    def choose(self) -> Choice:
        """The next command."""
        if self._registers and self.random.random() < 0.003:
            return self.register()
        [make] = self.random.choices(_KINDS, _WEIGHTS)
        return make(self)

    def probe(self) -> Choice:
        """TEST UNIT READY, which takes unit attentions away."""
        return Choice(self._sent(bytes(6), 0, 0), b"", 0)

    def read_at(self, lba: int, blocks: int) -> Choice:
        """READ (10)."""
        return Choice(self._sent(cdb(0x28, lba, blocks), lba, blocks), b"", blocks * BLOCK_BYTES)

    def register(self) -> Choice:
        """A new key, whatever the old one was, that is to outlive the target (APTPL)."""
        sent = self._sent(out_cdb(REGISTER_AND_IGNORE), 0, 0)
        return Choice(sent, out_data(0, key_of(sent), _APTPL), 0)

    def raw(self, found: bytes, data: bytes = b"", read_bytes: int = 0) -> Choice:
        """A command about no blocks."""
        return Choice(self._sent(found, 0, 0), data, read_bytes)

    def saw(self, lba: int, data: bytes) -> None:
        """A read was answered; what a COMPARE AND WRITE may want to find."""
        if len(data) <= 4 * BLOCK_BYTES:
            self._seen = lba, data

    # -- kinds ---------------------------------------------------------------------------------------------------

    def read(self) -> Choice:
        code = self.random.choice((0x28, 0x88, 0xA8))
        lba, blocks = self._extent()
        return Choice(self._sent(cdb(code, lba, blocks), lba, blocks), b"", blocks * BLOCK_BYTES)

    def write(self) -> Choice:
        code = self.random.choice((0x2A, 0x8A, 0xAA))
        return self._out(code, *self._extent(), flags=self.random.choice((0, 0, 0, FUA)))

    def write_and_verify(self) -> Choice:
        return self._out(self.random.choice((0x2E, 0x8E)), *self._extent(), flags=self.random.choice((0, 2)))

    def or_write(self) -> Choice:
        return self._out(0x8B, *self._extent(), flags=self.random.choice((0, 0, FUA)))

    def write_atomic(self) -> Choice:
        lba, blocks = self._extent()
        packed = struct.pack(">BBQHHxx", 0x9C, self.random.choice((0, FUA)), lba, 0, blocks)
        sent = self._sent(packed, lba, blocks)
        return Choice(sent, payload(sent), 0)

    def write_same(self) -> Choice:
        lba, blocks = self._extent()
        code, flags = self.random.choice(((0x41, 0), (0x41, 0x08), (0x93, 0), (0x93, 0x08), (0x93, 0x01), (0x93, 0x09)))
        sent = self._sent(cdb(code, lba, blocks, flags), lba, blocks)
        return Choice(sent, payload(sent), 0)

    def unmap(self) -> Choice:
        extents = tuple(self._extent() for _ in range(self.random.choice((1, 1, 2, 3))))
        first = min(lba for lba, _ in extents)
        end = max(lba + blocks for lba, blocks in extents)
        length = 8 + 16 * len(extents)
        sent = self._sent(struct.pack(">BBIxHx", 0x42, 0, 0, length), first, end - first)
        sent.extents = extents
        return Choice(sent, payload(sent), 0)

    def compare_and_write(self) -> Choice:
        """Of what was read last, or of something that cannot be there."""
        if self._seen is None:
            return self.read()
        lba, found = self._seen
        if self.random.random() < 0.2:
            found = bytes(len(found) - 1) + b"!"
        blocks = len(found) // BLOCK_BYTES
        flags = self.random.choice((0, FUA))
        packed = struct.pack(">BBQxxxBxx", 0x89, flags, lba, blocks)
        sent = self._sent(packed, lba, blocks)
        sent.compared = digest(found)
        return Choice(sent, found + payload(sent), 0)

    def flush(self) -> Choice:
        code = self.random.choice((0x35, 0x91))
        lba, blocks = self.random.choice(((0, 0), self._extent()))
        return Choice(self._sent(cdb(code, lba, blocks), lba, blocks), b"", 0)

    def look(self) -> Choice:
        """VERIFY without data, PRE-FETCH."""
        code = self.random.choice((0x2F, 0x8F, 0x34, 0x90))
        lba, blocks = self._extent()
        return Choice(self._sent(cdb(code, lba, blocks), lba, blocks), b"", 0)

    # -- parts ---------------------------------------------------------------------------------------------------

    def _sent(self, packed: bytes, lba: int, blocks: int) -> Sent:
        self.sequence += 1
        return Sent(self.number, self.sequence, packed, lba, blocks)

    def _out(self, code: int, lba: int, blocks: int, flags: int) -> Choice:
        sent = self._sent(cdb(code, lba, blocks, flags), lba, blocks)
        return Choice(sent, payload(sent), 0)

    def _extent(self) -> tuple[int, int]:
        random = self.random
        where = random.random()
        if self._long_transfers and where < 0.004:
            return random.randrange(BLOCKS - _LONG_BLOCKS), random.randrange(129, _LONG_BLOCKS)
        blocks = random.choice((1, 1, 1, 2, 3, 4, 8, 8, 16, random.randrange(1, 65)))
        first, length = 0, BLOCKS
        if where < 0.45:
            length = HOT_BLOCKS
        elif where < 0.95:
            first, length = HOT_BLOCKS + self.number * _OWN_BLOCKS, _OWN_BLOCKS
        return first + random.randrange(length - blocks + 1), blocks


_ROWS: Final[tuple[tuple[int, Callable[[Work], Choice]], ...]] = (
    (35, Work.read),
    (34, Work.write),
    (4, Work.write_and_verify),
    (4, Work.or_write),
    (2, Work.write_atomic),
    (4, Work.write_same),
    (4, Work.unmap),
    (6, Work.compare_and_write),
    (4, Work.flush),
    (2, Work.look),
    (1, Work.probe),
)
_WEIGHTS: Final = [weight for weight, _ in _ROWS]
_KINDS: Final = [make for _, make in _ROWS]
