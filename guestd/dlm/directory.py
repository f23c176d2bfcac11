"""Who masters which tree: spread over the members by a hash of the tree's root (spec S7.1).

A node asks the directory node of a tree when it has no lock in it yet. If nobody masters the tree the asker does from
now on: mastership is where the first user is.
"""

from __future__ import annotations

import zlib

from guestd.dlm.messages import NO_MASTER, Lookup, Master, Remove

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from guestd.dlm.site import Site


def directory_node(root: bytes, members: Iterable[int]) -> int:
    """The member that knows the master of the tree: the same on every node that knows the same members."""
    nodes = sorted(members)
    return nodes[zlib.crc32(root) % len(nodes)]


class Directory:
    """This node's part of it."""

    __slots__ = ("_site", "masters")

    def __init__(self, site: Site) -> None:
        self._site = site
        self.masters: dict[bytes, int] = {}  # root -> master

    def look_up(self, sender: int, message: Lookup) -> None:
        """Answer who masters the tree; the asker, if nobody does."""
        (root,) = message.name
        master = NO_MASTER
        if directory_node(root, self._site.members) == self._site.node:
            master = self.masters.setdefault(root, sender)
        self._site.send(sender, Master(message.number, master))

    def remove(self, sender: int, message: Remove) -> None:
        """Nobody masters the tree any more, unless somebody else does already."""
        (root,) = message.name
        if self.masters.get(root) == sender:
            del self.masters[root]
