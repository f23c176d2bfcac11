"""asyncio's own event loop without sockets and without waiting: time moves only when it is told to."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class VirtualLoop(asyncio.SelectorEventLoop):
    """What a callback raises comes out of ``turn``, where a real loop would only log it."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0
        self._error: BaseException | None = None
        self.set_exception_handler(VirtualLoop._keep)

    def time(self) -> float:
        """Seconds."""
        return self._now_s

    def turn(self, action: Callable[[], object] | None = None) -> None:
        """One round: what is due, then ``action``; what these call soon is due in the next round."""
        if action is not None:
            self.call_soon(action)
        self.call_soon(self.stop)
        self.run_forever()
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def advance(self, seconds: float) -> None:
        """Timers that are due by then run in the next round."""
        self._now_s += seconds

    @staticmethod
    def _keep(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        assert isinstance(loop, VirtualLoop)
        if loop._error is None:
            loop._error = context.get("exception") or AssertionError(context.get("message"))
