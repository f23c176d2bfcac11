"""The event manager of one node (spec S8, S9): one way in and one way out, as guestd itself.

    manager = EventManager(node, nodes)
    effects = manager.handle(Registered(node, nodes), now_ms)     # then Notified, Heard, StoreDone, Tick … as they come

Deterministic: the same inputs at the same times give the same effects, whatever the hash seed.
"""

from __future__ import annotations

from guestd.core.effects import Answer
from guestd.events.inputs import Asked, CommandEnded, Gone, Heard, Left, Notified, Registered, StoreDone, Tick
from guestd.services.manager import ServiceManager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.core.effects import Effect as CoreEffect
    from guestd.events.effects import Effect
    from guestd.events.inputs import Input


class EventManager:
    """One life of one event manager."""

    def __init__(self, node: int, nodes: int) -> None:
        """nodes: configured in the cluster."""
        self._effects: list[Effect | CoreEffect] = []
        self._commands = 0
        self.services = ServiceManager(node, nodes, self._effects, self._next_command)
        self.ended = False

    def handle(self, given: Input, now_ms: int) -> list[Effect | CoreEffect]:
        """Take one input at a monotonic time in milliseconds; returns what is to be done, in this order."""
        if self.ended:
            return []
        services = self.services
        services.at(now_ms)
        if isinstance(given, Tick):
            services.tick(given.load)
        elif isinstance(given, StoreDone):
            services.store_done(given)
        elif isinstance(given, Heard):
            services.heard(given.message)
        elif isinstance(given, Notified):
            services.notified(given.notification)
        elif isinstance(given, CommandEnded):
            services.command_ended(given)
        elif isinstance(given, Asked):
            self._asked(given)
        elif isinstance(given, Left):
            self.ended = True
        elif not isinstance(given, (Registered, Gone)):
            raise TypeError(f"{given!r} is no input of an event manager")
        services.settle()
        effects = list(self._effects)
        self._effects.clear()
        return effects

    def _asked(self, given: Asked) -> None:
        if list(given.message) == ["service"]:
            self.services.asked(given.connection, given.message["service"])
        else:
            told = f"{list(given.message)[:3]} (legal: service, event, watcher)"
            self._effects.append(Answer(given.connection, {"error": told}))

    def _next_command(self) -> int:
        self._commands += 1
        return self._commands
