"""A case: one target, several initiators at two portals, a control socket, and whatever these do to each other.

Everything is real but the sockets and the clock. Each step is a turn of the event loop with a few actions in it, and
after each step the target is looked at (``bounds``).
"""

from __future__ import annotations

import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from hil.scsi.iscsi.connection import Connection
from hil.scsi.iscsi.lobby import WAITING_MAX, Lobby
from hil.scsi.ledger import Ledger
from hil.scsi.target import Portal, Target
from tests.fuzz import control_line
from tests.fuzz.bounds import Bounds
from tests.fuzz.control_line import ControlLine
from tests.fuzz.node import Node
from tests.fuzz.requests import MIXED
from tests.fuzz.units import UnitFile
from tests.fuzz.wire import Wire
from tests.fuzz.wrong import Hang, Wrong

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import FrameType

    from tests.fuzz.choices import Choices
    from tests.fuzz.virtual_loop import VirtualLoop

STEP_CPU_S: Final = 20.0  # a step takes milliseconds; a loop without end takes more than any number
LOGIN_TIMEOUT_S: Final = 30.0
_OPEN: Final = Portal("127.0.0.1", 3260, None)
_CLOSED: Final = Portal("::1", 3261, "iqn.test:only")
_NAMES: Final = ("iqn.test:a", "iqn.test:b", "iqn.test:" + "l" * 214)
# LUN: size in bytes, and how much of it is filled. The large one has LBAs beyond 32 bits; 300 needs flat addressing.
UNITS: Final = {
    0: (2 * 1024 * 1024, 1024 * 1024),
    1: (2**41 + 1024 * 1024, 4096),
    300: (64 * 1024, 64 * 1024),
}
_PILE_PDUS: Final = 8
SERIAL: Final = "00112233445566aa"


class Place(NamedTuple):
    """Where cases keep their files; one after the other uses the same."""

    units: dict[int, UnitFile]
    ledger: Path

    @classmethod
    def within(cls, directory: Path) -> Place:
        """Makes nothing yet."""
        units = {lun: UnitFile(directory / f"lun-{lun}", *sizes) for lun, sizes in UNITS.items()}
        return cls(units, directory / "ledger")


class World:
    """Use as a context manager: it closes files and connections."""

    def __init__(self, loop: VirtualLoop, place: Place, choices: Choices) -> None:
        self.loop = loop
        self.choices = choices
        self.place = place
        self.statuses: dict[tuple[str, str, int], int] = {}  # initiator, portal, status: how often it was sent
        self.answers = 0
        self.crowd: list[Wire] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        place = self.place
        self._stack.callback(signal.signal, signal.SIGVTALRM, signal.signal(signal.SIGVTALRM, _hang))
        saved = [unit.path.with_name(f"{unit.path.name}.reservations") for unit in place.units.values()]
        for path in (place.ledger, *saved):
            path.unlink(missing_ok=True)
        self.ledger = Ledger(place.ledger)
        self._stack.callback(self.ledger.close)
        self.target = Target(ledger=self.ledger)
        self.target.faults.timers = self.loop
        self.lobby = Lobby()
        for lun, unit in place.units.items():
            self.target.add_unit(lun, self._stack.enter_context(unit.fresh()), SERIAL)
        for portal in (_OPEN, _CLOSED):
            self.target.port_number(portal.address)
        self.bounds = Bounds(self.target, self.lobby)
        self.nodes: list[Node] = []
        self.turn(self._populate)
        return self

    def __exit__(self, *about: object) -> None:
        self.loop.turn()  # what was still to be called is about files that are about to be closed
        self._stack.close()

    @property
    def pdus(self) -> int:
        """Sent by the initiators so far."""
        return sum(node.pdus for node in self.nodes)

    def run(self, pdus: int, watch: Callable[[int], None]) -> None:
        """Until that many PDUs were sent, or the choices are exhausted. Raises whatever is found.

        ``watch`` is called after each step with their count so far.
        """
        while (left := pdus - self.pdus) > 0 and not self.choices.exhausted:
            action = self.choices.one_of(_ACTIONS)
            self.turn(lambda action=action, left=left: action(self, left))  # type: ignore[misc]
            self.bounds.check(self.nodes)
            self.crowd = [wire for wire in self.crowd if not wire.lost]
            watch(self.pdus)

    def turn(self, action: Callable[[], object]) -> None:
        signal.setitimer(signal.ITIMER_VIRTUAL, STEP_CPU_S)
        try:
            self.loop.turn(action)
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)

    def _populate(self) -> None:
        self.control = ControlLine(self.loop, self.target)
        names = [(name, _OPEN) for name in _NAMES] + [("iqn.test:only", _CLOSED)]
        # Two more of the same names: each login of one ends the session of the other.
        names += [(self.choices.one_of(_NAMES), _OPEN), (self.choices.one_of(("iqn.test:only", *_NAMES)), _CLOSED)]
        for name, portal in names:
            node = Node(self.loop, self.target, self.lobby, portal, name)
            node.ended = self.tally
            self.nodes.append(node)

    def tally(self, node: Node) -> None:
        """Takes down what a connection that ended was answered, under the name that the target knows."""
        self.answers += node.reader.pdus
        for status, count in node.reader.statuses.items():
            key = (node.connection._login.initiator, node.portal.address, status)
            self.statuses[key] = self.statuses.get(key, 0) + count

    # ---- actions

    def _act(self, pdus_max: int) -> None:
        """Several initiators at once, so that what one causes meets what another is about to do."""
        for _ in range(1 + self.choices.below(3)):
            node = self.choices.one_of(self.nodes)
            node.act(self.choices, pdus_max)
            if node.reader.wild and self.choices.percent(10):
                node.wire.end_of_file()  # its stream makes no sense any more

    def _control(self, pdus_max: int) -> None:
        initiators = [node.name for node in self.nodes]
        self._ask(*control_line.draw(self.choices, self.target.ports, initiators))

    def _ask(self, request: bytes, cuts: tuple[int, ...] = (2**30,)) -> None:
        if self.control.lost:
            self.control = ControlLine(self.loop, self.target)
        self.control.ask(request, cuts)

    def _stall(self, pdus_max: int) -> None:
        self.choices.one_of(self.nodes).wire.stalled = True

    def _read(self, pdus_max: int) -> None:
        for node in self.nodes:
            node.wire.read()

    def _end(self, pdus_max: int) -> None:
        wire = self.choices.one_of(self.nodes).wire
        if self.choices.percent(50):
            wire.end_of_file()
        else:
            wire.reset()

    def _crowd(self, pdus_max: int) -> None:
        """Connections that say nothing, more than there may be."""
        if not self.choices.percent(5):
            return
        addresses = {"peername": ("127.0.0.1", 1), "sockname": (_OPEN.host, _OPEN.port)}
        for _ in range(WAITING_MAX + 6):
            self.crowd.append(Wire(self.loop, Connection(self.target, _OPEN, self.lobby), lambda data: None, addresses))

    def _pile_up(self, pdus_max: int) -> None:
        """Many reads that a fault held go on all at once, while nobody reads their answers."""
        if pdus_max < _PILE_PDUS or not self.choices.percent(10):
            return
        self._ask(b'{"fault": "hang", "direction": "read"}')
        self.choices.one_of(self.nodes).ask_for_much(self.choices, _PILE_PDUS)
        self._ask(b'{"heal": "all"}')

    def _rename(self, pdus_max: int) -> None:
        """Somebody whom the target has never seen, from the next login on."""
        node = self.choices.one_of(self.nodes)
        if node.portal is _OPEN and node.wire.lost:
            self.tally(node)
            node.name = f"iqn.test:{self.choices.below(10**6)}"
            node.connect(MIXED, mutated_percent=0, cmd_sn=1)

    def _wait(self, pdus_max: int) -> None:
        self.loop.advance(self.choices.one_of((0.1, 1.0, LOGIN_TIMEOUT_S + 0.1)))
        self.loop.call_later(0, self._nobody_lingers, self.loop.time())  # after the timers that are due now

    def _nobody_lingers(self, now_s: float) -> None:
        for node in self.nodes:
            waited = now_s - node.connected_s
            if node.session is None and waited > LOGIN_TIMEOUT_S + 0.01 and not node.wire.is_closing():
                raise Wrong(f"a connection without login after {waited} s")


_ACTIONS: Final[tuple[Callable[[World, int], None], ...]] = (
    *[World._act] * 40,
    *[World._control] * 3,
    *[World._stall, World._read, World._read],
    *[World._end, World._rename, World._wait, World._crowd, World._pile_up],
)


def _hang(number: int, frame: FrameType | None) -> None:
    raise Hang(f"a step that takes more than {STEP_CPU_S} s of processor time")
