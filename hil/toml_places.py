"""On which line of a TOML text a field of the n-th table of an array stands; `tomllib` keeps no places.

Good for texts that `tomllib` has read without an error: it looks at headers, at keys and at what may hide such (strings
and arrays over several lines), and at nothing else.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_KEY = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_DOTTED = rf"{_KEY}(?:[ \t]*\.[ \t]*{_KEY})*"
_HEADER = re.compile(rf"[ \t]*(\[\[?)[ \t]*({_DOTTED})[ \t]*\]\]?")
_ASSIGNED = re.compile(rf"[ \t]*({_DOTTED})[ \t]*=")
_TOKEN = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|#[^\n]*|[\[\]{}\n]', re.DOTALL
)


class Places(NamedTuple):
    """Lines are counted from 1."""

    top: dict[str, int]
    """Of the keys and tables at the top."""
    tables: list[dict[str, int]]
    """Of each table of the array: field to line; "" is the table itself; 0: there are several such lines."""

    def line(self, index: int, field: str) -> int:
        """Of a field of the table ``index``; of the table, if it has no such field; 1 if there is no such table."""
        if index >= len(self.tables):
            return next(iter(self.top.values()), 1)
        table = self.tables[index]
        parts = field.split(".")
        names = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
        return next((table[name] for name in names if table.get(name)), table[""])


def places(text: str, array: str) -> Places:
    """Of the tables ``[[array]]``."""
    found = Places({}, [])
    path: list[str] = []
    for number, statement in _statements(text):
        if (header := _HEADER.match(statement)) is not None:
            path = _parts(header[2])
            found.top.setdefault(path[0], number)
            if path == [array] and header[1] == "[[":
                found.tables.append({"": number})
            elif path[0] == array and len(path) > 1 and found.tables:
                _note(found.tables[-1], path[1:], number)
        elif (assigned := _ASSIGNED.match(statement)) is not None:
            key = _parts(assigned[1])
            if not path:
                found.top.setdefault(key[0], number)
            elif path[0] == array and found.tables:
                _note(found.tables[-1], [*path[1:], *key], number)
    return found


def _note(table: dict[str, int], parts: list[str], number: int) -> None:
    """A key of the table, or of one within it: that is known only if there are not several of its name."""
    table.setdefault(parts[0], number)
    for count in range(2, len(parts) + 1):
        name = ".".join(parts[:count])
        table[name] = 0 if name in table else number


def _parts(dotted: str) -> list[str]:
    """A key's parts, without their quotes. What is escaped in them stays so: no field has such a name."""
    return [part[1:-1] if part[0] in "\"'" else part for part in re.findall(_KEY, dotted)]


def _statements(text: str) -> list[tuple[int, str]]:
    """Each with the number of the line where it begins: a statement ends with its line, unless a bracket is open."""
    text = text.replace("\r\n", "\n") + "\n"
    found: list[tuple[int, str]] = []
    begin, line, begun_on, depth = 0, 1, 1, 0
    for token in _TOKEN.finditer(text):
        said = token[0]
        line += said.count("\n")
        if said in "[{":
            depth += 1
        elif said in "]}":
            depth -= 1
        elif said == "\n" and depth <= 0:
            found.append((begun_on, text[begin : token.end()]))
            begin, begun_on, depth = token.end(), line, 0
    return found
