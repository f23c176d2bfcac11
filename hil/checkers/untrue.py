"""Whether the disk was made to lie about the membership database: then nothing that a run tells can be held against it.

All claims rest on the word of the disk: that a write which was answered is there, whole, at its place, and is what a
read gets. A cluster must notice when it is not so (S2.5), and need not stand it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from guestd.membership import layout
from guestd.membership.sector import SECTOR_SIZE

if TYPE_CHECKING:
    from hil.view import Event

KINDS: Final = frozenset({"disk-torn", "disk-lost", "disk-misdirected", "disk-flip", "disk-stale"})
"""Faults after which an answer of the disk may not be true."""

_FIRST: Final = layout.PERSISTENT_LBA
_LAST: Final = layout.PERSISTENT_LBA + layout.DATABASE_SIZE // SECTOR_SIZE - 1
_EVERYWHERE: Final = (0, _LAST)


def why_untrue(events: Sequence[Event]) -> str | None:
    """What is lacking, for people; None if the disk was true to its word."""
    for event in events:
        if event["kind"] != "fault-injected" or event.get("fault") not in KINDS or event.get("lun") not in (None, 0):
            continue
        first, last = event.get("lba") or _EVERYWHERE
        # What is misdirected may come from anywhere to anywhere near.
        shift = abs((event.get("parameters") or {}).get("shift", 0))
        if first - shift <= _LAST and last + shift >= _FIRST:
            return f"a disk that does what it says (event {event['n']} injects {event['fault']})"
    return None
