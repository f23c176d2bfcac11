"""Connections that belong to no nexus, of all portals together: before their login, or for discovery."""

from __future__ import annotations

from typing import Final, Protocol

PATIENCE_S: Final = 30.0
WAITING_MAX: Final = 64


class Waiting(Protocol):
    """What the lobby needs of a connection."""

    def drop(self, reason: str) -> None:
        """Ends it at once; it leaves the lobby by that."""


class Lobby:
    """Bounds how many there are: whoever comes when it is full takes the place of the one that came first.

    An initiator logs in within milliseconds, so who is dropped is not about to; a crowd that never logs in takes
    neither the descriptors of others nor their turn. ``patience_s``: with a connection that does not get on, and with
    a host that does not answer.
    """

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self.patience_s = patience_s
        self._waiting: dict[Waiting, None] = {}

    def enter(self, connection: Waiting) -> None:
        """At the end of the row."""
        if len(self._waiting) >= WAITING_MAX:
            first = next(iter(self._waiting))
            self.leave(first)
            first.drop("no login, and others come")
        self._waiting[connection] = None

    def leave(self, connection: Waiting) -> None:
        """It has logged in or is gone; also when it had left already."""
        self._waiting.pop(connection, None)

    def close(self, reason: str) -> None:
        """Nobody waits any more."""
        for connection in list(self._waiting):
            self.leave(connection)
            connection.drop(reason)
