"""A snapshot against a copy of the whole medium."""

from __future__ import annotations

import os
import random
from pathlib import Path

from hil.scsi.medium import Medium
from hil.scsi.snapshot import Snapshot


def test_it_reads_as_the_medium_was_whatever_is_written_since(tmp_path: Path) -> None:
    rng = random.Random(3)
    with Medium(str(tmp_path / "disk"), 4096 * 512) as medium:
        medium.write(0, rng.randbytes(4096 * 512))
        was = medium.read(0, 4096)
        snapshot = Snapshot(medium)
        for _ in range(200):
            lba, blocks = rng.randrange(4000), rng.choice((1, 2, 30, 1500))
            blocks = min(blocks, 4096 - lba)
            snapshot.save(lba, blocks)
            medium.write(lba, rng.randbytes(blocks * 512))
            at, count = rng.randrange(4000), rng.choice((1, 96))
            assert snapshot.read(at, medium.read(at, count)) == was[at * 512 : (at + count) * 512]
        assert snapshot.read(0, medium.read(0, 4096)) == was
    assert os.listdir(tmp_path) == ["disk"]


def test_it_takes_no_memory_for_blocks_that_nobody_writes(tmp_path: Path) -> None:
    with Medium(str(tmp_path / "disk"), 2**41) as medium:
        snapshot = Snapshot(medium)
        snapshot.save(medium.blocks - 1, 1)
        assert len(snapshot._saved) == 1
        assert os.listdir(tmp_path) == ["disk"]
