"""What goes wrong with virtual disks.

    VdmError
    ├── BadName, BadSize         what was asked for is no legal name, no legal size
    ├── NameTaken, UnknownDisk   there is one of that name; there is none
    ├── NoRoom                   no free units, no free record, or too many extents
    ├── DiskInUse                somebody has it open
    ├── FixedDisk                the bootstrap or the membership database, which are not VDM's to change
    ├── NodeLeaves               it is too late
    └── TablesRefused            the tables on the disk cannot be believed; nothing is written then

A disk command that fails is a `guestd.tasks.steps.DiskError`: the change that was under way is there wholly or not at
all, and the next who looks at the tables completes it if it was begun.
"""

from __future__ import annotations


class VdmError(Exception):
    """Base of all these; the text is for people."""


class BadName(VdmError):
    """No legal name."""


class BadSize(VdmError):
    """No legal size."""


class NameTaken(VdmError):
    """There is a virtual disk of that name."""


class UnknownDisk(VdmError):
    """There is no virtual disk of that name."""


class NoRoom(VdmError):
    """It does not fit; says what is short."""


class DiskInUse(VdmError):
    """It is open somewhere, or what a dead node did with it is being recovered."""


class FixedDisk(VdmError):
    """It lies at a fixed place and is shown only."""


class NodeLeaves(VdmError):
    """This node leaves the cluster, and begins nothing more."""


class TablesRefused(VdmError):
    """Damaged beyond the other copy's help, of another cluster, or of another version. Says which and why."""

    def __init__(self, why: str, validity: str = "damaged") -> None:
        super().__init__(why)
        self.validity = validity  # in a word: damaged, foreign cluster, future version, former version
