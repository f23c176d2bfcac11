"""Claim: nobody panics without a reason (S6.1, S6.4).

A node that finds itself forced out has lost its registration to another one before; one whose subsystem hangs has told
that very subsystem something that is not acknowledged (S4.13): what a program had not acknowledged when it ended counts
as acknowledged; one whose lease ran out has no other fence (S6.5); one that was ordered to has been; one that is
expelled by a program has one; one that has lost its files was told by the disk that commands failed (of a recording
that is not asked). Where there are no two machines with one node id nobody is refused either.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from hil.checkers.checker import Checker
from hil.checkers.observation import Observation
from hil.checkers.registrations import Registrations

if TYPE_CHECKING:
    from hil.checkers.observation import Life, Removal

Step = tuple[int, str, int]
"""Of one node: incarnation, transition, barrier."""

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
        self._open: dict[tuple[int, int], dict[tuple[str, int], Step]] = {}
        """(node, life) -> (subsystem, subject) -> the last that it was told, if it has not acknowledged that (S4.7)."""
        self._registrations = Registrations()

    def removed(self, removal: Removal) -> None:
        """By another node only."""
        if removal.by != removal.node:
            self._removed.add((removal.node, removal.incarnation))

    def command_failed(self, node: Life) -> None:
        """It may have been something that it has to write."""
        self._failed.add((node.number, node.life))

    def emitted(self, node: Life, kind: str, fields: dict[str, Any]) -> None:
        """Panics and refusals."""
        life = (node.number, node.life)
        if kind == "notified":
            self._open.setdefault(life, {})[fields["subsystem"], fields["subject"]] = _step(fields)
        elif kind == "acknowledged":
            told, key = self._open.get(life, {}), (fields["subsystem"], fields["subject"])
            if told.get(key) == _step(fields):
                del told[key]
        elif kind == "program":
            self._moved_on(node, fields)
        elif kind == "refused" and not self._refusals:
            self.fail(f"node {node.number} was refused: {fields['reason']}")
        elif kind == "panic" and not self._is_legal(node, fields.get("cause", ""), fields["reason"]):
            reason = fields["reason"]
            self.fail(f"node {node.number} ({node.incarnation}) panicked, and nobody has fenced it: {reason}")

    def _moved_on(self, node: Life, fields: dict[str, Any]) -> None:
        life, name = (node.number, node.life), fields["program"]
        if fields["state"] == "registered":
            self._programs.add(life)
        if self._registrations.has_ended(node, fields):
            self._open[life] = {key: step for key, step in self._open.get(life, {}).items() if key[0] != name}

    def _is_legal(self, node: Life, cause: str, reason: str) -> bool:
        if cause == "ordered":
            return True
        if cause == "expelled-by-program":
            return (node.number, node.life) in self._programs
        if cause == "files-lost":
            return not self.sees(Observation.INSIDE) or (node.number, node.life) in self._failed
        if cause == "subsystem-hung":
            return any(name == hung_subsystem(reason) for name, _ in self._open.get((node.number, node.life), {}))
        if self._fence == "panic":  # the disk lets everybody write
            return cause in ("forced-out", "lease-ran-out")
        return cause in _BY_OTHERS and (node.number, node.incarnation) in self._removed


def hung_subsystem(reason: str) -> str | None:
    """Which one has not acknowledged in its time, as the node says that panics for it."""
    found = re.search("subsystem (.+) did not acknowledge within", reason)
    return None if found is None else found[1]


def _step(fields: dict[str, Any]) -> Step:
    return fields["incarnation"], fields["transition"], fields["barrier"]
