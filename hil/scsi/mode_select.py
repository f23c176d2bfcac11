"""MODE SELECT 6 and 10 (SPC-4 6.11, 6.12): what is not changeable has to be sent as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hil.scsi.command import DONE, Command, Outcome
from hil.scsi.mode_pages import CONTROL, PAGES, SWP, SWP_BYTE, block_descriptor, current_page
from hil.scsi.sense import (
    INVALID_FIELD_IN_PARAMETERS,
    MODE_PARAMETERS_CHANGED,
    PARAMETER_LIST_LENGTH,
    Refused,
    invalid_field,
)

if TYPE_CHECKING:
    from hil.scsi.unit import LogicalUnit


def mode_select_6(unit: LogicalUnit, command: Command) -> Outcome:
    """Header of 4 bytes, block descriptor or none, pages."""
    return _select(unit, command, mode_select_6_length(unit, command), 4)


def mode_select_6_length(unit: LogicalUnit, command: Command) -> int:
    """Bytes of the parameter list."""
    _flags(command.cdb)
    return command.cdb[4]


def mode_select_10(unit: LogicalUnit, command: Command) -> Outcome:
    """Header of 8 bytes, block descriptor (long with LONGLBA) or none, pages."""
    return _select(unit, command, mode_select_10_length(unit, command), 8)


def mode_select_10_length(unit: LogicalUnit, command: Command) -> int:
    """Bytes of the parameter list."""
    _flags(command.cdb)
    return int.from_bytes(command.cdb[7:9], "big")


def _flags(cdb: bytes) -> None:
    if not cdb[1] & 0x10:  # PF=0: pages of a vendor's format
        raise invalid_field(1, 4)
    if cdb[1] & 0x01:  # SP: pages cannot be saved
        raise invalid_field(1, 0)


def _select(unit: LogicalUnit, command: Command, length: int, header_bytes: int) -> Outcome:
    """All pages are checked before the first takes effect. An empty list is no error and changes nothing."""
    command.data_out_bytes = length
    data = bytes(command.data[:length])
    if not length:
        return DONE
    if len(data) < max(length, header_bytes):
        raise Refused(PARAMETER_LIST_LENGTH)
    long_lba = header_bytes == 8 and bool(data[4] & 0x01)
    descriptor_bytes = data[3] if header_bytes == 4 else int.from_bytes(data[6:8], "big")
    pages = data[header_bytes + descriptor_bytes :]
    descriptor = data[header_bytes : header_bytes + descriptor_bytes]
    if len(descriptor) < descriptor_bytes:
        raise Refused(PARAMETER_LIST_LENGTH)
    if descriptor and descriptor != block_descriptor(unit, long_lba=long_lba):  # the unit cannot be resized
        raise Refused(INVALID_FIELD_IN_PARAMETERS)
    for page in _split(unit, pages):
        if page[0] == CONTROL and page != current_page(unit, CONTROL):
            unit.medium.write_protected = bool(page[SWP_BYTE] & SWP)
            unit.peers.tell_others(command.nexus.identity, unit.lun, MODE_PARAMETERS_CHANGED)
    return DONE


def _split(unit: LogicalUnit, data: bytes) -> list[bytes]:
    """The pages sent. Raises ``Refused`` for one that does not exist, is cut short, or changes what it must not."""
    found = []
    while data:
        page = PAGES.get(data[0])  # PS and SPF have to be 0, so the code is the whole byte
        if page is None:
            raise Refused(INVALID_FIELD_IN_PARAMETERS)
        length = len(page.default)
        sent, data = data[:length], data[length:]
        if len(sent) < length:
            raise Refused(PARAMETER_LIST_LENGTH)
        now = current_page(unit, sent[0])
        if sent[1] != now[1] or any(
            (a ^ b) & ~mask for a, b, mask in zip(sent[2:], now[2:], page.changeable[2:], strict=True)
        ):
            raise Refused(INVALID_FIELD_IN_PARAMETERS)
        found.append(sent)
    return found
