"""Datagrams to all nodes and from all nodes: UDP broadcast on the private network."""

from __future__ import annotations

# The part of `socket` that is needed; the rest of it (selectors, enums for every constant) doubles the import time.
import _socket

DATAGRAM_SIZE_MAX = 2048


class Interconnect:
    """Bound to the broadcast address, so that nothing else arrives and the network's own interface is used to send.

    A network that is not there (yet), has no carrier or has no room is a network that loses datagrams: nothing here
    raises, losses are counted.
    """

    def __init__(self, broadcast: str, port: int) -> None:
        self._address = (broadcast, port)
        self._socket: _socket.socket | None = None
        self.lost_count = 0

    def open(self) -> bool:
        """Try to bind; False while the interface has no address yet."""
        if self._socket is not None:
            return True
        made = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC)
        try:
            made.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
            made.setsockopt(_socket.SOL_SOCKET, _socket.SO_BROADCAST, 1)
            made.bind(self._address)
        except OSError:
            made.close()
            return False
        self._socket = made
        return True

    def fileno(self) -> int:
        """Readable when datagrams are there; -1 while it is not open."""
        return -1 if self._socket is None else self._socket.fileno()

    def send(self, payload: bytes) -> None:
        """To all nodes."""
        try:
            if self._socket is None:
                self.lost_count += 1
            else:
                self._socket.sendto(payload, self._address)
        except OSError:
            self.lost_count += 1

    def receive(self) -> bytes | None:
        """One datagram, or None if there is none."""
        if self._socket is None:
            return None
        try:
            return self._socket.recv(DATAGRAM_SIZE_MAX)
        except OSError:
            return None
