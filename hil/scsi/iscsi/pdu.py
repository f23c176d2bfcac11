"""Headers of iSCSI PDUs (RFC 7143 chapter 11): a tuple and a ``struct`` each, and nothing else.

``lengths`` is the word that holds TotalAHSLength (8 bits, in words of 4 bytes) and DataSegmentLength (24 bits, in
bytes). ``parse`` never fails on 48 bytes: what the fields say is judged by who uses them.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final, NamedTuple

HEADER_BYTES: Final = 48
NO_TAG: Final = 0xFFFFFFFF
FINAL: Final = 0x80
IMMEDIATE: Final = 0x40  # of the first byte of a request
CONTINUE: Final = 0x40  # of the second byte of login and text PDUs
OVERFLOW: Final = 0x04
UNDERFLOW: Final = 0x02
HAS_STATUS: Final = 0x01
READ: Final = 0x40
WRITE: Final = 0x20


class Op(IntEnum):
    """RFC 7143 11.2.1.2."""

    NOP_OUT = 0x00
    SCSI_COMMAND = 0x01
    TASK_MANAGEMENT_REQUEST = 0x02
    LOGIN_REQUEST = 0x03
    TEXT_REQUEST = 0x04
    DATA_OUT = 0x05
    LOGOUT_REQUEST = 0x06
    SNACK = 0x10
    NOP_IN = 0x20
    SCSI_RESPONSE = 0x21
    TASK_MANAGEMENT_RESPONSE = 0x22
    LOGIN_RESPONSE = 0x23
    TEXT_RESPONSE = 0x24
    DATA_IN = 0x25
    LOGOUT_RESPONSE = 0x26
    R2T = 0x31
    REJECT = 0x3F


class RejectReason(IntEnum):
    """RFC 7143 11.17.1."""

    DATA_DIGEST_ERROR = 0x02
    PROTOCOL_ERROR = 0x04
    COMMAND_NOT_SUPPORTED = 0x05
    IMMEDIATE_COMMAND = 0x06
    TASK_IN_PROGRESS = 0x07
    INVALID_PDU_FIELD = 0x09


class NopOut(NamedTuple):
    opcode: int
    flags: int
    lengths: int
    lun: int
    itt: int
    ttt: int
    cmd_sn: int
    exp_stat_sn: int


class ScsiCommand(NamedTuple):
    opcode: int
    flags: int
    lengths: int
    lun: int
    itt: int
    edtl: int
    cmd_sn: int
    exp_stat_sn: int
    cdb: bytes


class TaskManagementRequest(NamedTuple):
    opcode: int
    flags: int
    lengths: int
    lun: int
    itt: int
    referenced_itt: int
    cmd_sn: int
    exp_stat_sn: int
    ref_cmd_sn: int
    exp_data_sn: int


class LoginRequest(NamedTuple):
    opcode: int
    flags: int
    version_max: int
    version_min: int
    lengths: int
    isid: bytes
    tsih: int
    itt: int
    cid: int
    cmd_sn: int
    exp_stat_sn: int


class TextRequest(NamedTuple):
    opcode: int
    flags: int
    lengths: int
    lun: int
    itt: int
    ttt: int
    cmd_sn: int
    exp_stat_sn: int


class DataOut(NamedTuple):
    opcode: int
    flags: int
    lengths: int
    lun: int
    itt: int
    ttt: int
    exp_stat_sn: int
    data_sn: int
    offset: int


class LogoutRequest(NamedTuple):
    opcode: int
    flags: int
    lengths: int
    itt: int
    cid: int
    cmd_sn: int
    exp_stat_sn: int


class Snack(NamedTuple):
    opcode: int
    flags: int
    lengths: int
    lun: int
    itt: int
    snack_tag: int
    exp_stat_sn: int
    begin: int
    length: int


class NopIn(NamedTuple):
    opcode: int
    flags: int
    lengths: int
    lun: int
    itt: int
    ttt: int
    stat_sn: int
    exp_cmd_sn: int
    max_cmd_sn: int


class ScsiResponse(NamedTuple):
    opcode: int
    flags: int
    response: int
    status: int
    lengths: int
    itt: int
    snack_tag: int
    stat_sn: int
    exp_cmd_sn: int
    max_cmd_sn: int
    exp_data_sn: int
    bidirectional_residual: int
    residual: int


class TaskManagementResponse(NamedTuple):
    opcode: int
    flags: int
    response: int
    lengths: int
    itt: int
    stat_sn: int
    exp_cmd_sn: int
    max_cmd_sn: int


class LoginResponse(NamedTuple):
    opcode: int
    flags: int
    version_max: int
    version_active: int
    lengths: int
    isid: bytes
    tsih: int
    itt: int
    stat_sn: int
    exp_cmd_sn: int
    max_cmd_sn: int
    status: int


class TextResponse(NamedTuple):
    opcode: int
    flags: int
    lengths: int
    lun: int
    itt: int
    ttt: int
    stat_sn: int
    exp_cmd_sn: int
    max_cmd_sn: int


class DataIn(NamedTuple):
    opcode: int
    flags: int
    status: int
    lengths: int
    lun: int
    itt: int
    ttt: int
    stat_sn: int
    exp_cmd_sn: int
    max_cmd_sn: int
    data_sn: int
    offset: int
    residual: int


class LogoutResponse(NamedTuple):
    opcode: int
    flags: int
    response: int
    lengths: int
    itt: int
    stat_sn: int
    exp_cmd_sn: int
    max_cmd_sn: int
    time_to_wait_s: int
    time_to_retain_s: int


class R2T(NamedTuple):
    opcode: int
    flags: int
    lengths: int
    lun: int
    itt: int
    ttt: int
    stat_sn: int
    exp_cmd_sn: int
    max_cmd_sn: int
    r2t_sn: int
    offset: int
    desired: int


class Reject(NamedTuple):
    opcode: int
    flags: int
    reason: int
    lengths: int
    tag: int
    stat_sn: int
    exp_cmd_sn: int
    max_cmd_sn: int
    data_sn: int


Pdu = (
    NopOut | ScsiCommand | TaskManagementRequest | LoginRequest | TextRequest | DataOut | LogoutRequest | Snack | NopIn
    | ScsiResponse | TaskManagementResponse | LoginResponse | TextResponse | DataIn | LogoutResponse | R2T | Reject
)  # fmt: skip

# Operation code: tuple and layout of the 48 bytes.
LAYOUTS: Final[dict[int, tuple[type[Pdu], struct.Struct]]] = {
    Op.NOP_OUT: (NopOut, struct.Struct(">BBxxIQIIII16x")),
    Op.SCSI_COMMAND: (ScsiCommand, struct.Struct(">BBxxIQIIII16s")),
    Op.TASK_MANAGEMENT_REQUEST: (TaskManagementRequest, struct.Struct(">BBxxIQIIIIII8x")),
    Op.LOGIN_REQUEST: (LoginRequest, struct.Struct(">BBBBI6sHIHxxII16x")),
    Op.TEXT_REQUEST: (TextRequest, struct.Struct(">BBxxIQIIII16x")),
    Op.DATA_OUT: (DataOut, struct.Struct(">BBxxIQII4xI4xII4x")),
    Op.LOGOUT_REQUEST: (LogoutRequest, struct.Struct(">BBxxI8xIHxxII16x")),
    Op.SNACK: (Snack, struct.Struct(">BBxxIQII4xI8xII")),
    Op.NOP_IN: (NopIn, struct.Struct(">BBxxIQIIIII12x")),
    Op.SCSI_RESPONSE: (ScsiResponse, struct.Struct(">BBBBI8xIIIIIIII")),
    Op.TASK_MANAGEMENT_RESPONSE: (TaskManagementResponse, struct.Struct(">BBBxI8xI4xIII12x")),
    Op.LOGIN_RESPONSE: (LoginResponse, struct.Struct(">BBBBI6sHI4xIIIH10x")),
    Op.TEXT_RESPONSE: (TextResponse, struct.Struct(">BBxxIQIIIII12x")),
    Op.DATA_IN: (DataIn, struct.Struct(">BBxBIQIIIIIIII")),
    Op.LOGOUT_RESPONSE: (LogoutResponse, struct.Struct(">BBBxI8xI4xIII4xHH4x")),
    Op.R2T: (R2T, struct.Struct(">BBxxIQIIIIIIII")),
    Op.REJECT: (Reject, struct.Struct(">BBBxI8xI4xIIII8x")),
}
_LAYOUT_BY_TYPE: Final = dict(LAYOUTS.values())


def parse(buffer: bytes | bytearray | memoryview, offset: int = 0) -> Pdu | None:
    """The header at ``offset`` (at least 48 bytes must be there); None for an operation code that has no meaning."""
    layout = LAYOUTS.get(buffer[offset] & 0x3F)
    if layout is None:
        return None
    kind, fields = layout
    return kind._make(fields.unpack_from(buffer, offset))


def build(pdu: Pdu, data: bytes = b"") -> bytes:
    """Header with the length of ``data`` put in, data, and padding to a multiple of 4 bytes; no additional headers."""
    header = _LAYOUT_BY_TYPE[type(pdu)].pack(*pdu._replace(lengths=len(data)))
    return header + data + bytes(-len(data) % 4) if data else header
