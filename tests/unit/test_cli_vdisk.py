"""`hil vdisk list`: the virtual disks of a disk's image, and what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guestd.membership import layout as membership
from guestd.vdm import layout
from guestd.vdm.format import format_volumes
from hil.cli import main
from tests.unit.guestd_world import CLUSTER_ID

SIZE = 16 << 20


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.raw"
    tables = format_volumes(CLUSTER_ID, 3, SIZE, [("data", 1 << 20)])
    path.write_bytes(bytes(membership.VOLUMES_OFFSET) + tables + bytes(SIZE - membership.VOLUMES_OFFSET - len(tables)))
    return path


def test_the_disks_of_an_image_and_of_the_directory_of_a_run(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for where in (image, image.parent):
        assert main.main(["vdisk", "list", str(where), "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert [(disk["name"], disk["fixed"]) for disk in told["disks"]] == [
            ("bootstrap", True),
            ("membership-database", True),
            ("data", False),
        ]
        assert (told["disks"][-1]["size"], told["refused"], told["pending"]) == (1 << 20, None, None)
    assert main.main(["vdisk", "list", str(image)]) == 0
    assert "data" in capsys.readouterr().out


def test_tables_that_cannot_be_believed_are_told_with_the_reason(
    image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(image.read_bytes())
    for copy in range(layout.COPIES):
        data[layout.header_lba(copy) * 512 + 100] ^= 1
    image.write_bytes(data)
    assert main.main(["vdisk", "list", str(image)]) == 0
    told = capsys.readouterr().out
    assert "cannot be believed" in told
    assert "checksum" in told


def test_what_is_no_image_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "short").write_bytes(b"x")
    for name, why in (("short", "too short"), ("none", "No such file")):
        assert main.main(["vdisk", "list", str(tmp_path / name)]) == 2
        assert why in capsys.readouterr().err
