"""The path of a node to the shared disk, or everybody's: each kind that the SCSI target has (spec S10.4).

The target carries them out and tells what they do (:mod:`hil.scsi.faults.kinds`, docs/disk-faults.md).
"""

from __future__ import annotations

from typing import Any

from hil.errors import NothingToStrike, UsageError
from hil.faults.fault import Fault
from hil.faults.parameters import Blocks, Choice, Integer, Optional, Parameter
from hil.scsi.faults.kinds import KINDS, REFUSE_LOGIN, VOLATILE_CACHE
from hil.scsi.operation import Direction

COUNT_MAX = 1_000_000
LUN_MAX = 255
SELECTING = ("direction", "lun", "count")
"""Of the parameters, besides ``lba``: which commands, and not what becomes of them."""


class DiskFault(Fault):
    """One fault of the target for each node; of a volatile cache one for all."""

    name: str
    """What the target calls it."""

    held = "the target has met a command that it is for"
    undone = "the target does not show it any more"

    def set_up(self) -> None:
        """Who sends no commands meets no fault."""
        self.cluster.poll()
        off = [node for node in self.nodes if node.view.power not in ("running", "paused")]
        if off and len(off) == len(self.nodes):
            raise NothingToStrike(f"{self.kind} of node {off[0].id}: its machine is {off[0].view.power}")

    def inject(self) -> None:
        """In force with the next command."""
        options = {key: self.values[key] for key in SELECTING if key in self.values}
        lba = self.values.get("lba")
        more = {key: value for key, value in self.values.items() if key not in (*SELECTING, "lba")}
        everybody = self.name == VOLATILE_CACHE and len(self.nodes) == len(self.cluster.nodes)
        whom = None if everybody else self.nodes
        try:
            fault = self.cluster.disk.inject(
                self.name, whom, lba=None if lba is None else tuple(lba), **options, **more
            )
        except UsageError as error:  # its parameters are legal: what is there already does not let it in
            raise NothingToStrike(f"{self.kind}: {error}") from None
        self.state["faults"] = fault.numbers

    def why_not_held(self) -> str | None:
        """The target's word; of a node that runs."""
        if self.name in (REFUSE_LOGIN, VOLATILE_CACHE):
            missing = set(self.state["faults"]) - set(self._in_force())
            return f"the target does not show fault {min(missing)}" if missing else None
        for node, number in zip(self.nodes, self.state["faults"], strict=True):
            if number not in self.cluster.view.struck and node.view.power == "running":
                return f"fault {number} has struck no command of node {node.id} yet"
        return None

    def recover(self) -> None:
        """What they held goes on."""
        numbers = self.state.get("faults", [])
        healed = [self.cluster.disk.heal(fault=number) for number in numbers]
        self.state["released"] = sum(int(one["released"]) for one in healed)

    def why_not_undone(self) -> str | None:
        """The target's word."""
        left = set(self.state.get("faults", [])) & set(self._in_force())
        return f"the target still shows fault {min(left)}" if left else None

    def _in_force(self) -> list[int]:
        return [about["number"] for about in self.cluster.disk.status()["faults"]]


def _directions(struck: frozenset[Direction]) -> tuple[str, ...]:
    """What a fault that strikes these may be narrowed to."""
    groups = ("any", "media") if struck == frozenset(Direction) else ()
    return (*groups, *(one.value for one in Direction if one in struck))


def _made(name: str) -> type[DiskFault]:
    kind = KINDS[name]
    known: dict[str, Parameter | Optional] = dict(kind.parameters)
    if kind.directions:
        known["direction"] = Optional(Choice(_directions(kind.directions), None, "of which commands"))
        known["lba"] = Optional(Blocks("commands that touch these blocks of 512 bytes"))
    if kind.directions or name == REFUSE_LOGIN:
        known["count"] = Optional(Integer(1, COUNT_MAX, None, "only the next so many commands of each node"))
    if name != REFUSE_LOGIN:
        known["lun"] = Optional(Integer(0, LUN_MAX, None, "of this logical unit"))
    members: dict[str, Any] = {"kind": f"disk-{name}", "name": name, "about": kind.about, "parameters": known}
    if not kind.directions:
        members["held"] = "the target shows it"
    return type(f"Disk{name.title().replace('-', '')}", (DiskFault,), members)


DISK_FAULTS = [_made(name) for name in KINDS]
