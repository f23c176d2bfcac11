"""What the parts of one event daemon share: the node, the time, and where effects go."""

from __future__ import annotations

from guestd.core.effects import Answer, Emit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from guestd.core.value import Value
    from guestd.events.limits import Limits


class Desk:
    """One per event daemon."""

    __slots__ = ("_told_ms", "limits", "next_number", "node", "now_ms", "put", "ran_ms")

    def __init__(self, node: int, put: Callable[[Value], None], next_number: Callable[[], int], limits: Limits) -> None:
        self.node = node
        self.put = put
        self.next_number = next_number  # of a command
        self.limits = limits
        self.now_ms = 0  # of the input that is being handled
        self.ran_ms = 0  # time in which this node ran
        self._told_ms: dict[tuple[str, str], int] = {}  # when the host was told that of somebody

    def at(self, now_ms: int) -> None:
        """It is so late now. A node that was frozen sees much time pass at once: its programs have not seen it."""
        passed = now_ms - self.now_ms
        self.now_ms = now_ms
        self.ran_ms += min(passed, self.limits.step_ms)

    def emit(self, kind: str, **fields: Any) -> None:
        """Tell the host."""
        self.put(Emit(kind, fields))

    def emit_seldom(self, kind: str, whom: str, what: str, **fields: Any) -> None:
        """The same, but not each time, of what others can bring about as often as they like."""
        since_ms = self.now_ms - self.limits.seldom_ms
        self._told_ms = {told: at_ms for told, at_ms in self._told_ms.items() if at_ms > since_ms}
        if (whom, what) not in self._told_ms:
            self._told_ms[whom, what] = self.now_ms
            self.emit(kind, what=what, **fields)

    def answer(self, connection: int, **message: Any) -> None:
        """Tell a watcher."""
        self.put(Answer(connection, message))
