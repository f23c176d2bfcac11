"""mkfs and fsck on an image, on the host."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from guestd.sfs import mkfs

TREE = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hil.sfs", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=TREE, env={"PYTHONPATH": str(TREE)})


def test_an_image_is_made_and_checked(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"\xff" * (16 << 20))
    made = run("mkfs", str(image), "--nodes", "3", "--offset", "4096")
    assert made.returncode == 0, made.stderr
    assert image.read_bytes()[:4096] == b"\xff" * 4096
    found = run("fsck", str(image), "--offset", "4096")
    assert (found.returncode, found.stdout) == (0, "nothing is wrong\n")
    with image.open("r+b") as file:
        file.seek(2 * 4096 + 100)
        file.write(b"x")
    found = run("fsck", str(image), "--offset", "4096")
    assert found.returncode == 1
    assert "wrong: block 1: the checksum does not match" in found.stdout


def test_what_cannot_be_is_refused_with_the_reason(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(1 << 20))
    refused = run("mkfs", str(image), "--nodes", "16")
    assert refused.returncode == 2
    assert "of which the journals take" in refused.stderr


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
