"""Datagrams to all nodes or to one, and from all nodes: UDP on the private network."""

from __future__ import annotations

# The part of `socket` that is needed; the rest of it (selectors, enums for every constant) doubles the import time.
import _socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

DATAGRAM_SIZE_MAX = 2048


class Interconnect:
    """Two sockets: one bound to the broadcast address, so that nothing else arrives and the network's own interface is
    used to send, and one bound to this node's own address, for what is meant for it alone.

    A network that is not there (yet), has no carrier or has no room is a network that loses datagrams: nothing here
    raises, losses are counted.
    """

    def __init__(self, broadcast: str, port: int, addresses: Sequence[str] = (), node: int = 0) -> None:
        """addresses: of the nodes, by id; without them what is for one node goes to all."""
        self._port = port
        self._broadcast = broadcast
        self._addresses = addresses
        self._wanted = [broadcast, *addresses[node : node + 1]]
        self._sockets: list[_socket.socket] = []
        self.filenos: list[int] = []  # readable when datagrams are there; none while it is not open
        self.lost_count = 0

    def open(self) -> bool:
        """Try to bind; False while the interface has no address yet."""
        while len(self._sockets) < len(self._wanted):
            made = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC)
            try:
                made.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
                made.setsockopt(_socket.SOL_SOCKET, _socket.SO_BROADCAST, 1)
                made.bind((self._wanted[len(self._sockets)], self._port))
            except OSError:
                made.close()
                return False
            self._sockets.append(made)
            self.filenos.append(made.fileno())
        return True

    def broadcast(self, payload: bytes) -> None:
        """To all nodes."""
        self._send(payload, self._broadcast)

    def send(self, node: int, payload: bytes) -> None:
        """To one node."""
        self._send(payload, self._addresses[node] if self._addresses else self._broadcast)

    def receive(self, fileno: int) -> bytes | None:
        """One datagram of the socket with that number, or None if there is none."""
        try:
            return self._sockets[self.filenos.index(fileno)].recv(DATAGRAM_SIZE_MAX)
        except OSError:
            return None

    def _send(self, payload: bytes, address: str) -> None:
        try:
            if self._sockets:
                self._sockets[0].sendto(payload, (address, self._port))
            else:
                self.lost_count += 1
        except OSError:
            self.lost_count += 1
