"""What the mounted file system costs on this host: `python -m tests.unit.sfs_mount_measure [--profile]`.

Processor times are the server's own (mount, server, file system, lock manager, disk in memory), so other work on the
host changes the rates but hardly these.
"""

from __future__ import annotations

import pstats
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.unit.mount_world import MountWorld
from tests.unit.sfs_node import make_image

MEBIBYTES = 16
FILES = 100
STATS = 2000


def measured(world: MountWorld, what: str, run: Callable[[], object]) -> None:
    before, start = world.report(), time.monotonic()
    run()
    took, after = time.monotonic() - start, world.report()
    served, cpu_s = after["served"] - before["served"], after["cpu_s"] - before["cpu_s"]
    print(f"{what}: {took:.3f} s, {served} requests, processor {cpu_s:.3f} s, {1e6 * cpu_s / served:.0f} us a request")


def main() -> None:
    profiles = sys.argv[1:] == ["--profile"]
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        make_image(directory / "image", 64 << 8)
        table = directory / "profile"
        options = (*(("--profile", str(table)) if profiles else ()), str(directory / "image"))
        world = MountWorld(directory / "shared", server="tests.unit.sfs_mount_server", options=options)
        try:
            write = f"dd if=/dev/zero of=big bs=1M count={MEBIBYTES} conv=fsync status=none"
            measured(world, f"write {MEBIBYTES} MiB, fsync", lambda: world.run("sh", "-c", write))
            measured(world, "read it back", lambda: world.run("dd", "if=big", "of=/dev/null", "bs=1M", "status=none"))
            make = f"""if True:
                import os
                for index in range({FILES}):
                    file = os.open(f"file{{index}}", os.O_CREAT | os.O_WRONLY)
                    os.write(file, b"x" * 1000)
                    os.close(file)
            """
            measured(world, f"create {FILES} small files", lambda: world.python(make))
            stat = f"""if True:
                import os
                file = os.open("file0", os.O_RDONLY)
                for _ in range({STATS}):
                    os.fstat(file)
            """
            measured(world, f"{STATS} fstat", lambda: world.python(stat))
            read = f"""if True:
                import os
                file = os.open("big", os.O_RDONLY)
                for index in range({STATS}):
                    os.pread(file, 4096, 4096 * index)
            """
            measured(world, f"{STATS} pread of 4 KiB", lambda: world.python(read))
            world.unmount()
            world._started[0].wait()
        finally:
            world.end()
        if profiles:
            pstats.Stats(str(table)).sort_stats("tottime").print_stats(35)


if __name__ == "__main__":
    main()
