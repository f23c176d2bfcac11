"""What programs of this node ask of the virtual disk manager (`guestctl vdisk`, docs/vdm.md)."""

from __future__ import annotations

from guestd.core.effects import Answer
from guestd.dlm.client import LockError
from guestd.membership.sector import SECTOR_SIZE
from guestd.tasks.steps import DiskError, Refused
from guestd.vdm import layout
from guestd.vdm.errors import VdmError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from guestd.core.context import Context
    from guestd.tasks.engine import Engine, Outcome
    from guestd.tasks.steps import Task
    from guestd.vdm.level import VdmLevel
    from guestd.vdm.listing import Listed

VERBS = ("list", "create", "grow", "shrink", "mirror", "delete")
UNIT_SIZE = layout.UNIT_BLOCKS * SECTOR_SIZE


class VolumePrograms:
    """Those of one node."""

    def __init__(self, context: Context, level: VdmLevel, engine: Engine) -> None:
        self._context = context
        self._level = level
        self._engine = engine

    def said(self, connection: int, asked: object) -> None:
        """One line; the answer comes when it is done."""
        try:
            task = self._task(asked)
        except ValueError as why:
            self._answer(connection, {"error": str(why)})
            return
        self._engine.start(task, lambda outcome: self._ended(connection, outcome))

    def _task(self, asked: object) -> Task[dict[str, Any]]:
        """Raises ValueError, saying what is legal."""
        if not isinstance(asked, dict) or asked.get("do") not in VERBS:
            raise ValueError(f"{asked!r} (legal: an object with do = {', '.join(VERBS)})")
        verb, name, size, disks = asked["do"], asked.get("name"), asked.get("size"), self._level.disks
        if not self._level.joined:
            raise ValueError("this node is not a member of the cluster")
        if verb == "list":
            return self._list()
        if not isinstance(name, str):
            raise ValueError(f"name = {name!r} (legal: text)")
        if verb in ("create", "grow", "shrink") and (type(size) is not int or size < 1):
            raise ValueError(f"size = {size!r} (legal: bytes, 1 or more)")
        blocks = -(-size // SECTOR_SIZE) if type(size) is int else 0
        if verb == "create":
            return _nothing(disks.create(name, blocks, mirrored=asked.get("mirrored") is True))
        if verb == "grow":
            return _nothing(disks.grow(name, blocks))
        if verb == "shrink":
            return _nothing(disks.shrink(name, blocks))
        return _nothing(disks.mirror(name) if verb == "mirror" else disks.delete(name))

    def _list(self) -> Task[dict[str, Any]]:
        found = yield from self._level.disks.list_all()
        free = yield from self._level.disks.free_blocks()
        return {"disks": [_shown(one) for one in found], "free": free * SECTOR_SIZE, "unit": UNIT_SIZE}

    def _ended(self, connection: int, outcome: Outcome) -> None:
        if isinstance(outcome.error, (VdmError, DiskError, Refused, LockError, ValueError)):
            self._answer(connection, {"error": str(outcome.error)})
        else:
            self._answer(connection, outcome.get())

    def _answer(self, connection: int, told: dict[str, Any]) -> None:
        self._context.effects.append(Answer(connection, {"vdisk": told}))


def _nothing(task: Task[None]) -> Task[dict[str, Any]]:
    yield from task
    return {}


def _shown(one: Listed) -> dict[str, Any]:
    places = [[list(place) for place in copy] for copy in one.places]
    return {"name": one.name, "size": one.blocks * SECTOR_SIZE, "fixed": one.fixed, "extents": places}
