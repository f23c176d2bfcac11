"""Claim: of several LUNs each keeps out who is forced out, LUN 0 first, before anything is done in its place (S6.2).

Nobody takes a registration of another one from a further disk that LUN 0 has not lost before. When an epoch forces a
life out, or its fence is told to be verified, it is registered on no disk; and no disk takes a write of it any more,
nor one of a life that never was a member (A18).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hil.checkers.checker import Checker
from hil.checkers.observation import Observation

if TYPE_CHECKING:
    from guestd.membership.view import View
    from hil.checkers.observation import Life, Removal


class EveryDisk(Checker):
    """Who is registered where, and who is out."""

    claim = "each disk keeps out who is forced out, LUN 0 first, before it is forced out (S6.2)"
    kinds = ("registered", "fenced", "membership")
    needs = (Observation.EVENTS, Observation.DISK)
    also = (Observation.CONTENTS,)

    def __init__(self) -> None:
        self._keys: dict[int, dict[int, int]] = {0: {}}  # LUN -> node -> incarnation
        self._incarnations: dict[tuple[int, int], int] = {}  # (node, life of its machine)
        self._members: set[tuple[int, int]] = set()  # (node, incarnation), all that ever were
        self._out: dict[tuple[int, int], str] = {}
        self._out_of: dict[tuple[int, int, int], str] = {}  # (LUN, node, incarnation)

    def keyed(self, node: int, incarnation: int) -> None:
        """On LUN 0."""
        self._keys[0][node] = incarnation

    def removed(self, removal: Removal) -> None:
        """From LUN 0."""
        if self._keys[0].get(removal.node) == removal.incarnation:
            del self._keys[0][removal.node]

    def data_keyed(self, lun: int, node: int, incarnation: int) -> None:
        """In place of the key of the life before."""
        keys = self._keys.setdefault(lun, {})
        before = keys.get(node, incarnation)
        if before < incarnation:
            self._out_of.setdefault((lun, node, before), f"incarnation {incarnation} had registered there")
        keys[node] = incarnation
        self._out_of.pop((lun, node, incarnation), None)

    def data_removed(self, lun: int, removal: Removal) -> None:
        """From a further disk, by whomever."""
        node, incarnation = removal.node, removal.incarnation
        keys = self._keys.setdefault(lun, {})
        if keys.get(node) == incarnation:
            del keys[node]
        if removal.by == node:
            return
        if self._keys[0].get(node) == incarnation:
            self.fail(
                f"node {removal.by} has taken the registration of node {node} (incarnation {incarnation}) from LUN"
                f" {lun}, and on LUN 0 it is still there"
            )
        self._out_of.setdefault((lun, node, incarnation), f"node {removal.by} had removed its registration there")

    def data_landed(self, lun: int, node: Life, life: int, lba: int, data: bytes) -> None:
        """Who writes."""
        number = node.number
        incarnation = self._incarnations.get((number, life), node.incarnation if node.life == life else 0)
        who = (number, incarnation)
        why = self._out.get(who) or self._out_of.get((lun, *who))
        if why is None and self.sees(Observation.CONTENTS) and who not in self._members:
            why = "none of its views was committed"
        if why is not None:
            self.fail(f"LBA {lba} of LUN {lun} was written by node {number} (incarnation {incarnation}) after {why}")

    def committed(self, node: Life, life: int, view: View) -> None:
        """Who is a member, and who is forced out."""
        for subject, entry in enumerate(view.entries):
            who = (subject, entry.incarnation)
            if entry.live:
                self._members.add(who)
            if entry.forced and entry.moves:
                self._check(who, f"view {view.epoch}.{view.step} forces it out")
                self._out.setdefault(who, f"the commit of epoch {view.epoch} that forces it out")

    def emitted(self, node: Life, kind: str, fields: dict[str, Any]) -> None:
        """Whose fence is verified; where what is committed cannot be read, whom a view forces out."""
        if kind == "registered":
            self._incarnations[node.number, node.life] = node.incarnation
        elif kind == "fenced":
            who = (fields["subject"], fields["incarnation"])
            self._check(who, f"node {node.number} says that its fence is verified")
            self._out.setdefault(who, f"node {node.number} had verified its fence")
        elif not self.sees(Observation.CONTENTS):
            for subject, entry in fields["nodes"].items():
                if entry["state"] == "forced-leaving":
                    why = f"view {fields['epoch']}.{fields['step']} forces it out"
                    self._check((int(subject), entry["incarnation"]), why)

    def _check(self, who: tuple[int, int], why: str) -> None:
        node, incarnation = who
        for lun, keys in sorted(self._keys.items()):
            if lun and keys.get(node) == incarnation:
                self.fail(f"{why}, and the key of node {node} (incarnation {incarnation}) is on LUN {lun}")
