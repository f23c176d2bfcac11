"""Claim: nobody panics without a reason (S6.1, S6.4).

A node that finds itself forced out has lost its registration to another one before; one whose subsystem hangs has told
that subsystem something that is not acknowledged (S4.13); one whose lease ran out has no other fence (S6.5); one that
was ordered to has been; one that is expelled by a program has one; one that has lost its files was told by the disk
that commands failed (of a recording that is not asked). Where there are no two machines with one node id nobody is
refused either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hil.checkers.checker import Checker
from hil.checkers.observation import Observation

if TYPE_CHECKING:
    from hil.checkers.observation import Life, Removal

_BY_OTHERS: Final = ("forced-out", "reservation-conflict", "key-gone")


class Panics(Checker):
    """Whose registrations were removed by whom, and who waits for a subsystem."""

    claim = "nobody panics without a reason (S6.1)"
    kinds = ("program", "notified", "acknowledged", "refused", "panic")
    needs = (Observation.EVENTS, Observation.DISK)

    def __init__(self, *, fence: str = "scsi", refusals: bool = False) -> None:
        """``fence``: of the cluster file; ``refusals``: whether a machine may be refused."""
        self._fence = fence
        self._refusals = refusals
        self._failed: set[tuple[int, int]] = set()  # nodes and lives that have heard of a failed command
        self._programs: set[tuple[int, int]] = set()  # nodes and lives with which a program has registered
        self._removed: set[tuple[int, int]] = set()
        self._open: dict[tuple[int, int], set[tuple[object, ...]]] = {}  # (node, life) -> told, not acknowledged

    def removed(self, removal: Removal) -> None:
        """By another node only."""
        if removal.by != removal.node:
            self._removed.add((removal.node, removal.incarnation))

    def command_failed(self, node: Life) -> None:
        """It may have been something that it has to write."""
        self._failed.add((node.number, node.life))

    def emitted(self, node: Life, kind: str, fields: dict[str, Any]) -> None:
        """Panics and refusals."""
        if kind in ("notified", "acknowledged"):
            step = (fields["subsystem"], fields["subject"], fields["incarnation"], fields["transition"])
            told = self._open.setdefault((node.number, node.life), set())
            (told.add if kind == "notified" else told.discard)((*step, fields["barrier"]))
        elif kind == "program" and fields["state"] == "registered":
            self._programs.add((node.number, node.life))
        elif kind == "refused" and not self._refusals:
            self.fail(f"node {node.number} was refused: {fields['reason']}")
        elif kind == "panic" and not self._is_legal(node, fields.get("cause", "")):
            reason = fields["reason"]
            self.fail(f"node {node.number} ({node.incarnation}) panicked, and nobody has fenced it: {reason}")

    def _is_legal(self, node: Life, cause: str) -> bool:
        if cause == "ordered":
            return True
        if cause == "expelled-by-program":
            return (node.number, node.life) in self._programs
        if cause == "files-lost":
            return not self.sees(Observation.INSIDE) or (node.number, node.life) in self._failed
        if cause == "subsystem-hung":
            return bool(self._open.get((node.number, node.life)))
        if self._fence == "panic":  # the disk lets everybody write
            return cause in ("forced-out", "lease-ran-out")
        return cause in _BY_OTHERS and (node.number, node.incarnation) in self._removed
