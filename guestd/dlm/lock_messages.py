"""What a lock's node tells its master of it: the operation under way, and to a new master all that it knows."""

from __future__ import annotations

from guestd.dlm.locks import LockState
from guestd.dlm.messages import NO_MODE, Cancel, Convert, Held, Release, Request
from guestd.dlm.modes import WRITES, common

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.dlm.locks import Lock


def messages_of(lock: Lock) -> list[Request | Convert | Release | Cancel]:
    """The operation under way, for the master, and that it is not wanted any more, if so."""
    number, operation = lock.number, lock.operation
    said: list[Request | Convert | Release | Cancel] = []
    if lock.state is LockState.RELEASING:
        said.append(Release(number, operation, lock.invalidates, lock.writes, lock.value))
    elif lock.wanted is not None and lock.state is LockState.CONVERTING:
        said.append(Convert(number, operation, lock.wanted, lock.noqueue, lock.writes, lock.value))
    elif lock.wanted is not None:
        said.append(Request(number, operation, lock.owner, lock.wanted, lock.noqueue, lock.recovery, lock.name))
    if lock.cancelled is not None:
        said.append(Cancel(number, operation, lock.cancelled))
    return said


def held(lock: Lock) -> Held:
    """A lock as it is told to a new master. What it gives up by an operation under way, nobody relies on any more."""
    mode = lock.mode
    sequence, valid, value = lock.sequence, lock.valid, lock.copy
    if mode is not None and lock.wanted is not None:
        mode = common(mode, lock.wanted)
    if lock.state is LockState.RELEASING:
        mode = None
        valid = valid and not (lock.invalidates and lock.mode in WRITES)
    if lock.pending and lock.writes:
        sequence, valid, value = sequence + 1, True, lock.value
    return Held(
        lock=lock.number,
        operation=lock.operation,
        owner=lock.owner,
        granted=NO_MODE if mode is None else mode.value,
        wanted=NO_MODE if lock.wanted is None else lock.wanted.value,
        releases=lock.state is LockState.RELEASING,
        noqueue=lock.noqueue,
        recovery=lock.recovery,
        cancelled=NO_MODE if lock.cancelled is None else lock.cancelled.value,
        valid=valid,
        sequence=sequence,
        value=value,
        name=lock.name,
    )
