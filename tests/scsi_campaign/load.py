"""Eight initiators in one loop over real sockets, each at a portal of its own, with several commands under way."""

from __future__ import annotations

import selectors
import socket
import time
from random import Random
from typing import TYPE_CHECKING, Final

from hil.scsi.sense import Sense
from tests.scsi_campaign.commands import ABORTED, READS, Sent
from tests.scsi_campaign.initiator import LOGGED_IN, Answer, Session, answer_digest
from tests.scsi_campaign.work import INITIATORS, Choice, Work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_RETRY_S: Final = 0.01
_ABORT_AFTER_NS: Final = 300_000_000
_MANAGEMENT: Final = 0x80000000  # of tags


def name_of(number: int) -> str:
    """The initiator name of a node."""
    return f"iqn.2026-11.hil:n{number}"


class Node:
    """One initiator. ``logins`` are when it was let in, by the host's monotonic clock; ``log`` is per session."""

    def __init__(
        self, number: int, address: str, seed: int, *, long_transfers: bool, aborts: bool, registers: bool
    ) -> None:
        self.number = number
        self.address = address
        self.random = Random(f"{seed} initiator {number}")
        self.work = Work(number, self.random, long_transfers=long_transfers, registers=registers)
        self.logins: list[int] = []
        self.log: list[list[Sent]] = []
        self.pending: dict[int, Sent] = {}
        self.aborting: dict[int, Sent] = {}
        self.refused_logins = 0
        self.socket: socket.socket | None = None
        self.session: Session | None = None
        self.inside = False
        self.retry_at = 0.0
        self.last_data = b""
        self._aborts = aborts
        self._depth = 1

    # -- the connection ------------------------------------------------------------------------------------------

    def connect(self) -> bool:
        """False when nobody listens, to be tried again."""
        host, _, port = self.address.rpartition(":")
        try:
            self.socket = socket.create_connection((host, int(port)), timeout=5)
        except OSError:
            self.retry_at = time.monotonic() + _RETRY_S
            return False
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.session = Session(name_of(self.number))
        self.inside = False
        return True

    def lost(self) -> None:
        """What is under way gets no answer any more."""
        assert self.socket is not None
        self.socket.close()
        self.socket = self.session = None
        self.inside = False
        self.pending.clear()
        self.aborting.clear()
        self.retry_at = time.monotonic() + _RETRY_S

    # -- commands ------------------------------------------------------------------------------------------------

    def fill(self) -> None:
        """Sends random commands until enough are under way."""
        assert self.session is not None
        while len(self.pending) < self._depth and self.session.window > 0:
            self.send(self.work.choose())
        if len(self.pending) >= self._depth:
            self._depth = self.random.choice((1, 4, 8, 16))

    def send(self, choice: Choice) -> Sent:
        """One command, whatever is under way."""
        assert self.session is not None
        sent = choice.sent
        self.session.command(sent.sequence, sent.cdb, choice.data, choice.read_bytes)
        sent.sent_ns = time.monotonic_ns()
        self.log[-1].append(sent)
        self.pending[sent.sequence] = sent
        return sent

    def abort_old(self) -> None:
        """As an operating system does with a command that takes too long (here now and then, and soon)."""
        if not self._aborts or not self.pending or self.session is None:
            return
        oldest = next(iter(self.pending.values()))
        if time.monotonic_ns() - oldest.sent_ns < _ABORT_AFTER_NS or self.random.random() < 0.7:
            return
        tag = _MANAGEMENT | oldest.sequence
        if tag not in self.aborting:
            self.aborting[tag] = oldest
            self.session.abort(tag, oldest.sequence)

    def take(self, data: bytes) -> bool:
        """False: the login was refused."""
        assert self.session is not None
        for answer in self.session.receive(data):
            if answer.tag == LOGGED_IN:
                if answer.status:
                    self.refused_logins += 1
                    return False
                self.inside = True
                self.logins.append(time.monotonic_ns())
                self.log.append([])
                self.send(self.work.probe())
            elif answer.tag & _MANAGEMENT:
                self._managed(answer)
            else:
                self._answered(answer)
        return True

    def _managed(self, answer: Answer) -> None:
        """Function complete: aborted. No such task: its answer came before this one (SAM-5 7.2).

        Or it has none, because a fault is about to reset this connection; if that does not happen it stays pending,
        and is missed in the end.
        """
        sent = self.aborting.pop(answer.tag)
        if answer.status == 0:
            assert self.pending.pop(sent.sequence, None) is sent, f"answered and aborted: {sent}"
            sent.status = ABORTED
            sent.answered_ns = time.monotonic_ns()
        else:
            assert answer.status == 1, answer

    def _answered(self, answer: Answer) -> None:
        sent = self.pending.pop(answer.tag)
        sent.answered_ns = time.monotonic_ns()
        sent.status = answer.status
        sent.sense = answer.sense or Sense(0, 0, 0)
        sent.digest = answer_digest(answer)
        self.last_data = answer.data
        if sent.opcode in READS and answer.status == 0:
            self.work.saw(sent.lba, answer.data)


class Load:
    """All nodes. ``run`` is the loop; what one of them is to do beside its load is done with its methods in between."""

    def __init__(
        self, addresses: list[str], seed: int, *, long_transfers: bool = True, aborts: bool = True,
        registers: bool = False,
    ) -> None:  # fmt: skip
        assert len(addresses) == INITIATORS
        self.nodes = [
            Node(number, address, seed, long_transfers=long_transfers, aborts=aborts, registers=registers)
            for number, address in enumerate(addresses)
        ]
        self.selector = selectors.DefaultSelector()

    def run(self, until: Callable[[], bool], *, working: bool, seconds_max: float, reconnect: bool = True) -> None:
        """Serves all connections until ``until`` says so; ``working``: with random commands. Fails after a while."""
        deadline = time.monotonic() + seconds_max
        while not until():
            assert time.monotonic() < deadline, f"after {seconds_max} s: {self.describe()}"
            for node in self.nodes:
                self._prepare(node, working=working, reconnect=reconnect)
            for key, events in self.selector.select(_RETRY_S):
                self._serve(key.data, events)

    def _prepare(self, node: Node, *, working: bool, reconnect: bool) -> None:
        if node.socket is None and not (reconnect and self._connect(node)):
            return
        if node.inside and working:
            node.fill()
            node.abort_old()
        self._send(node)

    def _connect(self, node: Node) -> bool:
        if time.monotonic() < node.retry_at or not node.connect():
            return False
        assert node.socket is not None
        self.selector.register(node.socket, selectors.EVENT_READ, node)
        return True

    def _send(self, node: Node) -> None:
        assert node.socket is not None
        assert node.session is not None
        out = node.session.out
        if out:
            try:
                del out[: node.socket.send(out)]
            except BlockingIOError:
                pass
            except OSError:
                self._lost(node)
                return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if out else 0)
        if self.selector.get_key(node.socket).events != events:
            self.selector.modify(node.socket, events, node)

    def _serve(self, node: Node, events: int) -> None:
        if node.socket is None or not events & selectors.EVENT_READ:
            return
        try:
            data = node.socket.recv(512 * 1024)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data or not node.take(data):
            self._lost(node)

    def _lost(self, node: Node) -> None:
        assert node.socket is not None
        self.selector.unregister(node.socket)
        node.lost()

    # -- beside the load -----------------------------------------------------------------------------------------

    def quiet(self) -> bool:
        """Everybody is logged in and waits for nothing."""
        return all(node.inside and not node.pending and not node.aborting for node in self.nodes)

    def ask(self, choices: Iterable[tuple[Node, Choice]], seconds_max: float = 30) -> list[Sent]:
        """Sends these and waits until all is answered."""
        sent = [node.send(choice) for node, choice in choices]
        self.run(self.quiet, working=False, seconds_max=seconds_max)
        return sent

    def close(self) -> None:
        """Ends all connections without a word."""
        for node in self.nodes:
            if node.socket is not None:
                self._lost(node)
        self.selector.close()

    def describe(self) -> str:
        """What everybody waits for."""
        return "; ".join(
            f"initiator {node.number} {'logged in' if node.inside else 'outside'}, waits for "
            f"{list(node.pending.values())[:3]}"
            for node in self.nodes
        )
