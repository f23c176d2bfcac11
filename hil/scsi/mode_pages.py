"""The mode pages there are, and MODE SENSE 6 and 10 (SPC-4 6.13, 6.14, 7.5). One bit can be changed: SWP."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from hil.scsi.command import Command, Outcome
from hil.scsi.medium import BLOCK_BYTES
from hil.scsi.sense import SAVING_NOT_SUPPORTED, Refused, Status, invalid_field

if TYPE_CHECKING:
    from hil.scsi.unit import LogicalUnit

_ALL_PAGES: Final = 0x3F
_CHANGEABLE: Final = 1
_DEFAULT: Final = 2
_SAVED: Final = 3
# Device-specific parameter of a block device (SBC-3 6.5.1).
_DPO_AND_FUA: Final = 0x10
_WRITE_PROTECTED: Final = 0x80
CONTROL: Final = 0x0A
SWP_BYTE: Final = 4
SWP: Final = 0x08


class ModePage(NamedTuple):
    """Its bytes from the page code on as they are by default, and which bits MODE SELECT may change."""

    default: bytes
    changeable: bytes


def _page(default: str, changeable: str = "") -> ModePage:
    found = bytes.fromhex(default)
    length = found[1] + 2
    return ModePage(found.ljust(length, b"\0"), found[:2] + bytes.fromhex(changeable).ljust(length - 2, b"\0"))


PAGES: Final = {
    0x01: _page("01 0a c0"),  # SBC-3 6.5.8, read-write error recovery: AWRE, ARRE
    # SBC-3 6.5.5, caching. WCE=1: there is a volatile cache, so that guests send SYNCHRONIZE CACHE and FUA.
    0x08: _page("08 12 04"),
    # SPC-4 7.5.8, control. QUEUE ALGORITHM MODIFIER=1: commands may be reordered; TST=0, D_SENSE=0, TAS=0; busy timeout
    # without limit.
    CONTROL: _page("0a 0a 00 10 00 00 00 00 ff ff 00 00", "00 00 08"),
    0x1C: _page("1c 0a 08"),  # SPC-4 7.5.11, informational exceptions control: DEXCPT, none are reported
}


def current_page(unit: LogicalUnit, code: int) -> bytes:
    """The page as it is now."""
    page = PAGES[code].default
    if code == CONTROL and unit.medium.write_protected:
        return page[:SWP_BYTE] + bytes((page[SWP_BYTE] | SWP,)) + page[SWP_BYTE + 1 :]
    return page


def mode_sense_6(unit: LogicalUnit, command: Command) -> Outcome:
    """Header of 4 bytes, block descriptor unless DBD, pages; cut to the allocation length."""
    cdb = command.cdb
    descriptor = b"" if cdb[1] & 0x08 else block_descriptor(unit, long_lba=False)
    pages = _pages(unit, cdb)
    header = bytes((3 + len(descriptor) + len(pages), 0, _device_specific(unit), len(descriptor)))
    return Outcome(Status.GOOD, (header + descriptor + pages)[: cdb[4]])


def mode_sense_10(unit: LogicalUnit, command: Command) -> Outcome:
    """Header of 8 bytes; with LLBAA the block descriptor has 16 bytes, else 8."""
    cdb = command.cdb
    long_lba = bool(cdb[1] & 0x10)
    descriptor = b"" if cdb[1] & 0x08 else block_descriptor(unit, long_lba=long_lba)
    pages = _pages(unit, cdb)
    length = 6 + len(descriptor) + len(pages)
    header = struct.pack(
        ">HBBBBH", length, 0, _device_specific(unit), int(long_lba and bool(descriptor)), 0, len(descriptor)
    )
    return Outcome(Status.GOOD, (header + descriptor + pages)[: int.from_bytes(cdb[7:9], "big")])


def block_descriptor(unit: LogicalUnit, *, long_lba: bool) -> bytes:
    """Number and length of blocks (SBC-3 6.5.2): 8 bytes, or 16 with a long LBA."""
    if long_lba:
        return struct.pack(">QII", unit.blocks, 0, BLOCK_BYTES)
    return struct.pack(">II", min(unit.blocks, 0xFFFFFFFF), BLOCK_BYTES)


def _device_specific(unit: LogicalUnit) -> int:
    return _DPO_AND_FUA | (_WRITE_PROTECTED if unit.medium.write_protected else 0)


def _pages(unit: LogicalUnit, cdb: bytes) -> bytes:
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
        return b"".join(PAGES[code].changeable for code in codes)
    if control == _DEFAULT:
        return b"".join(PAGES[code].default for code in codes)
    return b"".join(current_page(unit, code) for code in codes)
