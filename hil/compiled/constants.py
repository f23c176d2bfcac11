"""What never changes, told to the compiler as such: then it is read from memory, and not looked up by its name.

* a name of a module that is bound once, to a constant or to something that is kept, becomes ``Final``
* a member of an enumeration gets a name of that kind beside its class, which functions use instead

A look-up in the dictionary of a module, and one in that of a class, took a tenth of a run.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

_CONSTANT: Final = re.compile(r"_?[A-Z][A-Z0-9_]+")
_KEPT: Final = re.compile(r"_[a-z][a-z0-9_]*")
_LEFT_ALONE: Final = ("TYPE_CHECKING", "State")
_FUTURE: Final = "from __future__ import annotations\n"
_ENUMERATIONS: Final = ("Enum", "IntEnum", "StrEnum")


class Edit(NamedTuple):
    """Bytes ``start`` to ``end`` of a line, from 1, become ``text``."""

    line: int
    start: int
    end: int
    text: str


Members = dict[str, list[str]]
"""Of each enumeration of a module, by its name."""


def named(texts: Mapping[str, str]) -> dict[str, str]:
    """The sources of these modules, by name, with their constants told."""
    trees = {module: ast.parse(text) for module, text in texts.items()}
    members = {module: _members(tree) for module, tree in trees.items()}
    return {module: _one_module(module, text, trees[module], members) for module, text in texts.items()}


def _members(tree: ast.Module) -> Members:
    return {
        one.name: [
            target.id
            for made in one.body
            if isinstance(made, ast.Assign)
            for target in made.targets
            if isinstance(target, ast.Name) and target.id[0] != "_"
        ]
        for one in tree.body
        if isinstance(one, ast.ClassDef) and any(ast.unparse(base) in _ENUMERATIONS for base in one.bases)
    }


def _one_module(module: str, text: str, tree: ast.Module, members: Mapping[str, Members]) -> str:
    lines = text.encode().split(b"\n")
    edits = [*_finals(tree), *_uses(module, tree, members)]
    for line, start, end, new in sorted(edits, reverse=True):
        lines[line - 1] = lines[line - 1][:start] + new.encode() + lines[line - 1][end:]
    for one in reversed(tree.body):
        added = _added(module, one, members)
        if added:
            assert one.end_lineno is not None
            lines.insert(one.end_lineno, "\n".join(added).encode())
    changed = b"\n".join(lines).decode()
    return changed.replace(_FUTURE, f"{_FUTURE}from typing import Final\n", 1) if changed != text else text


def _finals(tree: ast.Module) -> Iterator[Edit]:
    bound = Counter(one.id for one in ast.walk(tree) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store))
    for one in tree.body:
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name) and one.value is not None:
            kind = one.annotation
            told = kind.lineno != kind.end_lineno or ast.unparse(kind).startswith("Final")
            if bound[one.target.id] == 1 and _is_constant(one.target.id, one.value) and not told:
                yield Edit(kind.lineno, kind.col_offset, kind.col_offset, "Final[")
                yield Edit(kind.lineno, kind.end_col_offset or 0, kind.end_col_offset or 0, "]")
        elif isinstance(one, ast.Assign) and len(one.targets) == 1:
            yield from _assigned(one, bound)


def _assigned(one: ast.Assign, bound: Counter[str]) -> Iterator[Edit]:
    target, value = one.targets[0], one.value
    if isinstance(target, ast.Name):
        if bound[target.id] == 1 and _CONSTANT.fullmatch(target.id) and _is_constant(target.id, value):
            yield Edit(one.lineno, target.end_col_offset or 0, target.end_col_offset or 0, ": Final")
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and one.lineno == one.end_lineno:
        names = [name.id for name in target.elts if isinstance(name, ast.Name)]
        if len(names) == len(value.elts) and all(bound[name] == 1 and _CONSTANT.fullmatch(name) for name in names):
            pairs = zip(names, value.elts, strict=True)
            told = "; ".join(f"{name}: Final = {ast.unparse(part)}" for name, part in pairs)
            yield Edit(one.lineno, one.col_offset, one.end_col_offset or 0, told)


def _is_constant(name: str, value: ast.expr) -> bool:
    """Not what is there for the checker only."""
    makes_a_type = isinstance(value, ast.Call) and ast.unparse(value.func) == "TypeVar"
    plain = _CONSTANT.fullmatch(name) or _KEPT.fullmatch(name)
    return bool(plain) and name not in _LEFT_ALONE and not makes_a_type


def _name(enumeration: str, member: str) -> str:
    return f"_member_{enumeration}_{member}"


def _added(module: str, one: ast.stmt, members: Mapping[str, Members]) -> list[str]:
    """What comes after a statement: names for the members of an enumeration that it defines, or imports."""
    if isinstance(one, ast.ClassDef):
        names = members[module].get(one.name, [])
        return [f"{_name(one.name, member)}: Final = {one.name}.{member}" for member in names]
    if isinstance(one, ast.ImportFrom) and one.module is not None and one.module in members:
        found = members[one.module]
        wanted = [_name(alias.name, member) for alias in one.names for member in found.get(alias.name, [])]
        return [f"from {one.module} import {', '.join(wanted)}"] if wanted else []
    return []


def _uses(module: str, tree: ast.Module, members: Mapping[str, Members]) -> Iterator[Edit]:
    """In functions, which run after all classes were made."""
    known = {name: (name, found) for name, found in members[module].items()}
    for one in tree.body:
        if isinstance(one, ast.ImportFrom) and one.module is not None and one.module in members:
            for alias in one.names:
                if alias.name in members[one.module]:
                    known[alias.asname or alias.name] = (alias.name, members[one.module][alias.name])
    if known:
        functions = [one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef)]
        for place in {(use.lineno, use.col_offset): use for made in functions for use in _plain(made.body)}.values():
            enumeration, found = known.get(ast.unparse(place.value), ("", []))
            if place.attr in found:
                assert place.end_col_offset is not None
                yield Edit(place.lineno, place.col_offset, place.end_col_offset, _name(enumeration, place.attr))


def _plain(body: list[ast.stmt]) -> Iterator[ast.Attribute]:
    """All attributes in there, but those in patterns (a name would be a capture) and in f-strings (no places known)."""
    waiting: list[ast.AST] = list(body)
    while waiting:
        one = waiting.pop()
        if isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name) and one.lineno == one.end_lineno:
            yield one
        if not isinstance(one, (ast.MatchValue, ast.JoinedStr)):
            waiting += ast.iter_child_nodes(one)
