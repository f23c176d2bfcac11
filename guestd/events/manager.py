"""The event manager of one node (spec S8, S9): one way in and one way out, as guestd itself.

    manager = EventManager(node, nodes)
    effects = manager.handle(Registered(node, nodes), now_ms)     # then Notified, Heard, StoreDone, Tick … as they come

Deterministic: the same inputs at the same times give the same effects, whatever the hash seed.
"""

from __future__ import annotations

from guestd.core.effects import Answer
from guestd.events.daemon import EventDaemon
from guestd.events.groups import Groups, circumstances
from guestd.events.inputs import Asked, CommandEnded, Gone, Heard, Left, Notified, Registered, StoreDone, Tick
from guestd.services.administrators import VERBS
from guestd.services.manager import ServiceManager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.core.value import Value
    from guestd.events.inputs import Input


class EventManager:
    """One life of one event manager."""

    def __init__(self, node: int, nodes: int, *, again: bool = False) -> None:
        """nodes: configured in the cluster. again: this life of the node had an event manager before."""
        self._effects: list[Value] = []
        self._commands = 0
        self._now_ms = 0
        self._groups = Groups()
        self.services = ServiceManager(node, nodes, self._effects, self._next_command, again=again)
        self.services.on_applied = self._applied
        self.daemon = EventDaemon(node, self._effects.append, self._next_command)
        self.ended = False

    def handle(self, given: Input, now_ms: int) -> list[Value]:
        """Take one input at a monotonic time in milliseconds; returns what is to be done, in this order."""
        if self.ended:
            return []
        self._now_ms = now_ms
        services = self.services
        services.at(now_ms)
        if isinstance(given, Tick):
            services.tick(given.load)
            self.daemon.tick(now_ms)
        elif isinstance(given, StoreDone):
            services.store_done(given)
        elif isinstance(given, Heard):
            services.heard(given.message)
        elif isinstance(given, Notified):
            services.notified(given.notification)
            for one in given.notification.transitions:
                members = circumstances(services.database, services.view).members
                self.daemon.transition(one.node, one.incarnation, one.transition, members, now_ms)
        elif isinstance(given, CommandEnded):
            if not services.command_ended(given):
                self.daemon.command_ended(given, now_ms)
        elif isinstance(given, Asked):
            self._asked(given)
        elif isinstance(given, Gone):
            self.daemon.gone(given.connection, now_ms)
        elif isinstance(given, Left):
            self.ended = True
        elif not isinstance(given, Registered):
            raise TypeError(f"{given!r} is no input of an event manager")
        services.settle()
        effects = list(self._effects)
        self._effects.clear()
        return effects

    def _applied(self) -> None:
        """The database, or who is a member, has changed: so has which event groups are enabled here."""
        services = self.services
        where = circumstances(services.database, services.view)
        self.daemon.groups(self._groups.of(services.database), where, self._now_ms)

    def _asked(self, given: Asked) -> None:
        message = given.message
        ((verb, asked),) = message.items() if len(message) == 1 else (("", None),)
        if verb == "event" and isinstance(asked, dict) and asked.get("do") == "list":
            self._effects.append(Answer(given.connection, {"event": self.daemon.shown()}))
        elif verb in VERBS:
            self.services.asked(given.connection, verb, asked)
        elif not self.daemon.said(given.connection, message, self._now_ms):
            told = f"{list(message)[:3]} (legal: service, event, watcher)"
            self._effects.append(Answer(given.connection, {"error": told}))

    def _next_command(self) -> int:
        self._commands += 1
        return self._commands
