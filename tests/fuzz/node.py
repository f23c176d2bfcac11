"""An initiator that does everything that one may do, and much that none may."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hil.scsi.iscsi import pdu as p
from hil.scsi.iscsi.connection import Connection
from tests.fuzz import logins
from tests.fuzz.answers import AnswerReader
from tests.fuzz.digests import seal
from tests.fuzz.mutations import mutate
from tests.fuzz.requests import CHURNER, GREEDY, HOARDER, MIXED, ORDERLY_HOARDER, RESERVER, Requests
from tests.fuzz.wire import Wire
from tests.fuzz.wrong import Wrong

if TYPE_CHECKING:
    from collections.abc import Callable

    from hil.scsi.iscsi.lobby import Lobby
    from hil.scsi.iscsi.session import Session
    from hil.scsi.target import Portal, Target
    from tests.fuzz.choices import Choices
    from tests.fuzz.requests import Kind
    from tests.fuzz.virtual_loop import VirtualLoop

_FIRST_CMD_SN: Final = (1, 1, 0, 2**31 - 3, 2**32 - 5)
_MUTATED_PERCENT: Final = (0, 0, 1, 3, 10, 40)  # of the PDUs of one connection: long sessions and short ones
_CUTS: Final = ((2**30,), (2**30,), (2**30,), (48,), (4096,), (1, 47, 100), (513, 2**16))
# How many PDUs are sent on one breath. Before login only few: most would be lost when it is refused.
_FIRST_BATCH: Final = (1, 2, 3, 8)
_BATCHES: Final = {
    MIXED: (1, 1, 2, 4, 8, 16, 64),
    RESERVER: (1, 2, 4),
    CHURNER: (64,),
    HOARDER: (64,),
    ORDERLY_HOARDER: (64,),
    GREEDY: (8,),
}
_MOODS: Final = (*[MIXED] * 56, *[RESERVER] * 16, *[CHURNER] * 4, *[HOARDER] * 2, *[ORDERLY_HOARDER] * 2, GREEDY)


class Node:
    """One initiator at one portal; connects again after its connection has ended.

    ``ended`` is called before it does. ``reader`` judges what comes back.
    """

    def __init__(self, loop: VirtualLoop, target: Target, lobby: Lobby, portal: Portal, name: str) -> None:
        self.name = name
        self._lobby = lobby
        self.portal = portal
        self.pdus = 0
        self.ended: Callable[[Node], None] = lambda node: None
        self._loop = loop
        self._target = target
        self._queue: list[bytes] = []
        self.connect(MIXED, mutated_percent=0, cmd_sn=1)

    def connect(self, mood: tuple[Kind, ...], *, mutated_percent: int, cmd_sn: int) -> None:
        """A new connection; the old one has ended."""
        self.connected_s = self._loop.time()
        self.reader = AnswerReader(self._logged_in)
        self.connection = Connection(self._target, self.portal, self._lobby)
        addresses = {"peername": ("127.0.0.1", 40000), "sockname": (self.portal.host, self.portal.port)}
        self.wire = Wire(self._loop, self.connection, self.reader.take, addresses)
        self.wire.before_close = self._nothing_left_unsent
        self.wire.before_write = self._nothing_left_unrecorded
        self._requests = Requests(self._target, self.name, cmd_sn)
        self._mood = mood
        self._mutated_percent = mutated_percent
        self._doomed = False
        self._queue.clear()

    @property
    def session(self) -> Session | None:
        """The target's, in full feature phase."""
        return self.connection._session

    def act(self, choices: Choices, pdus_max: int) -> None:
        """Sends some PDUs."""
        if self.wire.is_closing():
            self.wire.read()
            self.ended(self)
            mutated, cmd_sn = choices.one_of(_MUTATED_PERCENT), choices.one_of(_FIRST_CMD_SN)
            self.connect(choices.one_of(_MOODS), mutated_percent=mutated, cmd_sn=cmd_sn)
        session = self._requests.session = self.session
        if session is not None and not self.wire.inbox:
            self._requests.cmd_sn = session.exp_cmd_sn
        if session is not None and self._mood is GREEDY and choices.percent(50):
            self.wire.stalled = True
        stream = b""
        for _ in range(min(choices.one_of(_BATCHES[self._mood] if session else _FIRST_BATCH), pdus_max)):
            stream += self._next(choices)
            self.pdus += 1
            if choices.exhausted or self._doomed or (not self._queue and b"Digest=CRC32C" in stream):
                break  # what follows depends on the answer
        self.wire.send(stream, choices.one_of(_CUTS))
        if self._doomed and not (self.wire.inbox or self.connection._paused or self.wire.is_closing()):
            raise Wrong(f"{self.name}: a damaged PDU was taken")
        self._requests.asked_for(self.reader.new_r2ts)
        self.reader.new_r2ts.clear()

    def ask_for_much(self, choices: Choices, count: int) -> None:
        """As many of the longest reads, and nothing of the answers is read for now."""
        if self.session is None or self.wire.is_closing() or self.wire.inbox:
            return
        self._requests.session = self.session
        self._requests.cmd_sn = self.session.exp_cmd_sn
        self.wire.stalled = True
        for _ in range(count):
            raw = self._requests.read_much(choices)
            self.reader.note(raw)
            self.wire.send(self._seal(raw), _CUTS[0])
            self.pdus += 1

    def _next(self, choices: Choices) -> bytes:
        """What goes over the wire for one PDU."""
        if not self._queue:
            if self.session is None and not choices.percent(4):
                self._queue = logins.draw(choices, self.name, self._requests.cmd_sn)
            else:
                self._queue = [choices.one_of(self._mood)(self._requests, choices)]
        raw = self._queue.pop(0)
        digests = self.reader.header_digest or self.reader.data_digest
        if digests and not self.reader.wild and choices.percent(3):
            return self._damage(choices, raw)
        if not choices.percent(self._mutated_percent):
            self.reader.note(raw)
            return self._seal(raw)
        if self.session is not None and choices.percent(10):  # on its way, as far as digests are concerned
            self.reader.wild = True
            return b"".join(mutated.raw for mutated in mutate(choices, self._seal(raw)))
        stream = b""
        for mutated in mutate(choices, raw):
            if mutated.intact:
                self.reader.note(mutated.raw)
                stream += self._seal(mutated.raw)
            else:
                self.reader.wild = True
                stream += mutated.raw
        return stream

    def _seal(self, raw: bytes) -> bytes:
        reader = self.reader
        return seal(raw, header=reader.header_digest, data=reader.data_digest)

    def _damage(self, choices: Choices, raw: bytes) -> bytes:
        """A PDU that does not arrive as it was sent, which the target must find out (RFC 7143 7.8).

        Where a header cannot be trusted, or a CmdSN will be missing, the connection has to end.
        """
        reader, sealed = self.reader, bytearray(self._seal(raw))
        header_end = p.HEADER_BYTES + 4 * raw[4]
        if reader.header_digest and (not reader.data_digest or len(raw) == header_end or choices.percent(30)):
            at = choices.below(p.HEADER_BYTES - 4)
            sealed[at if at < 4 else at + 4] ^= 1 << choices.below(8)  # the lengths would only be waited for
            self._doomed = True
        elif len(raw) > header_end:
            sealed[-1 - choices.below(len(raw) - header_end)] ^= 1 << choices.below(8)
            if raw[0] & 0x3F == p.Op.DATA_OUT:
                reader.spoil(raw)
            elif not raw[0] & p.IMMEDIATE:
                self._doomed = True
        else:
            reader.note(raw)
        return bytes(sealed)

    def _logged_in(self, reader: AnswerReader) -> None:
        values = self.connection._login.parameters
        reader.segment_bytes = values.number("MaxRecvDataSegmentLength")
        reader.burst_bytes = values.number("MaxBurstLength")
        reader.header_digest = values["HeaderDigest"] == "CRC32C"
        reader.data_digest = values["DataDigest"] == "CRC32C"

    def _nothing_left_unsent(self) -> None:
        if self.session is not None and self.session.out:
            raise Wrong(f"closed with {len(self.session.out)} pieces of answers unsent")

    def _nothing_left_unrecorded(self) -> None:
        ledger = self._target.ledger
        if self.session is not None and ledger is not None and ledger._waiting:
            raise Wrong(f"answered with {len(ledger._waiting)} records not yet in the ledger")
