"""Claim: journal before grant (S7.3, A13): a node whose shared file system is mounted acknowledges the forced leave of
another one at that level only after it has replayed that one's journal. The lock manager holds a dead node's locks back
until all levels have acknowledged (S7.1), so nobody is granted what guarded data that is not there yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from guestd.sfs.level import ORDER
from hil.checkers.checker import Checker

if TYPE_CHECKING:
    from hil.checkers.observation import Life

_GONE: Final = ("refused", "unmounted")


class JournalFirst(Checker):
    """Of each life: whether its file system is mounted, and whose journals it has dealt with."""

    claim = "no forced leave is acknowledged at the file system's level before the journal is replayed (S7.3, A13)"
    kinds = ("file-system", "journal-replayed", "acknowledged", "fault")

    def __init__(self) -> None:
        self._mounted: set[tuple[int, int]] = set()  # (node, life)
        self._replayed: set[tuple[int, int, int, int]] = set()  # (node, life, subject, its incarnation)

    def emitted(self, node: Life, kind: str, fields: dict[str, Any]) -> None:
        """What a node tells of its file system, and of the steps that it has acknowledged there."""
        life = (node.number, node.life)
        if kind == "file-system":
            (self._mounted.discard if fields["state"] in _GONE else self._mounted.add)(life)
        elif kind == "fault":
            # It cannot use its file system any more, and says so: nothing is read there that a replay would change.
            self._mounted.discard(life)
        elif kind == "journal-replayed":
            self._replayed.add((*life, fields["subject"], fields["incarnation"]))
        elif kind == "acknowledged" and (fields["level"], fields["transition"]) == (ORDER, "forced-leave"):
            subject = (fields["subject"], fields["incarnation"])
            if life in self._mounted and (*life, *subject) not in self._replayed:
                self.fail(
                    f"node {node.number} has acknowledged the forced leave of node {subject[0]} (incarnation"
                    f" {subject[1]}) at level {ORDER} and has not replayed its journal"
                )
