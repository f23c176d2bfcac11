"""What a watcher declares, its IN and OUT parameters, and whether values fit them (spec S8.2)."""

from __future__ import annotations

from guestd.core.value import Value
from guestd.events.substitution import name_is_legal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

TYPES = ("string", "integer", "number", "boolean")
TEXT_SIZE_MAX = 4096  # bytes of one value
PARAMETERS_MAX = 32
NAME_SIZE_MAX = 64


class Parameter(Value):
    """One name-value pair of an event's definition (IN) or of its occurrence (OUT)."""

    name: str
    type: str  # of TYPES
    about: str = ""
    required: bool = True  # of an IN parameter
    default: Any = None  # of one that is not required; None: it has none
    choices: tuple[str, ...] = ()  # that are legal; none: all are
    least: float | None = None  # of a number


class Declaration(Value):
    """What one watcher takes and gives."""

    name: str
    inputs: tuple[Parameter, ...]
    outputs: tuple[Parameter, ...]
    one_of: tuple[str, ...] = ()  # IN parameters of which an event has exactly one
    about: str = ""
    follows: bool = False  # it is told the transitions of the cluster's nodes


class BadDeclaration(ValueError):
    """A watcher has declared what cannot be; says what is legal."""


def value_problem(parameter: Parameter, value: object) -> str:
    """Why that cannot be its value; "" if it can."""
    if parameter.type == "string":
        if not isinstance(value, str):
            return f"{value!r} (legal: a string)"
        if parameter.choices and value not in parameter.choices:
            return f"{value!r} (legal: {', '.join(parameter.choices)})"
        return text_problem(value)
    if parameter.type == "boolean":
        return "" if isinstance(value, bool) else f"{value!r} (legal: true, false)"
    whole = parameter.type == "integer"
    legal = "a whole number" if whole else "a number"
    if parameter.least is not None:
        legal += f", at least {parameter.least:g}"
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        return f"{value!r} (legal: {legal})"
    # Also false for a number that is none.
    sound = -(1 << 63) <= value < 1 << 63 and (parameter.least is None or value >= parameter.least)
    return "" if sound else f"{value!r} (legal: {legal})"


def text_problem(value: str) -> str:
    """Why that cannot be part of an argument; "" if it can."""
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        return f"{value[:40]!r} is no text that UTF-8 can carry"
    if size > TEXT_SIZE_MAX:
        return f"{size} bytes (legal: at most {TEXT_SIZE_MAX})"
    return "a zero byte in it, which no argument can have" if "\0" in value else ""


def given_problems(declaration: Declaration, given: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is wrong with the IN parameters of an event: each with the parameter's name, and what is legal."""
    known = {parameter.name: parameter for parameter in declaration.inputs}
    legal = ", ".join(known) or "none"
    found = [(name, f"no IN parameter of {declaration.name} (legal: {legal})") for name in given if name not in known]
    for name, parameter in known.items():
        if name in given:
            why = value_problem(parameter, given[name])
            if why:
                found.append((name, why))
        elif parameter.required:
            found.append((name, f"lacking: {declaration.name} needs it ({parameter.type}: {parameter.about})"))
    if declaration.one_of and len([name for name in declaration.one_of if name in given]) != 1:
        found.append((declaration.one_of[0], f"legal: exactly one of {', '.join(declaration.one_of)}"))
    return found


def with_defaults(declaration: Declaration, given: Mapping[str, Any]) -> dict[str, Any]:
    """All IN parameters that the event has."""
    values = {one.name: given.get(one.name, one.default) for one in declaration.inputs}
    return {name: value for name, value in values.items() if value is not None}


def declared(said: Mapping[str, Any]) -> Declaration:
    """From the first message of a watcher (docs/event-manager.md). Raises BadDeclaration."""
    name = said.get("name")
    if not watcher_name_is_legal(name):
        raise BadDeclaration(f"name {name!r} (legal: 1 to {NAME_SIZE_MAX} letters, digits, - and _)")
    legal = ("name", "in", "out", "follows")
    unknown = [key for key in said if key not in legal]
    if unknown:
        raise BadDeclaration(f"{unknown[0]!r} (legal: {', '.join(legal)})")
    if not isinstance(said.get("follows", False), bool):
        raise BadDeclaration(f"follows {said['follows']!r} (legal: true, false)")
    return Declaration(str(name), _parameters("in", said), _parameters("out", said), follows=said.get("follows", False))


def watcher_name_is_legal(name: object) -> bool:
    """Whether a watcher may be called that."""
    return (
        isinstance(name, str)
        and 1 <= len(name) <= NAME_SIZE_MAX
        and all(one in "-_" or (one.isascii() and one.isalnum()) for one in name)
    )


def _parameters(side: str, said: Mapping[str, Any]) -> tuple[Parameter, ...]:
    given = said.get(side, [])
    if not isinstance(given, list) or len(given) > PARAMETERS_MAX:
        raise BadDeclaration(f"{side}: legal: a list of at most {PARAMETERS_MAX} parameters")
    found: dict[str, Parameter] = {}
    for one in given:
        table = {"name": one} if isinstance(one, str) else one
        if not isinstance(table, dict) or table.keys() - {"name", "type", "required", "default"}:
            raise BadDeclaration(f"{side}: {one!r} (legal: a name, or name, type, required, default)")
        name, kind = table.get("name"), table.get("type", "string")
        if not name_is_legal(name) or name in found:
            raise BadDeclaration(f"{side}: name {name!r} (legal: letters, digits and _, each name once)")
        if kind not in TYPES:
            raise BadDeclaration(f"{side}: {name}: type {kind!r} (legal: {', '.join(TYPES)})")
        default = table.get("default")
        made = Parameter(str(name), kind, required=bool(table.get("required", default is None)), default=default)
        why = "" if default is None else value_problem(made, default)
        if why:
            raise BadDeclaration(f"{side}: {name}: default {why}")
        found[made.name] = made
    return tuple(found.values())
