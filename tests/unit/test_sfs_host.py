"""The geometry of a file system, as it is made on the host."""

from __future__ import annotations

import pytest

from guestd.sfs import mkfs


def test_what_cannot_be_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match="of which the journals take"):
        mkfs.layout(256, bytes(16), slots=16)


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
