"""MODE SENSE 6 and 10 (SPC-4 6.13, 6.14): the caching and the control mode page, nothing changeable."""

from __future__ import annotations

import struct
from typing import Final

from hil.scsi.command import Command, Outcome
from hil.scsi.medium import BLOCK_BYTES
from hil.scsi.sense import SAVING_NOT_SUPPORTED, Refused, Status, invalid_field

_ALL_PAGES: Final = 0x3F
_CHANGEABLE: Final = 1
_SAVED: Final = 3
_DPO_AND_FUA: Final = 0x10  # device-specific parameter of a block device: DPOFUA, not write protected

# SBC-3 6.5.5. WCE=1: the emulated disk has a volatile write cache, so that guests send SYNCHRONIZE CACHE and FUA.
_CACHING: Final = bytes((0x08, 18, 0x04)) + bytes(17)
# SPC-4 7.5.8. QUEUE ALGORITHM MODIFIER=1: commands may be reordered; D_SENSE=0, TAS=0, SWP=0; busy timeout without
# limit.
_CONTROL: Final = bytes((0x0A, 10, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0x00, 0x00))
PAGES: Final = {0x08: _CACHING, 0x0A: _CONTROL}


def mode_sense_6(blocks: int, command: Command) -> Outcome:
    """Header of 4 bytes, block descriptor unless DBD, pages; cut to the allocation length."""
    cdb = command.cdb
    descriptor = b"" if cdb[1] & 0x08 else _short_descriptor(blocks)
    pages = _pages(cdb)
    header = bytes((3 + len(descriptor) + len(pages), 0, _DPO_AND_FUA, len(descriptor)))
    return Outcome(Status.GOOD, (header + descriptor + pages)[: cdb[4]])


def mode_sense_10(blocks: int, command: Command) -> Outcome:
    """Header of 8 bytes; with LLBAA the block descriptor has 16 bytes, else 8."""
    cdb = command.cdb
    long_lba = bool(cdb[1] & 0x10)
    descriptor = b""
    if not cdb[1] & 0x08:
        descriptor = struct.pack(">QII", blocks, 0, BLOCK_BYTES) if long_lba else _short_descriptor(blocks)
    pages = _pages(cdb)
    length = 6 + len(descriptor) + len(pages)
    header = struct.pack(">HBBBBH", length, 0, _DPO_AND_FUA, int(long_lba and bool(descriptor)), 0, len(descriptor))
    return Outcome(Status.GOOD, (header + descriptor + pages)[: int.from_bytes(cdb[7:9], "big")])


def _short_descriptor(blocks: int) -> bytes:
    return struct.pack(">II", min(blocks, 0xFFFFFFFF), BLOCK_BYTES)


def _pages(cdb: bytes) -> bytes:
    control, code, subpage = cdb[2] >> 6, cdb[2] & 0x3F, cdb[3]
    if control == _SAVED:
        raise Refused(SAVING_NOT_SUPPORTED)
    if code == _ALL_PAGES and subpage in (0x00, 0xFF):
        codes = sorted(PAGES)
    elif code in PAGES and subpage in (0x00, 0xFF):
        codes = [code]
    else:
        raise invalid_field(3 if code in PAGES or code == _ALL_PAGES else 2)
    if control == _CHANGEABLE:
        return b"".join(PAGES[code][:2] + bytes(len(PAGES[code]) - 2) for code in codes)
    return b"".join(PAGES[code] for code in codes)
