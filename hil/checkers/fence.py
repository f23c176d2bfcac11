"""The fence held: no node changed the disk after its registration was removed (spec S6.2).

From the SCSI target's ledger alone, which has every command of every node in the one order in which they took effect.
"""

from __future__ import annotations

from collections.abc import Iterable

from hil.errors import ClaimFailed
from hil.scsi.fenced_writes import writes_after_removal
from hil.scsi.ledger_records import Record


def check(records: Iterable[Record]) -> int:
    """How many writes of fenced nodes the disk kept out; ``records`` as from ``cluster.disk.records()``.

    Raises :class:`ClaimFailed` naming the first write that did change the medium.
    """
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
