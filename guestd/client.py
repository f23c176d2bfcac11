"""For programs that take part in the transitions of their node's cluster (spec S4.1, S4.2, S8.6; docs/programs.md).

    with register("backup", order=50) as subsystem:
        while notification := subsystem.wait():
            for transition in notification.transitions:
                print(transition.node, transition.transition, transition.barrier)
            subsystem.acknowledge(notification)

It imports nothing of guestd's that runs in the daemon but JSON and values, and is imported by nothing of it.

Errors:

    ClientError
    +-- Refused       the registration was refused; says why and what would be legal
    +-- Disconnected  guestd has ended, or has cut the connection
    +-- Misused       guestd did not understand; says what would be legal
"""

from __future__ import annotations

from guestd.connection import PATH, ClientError, Connection, Disconnected, Misused
from guestd.notification import Notification, Transition

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Self

__all__ = [
    "PATH",
    "ClientError",
    "Disconnected",
    "Misused",
    "Notification",
    "Refused",
    "Registration",
    "Transition",
    "register",
]


class Refused(ClientError):
    """The registration was refused."""


class Registration:
    """One registered subsystem. Made by `register`; not for several threads at once."""

    def __init__(self, connection: Connection, asked: Mapping[str, Any], timeout_s: float | None) -> None:
        """Ask, and wait for the answer."""
        self._connection = connection
        self._ended = False
        self._connection.send(register=asked)
        message = self._connection.read(timeout_s)
        if "refused" in message:
            raise Refused(message["refused"])
        self.node: int = message["registered"]["node"]
        self.nodes: int = message["registered"]["nodes"]  # configured in the cluster

    def fileno(self) -> int:
        """Readable when `wait` will return without waiting, for a program with a loop of its own.

        A notification may be there already without it: call `wait(0)` until it times out.
        """
        return self._connection.fileno()

    def wait(self, timeout_s: float | None = None) -> Notification | None:
        """The next notification, at once if there is a transition that was not processed yet (spec S4.2).

        None: nothing more will come, because this node has left and this subsystem has acknowledged that (spec S4.9).
        A later notification about the same node takes the place of one that is not acknowledged yet (spec S4.7): the
        work on that one is to be aborted. Raises TimeoutError, Disconnected, Misused.
        """
        while not self._ended:
            message = self._connection.read(timeout_s)
            if "notification" in message:
                told = message["notification"]
                transitions = tuple(Transition(**one) for one in told["transitions"])
                return Notification(told["number"], transitions, tuple(told["states"]))
            self._take(message)
        return None

    def acknowledge(self, notification: Notification) -> None:
        """All its transitions are processed. Raises Disconnected."""
        self._connection.send(acknowledge=notification.number)

    def working(self, notification: Notification) -> None:
        """It is being worked on: this node begins anew to wait for its acknowledgement (spec S4.13).

        To be said more often than every `subsystem_ms`. Raises Disconnected.
        """
        self._connection.send(working=notification.number)

    def expel(self, reason: str) -> None:
        """This node must not go on: its kernel panics, and the others force it out at once (spec S6.1).

        reason: up to 400 characters, for its console. Raises Disconnected.
        """
        self._connection.send(expel=reason)

    def emit(self, kind: str, /, **fields: Any) -> None:
        """Put an event into the stream of the host (docs/events.md), of one of the kinds that are programs'.

        The fields: what JSON has, together at most 16 KiB. One that is refused is found by the next `wait`, which
        raises Misused. Raises Disconnected.
        """
        self._connection.send(emit={**fields, "kind": kind})

    def close(self) -> None:
        """De-register: what was not acknowledged counts as acknowledged. Once is enough; raises nothing."""
        try:
            if not self._ended:
                self._connection.send(close=True)
                while not self._ended:
                    self._take(self._connection.read(None))
        except ClientError:
            self._ended = True
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """A block that ends by an exception is a death: what that means was chosen at the registration (on_death)."""
        if kind is None:
            self.close()
        else:
            self._connection.close()

    def _take(self, message: dict[str, Any]) -> None:
        if "error" in message:
            raise Misused(message["error"])
        self._ended = self._ended or "closed" in message


def register(
    name: str,
    order: int,
    barriers: Mapping[str, int] | None = None,
    *,
    on_death: str = "hang",
    path: str = PATH,
    timeout_s: float | None = None,
) -> Registration:
    """Register a subsystem with this node, and wait until its cluster has agreed: the node must be a member.

    name: unique on this node, at most 31 bytes. order: its level, 1 to 253; the kernel's are 10, 20, 30, the event
    manager's is 40. barriers: of join, leave and forced-leave, 1 where not given; all subsystems at one level must have
    the same on every node. on_death: what the end of this program means while it is registered: "hang", a subsystem
    that does not answer, so that this node is forced out with the next transition; or "gone", it is de-registered.

    Raises Refused, Disconnected, TimeoutError, and OSError if there is no guestd.
    """
    connection = Connection(path)
    try:
        asked = {"name": name, "order": order, "barriers": dict(barriers or {}), "on_death": on_death}
        return Registration(connection, asked, timeout_s)
    except BaseException:
        connection.close()
        raise
