"""What an administrator says of a client service (spec S9.2, S9.4, S9.5; docs/services.md): checked once.

    definitions = checked(tables, known={}, nodes=3)      # raises DefinitionErrors with all problems at once

A table is what TOML or JSON makes of one `[[service]]`. What is stored is such a table too.
"""

from __future__ import annotations

from guestd.core.value import Value
from guestd.events import definition as events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from guestd.events.group import Group

NAME_SIZE_MAX = 64
COMMANDS = ("start", "stop", "notify", "recovery")
TIMEOUT_S = 20  # of a command that has no time of its own
TIMEOUT_S_MAX = 86_400
DEPTH_MAX = 16  # generations of a group

AUTO_REGISTER = ("auto", "manual", "previous")
PLACEMENT = ("register_on_one", "register_on_all")
TRANSFER_COST = ("costly", "free")

CHOOSING = (
    "allowable_nodes",
    "node_preferences",
    "disallowable_nodes",
    "auto_register",
    "placement_policy",
    "transfer_cost",
    "maturity_count",
    "maturity_time",
)
"""A child has none of these: it goes where its parent goes (spec S9.4)."""
FIELDS = (
    "name",
    "parent",
    *CHOOSING,
    *(f"{command}_command" for command in COMMANDS),
    *(f"{command}_timeout" for command in COMMANDS),
    "events",
)


class Problem(Value):
    """One thing that is wrong."""

    index: int  # of the table in what was given
    service: str  # its name, as far as it has one
    field: str  # "" for the whole table
    why: str  # with what is legal

    def __str__(self) -> str:
        where = f"service {self.service!r}" if self.service else f"service number {self.index + 1}"
        return f"{where}: {self.field + ': ' if self.field else ''}{self.why}"


class DefinitionErrors(ValueError):
    """Nothing of what was given is taken."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = tuple(problems)


class Definition(Value):
    """One client service. Times in milliseconds."""

    name: str
    parent: str  # "": it is a root, and chooses
    allowable: tuple[int, ...] | None  # None: every node
    preferences: tuple[int, ...]
    ordered: bool  # whether the first of them is preferred to the second
    disallowable: tuple[int, ...]
    auto_register: str
    on_all: bool  # registered on every allowable node
    free_transfer: bool
    maturity_count: int  # 0: numbers alone make nothing mature
    maturity_ms: int | None  # None: time alone makes nothing mature
    commands: dict[str, tuple[str, ...]]  # of COMMANDS, those that it has
    timeouts_ms: dict[str, int]
    events: list[dict[str, Any]]  # its event group

    def allows(self, node: int) -> bool:
        """Whether it may be registered there (spec S9.2)."""
        return (self.allowable is None or node in self.allowable) and node not in self.disallowable

    def has(self, command: str) -> bool:
        """Whether there is such a command: a state without one is skipped (spec S9.7)."""
        return command in self.commands

    @property
    def primary(self) -> int | None:
        """The first preferred node; of an unordered list there is none (spec S9.3)."""
        return self.preferences[0] if self.preferences and self.ordered else None

    @property
    def awaits_maturity(self) -> bool:
        """Whether maturity applies to it."""
        return self.maturity_count > 0 or self.maturity_ms is not None


def checked(
    tables: Sequence[object], known: Mapping[str, Definition], nodes: int, groups: Mapping[str, Group] | None = None
) -> list[tuple[Definition, dict[str, Any]]]:
    """Each with its table as it is stored. known: the services that there are. nodes: configured in the cluster.
    groups: the event groups that belong to no service.

    Raises DefinitionErrors.
    """
    problems: list[Problem] = []
    found: dict[int, tuple[Definition, dict[str, Any]]] = {}  # by the place of its table
    names: dict[str, int] = {}
    parents = {name: one.parent for name, one in known.items()}
    for index, table in enumerate(tables):
        made = _Check(index, table, nodes, problems).result()
        if made is None:
            continue
        name = made[0].name
        if name in known:
            problems.append(Problem(index, name, "name", "there is such a service already (remove it first)"))
        elif name in names:
            problems.append(Problem(index, name, "name", f"is the name of service number {names[name] + 1} too"))
        else:
            names[name] = index
            parents[name] = made[0].parent
        found[index] = made
    for index, (one, _) in found.items():
        why = _wrong_parent(one, parents, known)
        if why:
            problems.append(Problem(index, one.name, "parent", why))
    definitions = {index: one for index, (one, _) in found.items()}
    problems += _wrong_events(definitions, known, {} if groups is None else groups, nodes)
    if problems:
        raise DefinitionErrors(sorted(problems, key=lambda one: one.index))
    return list(found.values())


def _wrong_events(
    found: Mapping[int, Definition], known: Mapping[str, Definition], groups: Mapping[str, Group], nodes: int
) -> list[Problem]:
    """What is wrong with the events of services; their names are unique in the cluster (spec S8.2)."""
    problems = []
    taken = dict(groups)
    for one in known.values():
        if one.events:
            taken[f"service/{one.name}"] = events.of_table(event_group(one), one.name)
    for index, one in found.items():
        if one.events:
            try:
                taken[f"service/{one.name}"] = events.of_service(one.name, one.events, taken, nodes)
            except events.DefinitionErrors as why:
                problems += [_of_event(index, one.name, wrong) for wrong in why.problems]
    return problems


def _of_event(index: int, service: str, wrong: events.Problem) -> Problem:
    why = f"event {wrong.event!r}: {wrong.why}" if wrong.event else wrong.why
    return Problem(index, service, f"events.{wrong.field}" if wrong.field else "events", why)


def event_group(one: Definition) -> dict[str, Any]:
    """The table of its event group: its events are watched where it is registered."""
    return {"name": one.name, "where": "registered", "events": one.events}


def of_table(table: Mapping[str, Any]) -> Definition:
    """The definition of a table that `checked` has made."""
    made = _Check(0, table, 1 << 16, []).result()
    assert made is not None, table
    return made[0]


def _wrong_parent(one: Definition, parents: Mapping[str, str], known: Mapping[str, Definition]) -> str:
    seen = [one.name]
    at = one.parent
    while at:
        if at not in parents:
            legal = ", ".join(sorted(parents.keys() - {one.name})) or "there is no other service"
            return f"{at!r} is no service (legal: {legal})" if at == one.parent else ""
        if at in seen:
            return "a cycle: " + " -> ".join([*seen, at])
        seen.append(at)
        at = parents[at]
    return f"{len(seen)} generations (legal: at most {DEPTH_MAX})" if len(seen) > DEPTH_MAX else ""


class _Check:
    """One table."""

    def __init__(self, index: int, table: object, nodes: int, problems: list[Problem]) -> None:
        self._index = index
        self._nodes = nodes
        self._problems = problems
        self._count = len(problems)
        self._given: Mapping[str, Any] = table if isinstance(table, dict) else {}
        name = self._given.get("name")
        self._name = name if isinstance(name, str) else ""
        if not isinstance(table, dict):
            self._wrong("", f"{table!r} is no table")

    def result(self) -> tuple[Definition, dict[str, Any]] | None:
        """None: it has problems, or is none at all."""
        self._unknown_fields()
        name = self._given.get("name")
        sound = isinstance(name, str) and 1 <= len(name.encode(errors="replace")) <= NAME_SIZE_MAX
        if not sound or not all(one.isalnum() or one in "-_. " for one in self._name) or self._name[0] in ". ":
            self._wrong("name", f"{name!r} (legal: 1 to {NAME_SIZE_MAX} letters, digits, - _ . and blanks)")
        parent = self._text("parent", "")
        if parent:
            for field in CHOOSING:
                if field in self._given:
                    self._wrong(field, f"a child has no choosing parameters: it goes where {parent!r} goes")
        preferences, ordered = self._preferences()
        problems = len(self._problems)
        allowable = None if self._given.get("allowable_nodes", "*") == "*" else self._node_list("allowable_nodes")
        sound = len(self._problems) == problems
        disallowable = self._node_list("disallowable_nodes") if "disallowable_nodes" in self._given else ()
        if allowable is not None and sound:
            if not allowable:
                self._wrong("allowable_nodes", 'empty (legal: "*" or a list of nodes)')
            for node in preferences:
                if node not in allowable:
                    self._wrong("node_preferences", f"node {node} is not among allowable_nodes")
        time_s = self._number("maturity_time", 0, 1 << 31)
        commands = {one: found for one in COMMANDS if (found := self._command(f"{one}_command"))}
        timeouts_s = {one: self._number(f"{one}_timeout", 0.1, TIMEOUT_S_MAX) or TIMEOUT_S for one in COMMANDS}
        made = Definition(
            name=self._name,
            parent=parent,
            allowable=allowable,
            preferences=preferences,
            ordered=ordered,
            disallowable=disallowable,
            auto_register=self._choice("auto_register", AUTO_REGISTER),
            on_all=self._choice("placement_policy", PLACEMENT) == "register_on_all",
            free_transfer=self._choice("transfer_cost", TRANSFER_COST) == "free",
            maturity_count=int(self._number("maturity_count", 0, 1 << 16, whole=True) or 0),
            maturity_ms=None if time_s is None else int(time_s * 1000),
            commands=commands,
            timeouts_ms={one: int(seconds * 1000) for one, seconds in timeouts_s.items()},
            events=self._events(),
        )
        return None if len(self._problems) > self._count else (made, self._table(made))

    def _table(self, made: Definition) -> dict[str, Any]:
        """As it is stored: what was given, in its order of fields, with commands as lists."""
        table = {field: self._given[field] for field in FIELDS if field in self._given}
        table.update({f"{one}_command": list(words) for one, words in made.commands.items()})
        return table

    def _wrong(self, field: str, why: str) -> None:
        self._problems.append(Problem(self._index, self._name, field, why))

    def _unknown_fields(self) -> None:
        for field in self._given:
            if field not in FIELDS:
                near = [one for one in FIELDS if _alike(one, str(field))]
                hint = f"did you mean {near[0]}?" if near else f"legal: {', '.join(FIELDS)}"
                self._wrong(str(field), f"is no field of a service ({hint})")

    def _text(self, field: str, default: str) -> str:
        value = self._given.get(field, default)
        if isinstance(value, str):
            return value
        self._wrong(field, f"{value!r} (legal: text)")
        return default

    def _choice(self, field: str, legal: tuple[str, ...]) -> str:
        value = self._given.get(field, legal[0])
        if value not in legal:
            self._wrong(field, f"{value!r} (legal: {', '.join(legal)})")
            return legal[0]
        return str(value)

    def _number(self, field: str, least: float, most: float, *, whole: bool = False) -> float | None:
        value = self._given.get(field)
        if value is None:
            return None
        if type(value) not in ((int,) if whole else (int, float)) or not least <= value <= most:
            self._wrong(field, f"{value!r} (legal: {'a whole number' if whole else 'seconds'}, {least} to {most})")
            return None
        return float(value)

    def _preferences(self) -> tuple[tuple[int, ...], bool]:
        value = self._given.get("node_preferences", [])
        if isinstance(value, dict):
            if list(value) != ["unordered"]:
                self._wrong("node_preferences", f"{value!r} (legal: a list of nodes, or {{unordered = [0, 1]}})")
                return (), False
            return self._nodes_of("node_preferences", value["unordered"]), False
        return self._node_list("node_preferences") if "node_preferences" in self._given else (), True

    def _node_list(self, field: str) -> tuple[int, ...]:
        return self._nodes_of(field, self._given[field])

    def _nodes_of(self, field: str, value: object) -> tuple[int, ...]:
        if not isinstance(value, list):
            self._wrong(field, f"{value!r} (legal: a list of nodes, such as [0, 1])")
            return ()
        for node in value:
            if type(node) is not int or not 0 <= node < self._nodes:
                self._wrong(field, f"{node!r} is no node of the cluster (legal: 0 to {self._nodes - 1})")
                return ()
        if len(set(value)) < len(value):
            self._wrong(field, f"{value!r} names a node twice")
        return tuple(value)

    def _command(self, field: str) -> tuple[str, ...]:
        value = self._given.get(field)
        if value is None:
            return ()
        if isinstance(value, str):
            import shlex  # few are written so

            try:
                value = shlex.split(value)
            except ValueError as why:
                self._wrong(field, f"{value!r}: {why}")
                return ()
        if not isinstance(value, list) or not value or not all(isinstance(one, str) for one in value) or not value[0]:
            self._wrong(field, f'{value!r} (legal: a list of words such as ["/shared/web", "start"], or one text)')
            return ()
        if any("\0" in one for one in value):
            self._wrong(field, "a word with a zero byte in it")
            return ()
        if any(0xD800 <= ord(letter) <= 0xDFFF for one in value for letter in one):  # JSON can say it, exec cannot
            self._wrong(field, "a word with half a surrogate pair in it")
            return ()
        if not value[0].startswith("/"):
            self._wrong(field, f"{value[0]!r} is not the full path of a file (legal: a path that begins with /)")
        return tuple(value)

    def _events(self) -> list[dict[str, Any]]:
        value = self._given.get("events", [])
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            self._wrong("events", "no list of tables (legal: [[service.events]] tables)")
            return []
        return value


def _alike(one: str, other: str) -> bool:
    """Whether they differ by a letter or two, or in how the words are joined."""
    if one.replace("_", "") == other.replace("_", "").replace("-", "").lower():
        return True
    if abs(len(one) - len(other)) > 2:
        return False
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, 1):
        row, above = [i], row
        for j, right in enumerate(other, 1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (left != right)))
    return row[-1] <= 2
