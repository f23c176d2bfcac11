"""Which modules are compiled, and the tree of sources that the compiler is given.

It is the checkout's, with these differences, none of which changes what a run does:

* guestd's values are spelled out as plain classes (:mod:`hil.compiled.values`): a metaclass would keep them interpreted
* a bare ``raise`` names what it raises
* constants are ``Final``, members of enumerations have names of their own (:mod:`hil.compiled.constants`)
* fields of named tuples are ``Any``: their types are evaluated when they are made, and are known to the checker only
* modules in ``GENERIC`` have what is there for the checker in place of what is there at run time
* the decoders in ``REMEMBERED`` keep what they have decoded, those in ``REMEMBERED_BY_NODE`` the last of each node, as
  with :mod:`hil.sim.speed`
"""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from hil.compiled.constants import named
from hil.compiled.values import VALUE, spelled_out

ROOT: Final = Path(__file__).parents[2]

INTERPRETED: Final = frozenset(
    {
        "guestd.core.enumeration",  # a metaclass of its own
        "guestd.core.json",  # gives its class to the interpreter's scanner
        "hil.errors",  # exceptions
        # What comes out of a worker is taken in by a process that is interpreted.
        "hil.sim.options",
        "hil.sim.plan",
        "hil.sim.run",
        # They exchange methods.
        "hil.sim.coverage",
        "hil.sim.speed",
    }
)

REMEMBERED: Final = {
    "guestd.membership.datagram": ("decode",),
    "guestd.membership.records": ("decode_ballot",),
}
REMEMBERED_BY_NODE: Final = {"guestd.membership.records": ("decode_heartbeat",)}

GENERIC: Final = frozenset({"guestd.core.machine"})
"""Their base is what it is to the checker: the compiler takes nothing else."""

_KEPT: Final = 512
_IMPORTS: Final = """
import hil.sim.run, sys
print(*sorted(name for name in sys.modules if name.split(".")[0] in ("guestd", "hil")))
"""
_FUTURE: Final = "from __future__ import annotations\n"


def imported() -> list[str]:
    """The names of guestd's and hil's modules that a run needs."""
    command = [sys.executable, "-c", _IMPORTS]
    told = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    return [name for name in told if not name.startswith("hil.compiled")]


def write_tree(tree: Path) -> list[str]:
    """Write it into a new directory; returns the files to be compiled, relative to it."""
    for package in ("guestd", "hil"):
        shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    files = {name: f"{name.replace('.', '/')}.py" for name in imported() if name not in INTERPRETED}
    compiled = {name: file for name, file in files.items() if (tree / file).exists()}  # else it is a package
    texts = spelled_out(named({name: (ROOT / file).read_text() for name, file in compiled.items()}))
    for name, file in compiled.items():
        text = VALUE if name == "guestd.core.value" else texts[name]
        if name in GENERIC:
            text = _as_checked(text)
        for function in REMEMBERED.get(name, ()):
            text = _remembering(text, function)
        for function in REMEMBERED_BY_NODE.get(name, ()):
            text = _remembering_by_node(text, function)
        (tree / file).write_text(_not_an_extension(_raising_by_name(_with_any(text))))
    return sorted(compiled.values())


def _as_checked(text: str) -> str:
    """What is there for the checker, in place of what is there at run time."""
    (choice,) = (one for one in ast.parse(text).body if isinstance(one, ast.If) and one.orelse)
    lines = text.split("\n")
    lines[choice.lineno - 1 : choice.end_lineno] = [ast.unparse(one) for one in choice.body]
    return "\n".join(lines)


def _with_any(text: str) -> str:
    """Fields of named tuples without their types."""
    lines = text.encode().split(b"\n")  # the parser counts bytes
    found = False
    for made in ast.walk(ast.parse(text)):
        if isinstance(made, ast.ClassDef) and "NamedTuple" in map(ast.unparse, made.bases):
            for field in made.body:
                if isinstance(field, ast.AnnAssign):
                    kind, found = field.annotation, True
                    line = lines[kind.lineno - 1]
                    lines[kind.lineno - 1] = line[: kind.col_offset] + b"Any" + line[kind.end_col_offset :]
    changed = b"\n".join(lines).decode()
    return changed.replace(_FUTURE, f"{_FUTURE}from typing import Any\n", 1) if found else changed


def _raising_by_name(text: str) -> str:
    """A bare ``raise`` in a handler raises what was caught, by its name: the compiler forgets it at a ``yield``."""
    lines = text.split("\n")
    for handler in ast.walk(ast.parse(text)):
        if not isinstance(handler, ast.ExceptHandler) or handler.type is None:
            continue
        bare = [one for one in ast.walk(handler) if isinstance(one, ast.Raise) and one.exc is None]
        if not bare:
            continue
        name = handler.name or "caught"
        if handler.name is None:
            assert handler.type is not None, "it has no name, so it has a type"
            line, end = lines[handler.lineno - 1], handler.type.end_col_offset
            lines[handler.lineno - 1] = f"{line[:end]} as {name}{line[end:]}"
        for one in bare:
            line = lines[one.lineno - 1]
            lines[one.lineno - 1] = f"{line[: one.col_offset]}raise {name}"
    return "\n".join(lines)


def _not_an_extension(text: str) -> str:
    """Exceptions whose base is interpreted, or none that the compiler knows, are so too."""
    for mark in ("class Violation(", "class IllegalTrigger("):
        told = f"from mypy_extensions import mypyc_attr\n\n\n@mypyc_attr(native_class=False)\n{mark}"
        text = text.replace(mark, told)
    return text


def _function(text: str, name: str) -> tuple[ast.arguments, str]:
    """Its parameters, and the type of its result."""
    (made,) = (one for one in ast.parse(text).body if isinstance(one, ast.FunctionDef) and one.name == name)
    assert made.returns is not None
    return made.args, ast.unparse(made.returns)


def _remembering_by_node(text: str, name: str) -> str:
    """As `_remembering`, of a decoder of (cluster_id, node, data): only what it was asked last for that node."""
    parameters, result = _function(text, name)
    plain = text.replace(f"def {name}(", f"def _{name}_anew(", 1)
    return f"""{plain}

_last_{name}: Final[dict[int, tuple[bytes, bytes, {result}]]] = {{}}


def {name}({ast.unparse(parameters)}) -> {result}:
    last = _last_{name}.get(node)
    if last is not None and last[1] == data and last[0] == cluster_id:
        return last[2]
    found = _{name}_anew(cluster_id, node, data)
    _last_{name}[node] = (cluster_id, data, found)
    return found
"""


def _remembering(text: str, name: str) -> str:
    """With a function of that name that looks first whether the one which had it was asked the same before."""
    parameters, result = _function(text, name)
    names = ", ".join(one.arg for one in parameters.args)
    types = ", ".join(ast.unparse(one.annotation) for one in parameters.args if one.annotation is not None)
    plain = text.replace(f"def {name}(", f"def _{name}_anew(", 1)
    return f"""{plain}

_known_{name}: Final[dict[tuple[{types}], {result}]] = {{}}


def {name}({ast.unparse(parameters)}) -> {result}:
    asked = ({names})
    known = _known_{name}.get(asked)
    if known is not None:
        return known
    found = _{name}_anew({names})
    if len(_known_{name}) >= {_KEPT}:
        _known_{name}.clear()
    _known_{name}[asked] = found
    return found
"""
