"""What comes out of FUSE's device: heads for libfuse, data in bytes that nobody else has."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mfusepy")

_HEAD = struct.Struct("<IIQQIIIHH")  # struct fuse_in_header
FUSE_LOOKUP, FUSE_WRITE = 1, 16


def request(opcode: int, behind: bytes) -> bytes:
    return _HEAD.pack(_HEAD.size + len(behind), opcode, 7, 1, 0, 0, 99, 0, 0) + behind


@pytest.fixture
def ends() -> Iterator[tuple[int, int]]:
    """A pipe with room for one request of the largest size."""
    read, write = os.pipe2(os.O_NONBLOCK)
    yield read, write
    os.close(read)
    os.close(write)


def received(receiver: Any) -> bytes:
    """The request as libfuse finds it."""
    assert receiver.receive()
    about = receiver.request.buf
    return ctypes.string_at(about.mem, about.size)


def test_a_request_that_is_no_write_is_whole_in_front_of_libfuse(ends: tuple[int, int]) -> None:
    from guestd.runtime.fuse.receiver import Receiver

    read, write = ends
    receiver = Receiver(read)
    assert not receiver.receive(), "there is nothing"
    for name in (b"short\0", b"a name of more bytes than a write has before its data".ljust(255, b"x") + b"\0"):
        whole = request(FUSE_LOOKUP, name)
        os.write(write, whole)
        assert received(receiver) == whole
        assert receiver.size == len(whole)


def test_the_data_of_a_write_is_its_own(tmp_path: Path) -> None:
    from guestd.runtime.fuse.receiver import HEAD_SIZE, WRITE_SIZE_MAX, Receiver

    # A file gives each reader as much as he asks for: requests of the largest size, one behind the other.
    largest = [bytes([value]) * WRITE_SIZE_MAX for value in (1, 2)]
    head = bytes(HEAD_SIZE - _HEAD.size)
    path = tmp_path / "requests"
    path.write_bytes(
        b"".join(request(FUSE_WRITE, head + data) for data in largest) + request(FUSE_WRITE, head + b"end")
    )
    with path.open("rb") as file:
        receiver = Receiver(file.fileno())
        found = []
        for data in largest:
            assert receiver.receive()
            found.append(receiver.written(len(data)))
        assert receiver.receive()
        found.append(receiver.written(3))
        assert receiver.size == HEAD_SIZE + 3
    assert found == [*largest, b"end"]
    assert all(type(one) is bytes for one in found)


def test_a_device_that_has_gone_is_an_error() -> None:
    from guestd.runtime.fuse.receiver import Receiver

    gone = os.open("/", os.O_RDONLY)
    receiver = Receiver(gone)
    with pytest.raises(OSError, match="directory"):
        receiver.receive()
    os.close(gone)
