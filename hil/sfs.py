"""The shared file system on an image, on the host.

    python -m hil.sfs mkfs IMAGE --nodes 3 [--offset BYTES] [--size BYTES]
    python -m hil.sfs fsck IMAGE [--offset BYTES]

mkfs asks nothing and overwrites. fsck only reads; its exit status is 1 if it finds something wrong.
"""

from __future__ import annotations

import argparse
import sys
import time
import uuid
from pathlib import Path

from guestd.sfs import fsck, mkfs
from guestd.sfs.block import BLOCK_SIZE


def make(image: Path, nodes: int, offset: int, size: int | None) -> str:
    """What was made, for people. Raises ValueError for what cannot be."""
    blocks = (image.stat().st_size - offset if size is None else size) // BLOCK_SIZE
    superblock = mkfs.layout(blocks, uuid.uuid4().bytes, slots=nodes)
    with image.open("r+b") as file:
        for number, block in mkfs.make(superblock, time.time_ns()):
            file.seek(offset + number * BLOCK_SIZE)
            file.write(block)
    return (
        f"{superblock.blocks} blocks of {BLOCK_SIZE}, {superblock.slots} journals of {superblock.journal_blocks}, "
        f"{superblock.groups} groups of {superblock.group_blocks}"
    )


def check(image: Path, offset: int) -> fsck.Report:
    """What is wrong with it."""
    blocks = (image.stat().st_size - offset) // BLOCK_SIZE
    with image.open("rb") as file:

        def read(number: int) -> bytes:
            file.seek(offset + number * BLOCK_SIZE)
            return file.read(BLOCK_SIZE)

        return fsck.check(read, blocks)


def main() -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m hil.sfs", description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["mkfs", "fsck"])
    parser.add_argument("image", type=Path)
    parser.add_argument("--nodes", type=int, default=3, help="journals (3)")
    parser.add_argument("--offset", type=int, default=0, help="where it begins on the image, in bytes (0)")
    parser.add_argument("--size", type=int, help="in bytes (up to the end of the image)")
    arguments = parser.parse_args()
    if arguments.what == "mkfs":
        try:
            print(make(arguments.image, arguments.nodes, arguments.offset, arguments.size))
        except ValueError as why:
            print(f"hil.sfs: {why}", file=sys.stderr)
            return 2
        return 0
    report = check(arguments.image, arguments.offset)
    for line in report.wrong:
        print(f"wrong: {line}")
    for line in report.notes:
        print(f"note: {line}")
    print("nothing is wrong" if not report.wrong else f"{len(report.wrong)} things are wrong")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
