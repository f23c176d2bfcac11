"""Taking the ELF kernel out of a bzImage, from made-up bzImages and LZ4 blocks."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct

import pytest

from images import kernel, lz4
from images.errors import BuildError

VMLINUX = b"\x7fELF\x02\x01" + bytes(range(256)) * 40


def make_bzimage(packed: bytes, size: int = len(VMLINUX), version: int = 0x020F, cut: int = 0) -> bytes:
    """A bzImage with three set-up sectors and the payload 64 bytes into its protected-mode part."""
    payload = packed + struct.pack("<I", size)
    head = bytearray(4 * 512)
    head[0x1F1] = 3
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", head, 0x206, version)
    struct.pack_into("<II", head, 0x248, 64, len(payload))
    image = bytes(head) + bytes(64) + payload
    return image[: len(image) - cut] if cut else image + b"what follows"


def lz4_frame(content: bytes) -> bytes:
    """A legacy frame of blocks with literals only: legal, if pointless."""
    frame = lz4.LEGACY_MAGIC
    for at in range(0, len(content), 1000):
        part = content[at : at + 1000]
        assert len(part) >= 15
        extra = len(part) - 15
        block = b"\xf0" + b"\xff" * (extra // 255) + bytes([extra % 255]) + part
        frame += struct.pack("<I", len(block)) + block
    return frame


@pytest.mark.parametrize(
    "pack",
    [
        gzip.compress,
        bz2.compress,
        lzma.compress,
        lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
        lz4_frame,
    ],
    ids=["gzip", "bzip2", "xz", "lzma", "lz4"],
)
def test_a_kernel_packed_in_any_common_way_is_found(pack: object) -> None:
    assert callable(pack)
    assert kernel.extract_vmlinux(make_bzimage(pack(VMLINUX))) == VMLINUX


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (b"MZ" + bytes(4096), "HdrS"),
        (make_bzimage(gzip.compress(VMLINUX), version=0x0207), "0x0207"),
        (make_bzimage(gzip.compress(VMLINUX), cut=20), "cut off"),
        (make_bzimage(b"unknown!" + bytes(100)), "unknown way"),
        (make_bzimage(gzip.compress(VMLINUX), size=17), "17 announced"),
        (make_bzimage(gzip.compress(b"not a kernel"), size=12), "ELF False"),
        (make_bzimage(gzip.compress(VMLINUX)[:60]), "cannot unpack"),
        (make_bzimage(lz4_frame(VMLINUX)[:-9]), "are left"),
    ],
)
def test_anything_else_is_refused_with_the_reason(image: bytes, why: str) -> None:
    with pytest.raises(BuildError, match=why):
        kernel.extract_vmlinux(image)


def test_lz4_copies_what_it_has_written_even_what_it_is_writing() -> None:
    plain_copy = b"\x40abcd\x04\x00" + b"\x10!"  # 4 literals, copy 4 from 4 back; 1 literal
    assert lz4.unpack_block(plain_copy) == b"abcdabcd!"
    overlapping = b"\x2fab\x02\x00\x05" + b"\x10!"  # 2 literals, copy 4 + 15 + 5 = 24 from 2 back
    assert lz4.unpack_block(overlapping) == b"ab" * 13 + b"!"
    with pytest.raises(ValueError, match="5 bytes back"):
        lz4.unpack_block(b"\x20ab\x05\x00")
