"""What a lock manager tells the users of its locks, on its own node."""

from __future__ import annotations

from guestd.core.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.dlm.messages import Reason
    from guestd.dlm.modes import Mode


class Notice(Value):
    """Base of the notices; `lock` is its number on this node."""

    lock: int


class Granted(Notice):
    """The lock is held in that mode. If the value is not valid, its last writer has died: it may be old."""

    mode: Mode
    value: bytes
    valid: bool
    sequence: int  # how often the value had been written


class Denied(Notice):
    """What was asked for is not granted.

    mode: in which the lock is held; None: there is no lock. It is the mode from before, but for one case: a conversion
    between CW and PR whose master was lost while it was under way leaves CR.
    """

    reason: Reason
    mode: Mode | None


class Blocks(Notice):
    """Somebody waits for this lock and would have the resource in that mode; told once for each mode."""

    mode: Mode


class Gone(Notice):
    """The lock is released."""
