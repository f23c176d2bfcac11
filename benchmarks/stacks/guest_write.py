"""In a guest: a file of the shared file system against the disk that it lies on. Prints MiB/s of each, as JSON.

    python3 guest_write.py FILE DEVICE LBA SIZE PIECE ROUNDS

Each is SIZE bytes, written one PIECE after another and flushed at the end, in turns. The blocks of the device from LBA
on are nobody's. And a file in this node's memory: the least that a processor takes which has to copy what is written,
as it need not for direct I/O. And one of a file system that does nothing (`guest_empty.py`).
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATTERN = bytes(range(256))
IN_MEMORY = "/tmp/bench.written"
EMPTY = "/tmp/bench.empty"  # where the file system that does nothing is mounted
MOUNTED_WITHIN_S = 60.0
REST_S = 1.0
"""Before each: what the last one has left to be done behind it must slow the next one down neither on the disk nor on
the processor. The file system, for one, puts in place what is in its journal after `fsync` has returned."""


def main(file: str, device: str, lba: int, size: int, piece: int, rounds: int) -> None:
    """Measure all, each round."""
    buffer = mmap.mmap(-1, piece)  # a page boundary, as direct I/O wants it
    buffer[:] = PATTERN * (piece // len(PATTERN))
    rates: dict[str, list[float]] = {"raw": [], "memory": [], "empty": [], "file": []}
    with empty_file_system(device, lba) as nothing:
        for _ in range(rounds):
            raw = os.open(device, os.O_WRONLY | os.O_DIRECT)
            rates["raw"].append(rate(raw, lba * 512, buffer, size))
            for kind, path in (("memory", IN_MEMORY), ("empty", nothing), ("file", file)):
                made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
                rates[kind].append(rate(made, 0, buffer, size))
                os.unlink(path)
            os.sync()
    print(json.dumps(rates))


@contextmanager
def empty_file_system(device: str, lba: int) -> Iterator[str]:
    """Its file, while it is mounted."""
    program = str(Path(__file__).with_name("guest_empty.py"))
    words = [sys.executable, "-S", program, EMPTY, device, str(lba)]
    server = os.posix_spawn(sys.executable, words, os.environ)
    limit = time.monotonic() + MOUNTED_WITHIN_S
    while not os.path.ismount(EMPTY):
        assert os.waitpid(server, os.WNOHANG) == (0, 0), "it has ended"
        assert time.monotonic() < limit, f"not mounted within {MOUNTED_WITHIN_S:g} s"
        time.sleep(0.1)
    try:
        yield f"{EMPTY}/file"
    finally:
        if os.system(f"umount {EMPTY}") != 0:
            os.kill(server, signal.SIGKILL)  # it would not end by itself
        os.waitpid(server, 0)


def rate(fd: int, offset: int, buffer: mmap.mmap, size: int) -> float:
    """Closes the descriptor."""
    time.sleep(REST_S)
    began = time.monotonic()
    for done in range(0, size, len(buffer)):
        assert os.pwrite(fd, buffer, offset + done) == len(buffer)
    os.fsync(fd)
    seconds = time.monotonic() - began
    os.close(fd)
    return size / seconds / (1 << 20)


if __name__ == "__main__":
    shared, disk, *numbers = sys.argv[1:]
    main(shared, disk, *map(int, numbers))
