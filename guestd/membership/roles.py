"""What a node is to its cluster, as it knows itself."""

from __future__ import annotations

from guestd.core.enumeration import Enum
from guestd.core.machine import Table


class Role(Enum):
    """The role of this node's present incarnation."""

    STARTING = "starting"  # reads the database and writes its new incarnation
    OUTSIDE = "outside"  # announced on the disk; waits to be admitted, or forms the cluster
    MEMBER = "member"  # admitted; another node is the master
    MASTER = "master"  # owns the newest epoch
    GONE = "gone"  # left gracefully
    EXPELLED = "expelled"  # found itself forced out: panics

    @property
    def inside(self) -> bool:
        """Was admitted, and takes part."""
        return self is Role.MEMBER or self is Role.MASTER


ROLES = Table(
    "role",
    Role,
    {
        Role.STARTING: {"announced": Role.OUTSIDE, "left": Role.GONE, "expelled": Role.EXPELLED},
        Role.OUTSIDE: {
            "admitted": Role.MEMBER,
            "elected": Role.MASTER,  # forms the cluster
            "left": Role.GONE,
            "expelled": Role.EXPELLED,  # forced out before it had seen its admission
        },
        Role.MEMBER: {"elected": Role.MASTER, "left": Role.GONE, "expelled": Role.EXPELLED},
        Role.MASTER: {"deposed": Role.MEMBER, "left": Role.GONE, "expelled": Role.EXPELLED},
        Role.GONE: {},
        Role.EXPELLED: {},
    },
)
