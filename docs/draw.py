"""Draws docs/state-machines.md from the tables in guestd: ``.venv/bin/python docs/draw.py``.

A test compares the page with what this makes, so the page cannot lag behind the tables.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from enum import Enum
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "state-machines.md"

MACHINES = {
    "guestd.membership.states": ("NODE_STATES", "NodeState", "A node, as all nodes see it (S2.4)"),
    "guestd.transition.states": ("SUBSYSTEM_STATES", "SubsystemState", "A node, for the subsystem at one level (S4.7)"),
    "guestd.membership.roles": ("ROLES", "Role", "What a node is to its cluster, as it knows itself"),
    "guestd.membership.paxos": ("PHASES", "Phase", "One bid for an epoch: Disk Paxos (S3.2)"),
}

HEAD = """\
# State machines

Drawn from the tables in `guestd/` by `docs/draw.py`; a test keeps the two the same. An arrow is a trigger; what is not
drawn is refused by name. Tests go through every pair of state and trigger.
"""


def page() -> str:
    """The page as it should be."""
    sys.path.insert(0, str(ROOT))
    return HEAD + "".join(_section(module, *rest) for module, rest in MACHINES.items())


def _section(module_name: str, table_name: str, enum_name: str, title: str) -> str:
    module = importlib.import_module(module_name)
    rows, states = getattr(module, table_name).rows, getattr(module, enum_name)
    remarks = _remarks(inspect.getsource(module), enum_name)
    first = next(iter(states))
    lines = ["", f"## {title}", "", f"`{module_name.replace('.', '/')}.py`", "", "```mermaid", "stateDiagram-v2"]
    lines.append(f"    [*] --> {_name(first)}")
    for state in states:
        lines += [f"    {_name(state)} --> {_name(target)}: {trigger}" for trigger, target in rows[state].items()]
        if not rows[state]:
            lines.append(f"    {_name(state)} --> [*]")
    lines += ["```", "", "| state | |", "|---|---|"]
    lines += [f"| {state.value} | {remarks.get(state.name, '')} |" for state in states]
    return "\n".join(lines) + "\n"


def _name(state: Enum) -> str:
    return str(state.value).replace("-", "_")  # mermaid takes a dash in a name for a part of an arrow


def _remarks(source: str, enum_name: str) -> dict[str, str]:
    """The remark behind each member of the enum, from its source."""
    lines = source.splitlines()
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and node.name == enum_name:
            members = [item for item in node.body if isinstance(item, ast.Assign)]
            texts = {item.targets[0]: lines[item.lineno - 1].partition("# ")[2] for item in members}
            return {target.id: text for target, text in texts.items() if isinstance(target, ast.Name)}
    raise LookupError(f"no class {enum_name}")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
