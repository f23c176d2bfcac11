"""Claim: no write of a life lands after another one has removed its registration or verified its fence, or after the
commit that forces it out (S6.2), or after the next life of its node has registered (S6.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hil.checkers.checker import Checker
from hil.checkers.observation import Observation
from hil.errors import ClaimFailed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from guestd.membership.view import View
    from hil.checkers.observation import Life, Removal
    from hil.scsi.ledger_records import Record


class Fence(Checker):
    """Lives that are out, and why."""

    claim = "a life that is over writes nothing any more (S6.2, S6.3)"
    kinds = ("registered", "fenced")
    needs = (Observation.EVENTS, Observation.DISK)
    also = (Observation.CONTENTS,)

    def __init__(self) -> None:
        self.out: dict[tuple[int, int], str] = {}  # (node, incarnation)
        self._incarnations: dict[tuple[int, int], int] = {}  # (node, life of its machine)
        self._keys: dict[int, int] = {}  # node -> the newest incarnation that was registered

    def emitted(self, node: Life, kind: str, fields: dict[str, Any]) -> None:
        """Whose fence is verified."""
        if kind == "registered":
            self._incarnations[node.number, node.life] = node.incarnation
        elif kind == "fenced":
            victim = (fields["subject"], fields["incarnation"])
            self.out.setdefault(victim, f"node {node.number} had verified its fence")

    def keyed(self, node: int, incarnation: int) -> None:
        """The life before has none any more. One whose registration was removed may register again."""
        self.out.pop((node, incarnation), None)
        before = self._keys.get(node, incarnation)
        if before < incarnation:
            self.out.setdefault((node, before), f"incarnation {incarnation} had registered")
        self._keys[node] = max(before, incarnation)

    def removed(self, removal: Removal) -> None:
        """By another node."""
        if removal.by != removal.node:
            life = (removal.node, removal.incarnation)
            self.out.setdefault(life, f"node {removal.by} had removed its registration")

    def landed(self, node: Life, life: int, lba: int, data: bytes) -> None:
        """Who writes."""
        if not self.out:
            return
        number = node.number
        incarnation = self._incarnations.get((number, life), node.incarnation if node.life == life else 0)
        why = self.out.get((number, incarnation))
        if why is not None:
            self.fail(f"LBA {lba} was written by node {number} (incarnation {incarnation}) after {why}")

    def committed(self, node: Life, life: int, view: View) -> None:
        """Whom it forces out."""
        for subject, entry in enumerate(view.entries):
            if entry.forced:
                why = f"the commit of epoch {view.epoch} that forces it out"
                self.out.setdefault((subject, entry.incarnation), why)


def check(records: Iterable[Record]) -> int:
    """How many writes of fenced nodes the disk kept out; ``records`` as from ``cluster.disk.records()``.

    From the SCSI target's ledger alone, which has every command of every node in the one order in which they took
    effect. Raises :class:`ClaimFailed` naming the first write that did change the medium.
    """
    from hil.scsi.fenced_writes import writes_after_removal  # the simulator does without what that needs

    kept_out = 0
    for removal, write in writes_after_removal(records):
        if write.changed:
            raise ClaimFailed(
                f"node {write.nexus.number} changed the disk after its registration was removed: command {write.order},"
                f" {write.name} at LBA {write.lba}+{write.blocks} of LUN {write.lun}; command {removal.order} of node"
                f" {removal.by.number} had removed key {removal.key:#x}"
            )
        kept_out += 1
    return kept_out
