"""The checks of one event group's table: see `guestd.events.definition`."""

from __future__ import annotations

from guestd.core.value import Value
from guestd.events.declaration import TEXT_SIZE_MAX, given_problems, text_problem, watcher_name_is_legal, with_defaults
from guestd.events.group import Event, Group
from guestd.events.substitution import BadReference, name_is_legal, references
from guestd.events.watchers import WATCHERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from guestd.events.declaration import Declaration

NAME_SIZE_MAX = 64
EVENTS_MAX = 64  # of one group
WORDS_MAX = 64  # of one action
TIMEOUT_S = 20  # of an action that has no time of its own, as of a service's command
TIME_S_MAX = 86_400
TIMES, PERIOD_S = 10, 60  # an event without at_most
TIMES_MAX = 1000

GROUP_FIELDS = ("name", "where", "when", "conditions", "events")
EVENT_FIELDS = ("name", "watcher", "in", "action", "action_timeout", "at_most")
WHEN_FIELDS = ("after", "for")
CONDITION_FIELDS = ("members_min", "service_registered")
AT_MOST_FIELDS = ("times", "period")


class Problem(Value):
    """One thing that is wrong."""

    index: int  # of the group's table in what was given
    group: str  # its name, as far as it has one
    event: str  # "" for the group itself
    field: str  # "" for the whole table
    why: str  # with what is legal

    def __str__(self) -> str:
        where = f"event group {self.group!r}" if self.group else f"event group number {self.index + 1}"
        where += f", event {self.event!r}" if self.event else ""
        return f"{where}: {self.field + ': ' if self.field else ''}{self.why}"


def action_problems(event: Event, declaration: Declaration) -> list[tuple[str, str]]:
    """What an event refers to that a watcher does not have: fields, and what is legal."""
    found = []
    inputs, outputs = with_defaults(declaration, event.inputs), [one.name for one in declaration.outputs]
    for one in references(event.action):
        legal = list(inputs) if one.side == "IN" else outputs
        if one.name not in legal:
            names = ", ".join(f"${one.side}.{name}" for name in legal) or f"no ${one.side} parameter"
            found.append(("action", f"{one} is none of this event's (legal: {names})"))
    return found


def fit_problems(event: Event, declaration: Declaration) -> list[tuple[str, str]]:
    """Why an event cannot be watched for by a watcher that declares this: fields, and what is legal."""
    wrong = [(f"in.{name}", why) for name, why in given_problems(declaration, event.inputs)]
    return wrong + action_problems(event, declaration)


def name_problem(name: object) -> str:
    """Why a group or an event cannot be called that; "" if it can. The names of services are legal."""
    sound = isinstance(name, str) and 1 <= len(name.encode("utf-8", "replace")) <= NAME_SIZE_MAX
    if sound and isinstance(name, str) and name[0] not in ". " and all(one.isalnum() or one in "-_. " for one in name):
        return ""
    return f"{name!r} (legal: 1 to {NAME_SIZE_MAX} letters, digits, - _ . and blanks)"


class Check:
    """One group's table."""

    def __init__(
        self, index: int, table: object, service: str, nodes: int, problems: list[Problem], taken: dict[str, str]
    ) -> None:
        self._index = index
        self._service = service
        self._nodes = nodes
        self._problems = problems
        self._taken = taken
        self._given: Mapping[str, Any] = table if isinstance(table, dict) else {}
        name = self._given.get("name", "")
        self._name = name if isinstance(name, str) else ""
        self._table_given = isinstance(table, dict)

    def wrong(self, event: str, field: str, why: str) -> None:
        """One more problem."""
        self._problems.append(Problem(self._index, self._name, event, field, why))

    def group(self) -> Group:
        """The group, as far as it is right."""
        self._unknown("", self._given, GROUP_FIELDS)
        why = name_problem(self._given.get("name"))
        if not self._table_given:
            self.wrong("", "", "no table")
        elif why:
            self.wrong("", "name", why)
        where, nodes = self._where()
        when = self._table("", "when", WHEN_FIELDS)
        conditions = self._table("", "conditions", CONDITION_FIELDS)
        registered = conditions.get("service_registered", "")
        if "service_registered" in conditions and name_problem(registered):
            self.wrong("", "conditions.service_registered", name_problem(registered))
        return Group(
            name=self._name,
            service=self._service,
            where=where,
            nodes=nodes,
            after_ms=self._ms("", "when.after", when.get("after", 0), least=0),
            for_ms=self._ms("", "when.for", when["for"], least=0.1) if "for" in when else 0,
            members_min=self._whole("", "conditions.members_min", conditions.get("members_min", 1), self._nodes),
            service_registered=str(registered),
            events=self._events(),
        )

    def _unknown(self, event: str, table: Mapping[str, Any], legal: tuple[str, ...], prefix: str = "") -> None:
        for field in table:
            if field not in legal:
                self.wrong(event, f"{prefix}{field}", f"there is no such field (legal: {', '.join(legal)})")

    def _table(self, event: str, field: str, legal: tuple[str, ...], given: object = None) -> Mapping[str, Any]:
        table = self._given.get(field, {}) if given is None else given
        if not isinstance(table, dict):
            self.wrong(event, field, f"{table!r} is no table (legal: {', '.join(legal)})")
            return {}
        self._unknown(event, table, legal, f"{field}.")
        return table

    def _where(self) -> tuple[str, tuple[int, ...]]:
        value = self._given.get("where", "all")
        if self._service or value == "all":
            return ("registered" if self._service else "all"), ()
        if isinstance(value, list) and value and all(type(one) is int and 0 <= one < self._nodes for one in value):
            return "nodes", tuple(value)
        why = f'{value!r} (legal: "all", or a list of nodes of 0 to {self._nodes - 1}'
        if value == "registered":
            why += '; "registered" is for the group of a service: conditions.service_registered names one'
        self.wrong("", "where", f"{why})")
        return "all", ()

    def _events(self) -> tuple[Event, ...]:
        tables = self._given.get("events", [])
        if not self._given:
            return ()
        if not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
            self.wrong("", "events", "no list of tables (legal: [[...events]] tables)")
            return ()
        # A service has a group with no events; another group without any is a slip.
        if len(tables) > EVENTS_MAX or not (tables or self._service):
            self.wrong("", "events", f"{len(tables)} events (legal: 1 to {EVENTS_MAX})")
        return tuple(self._event(number, table) for number, table in enumerate(tables, 1))

    def _event(self, number: int, table: Mapping[str, Any]) -> Event:
        name = table.get("name")
        label = name if isinstance(name, str) and name else f"number {number}"
        self._unknown(label, table, EVENT_FIELDS)
        why = name_problem(name)
        if why:
            self.wrong(label, "name", why)
        elif label in self._taken:
            self.wrong(label, "name", f"is the name of an event of {self._taken[label]} (legal: one that no event has)")
        else:
            self._taken[label] = f"service {self._service!r}" if self._service else f"event group {self._name!r}"
        at_most = self._table(label, "at_most", AT_MOST_FIELDS, table.get("at_most", {}))
        problems = len(self._problems)
        inputs = self._inputs(label, table)
        sound = len(self._problems) == problems
        event = Event(
            name=label,
            watcher=self._watcher(label, table),
            inputs=inputs,
            action=self._action(label, table),
            timeout_ms=self._ms(label, "action_timeout", table.get("action_timeout", TIMEOUT_S), least=0.1),
            times=self._whole(label, "at_most.times", at_most.get("times", TIMES), TIMES_MAX),
            period_ms=self._ms(label, "at_most.period", at_most.get("period", PERIOD_S), least=0.1),
        )
        return self._fitting(event) if sound else event

    def _fitting(self, event: Event) -> Event:
        """What can be said of it before its watcher has connected."""
        declaration = WATCHERS.get(event.watcher)
        if declaration is None:
            named = [one.name for one in references(event.action) if one.side == "IN"]
            legal = ", ".join(f"$IN.{name}" for name in event.inputs) or "no $IN parameter"
            for name in named:
                if name not in event.inputs:
                    self.wrong(event.name, "action", f"$IN.{name} is none of this event's (legal: {legal})")
            return event
        for field, why in fit_problems(event, declaration):
            self.wrong(event.name, field, why)
        return Event(
            event.name,
            event.watcher,
            with_defaults(declaration, event.inputs),
            event.action,
            event.timeout_ms,
            event.times,
            event.period_ms,
        )

    def _watcher(self, event: str, table: Mapping[str, Any]) -> str:
        value = table.get("watcher")
        known = ", ".join(WATCHERS)
        if value is None or not watcher_name_is_legal(value):
            why = "lacking" if value is None else f"{value!r}"
            self.wrong(event, "watcher", f"{why} (legal: {known}, or a watcher that connects by that name)")
            return ""
        alike = [name for name in WATCHERS if _plain(name) == _plain(value)]
        if alike and alike[0] != value:
            self.wrong(event, "watcher", f"there is no watcher {value!r}: did you mean {alike[0]!r}? (legal: {known})")
        return str(value)

    def _inputs(self, event: str, table: Mapping[str, Any]) -> dict[str, Any]:
        given = table.get("in", {})
        if not isinstance(given, dict):
            self.wrong(event, "in", f"{given!r} is no table (legal: in = {{name = value}})")
            return {}
        sound = {}
        for name, value in given.items():
            if not name_is_legal(name):
                self.wrong(event, f"in.{name}", "no name of a parameter (legal: letters, digits and _)")
            elif type(value) not in (str, int, float, bool):
                self.wrong(event, f"in.{name}", f"{value!r} (legal: a string, a number, true, false)")
            elif isinstance(value, str) and text_problem(value):
                self.wrong(event, f"in.{name}", text_problem(value))
            else:
                sound[name] = value
        return sound

    def _action(self, event: str, table: Mapping[str, Any]) -> tuple[str, ...]:
        words = table.get("action")
        if isinstance(words, str):
            import shlex  # few are written so

            try:
                words = shlex.split(words)
            except ValueError as why:
                self.wrong(event, "action", f"{words!r}: {why}")
                return ()
        example = 'a list of words such as ["/shared/alarm", "$OUT.path"], or one text'
        if not isinstance(words, list) or not words or not all(isinstance(one, str) for one in words):
            self.wrong(event, "action", f"{'lacking' if words is None else repr(words)} (legal: {example})")
            return ()
        problems = len(self._problems)
        if len(words) > WORDS_MAX:
            self.wrong(event, "action", f"{len(words)} words (legal: at most {WORDS_MAX}, of {TEXT_SIZE_MAX} bytes)")
        if not words[0].startswith("/") or "$" in words[0]:
            self.wrong(event, "action", f"{words[0]!r} is no fixed path of a file (legal: / first, and no reference)")
        for word in words:
            if text_problem(word):
                self.wrong(event, "action", text_problem(word))
        try:
            references(words)
        except BadReference as why:
            self.wrong(event, "action", str(why))
        return tuple(words) if len(self._problems) == problems else ()

    def _whole(self, event: str, field: str, value: object, most: int) -> int:
        if type(value) is int and 1 <= value <= most:
            return value
        self.wrong(event, field, f"{value!r} (legal: a whole number, 1 to {most})")
        return 1

    def _ms(self, event: str, field: str, value: object, *, least: float) -> int:
        if not isinstance(value, bool) and isinstance(value, (int, float)) and least <= value <= TIME_S_MAX:
            return int(value * 1000)
        self.wrong(event, field, f"{value!r} (legal: seconds, {least:g} to {TIME_S_MAX})")
        return 0


def _plain(name: str) -> str:
    """Names that differ by that only are taken for a slip."""
    return name.replace("-", "").replace("_", "").lower()
