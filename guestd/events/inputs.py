"""Everything that an event manager can be told. The runtime (or the simulator) hands these in, with the time."""

from __future__ import annotations

from guestd.core.value import Value
from guestd.notification import Notification

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Input(Value):
    """Base of the inputs."""


class Registered(Input):
    """It is registered with its node, and will be notified. First of all inputs."""

    node: int
    nodes: int  # configured in the cluster


class Notified(Input):
    """The framework wants these transitions processed; answered by Acknowledge, and by Working meanwhile."""

    notification: Notification


class Left(Input):
    """Its node has left the cluster, and it has acknowledged that: the last input."""


class Heard(Input):
    """guestd has said something to the connection over which this program locks (docs/programs.md): `granted`,
    `blocks`, `denied`, `gone`, `lock-error`."""

    message: dict[str, Any]


class StoreDone(Input):
    """The operation on the database with this tag has ended."""

    tag: int
    errno: int  # 0: it was carried out
    identity: int = 0  # of a ReadStore: which file it was; another one after a ReplaceStore; 0: there is none yet
    data: bytes = b""  # of a ReadStore: from its offset to the end


class CommandEnded(Input):
    """The command with this number has ended, and so has every process of its group that was left."""

    number: int
    status: int  # its exit status; minus the number of the signal that ended it; 127: it could not be started
    timed_out: bool  # it was killed because its time was over
    output: bytes  # the end of what it has written to its standard output and standard error
    reason: str = ""  # why it could not be started


class Asked(Input):
    """A line of a program that is connected to the event manager's socket: an administrator or a watcher."""

    connection: int  # numbered by the runtime; a number is never used again
    message: dict[str, Any]


class Gone(Input):
    """That connection has ended."""

    connection: int


class Tick(Input):
    """A period has passed (TICK_MS)."""

    load: int  # of this node, recently: the load average of a minute, times 100


TICK_MS = 250
