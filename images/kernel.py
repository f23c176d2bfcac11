"""Takes the ELF kernel (vmlinux) out of a bzImage.

QEMU starts a vmlinux through its PVH entry and so skips the self-extraction, which costs more than a second under
emulation. Layout: Documentation/arch/x86/boot.rst of Linux, "The Real-Mode Kernel Header".
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import subprocess

from images import elf, lz4
from images.commands import find_tool
from images.errors import BuildError

STAGE = "kernel"
SETUP_SECTORS_OFFSET = 0x1F1
HEADER_MAGIC_OFFSET = 0x202
PROTOCOL_VERSION_OFFSET = 0x206
PAYLOAD_OFFSET = 0x248  # of two u32: payload_offset, payload_length
PROTOCOL_VERSION_MIN = 0x0208  # the first with those two
SECTOR_SIZE = 512


def find_payload(image: bytes) -> bytes:
    """The packed kernel inside a bzImage, with the four bytes of size behind it; ``ValueError`` if there is none."""
    if len(image) < PAYLOAD_OFFSET + 8 or image[HEADER_MAGIC_OFFSET : HEADER_MAGIC_OFFSET + 4] != b"HdrS":
        raise ValueError("not a bzImage: the header magic HdrS is missing")
    (version,) = struct.unpack_from("<H", image, PROTOCOL_VERSION_OFFSET)
    if version < PROTOCOL_VERSION_MIN:
        raise ValueError(f"boot protocol {version:#06x} tells no payload (needs {PROTOCOL_VERSION_MIN:#06x} or later)")
    setup_sectors = image[SETUP_SECTORS_OFFSET] or 4
    offset, length = struct.unpack_from("<II", image, PAYLOAD_OFFSET)
    start = (setup_sectors + 1) * SECTOR_SIZE + offset
    if start + length > len(image):
        raise ValueError(f"bzImage cut off: payload ends at {start + length}, the file at {len(image)}")
    return image[start : start + length]


def unpack_zstd(packed: bytes) -> bytes:
    """Zstandard through the program of that name: no Python of the supported ones has it."""
    tool = find_tool("zstd", "zstd", STAGE)
    done = subprocess.run([tool, "-dc"], input=packed, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return done.stdout


def unpack(payload: bytes) -> bytes:
    """Decompress a payload by its magic; ``ValueError`` names an unknown one."""
    if payload.startswith(lz4.LEGACY_MAGIC):
        return lz4.unpack_legacy(payload)
    packed = payload[:-4]
    if packed.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(packed)
    if packed.startswith(b"]\0\0"):
        return lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(packed)
    if packed.startswith(b"\x1f\x8b"):
        return gzip.decompress(packed)
    if packed.startswith(b"BZh"):
        return bz2.decompress(packed)
    if packed.startswith(b"\x28\xb5\x2f\xfd"):
        return unpack_zstd(packed)
    raise ValueError(f"kernel packed in an unknown way (starts with {payload[:6].hex()})")


def extract_vmlinux(image: bytes) -> bytes:
    """The ELF kernel inside the bzImage ``image``; a ``BuildError`` when it is not one this code understands."""
    try:
        payload = find_payload(image)
        vmlinux = unpack(payload)
    except (ValueError, IndexError, EOFError, OSError, lzma.LZMAError) as error:
        raise BuildError(STAGE, f"cannot unpack the kernel: {error}", "report the kernel package's version") from error
    size = int.from_bytes(payload[-4:], "little")
    if not elf.is_elf(vmlinux) or len(vmlinux) != size:
        detail = f"unpacked kernel: {len(vmlinux)} bytes, {size} announced, ELF {elf.is_elf(vmlinux)}"
        raise BuildError(STAGE, detail, "report the kernel package's version")
    return vmlinux
