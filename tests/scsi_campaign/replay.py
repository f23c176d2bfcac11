"""The disk, block by block, as the ledger tells its story, record by record.

Where the data comes from is a ``Source``: the kept data, or what the initiators know that they sent. Everything that
the ledger says is checked on the way: the order, reads against what the blocks held then, what a power failure may
take back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol

from hil.scsi.digest import digest
from hil.scsi.faults.kinds import KINDS, VOLATILE_CACHE
from hil.scsi.ledger import Entry, NexusName, Record, RegistrationEnded
from hil.scsi.ledger_records import FaultHealed, FaultInjected, Found, PowerLost, Reverted
from hil.scsi.sense import Status
from tests.scsi_campaign.cache_model import CacheModel
from tests.scsi_campaign.commands import READS
from tests.scsi_campaign.effects import Placement
from tests.scsi_campaign.stamps import ZEROS, split
from tests.scsi_campaign.strikes import Strikes

_SYNCHRONIZES: Final = frozenset({0x35, 0x91})
_FUA: Final = 0x08
_HAVE_FUA: Final = frozenset({0x2A, 0x89, 0x8A, 0x8B, 0x9C, 0xAA})
_DURABLE: Final = frozenset({0x2E, 0x8E, 0xAE})


class Block(NamedTuple):
    """``by``: the order of the command that made it so, -1 for none. ``bits``: so many may be flipped."""

    data: bytes
    by: int = -1
    bits: int = 0


NEVER_WRITTEN: Final = Block(ZEROS)


class Source(Protocol):
    """Where data comes from; every method raises ``AssertionError`` when it and the ledger differ."""

    def placements(self, replay: Replay, entry: Entry) -> list[Placement]:
        """What ``entry`` left on the medium."""

    def reverted(self, replay: Replay, record: Reverted) -> bytes | None:
        """What a power failure made of one block; None: this source does not know."""

    def found(self, replay: Replay, record: Found) -> bytes | None:
        """What was found at the start of the target; None: what ``replay.disk`` has been told by who looked."""


class Replay:
    """``disk`` is what every block holds after the records that were taken."""

    def __init__(self, blocks: int, source: Source) -> None:
        self.disk: list[Block] = [NEVER_WRITTEN] * blocks
        self.known: dict[int, dict[str, Any]] = {}
        self.counts: Counter[str] = Counter()
        self.order_next = 0
        self.healed: dict[int, FaultHealed] = {}
        self.found: set[int] = set()
        self._source = source
        self._strikes = Strikes()
        self._struck: Counter[int] = Counter()
        self._snapshots: dict[int, list[Block]] = {}
        self._cache: CacheModel | None = None
        self._cut_short: set[int] = set()
        self._completed_ns = 0

    def take(self, record: Record) -> None:
        """The next record of the ledger."""
        if self._cache is not None and not isinstance(record, PowerLost | Reverted):
            self._cache.settle(self.disk.__getitem__)
        _TAKE[type(record)](self, record)

    def killed(self) -> None:
        """The target was killed here: a fault that was used up last may have struck one that was not recorded."""
        self._cut_short |= {number for number, record in self.healed.items() if record.order == self.order_next}

    def end(self) -> None:
        """All records were taken: every fault has struck as many commands as it says."""
        for number, record in self.healed.items():
            if KINDS[self.known[number]["fault"]].directions:
                missing = record.struck - self._struck[number]
                assert missing == 0 or (missing > 0 and number in self._cut_short), f"{record}, {self.known[number]}"

    # -- commands ------------------------------------------------------------------------------------------------

    def _entry(self, entry: Entry) -> None:
        assert entry.order == self.order_next, f"order {entry.order} where {self.order_next} is due"
        assert entry.arrival_ns <= entry.completion_ns, entry
        assert entry.completion_ns >= self._completed_ns, f"order {entry.order} finished before the one before it"
        self._completed_ns = entry.completion_ns
        for number in entry.faults:
            assert number in self.known, f"order {entry.order} was struck by fault {number}, which was never injected"
        self._strikes.check(entry, self.known)
        self._struck.update(entry.faults)
        self.counts[entry.name] += 1
        self.counts["struck commands"] += bool(entry.faults)
        if entry.opcode in READS and entry.status == Status.GOOD:
            self._check_read(entry)
        placed = self._source.placements(self, entry)
        for placement in placed:
            self._write(placement, entry)
        if self._cache is not None:
            self._flush(self._cache, entry, placed)
        self.order_next += 1

    def names(self, entry: Entry) -> list[str]:
        """Kinds of the faults that struck."""
        return [self.known[number]["fault"] for number in entry.faults]

    def _check_read(self, entry: Entry) -> None:
        names = self.names(entry)
        if "flip" in names:
            self.counts["reads not checked"] += 1
            return
        stale = [number for number in entry.faults if self.known[number]["fault"] == "stale"]
        disk = self._snapshots[stale[-1]] if stale else self.disk  # of several the newest moment counts
        found = disk[entry.lba : entry.lba + entry.blocks]
        if any(block.bits for block in found):
            self.counts["reads not checked"] += 1
            return
        expected = digest(b"".join([block.data for block in found])) if found else bytes(16)
        assert entry.digest == expected, f"{'stale ' if stale else ''}read {entry}: not what the blocks held"
        self.counts["stale reads checked" if stale else "reads checked"] += 1

    def _write(self, placement: Placement, entry: Entry) -> None:
        for index, data in enumerate(split(placement.data)):
            lba = placement.lba + index
            block = Block(data, entry.order, placement.bits)
            if self._cache is not None:
                self._cache.write(lba, self.disk[lba], block, entry.nexus.number)
            self.disk[lba] = block

    def _flush(self, cache: CacheModel, entry: Entry, placed: Sequence[Placement]) -> None:
        """As the ledger says, which has to agree with what the command asks for when it ended well."""
        if entry.status == Status.GOOD and entry.opcode in _SYNCHRONIZES:
            assert entry.flushed == ("lost" not in self.names(entry)), entry
        if entry.status == Status.GOOD and placed:
            durable = entry.opcode in _DURABLE or bool(entry.opcode in _HAVE_FUA and entry.service_action & _FUA)
            assert entry.flushed == durable, entry
        if not entry.flushed:
            return
        if entry.writes:
            for placement in placed:
                cache.flush(range(placement.lba, placement.lba + len(placement.data) // len(ZEROS)))
        elif not entry.lba and entry.blocks >= len(self.disk):
            cache.flush_all()
        else:
            cache.flush(range(entry.lba, min(entry.lba + entry.blocks, len(self.disk))))

    # -- faults --------------------------------------------------------------------------------------------------

    def _injected(self, record: FaultInjected) -> None:
        assert record.number not in self.known, f"two faults have number {record.number}"
        assert record.order == self.order_next, record
        self.known[record.number] = record.about
        self._strikes.begin(record)
        name = record.about["fault"]
        self.counts[f"fault {name}"] += 1
        if name == "stale":
            self._snapshots[record.number] = list(self.disk)
        elif name == VOLATILE_CACHE:
            self._cache = CacheModel(loses_all=record.about["parameters"]["lose"] == "all")

    def _healed(self, record: FaultHealed) -> None:
        assert record.number in self.known, f"fault {record.number} is healed and was never injected"
        assert record.number not in self.healed, f"fault {record.number} is healed twice"
        self.healed[record.number] = record
        self._strikes.over(record.number)
        if self.known[record.number]["fault"] == VOLATILE_CACHE:
            self._cache = None

    def _power_lost(self, record: PowerLost) -> None:
        assert self._cache is not None, "a power failure is told with no volatile cache"
        self._cache.power_lost(record.nexus.number)
        self.counts["power failures"] += 1

    def _reverted(self, record: Reverted) -> None:
        """To one of the contents that the block had since the last flush, and no other."""
        piece = record.piece
        assert self._cache is not None, record
        told = self._source.reverted(self, record)

        def fits(block: Block) -> bool:
            return digest(block.data) == piece.digest if told is None else block.data == told

        block = self._cache.revert(piece.lba, fits)
        self.disk[piece.lba] = block if told is None else block._replace(data=told)
        self.counts["blocks lost"] += 1

    def _found(self, record: Found) -> None:
        piece = record.piece
        told = self._source.found(self, record)
        blocks = range(piece.lba, piece.lba + piece.length // len(ZEROS))
        if told is not None:
            for lba, data in zip(blocks, split(told), strict=True):
                self.disk[lba] = Block(data)
        assert piece.digest == digest(b"".join([self.disk[lba].data for lba in blocks])), record
        self.found |= set(blocks)
        self.counts["blocks found"] += len(blocks)

    def _other(self, record: NexusName | RegistrationEnded) -> None:
        pass


_TAKE: Final[dict[type[Record], Callable[[Replay, Any], None]]] = {
    NexusName: Replay._other,
    RegistrationEnded: Replay._other,
    Entry: Replay._entry,
    FaultInjected: Replay._injected,
    FaultHealed: Replay._healed,
    PowerLost: Replay._power_lost,
    Reverted: Replay._reverted,
    Found: Replay._found,
}
