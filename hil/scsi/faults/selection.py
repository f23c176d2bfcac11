"""Which commands a fault is for."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final, NamedTuple

from hil.errors import UsageError
from hil.scsi.operation import Direction

if TYPE_CHECKING:
    from hil.scsi.command import Command


class Selection(NamedTuple):
    """None: whatever. ``lba`` is the first and the last of a range of blocks; a command about one of them is meant."""

    initiator: str | None = None
    portal: str | None = None
    lun: int | None = None
    directions: frozenset[Direction] | None = None
    lba: tuple[int, int] | None = None

    def names(self, initiator: str, portal: str) -> bool:
        """Whether this nexus is one of those that are meant."""
        return self.initiator in (None, initiator) and self.portal in (None, portal)

    def hits(self, command: Command, direction: Direction) -> bool:
        """Whether ``command`` is meant; its extent must have been noted."""
        nexus = command.nexus
        return (
            self.names(nexus.initiator, nexus.portal)
            and self.lun in (None, command.lun)
            and (self.directions is None or direction in self.directions)
            and (
                self.lba is None
                or (command.blocks > 0 and command.lba <= self.lba[1] and self.lba[0] < command.lba + command.blocks)
            )
        )


_DIRECTIONS: Final[dict[str, frozenset[Direction]]] = {
    **{direction.value: frozenset({direction}) for direction in Direction},
    "media": frozenset({Direction.READ, Direction.WRITE, Direction.FLUSH}),
    "any": frozenset(Direction),
}


def name_of(struck: Collection[str]) -> str | None:
    """The name for which :func:`directions` has exactly these; None: there is none."""
    return next((name for name, found in _DIRECTIONS.items() if {one.value for one in found} == set(struck)), None)


def directions(text: str) -> frozenset[Direction]:
    """Those of one name; ``media`` are read, write and flush. Raises ``UsageError``."""
    found = _DIRECTIONS.get(text)
    if found is None:
        raise UsageError(f"direction {text!r}: {', '.join(_DIRECTIONS)} are legal")
    return found
