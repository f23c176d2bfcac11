"""Why a node panics (spec S6). The event `panic` names one of these; the console has the sentence."""

from __future__ import annotations

from guestd.core.enumeration import Enum


class Cause(Enum):
    """One per way in which a node may find out, and one for those who ask for it."""

    FORCED_OUT = "forced-out"  # read in the membership that it is not, or not this life of it, a member
    RESERVATION_CONFLICT = "reservation-conflict"  # the disk refused a write: fenced (spec S6.4)
    KEY_GONE = "key-gone"  # its registration is not on the disk any more: fenced
    LEASE_RAN_OUT = "lease-ran-out"  # it could not read for too long whether it is a member; with fence = "panic" only
    SUBSYSTEM_HUNG = "subsystem-hung"  # one of its subsystems did not acknowledge in its time (spec S4.13)
    FILES_LOST = "files-lost"  # its shared file system can neither write its changes back nor give its locks up
    EXPELLED_BY_PROGRAM = "expelled-by-program"  # a program that is registered with it says that it must not go on
    ORDERED = "ordered"  # by the host
