"""PERSISTENT RESERVE IN and OUT (SPC-4 6.15, 6.16), RESERVE (6) and RELEASE (6) (SPC-2): their formats.

What the ledger says of a PERSISTENT RESERVE OUT: ``service_action`` as of every command; ``lba`` is the reservation
key, ``blocks`` the byte of scope and type, the first 8 bytes of ``digest`` the service action reservation key.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from hil.scsi.command import DONE, Command, Outcome
from hil.scsi.operation import ServiceAction
from hil.scsi.reservations import (
    ACTIONS,
    INVALID_FIELD_IN_PARAMETER_LIST,
    Conflict,
    Identity,
    Request,
    State,
    Type,
    change,
    release_6,
    reserve_6,
)
from hil.scsi.sense import PARAMETER_LIST_LENGTH, Refused, Status, invalid_field

if TYPE_CHECKING:
    from collections.abc import Callable

    from hil.scsi.unit import LogicalUnit

CONFLICT: Final = Outcome(Status.RESERVATION_CONFLICT)
_PARAMETERS: Final = struct.Struct(">QQ4xBxxx")
_PARAMETER_BYTES: Final = 24
_SPEC_I_PT: Final = 0x08
_ALL_TG_PT: Final = 0x04
_APTPL: Final = 0x01
_REGISTER: Final = 0x00
_REGISTERS: Final = (_REGISTER, 0x06)
_CRH: Final = 0x10
_PTPL_C: Final = 0x01
_TMV: Final = 0x80


def persistent_reserve_in(unit: LogicalUnit, command: Command) -> Outcome:
    """Reading the registrations and the reservation."""
    cdb = command.cdb
    found = READS.get(cdb[1] & 0x1F)
    if found is None:
        raise invalid_field(1, 4)
    if unit.reservations.reserved_by is not None:  # SPC-2 5.5.1: whoever asks
        return CONFLICT
    return Outcome(Status.GOOD, found[1](unit)[: int.from_bytes(cdb[7:9], "big")])


def _read_keys(unit: LogicalUnit) -> bytes:
    keys = unit.reservations.keys.values()
    return struct.pack(f">II{len(keys)}Q", unit.reservations.generation, 8 * len(keys), *keys)


def _read_reservation(unit: LogicalUnit) -> bytes:
    state = unit.reservations
    if state.type is None:
        return struct.pack(">II", state.generation, 0)
    return struct.pack(">IIQ4xxBxx", state.generation, 16, state.holder_key, state.type)


def _report_capabilities(unit: LogicalUnit) -> bytes:
    """All six types. Not: SPEC_I_PT, ALL_TG_PT, REGISTER AND MOVE, REPLACE LOST RESERVATION."""
    mask = sum(1 << kind for kind in Type)
    types = struct.pack("<H", mask)  # bits 0 to 7 of the first byte are types 0 to 7, bit 0 of the second is type 8
    return struct.pack(">HBB2sxx", 8, _CRH | _PTPL_C, _TMV | unit.reservations.aptpl, types)


def _read_full_status(unit: LogicalUnit) -> bytes:
    state = unit.reservations
    found = b""
    for nexus, key in state.keys.items():
        holds = state.holds(nexus)
        transport = transport_id(nexus[0])
        kind = state.type if holds and state.type is not None else 0
        port = unit.peers.port_number(nexus[1])
        found += struct.pack(">Q4xBB4xHI", key, holds, kind, port, len(transport)) + transport
    return struct.pack(">II", state.generation, len(found)) + found


def transport_id(initiator: str) -> bytes:
    """TransportID of an iSCSI initiator device (SPC-4 7.6.4.6, format 00b): the name, without an ISID."""
    name = initiator.encode() + b"\0"
    name = name.ljust(max(20, len(name) + 3 & ~3), b"\0")
    return struct.pack(">BxH", 0x05, len(name)) + name


READS: Final[dict[int, tuple[str, Callable[[LogicalUnit], bytes]]]] = {
    0x00: ("READ KEYS", _read_keys),
    0x01: ("READ RESERVATION", _read_reservation),
    0x02: ("REPORT CAPABILITIES", _report_capabilities),
    0x03: ("READ FULL STATUS", _read_full_status),
}

# Rows for the table of operations, whose functions tell the service actions apart themselves.
IN_ACTIONS: Final = {
    action: ServiceAction(name, f"5e {action:02x} 0000000000 ffff 00") for action, (name, _) in READS.items()
}
OUT_ACTIONS: Final = {
    action: ServiceAction(row.name, f"5f {action:02x} ff 0000 ffffffff 00") for action, row in ACTIONS.items()
}


def persistent_reserve_out(unit: LogicalUnit, command: Command) -> Outcome:
    """Everything that goes with a change has happened when this returns: saved, aborted, told."""
    action = command.cdb[1] & 0x1F
    if action not in ACTIONS:
        raise invalid_field(1, 4)
    request = _request(command, action)
    try:
        unit.change_reservations(change(unit.reservations, action, request), command)
    except Conflict:
        return CONFLICT
    return DONE


def persistent_reserve_out_length(unit: LogicalUnit, command: Command) -> int:
    """Bytes needed from the initiator: no more than are looked at, whatever the CDB says."""
    return min(int.from_bytes(command.cdb[5:9], "big"), _PARAMETER_BYTES)


def _request(command: Command, action: int) -> Request:
    length = int.from_bytes(command.cdb[5:9], "big")
    command.data_out_bytes = length
    if length < _PARAMETER_BYTES or len(command.data) < _PARAMETER_BYTES:
        raise Refused(PARAMETER_LIST_LENGTH)
    key, action_key, flags = _PARAMETERS.unpack_from(command.data)
    command.lba, command.blocks = key, command.cdb[2]
    command.digest = struct.pack(">Q8x", action_key)
    if action in _REGISTERS and flags & (_SPEC_I_PT | _ALL_TG_PT):
        raise Refused(INVALID_FIELD_IN_PARAMETER_LIST)
    if length != _PARAMETER_BYTES:
        raise Refused(PARAMETER_LIST_LENGTH)
    return Request(command.nexus.identity, key, action_key, command.cdb[2], bool(flags & _APTPL))


def reserve(unit: LogicalUnit, command: Command) -> Outcome:
    """RESERVE (6)."""
    return _whole_unit(unit, command, reserve_6)


def release(unit: LogicalUnit, command: Command) -> Outcome:
    """RELEASE (6)."""
    return _whole_unit(unit, command, release_6)


def _whole_unit(unit: LogicalUnit, command: Command, function: Callable[[State, Identity], State]) -> Outcome:
    if command.cdb[1] & 0x11:  # third party, extent
        raise invalid_field(1)
    try:
        unit.set_reservations(function(unit.reservations, command.nexus.identity))
    except Conflict:
        return CONFLICT
    return DONE
