"""Who is told what about which lock: a lock manager's notices, each to whom its lock belongs."""

from __future__ import annotations

from guestd.dlm.notices import Denied, Gone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from guestd.dlm.manager import LockManager
    from guestd.dlm.modes import Mode
    from guestd.dlm.names import Name
    from guestd.dlm.notices import Notice

    Listener = Callable[[Notice], None]


class LockDesk:
    """In front of one lock manager; all users of this node's locks come here."""

    __slots__ = ("_listeners", "manager")

    def __init__(self, manager: LockManager) -> None:
        self.manager = manager
        self._listeners: dict[int, Listener] = {}

    def lock(
        self,
        listener: Listener,
        owner: int,
        name: Name,
        mode: Mode,
        *,
        parent: int | None = None,
        noqueue: bool = False,
        recovery: bool = False,
    ) -> int:
        """As `LockManager.lock`; the listener hears everything about that lock, until it is gone."""
        lock = self.manager.lock(owner, name, mode, parent=parent, noqueue=noqueue, recovery=recovery)
        self._listeners[lock] = listener
        return lock

    def listen(self, lock: int, listener: Listener) -> None:
        """From now on that one is told."""
        assert lock in self._listeners, f"lock {lock} is gone"
        self._listeners[lock] = listener

    def tell(self) -> bool:
        """Hand the notices out, also those that come of it; whether there were any."""
        told = False
        while notices := self.manager.take_notices():
            told = True
            for notice in notices:
                listener = self._listeners[notice.lock]
                if isinstance(notice, Gone) or (isinstance(notice, Denied) and notice.mode is None):
                    del self._listeners[notice.lock]
                listener(notice)
        return told
