"""Draws from the code what pages say of it: ``.venv/bin/python docs/draw.py``.

All of docs/state-machines.md, tables of docs/disk-faults.md, docs/dlm.md and docs/event-manager.md, the timeline and
the tables of docs/timing.md.

A test compares the pages with what this makes, so they cannot lag behind.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "state-machines.md"

FAULTS_PAGE = ROOT / "docs" / "disk-faults.md"
BEGIN, END = "<!-- kinds: made by docs/draw.py -->\n", "<!-- end of kinds -->\n"

LIBRARY_PAGE = ROOT / "docs" / "faults.md"
LIBRARY = ("<!-- library: made by docs/draw.py -->\n", "<!-- end of library -->\n")

LOCKS_PAGE = ROOT / "docs" / "dlm.md"
MESSAGES = ("<!-- messages: made by docs/draw.py -->\n", "<!-- end of messages -->\n")
SIZES = {"B": 1, "?": 1, "I": 4, "Q": 8, "64s": 64}

EVENTS_PAGE = ROOT / "docs" / "event-manager.md"
WATCHERS = ("<!-- watchers: made by docs/draw.py -->\n", "<!-- end of watchers -->\n")

TIMING_PAGE = ROOT / "docs" / "timing.md"
TIMELINE = ("<!-- timeline: made by docs/draw.py -->\n", "<!-- end of timeline -->\n")
TIMES = ("<!-- times: made by docs/draw.py -->\n", "<!-- end of times -->\n")
FACTORS_SHOWN = (1, 2.5, 10)

MACHINES = {
    "guestd.membership.states": ("NODE_STATES", "NodeState", "A node, as all nodes see it (S2.4)"),
    "guestd.transition.states": ("SUBSYSTEM_STATES", "SubsystemState", "A node, for the subsystem at one level (S4.7)"),
    "guestd.transition.registration": (
        "REGISTRATIONS",
        "Registration",
        "A program that registers at run time (S4.1, S4.13, S8.6)",
    ),
    "guestd.dlm.locks": ("LOCK_STATES", "LockState", "A lock, for the node that asked for it (S7.1)"),
    "guestd.services.states": ("INSTANCE_STATES", "InstanceState", "One registration of a client service (S9.7)"),
    "guestd.events.bell": ("BELL", "BellState", "The lock by which event managers learn of a change (S9.1)"),
    "guestd.membership.roles": ("ROLES", "Role", "What a node is to its cluster, as it knows itself"),
    "guestd.membership.paxos": ("PHASES", "Phase", "One bid for an epoch: Disk Paxos (S3.2)"),
    "guestd.membership.dekker": ("PHASES", "Phase", "The matches of one contest for an epoch: mode `dekker` (S3.2)"),
    "guestd.fence.data_disks": ("DISK_STATES", "DiskState", "A data disk, for one node (S5, S6)"),
    "guestd.events.group_states": ("GROUP_STATES", "GroupState", "An event group on one node (S8.4)"),
    "guestd.events.event_states": ("EVENT_STATES", "EventState", "An event on one node (S8.2)"),
    "guestd.events.action_states": ("ACTION_STATES", "ActionState", "The action of an event (S8.3)"),
    "guestd.events.watcher_states": ("WATCHER_STATES", "WatcherState", "A watcher, for the event daemon (S8.1)"),
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
    """The remark behind each member of the enum, or field of the value, from its source."""
    lines = source.splitlines()
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and node.name == enum_name:
            members = [item for item in node.body if isinstance(item, (ast.Assign, ast.AnnAssign))]
            targets = [item.target if isinstance(item, ast.AnnAssign) else item.targets[0] for item in members]
            texts = {target: lines[target.lineno - 1].partition("# ")[2] for target in targets}
            return {target.id: text for target, text in texts.items() if isinstance(target, ast.Name)}
    raise LookupError(f"no class {enum_name}")


def faults_page() -> str:
    """The page on disk faults as it should be: its table from the target's kinds."""
    sys.path.insert(0, str(ROOT))
    kinds = importlib.import_module("hil.scsi.faults.kinds").KINDS
    before, _, rest = FAULTS_PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return f"{before}{BEGIN}{_kinds(kinds)}{END}{rest.partition(END)[2]}"


def library_page() -> str:
    """The page on the fault library as it should be: its table of kinds."""
    sys.path.insert(0, str(ROOT))
    described = importlib.import_module("hil.faults.library").described()
    return _between(LIBRARY_PAGE.read_text(encoding="utf-8"), LIBRARY, _library(described))


def _library(described: list[dict[str, Any]]) -> str:
    lines = ["", "| fault | what it does | took hold when | undone when | parameters |", "|---|---|---|---|---|"]
    for kind in described:
        only = "".join(f" Not on {name}: {why}." for name, why in kind["lacking"].items())
        told = []
        for name, about in kind["parameters"].items():
            default = "" if about["default"] is None else f", default {about['default']}"
            needed = ", needed" if about["needed"] else default
            told.append(f"`{name}`: {about['about']} ({about['legal']}{needed})")
        cells = [f"`{kind['fault']}`", f"{kind['about']}.{only}", kind["held"], kind["undone"], "; ".join(told) or "-"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n\n"


def _kinds(kinds: Mapping[str, Any]) -> str:
    lines = ["", "| kind | what it does | strikes | parameters |", "|---|---|---|---|"]
    for name, kind in kinds.items():
        usual = kind.usual or kind.directions
        strikes = "any" if len(usual) == 5 else ", ".join(sorted(usual)) or "-"
        lines.append(f"| `{name}` | {kind.about} | {strikes} | {_parameters(kind.parameters)} |")
    return "\n".join(lines) + "\n\n"


def _parameters(parameters: Mapping[str, Any]) -> str:
    told = []
    for name, about in parameters.items():
        legal = ", ".join(about.options) if hasattr(about, "options") else "a number"
        default = "needed" if about.default is None else f"default {about.default}"
        told.append(f"`{name}` {about.about}: {legal} ({default})")
    return "; ".join(told) or "-"


def locks_page() -> str:
    """The page on the lock manager as it should be: its table of messages."""
    sys.path.insert(0, str(ROOT))
    return _between(
        LOCKS_PAGE.read_text(encoding="utf-8"), MESSAGES, _messages(importlib.import_module("guestd.dlm.messages"))
    )


def _messages(module: Any) -> str:
    lines = ["", "| kind | message | fields (bytes) | |", "|---|---|---|---|"]
    for kind, (message, layout) in module.FORMATS.items():
        sizes = [SIZES[code] for code in re.findall(r"64s|[BIQ?]", layout)]
        rest = [""] * (len(message.value_fields) - len(sizes))
        fields = [
            f"{name} ({size})" if size else name
            for name, size in zip(message.value_fields, [*sizes, *rest], strict=True)
        ]
        about = " ".join((inspect.getdoc(message) or "").split())
        lines.append(f"| {kind} | `{message.__name__}` | {', '.join(fields) or '-'} | {about} |")
    return "\n".join(lines) + "\n\n"


def events_page() -> str:
    """The page on the event manager as it should be: its table of watchers."""
    sys.path.insert(0, str(ROOT))
    watchers = importlib.import_module("guestd.events.watchers").WATCHERS
    return _between(EVENTS_PAGE.read_text(encoding="utf-8"), WATCHERS, _watchers(watchers))


def _watchers(watchers: Mapping[str, Any]) -> str:
    lines = ["", "| watcher | IN parameters | OUT parameters |", "|---|---|---|"]
    for name, declaration in watchers.items():
        given = "<br>".join(_in_parameter(one, declaration.one_of) for one in declaration.inputs)
        filled = "<br>".join(f"`{one.name}` ({one.type}): {one.about}" for one in declaration.outputs)
        lines.append(f"| `{name}`: {declaration.about} | {given} | {filled} |")
    return "\n".join(lines) + "\n\n"


def _in_parameter(one: Any, one_of: tuple[str, ...]) -> str:
    if one.name in one_of:
        needed = f"exactly one of {', '.join(f'`{name}`' for name in one_of)}"
    elif one.default is not None:
        needed = f"default {one.default}"
    else:
        needed = "needed" if one.required else "may be left out"
    told = [one.type, *([", ".join(one.choices)] if one.choices else []), needed]
    return f"`{one.name}` ({'; '.join(told)}): {one.about}"


def timing_page() -> str:
    """The page on timing as it should be."""
    sys.path.insert(0, str(ROOT))
    timing = importlib.import_module("guestd.core.timing")
    text = _between(TIMING_PAGE.read_text(encoding="utf-8"), TIMELINE, _timeline(timing.__doc__ or ""))
    return _between(text, TIMES, _times(timing))


def _between(text: str, marks: tuple[str, str], made: str) -> str:
    before, begin, rest = text.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not begin or not end:
        raise LookupError(f"no {marks[0].strip()} or no {marks[1].strip()}")
    return f"{before}{begin}{made}{end}{after}"


def _timeline(told: str) -> str:
    """The part of the docstring from its first T= up to the next empty line."""
    lines = told.splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("T="))
    return "\n".join(["", "```text", *lines[first : lines.index("", first)], "```", "", ""])


def _times(timing: Any) -> str:
    remarks = _remarks(inspect.getsource(timing), "Timing")
    at = [timing.scaled(timing.Timing(), factor) for factor in FACTORS_SHOWN]
    head = " | ".join(f"x {factor:g}" for factor in FACTORS_SHOWN)
    lines = ["", f"| ms | {head} | |", f"|---|{'---|' * len(at)}---|"]
    derived = [name for name, found in vars(timing.Timing).items() if isinstance(found, property)]
    for name in (*timing.Timing.value_fields, *derived):
        if name.endswith(("_ms", "_ms_max")):
            told = (inspect.getdoc(vars(timing.Timing)[name]) or "").partition(".")[0]
            about = remarks.get(name) or told[:1].lower() + told[1:]
            values = " | ".join(str(getattr(one, name)) for one in at)
            lines.append(f"| `{name}` | {values} | {about} |")
    lines += ["", "| must hold | by default | because |", "|---|---|---|"]
    for rule in timing.RULES:
        value, bound = getattr(at[0], rule.name), rule.times * getattr(at[0], rule.other)
        sign = rule.relation.replace(">=", "≥").replace("<=", "≤")
        lines.append(f"| `{rule.name}` {sign} {rule.bound} | {value} {sign} {bound} | {rule.why} |")
    return "\n".join(lines) + "\n\n"


if __name__ == "__main__":
    LOCKS_PAGE.write_text(locks_page(), encoding="utf-8")
    EVENTS_PAGE.write_text(events_page(), encoding="utf-8")
    TIMING_PAGE.write_text(timing_page(), encoding="utf-8")
    FAULTS_PAGE.write_text(faults_page(), encoding="utf-8")
    LIBRARY_PAGE.write_text(library_page(), encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")
