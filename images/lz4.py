"""Unpacks the LZ4 "legacy" frame that Debian's kernels are packed with (the standard library has no LZ4).

Formats: lz4_Frame_format.md ("Legacy frame") and lz4_Block_format.md of the LZ4 project.
"""

from __future__ import annotations

LEGACY_MAGIC = b"\x02\x21\x4c\x18"
BLOCK_SIZE_MAX = 8 << 20  # of an uncompressed block; blocks do not refer to each other
MATCH_MIN = 4


def unpack_block(block: bytes) -> bytearray:
    """One block: a chain of literals and copies of what was written before. ``IndexError``, ``ValueError`` if torn."""
    out = bytearray()
    at, end = 0, len(block)
    while at < end:
        token = block[at]
        at += 1
        literals = token >> 4
        if literals:
            if literals == 15:
                while (more := block[at]) == 255:
                    literals += 255
                    at += 1
                literals += more
                at += 1
            out += block[at : at + literals]
            at += literals
        if at >= end:
            break  # the last sequence has literals only
        offset = block[at] | block[at + 1] << 8
        at += 2
        length = token & 15
        if length == 15:
            while (more := block[at]) == 255:
                length += 255
                at += 1
            length += more
            at += 1
        length += MATCH_MIN
        start = len(out) - offset
        if start < 0 or not offset:
            raise ValueError(f"LZ4 block copies from {offset} bytes back, {len(out)} bytes in")
        if offset >= length:
            out += out[start : start + length]
        else:  # overlapping copy: what is behind the cursor repeats
            out += (out[start:] * (length // offset + 1))[:length]
    return out


def unpack_legacy(data: bytes) -> bytes:
    """The content of a legacy frame. The four bytes a kernel appends (its size) end the frame like the end of data."""
    if not data.startswith(LEGACY_MAGIC):
        raise ValueError("not an LZ4 legacy frame")
    out = bytearray()
    at = 4
    while at + 4 <= len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        at += 4
        if size > len(data) - at:
            if at == len(data):
                break  # not a block: the kernel's uncompressed size
            raise ValueError(f"LZ4 block of {size} bytes, {len(data) - at} are left")
        out += unpack_block(data[at : at + size])
        at += size
    return bytes(out)
