"""A cluster's disk tells standard tools what lies where (S2.1; UEFI specification 2.10, chapter 5)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest

from guestd.membership import layout, persistent
from hil import gpt
from hil.bench import target
from hil.bench.partitions import partition_tables
from hil.evidence import layout as files
from tests.unit.guestd_world import CLUSTER_ID

MIB = 1 << 20
GUID = uuid.UUID(int=1)


def tool(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A tool of the system; where an ordinary user has no sbin, too."""
    program = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    assert program is not None, f"{name} is not installed: see packages.txt"
    command = [program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={"LC_ALL": "C"})


def table(path: Path) -> dict[str, Any]:
    done = tool("sfdisk", "--json", path)
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)["partitiontable"]
    return found


@pytest.fixture(params=[16, 64, 3 * 1024 * 1024], ids=["smallest", "default", "3 TiB"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, int]:
    """A new cluster's disk and its size in MiB."""
    path = tmp_path / "disk.raw"
    target.make_disk(path, request.param, CLUSTER_ID, "demo", 3)
    assert path.stat().st_size == request.param * MIB
    assert path.stat().st_blocks * 512 < 2 * MIB  # sparse, all the same
    return path, request.param


def test_standard_tools_find_nothing_wrong_with_a_new_disk(disk: tuple[Path, int]) -> None:  # S2.1
    done = tool("sfdisk", "--verify", disk[0])
    assert (done.returncode, done.stderr) == (0, "")
    assert "No errors detected" in done.stdout
    assert "Header version: 1.0" in done.stdout
    assert "Using 3 out of 128 partitions" in done.stdout


def test_standard_tools_show_what_lies_where(disk: tuple[Path, int]) -> None:  # S2.1
    path, size_mib = disk
    found = table(path)
    assert (found["label"], found["unit"], found["sectorsize"]) == ("gpt", "sectors", 512)
    shown = [(one["name"], one["start"], one["size"]) for one in found["partitions"]]
    assert shown == [
        ("bootstrap", 64, 2048 - 64),
        ("membership database", layout.DATABASE_OFFSET // 512, layout.DATABASE_SIZE // 512),
        ("volumes", 4096, (size_mib - 1) * 2048 - 4096),
    ]
    done = tool("partx", "--raw", "--noheadings", "--output", "START,SECTORS", path)
    assert [tuple(map(int, line.split())) for line in done.stdout.splitlines()] == [(a, n) for _, a, n in shown]


def test_the_partition_covers_the_database_exactly_and_is_aligned(disk: tuple[Path, int]) -> None:  # S2.1
    partitions = {one["name"]: one for one in table(disk[0])["partitions"]}
    found = partitions["membership database"]
    with open(disk[0], "rb") as image:
        image.seek(found["start"] * 512)
        assert image.read(found["size"] * 512) == persistent.format_database(CLUSTER_ID, "demo", 3)
    assert found["start"] * 512 % MIB == partitions["volumes"]["start"] * 512 % MIB == 0
    assert partitions["bootstrap"]["start"] * 512 % 4096 == 0


def test_the_same_cluster_id_gives_the_same_bytes_and_another_one_other_guids(tmp_path: Path) -> None:
    assert partition_tables(64 * MIB, CLUSTER_ID) == partition_tables(64 * MIB, CLUSTER_ID)
    guids = []
    for cluster_id in (CLUSTER_ID, "ff" * 16):
        path = tmp_path / cluster_id
        target.make_disk(path, 16, cluster_id, "demo", 3)
        found = table(path)
        guids += [found["id"], *(one["uuid"] for one in found["partitions"])]
    assert len(set(guids)) == len(guids) == 8


def test_a_data_disk_has_one_partition_and_nothing_else(tmp_path: Path) -> None:  # S6.2
    guids = []
    for lun in (1, 2):
        path = tmp_path / files.disk(lun)
        target.make_data_disk(path, 16, CLUSTER_ID, lun)
        assert (path.name, path.stat().st_size) == (f"disk-{lun}.raw", 16 * MIB)
        found = table(path)
        guids += [found["id"], *(one["uuid"] for one in found["partitions"])]
        shown = [(one["name"], one["start"], one["size"]) for one in found["partitions"]]
        assert shown == [(f"data {lun}", 2048, 14 * 2048)]
        assert "No errors detected" in tool("sfdisk", "--verify", path).stdout
    assert len(set(guids)) == 4


@pytest.mark.parametrize("lost", ["primary", "backup"])
def test_either_table_is_enough(disk: tuple[Path, int], lost: str) -> None:
    path, size_mib = disk
    whole = table(path)
    with open(path, "r+b") as image:
        image.seek(512 if lost == "primary" else size_mib * MIB - 512)
        image.write(b"torn")
    done = tool("sfdisk", "--json", path)
    assert done.returncode == 0
    assert f"{'primary' if lost == 'primary' else 'backup'} GPT table is corrupt" in done.stderr
    assert json.loads(done.stdout)["partitiontable"]["partitions"] == whole["partitions"]


def partition(first: int, last: int, name: str = "x") -> gpt.Partition:
    return gpt.Partition(name, first, last, GUID)


@pytest.mark.parametrize(
    ("partitions", "why"),
    [
        ([partition(33, 99)], r"'x': blocks 33 to 99 \(free: 34 to 966\)"),
        ([partition(34, 967)], r"free: 34 to 966"),
        ([partition(50, 49)], r"blocks 50 to 49"),
        ([partition(200, 300), partition(100, 200)], r"blocks 200 to 300 \(free: 201 to 966\)"),
        ([partition(50, 60, "x" * 37)], r"longer than 36 characters"),
        ([partition(at, at) for at in range(100, 229)], r"129 partitions \(legal: at most 128\)"),
    ],
    ids=["in the table", "in the backup", "negative", "overlap", "name", "too many"],
)
def test_a_table_that_cannot_be_is_refused(partitions: list[gpt.Partition], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        gpt.tables(1000, GUID, partitions)
