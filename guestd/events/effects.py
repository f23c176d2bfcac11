"""Everything that an event manager can ask for. The runtime (or the simulator) carries these out, in order.

The database of the services is one file on the shared file system. Its operations come from one party, one at a time
and in the order in which they are asked for; each is answered by StoreDone with its tag.
"""

from __future__ import annotations

from guestd.core.effects import Answer, Emit
from guestd.core.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "Acknowledge",
    "Answer",
    "AppendStore",
    "Effect",
    "Emit",
    "Expel",
    "HangUp",
    "KillCommand",
    "LockStore",
    "ReadStore",
    "ReplaceStore",
    "RunCommand",
    "Say",
    "StartWatcher",
    "UnlockStore",
    "Working",
]


class Effect(Value):
    """Base of the effects, beside Answer (to a connection of the event manager's own socket) and Emit (to the host)."""


class Acknowledge(Effect):
    """The notification with that number is processed."""

    number: int


class Working(Effect):
    """The notification with that number is being worked on: its time begins anew (docs/programs.md)."""

    number: int


class Say(Effect):
    """One message to guestd, on the connection over which this program locks."""

    message: dict[str, Any]


class Expel(Effect):
    """This node must not go on: it panics, and the others force it out (spec S6.1)."""

    reason: str


class LockStore(Effect):
    """Lock the database's file as a whole, for writing: flock(2) on a file beside it. Waits for as long as it takes."""

    tag: int


class UnlockStore(Effect):
    """Give the lock back."""

    tag: int


class ReadStore(Effect):
    """Read the database from that byte to its end; may be asked for without the lock."""

    tag: int
    offset: int


class AppendStore(Effect):
    """Cut the database off at that byte, and write this there. Answered when it is on the medium."""

    tag: int
    offset: int
    data: bytes


class ReplaceStore(Effect):
    """A new file with this in it takes the place of the database, or is the first one. As with AppendStore."""

    tag: int
    data: bytes


class RunCommand(Effect):
    """Run a command in a process group of its own. Answered by CommandEnded.

    When it has not ended after `timeout_ms` its whole group is killed. A group that outlives its command by success is
    left alone: a service goes on after its start command has ended.
    """

    number: int
    arguments: tuple[str, ...]  # no shell; the first is the file
    environment: dict[str, str]  # beside PATH
    timeout_ms: int


class KillCommand(Effect):
    """Kill the whole group of a command that runs; CommandEnded comes as ever."""

    number: int


class StartWatcher(Effect):
    """Start one of the watchers that come with the system, as a program of its own: guestd/watchers/NAME.py.

    Ended by KillCommand, answered by CommandEnded.
    """

    number: int
    name: str


class HangUp(Effect):
    """Close a connection of the event manager's own socket."""

    connection: int
