"""One watcher's place at the event daemon: its program, its connection, and whether it keeps to the limits (spec S8.1).

    T=0          its program is started, since an event needs it
    start_ms     it has not connected: it is killed
    each         from an answer on, `ping_ms` pass, it is asked, and has `answer_ms` to answer: else it is killed
    at its end   a pause, `pause_ms` for the first failure and twice as long for each one more, then from the beginning

All times are those in which the node ran: a watcher on a node that was frozen has not been silent.
"""

from __future__ import annotations

from guestd.events.effects import HangUp, KillCommand, StartWatcher
from guestd.events.watcher_states import WATCHER_STATES, WatcherState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from guestd.events.declaration import Declaration
    from guestd.events.desk import Desk
    from guestd.events.inputs import CommandEnded

DOUBLINGS_MAX = 16


class Seat:
    """Of one watcher, by its name."""

    def __init__(self, desk: Desk, name: str, declaration: Declaration | None) -> None:
        """declaration: of a watcher that comes with the system; None: what it declares when it connects."""
        self._desk = desk
        self.name = name
        self.comes_with_the_system = declaration is not None
        self.declaration = declaration
        self.state = WatcherState.ABSENT
        self.connection: int | None = None
        self.number: int | None = None  # of its program
        self.why = ""  # it is not connected
        self.failures = 0  # one after the other
        self.kept: list[dict[str, Any]] = []  # transitions that it is told when it has connected
        self._started_ms = 0
        self._connected_ms: int | None = None  # None: not since it was started
        self._needed_ms = 0  # when an event needed it
        self._resumes_ms = 0
        self._asked_ms: int | None = None
        self._asks_ms = 0  # when it is asked next
        self._ping = 0
        self._period_ms = 0  # when the messages began to be counted
        self._messages = 0

    def connect(self, connection: int, declaration: Declaration) -> str:
        """Its first message has come. Why it is refused; "": it is not."""
        desk = self._desk
        if self.state is WatcherState.PAUSED:
            return f"{self.why}: legal again in {max(0, self._resumes_ms - desk.ran_ms)} ms"
        if not WATCHER_STATES.takes(self.state, "connect"):
            return f"the watcher {self.name!r} is {self.state.value} already"
        if not self.comes_with_the_system:
            self.declaration = declaration
        self._go("connect")
        self.connection, self.why = connection, ""
        self._connected_ms = self._needed_ms = desk.ran_ms
        self._asked_ms, self._asks_ms = None, desk.ran_ms + desk.limits.ping_ms
        self._period_ms, self._messages = desk.now_ms, 0
        desk.answer(connection, connected={"node": desk.node})
        desk.emit_seldom("watcher", self.name, "connected", watcher=self.name)
        return ""

    def catch_up(self) -> None:
        """It has been told what to watch for: now the transitions that it has missed."""
        if self.connection is not None:
            for transition in self.kept:
                self._desk.answer(self.connection, transition=transition)
            self.kept = []

    def follow(self, transition: dict[str, Any], *, needed: bool) -> None:
        """A node's transition. One that is about to be started, or comes back, is told then."""
        if self.connection is not None:
            self._desk.answer(self.connection, transition=transition)
        elif needed and self.comes_with_the_system:
            self.kept = [*self.kept, transition][-self._desk.limits.transitions :]

    def floods(self, watches: int) -> bool:
        """It has said one thing more, while it watches for so many events: whether that is too much. It is cut then."""
        limits, now_ms = self._desk.limits, self._desk.now_ms
        if now_ms - self._period_ms >= limits.messages_period_ms:
            self._period_ms, self._messages = now_ms, 0
        self._messages += 1
        legal = limits.messages + limits.messages_per_watch * watches
        if self._messages > legal:
            self._cut("flood", f"has sent more than {legal} messages in {limits.messages_period_ms} ms")
            return True
        return False

    def answered(self, ping: object) -> None:
        """It is there."""
        if self._asked_ms is not None and ping == self._ping:
            self._asked_ms, self._asks_ms = None, self._desk.ran_ms + self._desk.limits.ping_ms

    def gone(self) -> None:
        """Its connection has ended."""
        self.connection = None
        if not self.comes_with_the_system:
            self.why = "has hung up"
            self._go("gone")
            self._desk.emit_seldom("watcher", self.name, "gone", watcher=self.name)
        else:
            self._cut("silent", "has hung up")

    def ended(self, given: CommandEnded) -> None:
        """Its program has ended."""
        self.number = None
        if self.state in (WatcherState.STARTING, WatcherState.CONNECTED) or self.why == "has hung up":
            last = given.output.decode("utf-8", "replace").strip().rpartition("\n")[2][-200:]
            status = f"signal {-given.status}" if given.status < 0 else f"status {given.status}"
            self.why = given.reason or f"ended with {status}{': ' + last if last else ''}"
        self._hang_up()
        self._end()

    def time_passed(self, *, needed: bool) -> None:
        """needed: whether an event that is enabled is its."""
        ran_ms, limits = self._desk.ran_ms, self._desk.limits
        if needed:
            self._needed_ms = ran_ms
        unneeded = self.comes_with_the_system and ran_ms - self._needed_ms >= limits.idle_ms
        if self.state is WatcherState.PAUSED and ran_ms >= self._resumes_ms:
            self._go("resume")
        if self.state is WatcherState.ABSENT and needed and self.comes_with_the_system:
            self._start()
        elif self.state in (WatcherState.STARTING, WatcherState.CONNECTED) and unneeded:
            self._cut("leave", "no event needs it")
        elif self.state is WatcherState.STARTING and ran_ms - self._started_ms >= limits.start_ms:
            self._cut("silent", f"has not connected within {limits.start_ms} ms")
        elif self.state is WatcherState.CONNECTED:
            self._ask()

    def _start(self) -> None:
        self._go("start")
        self.number = self._desk.next_number()
        self._started_ms, self._connected_ms = self._desk.ran_ms, None
        self._desk.put(StartWatcher(self.number, self.name))

    def _ask(self) -> None:
        ran_ms, limits = self._desk.ran_ms, self._desk.limits
        if self._asked_ms is None and ran_ms >= self._asks_ms and self.connection is not None:
            self._ping += 1
            self._asked_ms = ran_ms
            self._desk.answer(self.connection, ping=self._ping)
        elif self._asked_ms is not None and ran_ms - self._asked_ms >= limits.answer_ms:
            self._cut("silent", f"has not answered within {limits.answer_ms} ms")

    def _cut(self, trigger: str, why: str) -> None:
        """The end of its connection and of its program, if it has one: the rest follows when that has ended."""
        self._go(trigger)
        self.why = why
        self._hang_up()
        if self.number is None:
            self._end()
        else:
            self._desk.put(KillCommand(self.number))

    def _hang_up(self) -> None:
        if self.connection is not None:
            self._desk.put(HangUp(self.connection))
            self.connection = None

    def _end(self) -> None:
        """Nothing of it is left: a pause, unless it was to end."""
        left = self.state is WatcherState.LEAVING
        limits, ran_ms, connected_ms = self._desk.limits, self._desk.ran_ms, self._connected_ms
        steady = connected_ms is not None and ran_ms - connected_ms >= limits.steady_ms
        self._go("end")
        if left:
            self.failures = 0
            self._desk.emit("watcher", what="ended", watcher=self.name, why=self.why)
            return
        self.failures = 1 if steady else self.failures + 1
        pause_ms = min(limits.pause_ms << min(self.failures - 1, DOUBLINGS_MAX), limits.pause_ms_max)
        self._resumes_ms = ran_ms + pause_ms
        self._desk.emit(
            "watcher", what="failed", watcher=self.name, why=self.why, failures=self.failures, pause_ms=pause_ms
        )

    def _go(self, trigger: str) -> None:
        self.state = WATCHER_STATES.next(self.state, trigger)
