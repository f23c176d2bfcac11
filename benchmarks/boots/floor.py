"""The least that a machine can do: a kernel whose ``/init`` prints one line.

It is an image like any other, so the bench starts it as it starts a node: the same libvirt, the same devices, memory,
processor and kernel command line, the same vmlinux through PVH. Only the archive in the initrd is another one.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hil.errors import LaboratoryError
from images import Image, cpio

LINE = b"hil: floor"
INIT = b"""\
#!/bin/busybox sh
echo 'hil: floor' >/dev/console
exec /bin/busybox sleep 1000000
"""


def write_image(image: Image, directory: Path) -> None:
    """Make ``directory`` an image directory with the kernel and the disk of ``image`` and an initrd of our own."""
    busybox = initramfs_file(image.initrd.read_bytes(), "bin/busybox")
    for path in (image.vmlinux, image.root):
        (directory / path.name).symlink_to(path)
    archive = cpio.pack(
        [
            *(cpio.directory(name) for name in ("bin", "dev")),
            cpio.character_device("dev/console", 5, 1),
            cpio.regular("init", INIT, 0o755),
            cpio.regular("bin/busybox", busybox, 0o755),
        ]
    )
    (directory / image.initrd.name).write_bytes(archive)


@contextmanager
def console(path: Path) -> Iterator[Console]:
    """Follow what is written to a console's file from now on."""
    argv = ["tail", f"--bytes=+{os.path.getsize(path) + 1}", "--follow", str(path)]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        try:
            yield Console(process)
        finally:
            process.kill()


class Console:
    """The lines of a console as they come: ``tail`` waits with inotify, so it neither polls nor is late."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def wait_line(self, text: bytes) -> None:
        """Wait for a line that contains ``text``; raises ``LaboratoryError`` when the file says no more."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if text in line:
                return
        raise LaboratoryError(f"the console ended without {text.decode()!r}")


def initramfs_file(archive: bytes, name: str) -> bytes:
    """The content of a regular file in a "newc" archive (see :mod:`images.cpio`)."""
    offset = 0
    while archive[offset : offset + 6] == b"070701":
        size, name_size = (int(archive[offset + at : offset + at + 8], 16) for at in (54, 94))
        start = offset + 110
        found = archive[start : start + name_size - 1].decode()
        content = (start + name_size + 3) & ~3
        if found == name:
            return archive[content : content + size]
        offset = (content + size + 3) & ~3
    raise LaboratoryError(f"the initramfs has no {name}")
