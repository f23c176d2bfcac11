"""The frame that every record on the disk has: one sector, one purpose, one writer (spec S2.5).

offset  size
0       4     magic "HILM"
4       1     version of the format, 2
5       1     record type
6       1     node that owns the sector (255: nobody, written by the host)
7       1     zero
8       16    cluster id
24      8     sequence number: grows with each write of this sector
32      476   body
508     4     CRC-32 of bytes 0 to 507
All numbers are little-endian. A sector of zeros was never written. Magic, version and checksum stay where they are in
every version, so that a record of another version is told from a torn one.

Other tables on the disk have the same frame with a magic and a version of their own (`Form`).
"""

from __future__ import annotations

import struct
import zlib

from guestd.core.value import Value

SECTOR_SIZE = 512
BODY_SIZE = 476
MAGIC = b"HILM"
VERSION = 2  # 1 had one copy of the persistent part
NO_NODE = 255
CRC_RESIDUE = 0x2144DF1C  # of whatever ends with its own CRC-32, and of nothing else

_FRAME = struct.Struct("<4sBBBx16sQ")
_FRAME_SIZE: int = _FRAME.size
_CRC = struct.Struct("<I")
_ZEROS = bytes(SECTOR_SIZE)


class Form(Value):
    """Whose records these are."""

    magic: bytes  # 4
    version: int  # of all records with that magic
    place: str = "node"  # what the byte after the record type counts


MEMBERSHIP = Form(MAGIC, VERSION)


class Sector(Value):
    """What the frame of a valid sector says, and its body (always 476 bytes)."""

    sequence: int
    body: bytes


class Damaged(Exception):
    """A sector that must not be believed: torn, stale, misdirected, foreign or of another version. Says which."""

    validity = "damaged"  # in a word, for tables


class Foreign(Damaged):
    """A whole record, of another cluster."""

    validity = "foreign cluster"


class OtherVersion(Damaged):
    """A whole record that another version has written. Never overwritten: only that version knows what it says."""

    def __init__(self, found: int, where: str = "", *, own: int = VERSION) -> None:
        super().__init__(f"{where}has format version {found}, this software reads and writes version {own}")
        self.found = found
        self.validity = "future version" if found > own else "former version"


def seal(cluster_id: bytes, kind: int, node: int, sequence: int, body: bytes, form: Form = MEMBERSHIP) -> bytes:
    """The 512 bytes of a record. Raises ValueError if the body is too long."""
    if len(body) > BODY_SIZE:
        raise ValueError(f"the body of record type {kind} has {len(body)} bytes (legal: at most {BODY_SIZE})")
    framed = _FRAME.pack(form.magic, form.version, kind, node, cluster_id, sequence) + body.ljust(BODY_SIZE, b"\0")
    return framed + _CRC.pack(zlib.crc32(framed))


def owner(data: bytes, form: Form = MEMBERSHIP) -> bytes | None:
    """The id of the cluster whose record this is, if it is a whole one of this version, whatever it says."""
    if len(data) != SECTOR_SIZE or zlib.crc32(data) != CRC_RESIDUE:
        return None
    magic, version, _, _, cluster_id, _ = _FRAME.unpack_from(data)
    return cluster_id if (magic, version) == (form.magic, form.version) else None


def unseal(cluster_id: bytes, kind: int, node: int, data: bytes, form: Form = MEMBERSHIP) -> Sector | None:
    """Check a sector against what must stand there. None: it was never written. Raises Damaged."""
    if data == _ZEROS:
        return None
    if len(data) != SECTOR_SIZE:
        raise Damaged(f"{len(data)} bytes instead of {SECTOR_SIZE}")
    magic, version, found_kind, found_node, found_id, sequence = _FRAME.unpack_from(data)
    if magic != form.magic:
        raise Damaged(f"magic {magic!r} instead of {form.magic!r}")
    if zlib.crc32(data) != CRC_RESIDUE:
        raise Damaged("the checksum does not match")
    if version != form.version:
        raise OtherVersion(version, own=form.version)
    if found_id != cluster_id:
        raise Foreign(f"belongs to the cluster {found_id.hex()}")
    if (found_kind, found_node) != (kind, node):
        raise Damaged(
            f"is record type {found_kind} of {form.place} {found_node}, not type {kind} of {form.place} {node}"
        )
    return Sector(sequence, data[_FRAME_SIZE:-4])
