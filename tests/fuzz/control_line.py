"""The other way into the target: requests at its control socket, proper ones and rubbish."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from hil.scsi.control import ControlProtocol
from hil.scsi.faults.kinds import KINDS
from hil.scsi.faults.parameters import Choice
from tests.fuzz.wire import Wire
from tests.fuzz.wrong import Wrong

if TYPE_CHECKING:
    import asyncio

    from hil.scsi.target import Target
    from tests.fuzz.choices import Choices

_CUTS: Final = ((2**30,), (1,), (100, 1))


class ControlLine(Wire):
    """One connection to the control socket. Every whole line that was sent must be answered with one line of JSON."""

    def __init__(self, loop: asyncio.AbstractEventLoop, target: Target) -> None:
        self._control = ControlProtocol(target)
        self._received = b""
        self._due = 0
        super().__init__(loop, self._control, self._take_answer, {})

    def ask(self, request: bytes, cuts: tuple[int, ...] = _CUTS[0]) -> dict[str, Any]:
        """Sends a line; the last answer, empty if the connection has ended."""
        self._due += request.count(b"\n") + 1
        self.send(request + b"\n", cuts)
        *lines, self._received = self._received.split(b"\n")
        lines = [line for line in lines if not line.startswith(b'{"event"')]  # of one that watches
        if len(lines) != self._due and not self.lost:
            raise Wrong(f"{len(lines)} answers at the control socket where {self._due} are due")
        self._due = 0
        answers = [json.loads(line) for line in lines]
        if not all(type(answer["ok"]) is bool and (answer["ok"] or answer["error"]) for answer in answers):
            raise Wrong(f"answers at the control socket: {answers}")
        return answers[-1] if answers else {}

    def _deliver(self, count_max: int) -> None:
        piece = bytes(self.inbox[:count_max])
        del self.inbox[:count_max]
        self._control.data_received(piece)

    def _take_answer(self, data: bytes) -> None:
        self._received += data


def draw(choices: Choices, portals: list[str], initiators: list[str]) -> tuple[bytes, tuple[int, ...]]:
    """A request and how it is cut."""
    kind = choices.below(20)
    if kind < 9:
        request = _fault(choices, portals, initiators)
    elif kind < 15:
        request = b'{"heal": "all"}' if choices.percent(60) else b'{"heal": %d}' % choices.below(20)
    elif kind < 16:
        request = b'{"status": true}'
    elif kind < 17:
        losers = [choices.one_of(initiators) for _ in range(choices.below(3))]
        request = b'{"watch": true}' if choices.percent(30) else json.dumps({"power-loss": losers}).encode()
    else:
        return _rubbish(choices, portals, initiators), choices.one_of(_CUTS)
    return request, _CUTS[0]


def _fault(choices: Choices, portals: list[str], initiators: list[str]) -> bytes:
    fields: dict[str, Any] = {"fault": choices.one_of(sorted(KINDS))}
    if choices.percent(50):
        fields["initiator"] = choices.one_of(initiators)
    if choices.percent(30):
        fields["portal"] = choices.one_of(portals)
    if choices.percent(30):
        fields["lun"] = choices.one_of((0, 0, 1, 9))
    if not choices.percent(20):
        fields["count"] = choices.one_of((1, 1, 2, 5, 50, 0, 10**30))
    if choices.percent(30):
        fields["seconds"] = choices.one_of((0.01, 0.5, 5, 1e9, -1))
    if choices.percent(40):
        fields["direction"] = choices.one_of(("read", "write", "flush", "reserve", "other", "media", "any", "up"))
    if choices.percent(20):
        first = choices.one_of((0, 1, 7, 2**31, 2**64))
        fields["lba"] = [first, first + choices.one_of((0, 1, 1000, -1))]
    fields["parameters"] = {
        name: choices.one_of(about.options) if isinstance(about, Choice) else choices.one_of((1, 2, 50, -1, 2**70))
        for name, about in KINDS[fields["fault"]].parameters.items()
        if about.default is None or choices.percent(40)
    }
    return json.dumps(fields).encode()


def _rubbish(choices: Choices, portals: list[str], initiators: list[str]) -> bytes:
    kind = choices.below(10)
    if kind == 8:  # more than there can be
        return b"\n".join([_fault(choices, portals, initiators)] * 300)
    if kind == 9:
        return choices.content(choices.one_of((65536, 200000)))
    if kind == 0:
        return choices.octets(choices.below(300))
    if kind == 1:
        return choices.one_of((b"[", b"[", b'{"fault":', b"\xff\xfe")) * choices.one_of((1, 7000))
    if kind == 2:
        value = choices.one_of(("null", "true", "1e999", "NaN", "-1", "[]", "{}", '"\\ud800"', "9" * 5000, "1.0"))
        name = choices.one_of(("fault", "heal", "status", "count", "portal", "initiator", "lun", ""))
        return f'{{"fault": "delay-writes", "{name}": {value}}}'.encode()
    request = bytearray(_fault(choices, portals, initiators))
    for _ in range(1 + choices.below(3)):
        request[choices.below(len(request))] = choices.below(256)
    return bytes(request)
