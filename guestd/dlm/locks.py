"""A lock as the node knows that asked for it: the table of its states, and what was last heard of it from the
master."""

from __future__ import annotations

from guestd.core.enumeration import Enum
from guestd.core.machine import Table
from guestd.dlm.resource import NO_VALUE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.dlm.messages import Reason
    from guestd.dlm.modes import Mode
    from guestd.dlm.names import Name


class LockState(Enum):
    """How far one lock is."""

    REQUESTING = "requesting"  # asked for, not granted in any mode
    GRANTED = "granted"  # held, and nothing is asked for
    CONVERTING = "converting"  # held; another mode is asked for
    RELEASING = "releasing"  # held no more; the master has not answered
    ENDED = "ended"  # does not exist any more


LOCK_STATES = Table(
    "lock",
    LockState,
    {
        LockState.REQUESTING: {"granted": LockState.GRANTED, "denied": LockState.ENDED},
        LockState.GRANTED: {"convert": LockState.CONVERTING, "release": LockState.RELEASING},
        LockState.CONVERTING: {"granted": LockState.GRANTED, "denied": LockState.GRANTED},
        LockState.RELEASING: {"released": LockState.ENDED},
        LockState.ENDED: {},
    },
)


class Lock:
    """Mutable; one per lock of this node."""

    __slots__ = (
        "cancelled",
        "copy",
        "invalidates",
        "mode",
        "name",
        "named",
        "noqueue",
        "number",
        "operation",
        "owner",
        "parent",
        "recovery",
        "retried",
        "searched_ms",
        "sent_to",
        "sequence",
        "state",
        "valid",
        "value",
        "wanted",
        "writes",
    )

    def __init__(self, number: int, owner: int, name: Name, parent: int | None, *, recovery: bool) -> None:
        self.number = number
        self.owner = owner
        self.name = name
        self.parent = parent  # the lock on the resource above
        self.recovery = recovery
        self.state = LockState.REQUESTING
        self.mode: Mode | None = None  # as it is held; the stronger one until a conversion down is answered
        self.wanted: Mode | None = None  # what the operation under way asks for
        self.operation = 0  # the newest
        self.noqueue = False
        self.writes = False  # the operation under way leaves `value` in the value block
        self.value = NO_VALUE
        self.invalidates = False  # its holder has ended with it
        self.cancelled: Reason | None = None  # the operation under way is not wanted any more
        self.sent_to: int | None = None  # the node that has the operation under way
        self.named = False  # the directory has named that node as the master, for this operation
        self.retried = False  # that operation was sent to a node that was not the master, since the last tick
        self.searched_ms = 0  # when the operation began, or a deadlock was last searched for
        self.copy = NO_VALUE  # the value block as it came with the last grant, or as this node left it
        self.sequence = 0
        self.valid = True

    @property
    def pending(self) -> bool:
        """Whether an operation is under way."""
        return self.state in _PENDING

    @property
    def waits(self) -> bool:
        """Whether it may have to wait for others."""
        return self.state in _WAITING

    def enter(self, trigger: str) -> None:
        """Move on in the table."""
        self.state = LOCK_STATES.next(self.state, trigger)


_PENDING = (LockState.REQUESTING, LockState.CONVERTING, LockState.RELEASING)
_WAITING = (LockState.REQUESTING, LockState.CONVERTING)
