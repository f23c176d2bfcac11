"""A file system made on an image, on the host."""

from __future__ import annotations

from pathlib import Path

import pytest

from guestd.sfs import fsck, mkfs
from hil.sfs import make


def test_an_image_is_made_where_it_is_asked_for_and_nothing_else_is_touched(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"\xff" * (16 << 20))
    told = make(image, 3, 4096, 8 << 20)
    assert told.startswith("2047 blocks of 4096, 3 journals of ")
    data = image.read_bytes()
    assert data[:4096] == b"\xff" * 4096
    assert data[4096 + (8 << 20) :] == b"\xff" * (len(data) - 4096 - (8 << 20))
    report = fsck.check(lambda number: data[4096 * (number + 1) : 4096 * (number + 2)], 2048)
    assert (report.wrong, report.notes) == ([], [])
    make(image, 3, 4096, None)
    data = image.read_bytes()
    report = fsck.check(lambda number: data[4096 * (number + 1) : 4096 * (number + 2)], 4095)
    assert (report.wrong, report.notes) == ([], [])


def test_what_cannot_be_is_refused_with_the_reason(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(1 << 20))
    with pytest.raises(ValueError, match="of which the journals take"):
        make(image, 16, 0, None)


@pytest.mark.parametrize("megabytes", [4, 8, 64, 1000, 20_000])
@pytest.mark.parametrize("nodes", [1, 3, 16, 64])
def test_the_geometry_is_legal_for_every_size(megabytes: int, nodes: int) -> None:
    blocks = megabytes * 256
    if nodes * 40 > blocks // 2:
        with pytest.raises(ValueError, match=r"."):
            mkfs.layout(nodes * 16, bytes(16), slots=nodes)
        return
    for more in range(0, 200, 7):
        found = mkfs.layout(blocks + more, bytes(16), slots=nodes)
        assert found.blocks > (blocks + more) * 9 // 10
        assert found.slots == nodes
