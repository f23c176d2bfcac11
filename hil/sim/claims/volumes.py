"""Claim: a virtual disk that was made is there, as large as it was made, until it is taken away, and its blocks are its
alone (S7.2, A12).

By what programs are told (:mod:`hil.sim.volume_users`). A life counts as dead from the loss of its power, or from its
key's removal from the disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from guestd.vdm.programs import UNIT_SIZE
from hil.checkers.checker import Checker
from hil.checkers.observation import Observation

if TYPE_CHECKING:
    from hil.checkers.checker import Bench
    from hil.checkers.observation import Life, Removal
    from hil.sim.volume_users import VolumeUser
    from hil.sim.world import World


class VolumesKept(Checker):
    """A model of the virtual disks."""

    claim = "virtual disks are as they were made, and no two have the same blocks (S7.2, A12)"
    needs = (Observation.INSIDE,)

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, int | None]] = {}  # how often changed; units, None: not known
        self._over: set[tuple[int, int]] = set()  # (node, incarnation)

    def begin(self, bench: Bench) -> None:
        """Of a simulated cluster."""
        super().begin(bench)
        self.world = cast("World", bench)
        self.world.volume_users.listener = self

    def changes(self, name: str) -> None:
        """It is not known how large it is."""
        self._known[name] = self._known.get(name, (0, None))[0] + 1, None

    def changed(self, user: VolumeUser, name: str, units: int) -> None:
        """It is known."""
        if not self._is_over(user):
            self._known[name] = self._known[name][0] + 1, units

    def looks(self) -> dict[str, tuple[int, int | None]]:
        """What is known."""
        return dict(self._known)

    def has_looked(self, user: VolumeUser, begun: object, disks: list[dict[str, Any]]) -> None:
        """Whether that may be."""
        if self._is_over(user):
            return
        where = f"a program on node {user.node.number}"
        found = {disk["name"]: disk["size"] // UNIT_SIZE for disk in disks if not disk["fixed"]}
        for name, known in cast("dict[str, tuple[int, int | None]]", begun).items():
            if known[1] is not None and self._known[name] == known and found.get(name, 0) != known[1]:
                self.fail(f"{where} finds {name} with {found.get(name, 0)} units; it has {known[1]}")
        owners: dict[int, str] = {}
        for disk in disks:
            for lba, count in (place for copy in disk["extents"] for place in copy):
                for unit in range(lba, lba + count, UNIT_SIZE // 512):
                    other = owners.setdefault(unit, disk["name"])
                    if other != disk["name"]:
                        self.fail(f"{where} finds block {unit} in {other} and in {disk['name']}")

    def ended(self, node: Life) -> None:
        """A life has lost its power, has panicked or has left."""
        self._over.add((node.number, node.incarnation))

    def removed(self, removal: Removal) -> None:
        """Its writes are refused from now on."""
        self._over.add((removal.node, removal.incarnation))

    def _is_over(self, user: VolumeUser) -> bool:
        return (user.node.number, user.node.incarnation) in self._over
