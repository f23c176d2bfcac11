"""Parameters of faults: what is legal, and how a value is typed on a command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from hil.errors import UsageError
from hil.scsi.faults.parameters import Choice, Integer

__all__ = [
    "Blocks",
    "Choice",
    "Groups",
    "Integer",
    "Nodes",
    "Parameter",
    "Parameters",
    "Text",
    "legal",
    "resolve",
    "typed",
]


class Text(NamedTuple):
    """Any text up to ``size_max`` bytes."""

    size_max: int
    default: str | None
    about: str

    def check(self, value: Any) -> str | None:
        """What would have been legal, None for a legal value."""
        fine = isinstance(value, str) and 0 < len(value.encode()) <= self.size_max
        return None if fine else f"a text of 1 to {self.size_max} bytes"


class Nodes(NamedTuple):
    """Numbers of nodes, each once; typed as ``0,2``."""

    about: str
    default: None = None

    def check(self, value: Any) -> str | None:
        """What would have been legal, None for a legal value."""
        return None if _are_nodes(value) else "numbers of nodes, each once, as 0,2"


class Groups(NamedTuple):
    """Groups of nodes; typed as ``0,1/2``."""

    about: str
    default: None = None

    def check(self, value: Any) -> str | None:
        """What would have been legal, None for a legal value."""
        fine = isinstance(value, list) and len(value) > 1 and all(_are_nodes(group) for group in value)
        fine = fine and _are_nodes([node for group in value for node in group])
        return None if fine else "two groups or more, each node in one of them, as 0,1/2"


class Blocks(NamedTuple):
    """First and last block; typed as ``2048-4095``."""

    about: str
    default: None = None

    def check(self, value: Any) -> str | None:
        """What would have been legal, None for a legal value."""
        fine = isinstance(value, list) and len(value) == 2 and all(type(one) is int for one in value)
        return None if fine and 0 <= value[0] <= value[1] else "first and last block, as 2048-4095"


Parameter = Integer | Choice | Text | Nodes | Groups | Blocks


class Optional(NamedTuple):
    """A parameter that may be left out, and means something else then."""

    of: Parameter


Parameters = Mapping[str, Parameter | Optional]


def resolve(kind: str, known: Parameters, given: Mapping[str, Any]) -> dict[str, Any]:
    """Every parameter of the kind with its value, those left out that may be. Raises :class:`UsageError`."""
    for name in given:
        if name not in known:
            raise UsageError(f"fault {kind}: parameter {name!r} is not known (legal: {', '.join(known) or 'none'})")
    values: dict[str, Any] = {}
    for name, about in known.items():
        parameter = about.of if isinstance(about, Optional) else about
        value = _plain(given.get(name, None if isinstance(about, Optional) else parameter.default))
        if value is None:
            if isinstance(about, Optional):
                continue
            raise UsageError(f"fault {kind} needs {name}: {parameter.about} (legal: {legal(parameter)})")
        if (wanted := parameter.check(value)) is not None:
            raise UsageError(f"fault {kind}: {name} = {value!r} (legal: {wanted.rstrip(',')})")
        values[name] = value
    return values


def typed(kind: str, known: Parameters, name: str, text: str) -> Any:
    """The value that ``text`` stands for on a command line. Raises :class:`UsageError`."""
    if name not in known:
        raise UsageError(f"fault {kind}: parameter {name!r} is not known (legal: {', '.join(known) or 'none'})")
    about = known[name]
    parameter = about.of if isinstance(about, Optional) else about
    try:
        if isinstance(parameter, Integer):
            return int(text)
        if isinstance(parameter, Nodes):
            return _numbers(text)
        if isinstance(parameter, Groups):
            return [_numbers(group) for group in text.split("/")]
        if isinstance(parameter, Blocks):
            first, _, last = text.partition("-")
            return [int(first), int(last or first)]
    except ValueError:
        raise UsageError(f"fault {kind}: {name}={text} (legal: {legal(parameter)})") from None
    return text


def legal(parameter: Parameter) -> str:
    """What is legal, for people."""
    return (parameter.check(None) or "anything").rstrip(",")


def _numbers(text: str) -> list[int]:
    found = [re.fullmatch(r"n?(\d{1,4})", part) for part in text.split(",")]
    if not all(found):
        raise ValueError(text)
    return [int(one[1]) for one in found if one is not None]


def _are_nodes(value: Any) -> bool:
    fine = isinstance(value, list) and all(type(one) is int and one >= 0 for one in value)
    return fine and len(set(value)) == len(value) > 0


def _plain(value: Any) -> Any:
    """As JSON has it: nodes are their numbers."""
    if isinstance(value, (list, tuple, range)):
        return [_plain(one) for one in value]
    return int(value) if hasattr(value, "view") and hasattr(value, "id") else value
