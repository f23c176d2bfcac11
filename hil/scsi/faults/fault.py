"""One injected fault, and what the row of its kind says."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from hil.scsi.command import Command, Outcome
    from hil.scsi.faults.parameters import Parameter, Value
    from hil.scsi.faults.selection import Selection
    from hil.scsi.faults.table import FaultTable
    from hil.scsi.operation import Direction
    from hil.scsi.placement import Piece
    from hil.scsi.unit import LogicalUnit

Run = Callable[[], "Outcome | None"]
"""Goes on with a command; None: it is held."""


class Kind(NamedTuple):
    """A row of ``kinds.KINDS``.

    ``directions``: what it can strike; ``usual``, or all of it, when the selection names none. ``spares_identity``:
    commands that are answered whatever state the unit is in (INQUIRY, REPORT LUNS, REQUEST SENSE) are not struck.
    ``strike`` stands where the command would be executed; None: executed. ``place`` turns a piece of what is to be
    written, so many bytes after the beginning of the command's data, into what reaches the medium, ``read`` what was
    read into what is sent. ``holds``: commands may wait in it; ``timed``: for a time of their own. ``outlives``: what
    it holds stays queued when its session ends. ``begin`` and ``end``: what else it needs of the units that it is for.
    """

    about: str
    directions: frozenset[Direction]
    parameters: Mapping[str, Parameter] = {}
    usual: frozenset[Direction] | None = None
    spares_identity: bool = False
    strike: Callable[[FaultTable, Fault, Command, Run], Outcome | None] | None = None
    place: Callable[[Fault, LogicalUnit, Piece, int], list[Piece]] | None = None
    read: Callable[[Fault, LogicalUnit, int, bytes], bytes] | None = None
    holds: bool = False
    timed: bool = False
    outlives: bool = False
    begin: Callable[[Fault, list[LogicalUnit]], None] | None = None
    end: Callable[[Fault, list[LogicalUnit]], None] | None = None


class Fault:
    """``left`` commands it will still strike (None: all, until it is healed); ``struck`` so far.

    ``has_ended``: over, and its kind's ``end`` was called. ``held``: command to what goes on with it. ``random`` is
    seeded by the parameter ``seed`` and nothing else.
    """

    def __init__(
        self, number: int, name: str, kind: Kind, selection: Selection, values: Mapping[str, Value], count: int | None
    ) -> None:
        self.number = number
        self.name = name
        self.kind = kind
        self.selection = selection
        self.values = values
        self.left = count
        self.seconds: float | None = None
        self.struck = 0
        self.has_ended = False
        self.held: dict[Command, Run] = {}
        self.random = random.Random(values.get("seed", 0))
        self.state: Any = None
        """What ``begin`` has made."""

    def number_of(self, name: str) -> int:
        """An integer parameter."""
        value = self.values[name]
        assert isinstance(value, int)
        return value

    def describe(self) -> dict[str, Any]:
        """Plain data: for the control socket, and for the ledger."""
        selection = self.selection
        return {
            "number": self.number,
            "fault": self.name,
            "initiator": selection.initiator,
            "portal": selection.portal,
            "lun": selection.lun,
            "directions": sorted(selection.directions or ()),
            "lba": None if selection.lba is None else list(selection.lba),
            "parameters": dict(self.values),
            "left": self.left,
            "seconds": self.seconds,
            "struck": self.struck,
        }
