"""Service files: TOML with `[[service]]` tables (docs/services.md), checked on the host before anything is sent.

What is wrong is told all at once, each with its file and line.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hil.errors import BadServiceFile
from hil.toml_places import Places, places

if TYPE_CHECKING:
    from guestd.services.definition import Problem

ARRAY = "service"


class _Table(NamedTuple):
    """One `[[service]]` of one file."""

    path: Path
    places: Places
    position: int  # in its file
    given: dict[str, Any]

    def at(self, field: str) -> str:
        return f"{self.path}:{self.places.line(self.position, field)}"


def read(
    paths: Sequence[Path], nodes: int, known: Mapping[str, str] | None = None, *, there: bool = False
) -> list[dict[str, Any]]:
    """The tables of all files, as they are sent to a node.

    ``nodes``: of the cluster; ``known``: the services that it has, each with its parent ("": none); ``there``: the
    files are about some of those, and not about new ones.
    Raises :class:`BadServiceFile` with everything that is wrong in any of them.
    """
    from guestd.services.definition import DefinitionErrors, checked, of_table

    wrong: list[str] = []
    tables: list[_Table] = []
    for path in paths:
        tables += _tables(path, wrong)
    others = {
        name: of_table({"name": name, **({"parent": parent} if parent else {})})
        for name, parent in (known or {}).items()
    }
    unread = bool(wrong)
    if there:
        for table in tables:
            if others.pop(str(table.given.get("name")), None) is None:
                legal = ", ".join(sorted(known or {})) or "there is no service"
                wrong.append(f"{table.at('name')}: name: the cluster has no such service (legal: {legal})")
    made: list[tuple[Any, dict[str, Any]]] = []
    try:
        made = checked([table.given for table in tables], others, nodes)
    except DefinitionErrors as error:
        for problem in error.problems:
            if unread and problem.field == "parent" and "is no service" in problem.why:
                continue  # it may be in what could not be read
            wrong.append(_sentence(problem, tables))
    if wrong:
        raise BadServiceFile("\n".join(sorted(wrong, key=_by_place(paths))))
    return [table for _, table in made]


def _tables(path: Path, wrong: list[str]) -> list[_Table]:
    """Of one file; what it has besides or instead goes to ``wrong``."""
    text = ""
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text)
    except OSError as error:
        wrong.append(f"{path}: {error.strerror}")
        return []
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        wrong.append(f"{path}:{line}: not UTF-8: {error.reason}")
        return []
    except tomllib.TOMLDecodeError as error:
        wrong.append(_syntax(path, text, str(error)))
        return []
    found = places(text, ARRAY)
    for key in values:
        if key != ARRAY:
            near = difflib.get_close_matches(key, [ARRAY], cutoff=0.6)
            hint = "did you mean [[service]]?" if near else "legal: [[service]] tables"
            wrong.append(f"{path}:{found.top.get(key, 1)}: {key}: a service file has no such key ({hint})")
    given = values.get(ARRAY)
    line = found.top.get(ARRAY, 1)
    if isinstance(given, dict):
        wrong.append(f"{path}:{line}: service: each service begins with [[service]], in two brackets")
        return []
    if given is None:
        if not values:
            wrong.append(f"{path}:1: there is no [[service]] in this file")
        return []
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        wrong.append(f"{path}:{line}: service: {given!r} (legal: [[service]] tables)")
        return []
    return [_Table(path, found, index, table) for index, table in enumerate(given)]


def _syntax(path: Path, text: str, why: str) -> str:
    """tomllib's own words, with its line in front."""
    place = re.search(r" \(at line (\d+), column (\d+)\)$", why)
    if place is not None:
        return f"{path}:{place[1]}: not TOML: {why[: place.start()]} (column {place[2]})"
    return f"{path}:{text.count(chr(10)) + 1}: not TOML: {why.replace(' (at end of document)', ', at the end')}"


def _sentence(problem: Problem, tables: Sequence[_Table]) -> str:
    """File, line, service, field, what is wrong."""
    table = tables[problem.index]
    who = f"service {problem.service!r}" if problem.service else "service"
    field = f"{problem.field}: " if problem.field else ""
    why = problem.why
    if problem.field == "name":
        twin = next((one for one in tables[: problem.index] if one.given.get("name") == problem.service), None)
        if twin is not None and problem.service:
            why = f"another service has this name: {twin.at('name')}"
    return f"{table.at(problem.field)}: {who}: {field}{why}"


def _by_place(paths: Sequence[Path]) -> Any:
    """Sentences in the order of the files, then of the lines."""
    order = {str(path): number for number, path in reversed(list(enumerate(paths)))}

    def key(sentence: str) -> tuple[int, int]:
        for path, number in order.items():
            if sentence.startswith(f"{path}:"):
                line = re.match(r":(\d+):", sentence.removeprefix(path))
                return number, int(line[1]) if line else 0
        return len(order), 0

    return key
