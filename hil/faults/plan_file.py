"""Plan files: TOML (docs/faults.md), checked as a whole: what is wrong is told all at once, with its file and line.

::

    until_ms = 30_000

    [draw]                                  # faults without at_ms are drawn from the seed, one after the other
    every_ms = 3_000

    [[fault]]                               # at a fixed time
    kind = "link-silent"
    at_ms = 2_000
    for_ms = 1_500
    whom = "master"
    direction = "out"

    [[fault]]
    kind = "power-off"
    weight = 3
    whom = ["any", "minority"]              # one of these
    for_ms = [500, 4_000]                   # from, to

The kinds of the simulator's plans (:mod:`hil.sim.plan`) are legal at fixed times, with the parameters that they have
there.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from hil.errors import BadPlan, UsageError
from hil.faults import library
from hil.faults.parameters import Blocks, Groups, Nodes, Optional
from hil.faults.plan import Choice, Drawing, FaultPlan, Step, draw
from hil.faults.simulated_plan import of_simulated
from hil.faults.whom import parsed
from hil.sim import plan as simulated
from hil.toml_places import Places, places

NODES_MAX: Final = 64
UNTIL_MS_MAX: Final = 24 * 3_600_000
EVERY_MS_MIN: Final = 10
WEIGHT_MAX: Final = 1000
FIXED: Final = ("kind", "whom", "at_ms", "for_ms")
DRAWN: Final = ("kind", "whom", "weight", "for_ms")
TOP: Final = ("until_ms", "operator", "draw", "fault")


def read(path: Path, seed: int = 0) -> FaultPlan:
    """The plan of that file; what it leaves open is drawn from ``seed``. Raises :class:`BadPlan` that tells all."""
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text)
    except OSError as error:
        raise BadPlan(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise BadPlan(f"{path}: not UTF-8: {error.reason}") from None
    except tomllib.TOMLDecodeError as error:
        place = re.search(r" \(at line (\d+), column \d+\)$", str(error))
        line = f":{place[1]}" if place else ""
        raise BadPlan(f"{path}{line}: not TOML: {re.sub(r' [(]at .*[)]$', '', str(error))}") from None
    return _Reading(path, values, places(text, "fault")).plan(seed)


class _Reading:
    """Of one file; ``wrong`` are sentences."""

    def __init__(self, path: Path, values: dict[str, Any], found: Places) -> None:
        self.wrong: list[tuple[int, str]] = []
        self._path = path
        self._values = values
        self._places = found

    def plan(self, seed: int) -> FaultPlan:
        """Raises :class:`BadPlan`."""
        values = self._values
        for key in values:
            if key not in TOP:
                self._top(key, f"a plan has no such key (legal: {', '.join(TOP)})")
        until_ms: Any = values.get("until_ms")
        if not _whole(until_ms, 1, UNTIL_MS_MAX):
            self._top("until_ms", f"{_shown(until_ms)} (legal: milliseconds, 1 to {UNTIL_MS_MAX})")
            until_ms = UNTIL_MS_MAX
        operator = values.get("operator", True)
        if not isinstance(operator, bool):
            self._top("operator", f"{operator!r} (legal: true, false)")
        tables = values.get("fault", [])
        if not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
            self._top("fault", f"{tables!r} (legal: [[fault]] tables)")
            tables = []
        fixed: list[Step] = []
        choices: list[Choice] = []
        for index, table in enumerate(tables):
            if "at_ms" in table:
                fixed += self._fixed(index, table, until_ms)
            else:
                choices += self._drawn(index, table)
        drawing = self._drawing(choices, until_ms)
        if self.wrong:
            raise BadPlan("\n".join(f"{self._path}:{line}: {told}" for line, told in sorted(self.wrong)))
        steps = fixed + ([] if drawing is None else draw(drawing, until_ms, seed))
        return FaultPlan(
            self._path.stem, until_ms, tuple(sorted(steps, key=lambda step: step.at_ms)), bool(operator), seed
        )

    # -- tables

    def _fixed(self, index: int, table: dict[str, Any], until_ms: int) -> list[Step]:
        kind = table.get("kind")
        if kind in simulated.KINDS and kind not in library.KINDS:
            try:
                return [of_simulated(simulated.from_dict(table))]
            except UsageError as error:
                self._note(index, "kind", str(error))
                return []
        if not self._kind(index, table):
            return []
        before = len(self.wrong)
        at_ms, for_ms = table["at_ms"], table.get("for_ms")
        if not _whole(at_ms, 0, until_ms):
            self._note(index, "at_ms", f"{_shown(at_ms)} (legal: milliseconds, 0 to until_ms = {until_ms})")
        if for_ms is None:
            for_ms = max(0, until_ms - at_ms) if _whole(at_ms, 0, until_ms) else 0
        elif not _whole(for_ms, 0, UNTIL_MS_MAX):
            self._note(index, "for_ms", f"{_shown(for_ms)} (legal: milliseconds from 0, or left out: until the end)")
        whom = _listed(table.get("whom"))
        self._whom(index, whom)
        given = {key: value for key, value in table.items() if key not in FIXED}
        self._parameters(index, str(kind), given)
        if len(self.wrong) > before:
            return []
        return [Step(str(kind), str(whom), at_ms, for_ms, given, seed=f"fixed {index}")]

    def _drawn(self, index: int, table: dict[str, Any]) -> list[Choice]:
        if not self._kind(index, table):
            return []
        before = len(self.wrong)
        kind, weight = table["kind"], table.get("weight", 1)
        for_ms: Any = table.get("for_ms")
        if not _whole(weight, 1, WEIGHT_MAX):
            self._note(index, "weight", f"{_shown(weight)} (legal: 1 to {WEIGHT_MAX})")
        span: list[Any] = for_ms if isinstance(for_ms, list) else [for_ms, for_ms]
        if len(span) != 2 or not all(_whole(one, 0, UNTIL_MS_MAX) for one in span) or span[0] > span[1]:
            self._note(index, "for_ms", f"{_shown(for_ms)} (legal: milliseconds from 0, or [from, to])")
        offered = table.get("whom")
        roles = offered if isinstance(offered, list) and offered else [offered]
        for whom in roles:
            self._whom(index, whom)
        given = {key: value for key, value in table.items() if key not in DRAWN}
        parameters = {name: _offered(kind, name, value) for name, value in given.items()}
        for position in range(max((len(values) for values in parameters.values()), default=1)):
            one = {name: values[min(position, len(values) - 1)] for name, values in parameters.items()}
            self._parameters(index, kind, one)
        if len(self.wrong) > before:
            return []
        return [Choice(kind, tuple(str(one) for one in roles), weight, (span[0], span[1]), parameters)]

    def _drawing(self, choices: list[Choice], until_ms: int) -> Drawing | None:
        given = self._values.get("draw")
        if given is None:
            if choices:
                self._top("fault", "a fault without at_ms is drawn: [draw] with every_ms says how often")
            return None
        if not isinstance(given, dict):
            self._top("draw", f"{given!r} (legal: a table with every_ms, from_ms)")
            return None
        for key in given:
            if key not in ("every_ms", "from_ms"):
                self._top("draw", f"draw has no {key!r} (legal: every_ms, from_ms)")
        every_ms: Any = given.get("every_ms")
        from_ms = given.get("from_ms", 0)
        if not _whole(every_ms, EVERY_MS_MIN, UNTIL_MS_MAX):
            self._top("draw", f"every_ms = {_shown(every_ms)} (legal: milliseconds from {EVERY_MS_MIN})")
        if not _whole(from_ms, 0, until_ms):
            self._top("draw", f"from_ms = {_shown(from_ms)} (legal: milliseconds, 0 to until_ms)")
        if not choices and not self.wrong:
            self._top("draw", "there is no fault without at_ms, so nothing to draw")
        return None if self.wrong else Drawing(int(every_ms), int(from_ms), tuple(choices))

    # -- keys

    def _kind(self, index: int, table: dict[str, Any]) -> bool:
        kind = table.get("kind")
        if kind in library.KINDS:
            return True
        if kind is None:
            told = "lacks kind"
        elif kind in simulated.KINDS:
            told = f"kind {kind!r} is the simulator's: legal with at_ms only"
        else:
            told = f"kind = {kind!r}"
        self._note(index, "kind", f"{told} (legal: {', '.join(library.KINDS)})", field=False)
        return False

    def _whom(self, index: int, whom: Any) -> None:
        try:
            if whom is None or isinstance(whom, bool) or not isinstance(whom, (str, int)):
                raise UsageError("legal: a role, or numbers of nodes as 0,2")
            parsed(whom, NODES_MAX)
        except UsageError as error:
            self._note(index, "whom", f"{_shown(whom)}: {error}")

    def _parameters(self, index: int, kind: str, given: Mapping[str, Any]) -> None:
        for name, value in given.items():
            if name not in library.KINDS[kind].parameters:
                known = ", ".join((*FIXED, "weight", *library.KINDS[kind].parameters))
                self._note(index, name, f"a fault {kind} has no such key (legal: {known})")
                return
            if value is None:
                self._note(index, name, "an empty list (legal: values of which one is drawn)")
                return
        try:
            library.check(kind, given)
        except UsageError as error:
            name = next((name for name in given if f" {name} = " in str(error)), "kind")
            self._note(index, name, str(error), field=False)

    def _note(self, index: int, key: str, told: str, *, field: bool = True) -> None:
        text = f"{key}: {told}" if field else told
        line = self._places.line(index, key)
        if (line, text) not in self.wrong:
            self.wrong.append((line, text))

    def _top(self, key: str, told: str) -> None:
        self.wrong.append((self._places.top.get(key, 1), f"{key}: {told}"))


def _listed(whom: Any) -> Any:
    """Several nodes may be a list at a fixed time."""
    if isinstance(whom, list) and whom and all(type(one) in (int, str) for one in whom):
        return ",".join(map(str, whom))
    return whom


def _offered(kind: str, name: str, value: Any) -> tuple[Any, ...]:
    """The values of which one is drawn; a list that is itself one value stays so."""
    known = library.KINDS[kind].parameters.get(name)
    of = known.of if isinstance(known, Optional) else known
    whole = isinstance(of, (Nodes, Groups, Blocks))
    if not isinstance(value, list) or (whole and of is not None and of.check(value) is None):
        return (value,)
    return tuple(value) or (None,)


def _whole(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _shown(value: Any) -> str:
    return "missing" if value is None else repr(value)
