"""The action of one event: it runs for an occurrence, one run at a time, and so often in a period (spec S8.3)."""

from __future__ import annotations

from guestd.core.value import Value
from guestd.events.action_states import ACTION_STATES, ActionState
from guestd.events.effects import RunCommand
from guestd.events.substitution import CannotFill, filled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from guestd.events.desk import Desk
    from guestd.events.group import Event, Group
    from guestd.events.inputs import CommandEnded

TOLD_OUTPUT = 400  # characters of a command's output that go into a report


class Occurrence(Value):
    """What waits for the action, or has led to its run."""

    count: int  # how many times it has occurred, up to this one, since the last run
    outputs: dict[str, Any]


class Action:
    """Of one event, as long as its definition stays the same or it runs."""

    def __init__(self, desk: Desk, group: Group, event: Event) -> None:
        self._desk = desk
        self.group = group
        self.event = event
        self._inputs: dict[str, Any] = event.inputs
        self._held: Occurrence | None = None
        self._runs_ms: list[int] = []  # when it has run, of the last period
        self.state = ActionState.IDLE
        self.number: int | None = None  # of the command that runs
        self.occurrences = 0
        self.runs = 0
        self.failures = 0
        self.failure = ""  # of the last run; "": it was none
        self.outputs: dict[str, Any] = {}  # of the last occurrence

    def given(self, inputs: dict[str, Any]) -> None:
        """The IN parameters with the defaults of the watcher that has connected."""
        self._inputs = inputs

    def defined_anew(self, group: Group, event: Event) -> None:
        """While it runs for an event of the same name: two runs do not overlap for that either."""
        self.group, self.event, self._inputs = group, event, event.inputs

    def occurred(self, outputs: dict[str, Any], count: int) -> None:
        """The watcher has seen it, `count` times since it last said so."""
        self.occurrences += count
        self.outputs = outputs
        before = self._held.count if self._held else 0
        self._held = Occurrence(before + count, outputs)
        if self.state is not ActionState.IDLE:
            self._go("keep")
        else:
            self._next()

    def ended(self, given: CommandEnded) -> None:
        """Its command has ended."""
        why = ""
        if given.timed_out:
            why = f"killed: it had not ended after {self.event.timeout_ms} ms"
        elif given.reason:
            why = f"cannot be started: {given.reason}"
        elif given.status < 0:
            why = f"ended by signal {-given.status}"
        elif given.status:
            why = f"exit status {given.status}"
        self._tell("failed" if why else "ended", command=given.number, status=given.status, **self._about(why, given))
        self.failure = why
        self.failures += bool(why)
        self.number = None
        self._go("end")
        self._next()

    def time_passed(self) -> None:
        """What has waited for the period to pass may run now."""
        if self.state is ActionState.LIMITED and self._may_run():
            self._go("release")
            self._next()

    def dropped(self) -> None:
        """Its group is disabled: what has waited does not count any more. A run goes on to its end."""
        if self._held is not None:
            self._tell("dropped", count=self._held.count, why="its group is disabled")
            self._held = None
            self._go("drop")

    def waiting(self) -> int:
        """How many occurrences wait, of which only the last is kept."""
        return self._held.count if self._held else 0

    def _next(self) -> None:
        """Nothing runs: go on with what waits, if anything does."""
        if self._held is None:
            return
        if not self._may_run():
            self._go("hold")
            limit = f"{self.event.times} times in {self.event.period_ms} ms"
            self._tell("limited", count=self._held.count, why=f"its action may run {limit}: the last occurrence waits")
            return
        occurrence, self._held = self._held, None
        self._runs_ms = [*self._runs_ms, self._desk.now_ms][-self.event.times :]
        try:
            words = filled(self.event.action, self._inputs, occurrence.outputs)
        except CannotFill as why:
            self._tell("failed", count=occurrence.count, out=occurrence.outputs, why=f"not run: {why}")
            self.failure = f"not run: {why}"
            self.failures += 1
            return
        self.number = self._desk.next_number()
        self.runs += 1
        self._go("run")
        self._tell("occurred", count=occurrence.count, out=occurrence.outputs, command=self.number)
        self._desk.put(RunCommand(self.number, words, self._environment(occurrence), self.event.timeout_ms))

    def _may_run(self) -> bool:
        begins = self._desk.now_ms - self.event.period_ms
        return len(self._runs_ms) < self.event.times or self._runs_ms[0] <= begins

    def _environment(self, occurrence: Occurrence) -> dict[str, str]:
        found = {
            "HIL_EVENT": self.event.name,
            "HIL_EVENT_GROUP": self.group.name,
            "HIL_NODE": str(self._desk.node),
            "HIL_OCCURRENCES": str(occurrence.count),
        }
        return {**found, "HIL_SERVICE": self.group.service} if self.group.service else found

    def _about(self, why: str, given: CommandEnded) -> dict[str, Any]:
        return {"why": why, "output": given.output.decode("utf-8", "replace")[-TOLD_OUTPUT:]} if why else {}

    def _tell(self, what: str, **fields: Any) -> None:
        """The host hears of each run, its end, and that occurrences wait for the period: few in any period."""
        self._desk.emit("occurrence", what=what, event=self.event.name, group=self.group.name, **fields)

    def _go(self, trigger: str) -> None:
        self.state = ACTION_STATES.next(self.state, trigger)
