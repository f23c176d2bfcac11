"""Direct I/O from where the data lies, and through an aligned buffer where Linux wants that."""

from __future__ import annotations

import errno
import os
import select
from pathlib import Path

import pytest

from guestd.core.effects import ReadSectors, WriteSectors
from guestd.core.inputs import ReadDone, WriteDone
from guestd.runtime.disk_thread import DiskThread

DATA = bytes(range(256)) * 64


def carried_out(disk: DiskThread, command: WriteSectors | ReadSectors) -> object:
    disk.submit(command)
    assert select.select([disk.fileno()], [], [], 10.0)[0], "it does not end"
    done = disk.take()
    assert done is not None
    return done


@pytest.mark.parametrize("refused", [errno.EINVAL, None])
def test_what_is_written_is_read_wherever_it_lies(
    refused: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """refused: as by a Linux before 6.0, of everything that does not lie on the boundary of a page."""
    path = tmp_path / "disk"
    path.write_bytes(bytes(1 << 20))
    pwritev, tries = os.pwritev, []

    def write(fd: int, buffers: list[bytes | memoryview], offset: int, flags: int = 0) -> int:
        tries.append(type(buffers[0]))
        if refused is not None and isinstance(buffers[0], bytes):
            raise OSError(refused, os.strerror(refused))
        return pwritev(fd, [memoryview(bytearray(one)) for one in buffers], offset, flags)

    monkeypatch.setattr(os, "pwritev", write)
    monkeypatch.setattr(os, "O_DIRECT", 0)
    disk = DiskThread(lambda: str(path))
    for number in (1, 2):
        assert carried_out(disk, WriteSectors(number, 32 * number, DATA)) == WriteDone(number, True)
    assert carried_out(disk, ReadSectors(3, 64, 32)) == ReadDone(3, True, DATA)
    # It is tried once only.
    assert tries == ([bytes, bytes] if refused is None else [bytes, memoryview, memoryview])


def test_another_error_is_the_end_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(1 << 20))

    def write(*_: object) -> int:
        raise OSError(errno.EBADE, "a reservation conflict")

    monkeypatch.setattr(os, "pwritev", write)
    disk = DiskThread(lambda: str(path))
    assert carried_out(disk, WriteSectors(1, 0, DATA)) == WriteDone(1, False, conflict=True)
