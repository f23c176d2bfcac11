"""`hil member show`: the membership database of a disk, record by record, each with what is to be thought of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from guestd.membership import layout, persistent, records
from guestd.membership.sector import SECTOR_SIZE
from guestd.membership.states import NodeState
from guestd.membership.view import Entry, View
from hil import database, paths
from hil.cli import main
from tests.unit.fake_bench import fake_bench
from tests.unit.guestd_world import CLUSTER_ID, World
from tests.unit.test_guestd_records import of_version

ID = bytes.fromhex(CLUSTER_ID)
OTHER = bytes(range(16))
BEAT = records.Heartbeat(7, 41, NodeState.JOINED, "none", 5, 6, 0b101, False)
VIEW = View(5, 6, 1, (Entry(NodeState.JOINING, 3, 2, 1, 2), Entry(NodeState.JOINED, 2, 4, 0, 4), Entry()))


def hil(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = main.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return status, out, err


def shown(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    status, out, err = hil(capsys, "member", "show", "--json", *arguments)
    assert (status, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    return found


def place(image: Path, lba: int, sector: bytes) -> None:
    with open(image, "r+b") as disk:
        disk.seek(lba * SECTOR_SIZE)
        disk.write(sector)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A new database of three nodes."""
    path = tmp_path / "disk.raw"
    path.write_bytes(bytes(layout.DATABASE_OFFSET) + persistent.format_database(CLUSTER_ID, "demo", 3))
    return path


def by_place(found: dict[str, Any]) -> dict[tuple[str, int | None, int | None], dict[str, Any]]:
    return {(one["record"], one["node"], one["copy"]): one for one in found["records"]}


def test_a_living_cluster_is_shown_record_by_record(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:  # S2.3
    world = World(nodes=3, seed=1)
    world.power_on()
    world.run_until(world.all_joined)
    image = tmp_path / "disk.raw"
    image.write_bytes(world.disk)
    found = shown(capsys, image)
    assert (found["cluster"], found["cluster_id"], found["nodes"]) == ("demo", CLUSTER_ID, 3)
    joined = {"state": "joined", "incarnation": 1, "level": None, "barrier": None, "reach": 254, "forced": False}
    assert found["membership"] == {"epoch": 1, "step": world.view.step, "master": 0, "nodes": [joined] * 3}
    rows = by_place(found)
    assert len(rows) == len(found["records"]) == 2 + 3 * 2 + 3 * 7
    assert {one["validity"] for one in rows.values()} == {"ok", "never written"}
    assert rows["commit", 0, 1]["fields"] == found["membership"]
    assert rows["ballot", 0, 1]["fields"]["owner"] == 0
    for node in range(3):
        beat = rows["heartbeat", node, None]
        assert (beat["fields"]["incarnation"], beat["sequence"] > 0) == (1, True)
        assert beat["lba"] == layout.region_lba(node, layout.HEARTBEAT_SECTOR)
        assert rows["configuration", node, 2]["fields"]["name"] == f"n{node}"


def test_people_get_a_table(capsys: pytest.CaptureFixture[str], image: Path) -> None:
    place(image, layout.region_lba(1, 0), records.encode_heartbeat(ID, 1, BEAT))
    place(image, layout.region_lba(1, 3), records.encode_commit(ID, 1, records.Commit(3, VIEW)))
    place(image, layout.region_lba(2, 1), b"x" * SECTOR_SIZE)
    status, out, _ = hil(capsys, "member", "show", image)
    assert status == 0
    lines = out.splitlines()
    assert lines[:2] == [
        str(image),
        f"cluster demo, 3 nodes, id {CLUSTER_ID}: epoch 5.6, master n1, members n0, n1; cannot be believed: 1",
    ]
    assert lines[2].split() == ["record", "node", "copy", "LBA", "validity", "seq", "says"]
    rows = [line.split() for line in lines[3:]]
    assert ["header", "-", "1", "2048", "ok", "1", "cluster=demo", "nodes=3", "election=paxos", "data_disks=0"] in rows
    beat = ["incarnation=7", "state=joined", "intent=none", "epoch=5", "step=6", "hears=0,2", "lost_disk=False"]
    assert ["heartbeat", "n1", "-", "2312", "ok", "41", *beat] in rows
    view = ["epoch=5.6", "master=1", "n0:joining(3)@2.1", "n1:joined(2)", "n2:inactive(0)"]
    assert ["commit", "n1", "1", "2315", "ok", "3", *view] in rows
    assert ["ballot", "n2", "1", "2321", "damaged", "-", "magic", "b'xxxx'", "instead", "of", "b'HILM'"] in rows
    assert ["commit", "n2", "1", "2323", "never", "written", "-"] in rows


WHOLE = records.encode_heartbeat(ID, 1, BEAT)


@pytest.mark.parametrize(
    ("sector", "validity", "why"),
    [
        (WHOLE, "ok", None),
        (bytes(SECTOR_SIZE), "never written", None),
        (WHOLE[:256] + bytes(256), "damaged", "the checksum does not match"),
        (records.encode_heartbeat(ID, 2, BEAT), "damaged", "is record type 3 of node 2, not type 3 of node 1"),
        (records.encode_heartbeat(OTHER, 1, BEAT), "foreign cluster", f"belongs to the cluster {OTHER.hex()}"),
        (of_version(3, WHOLE), "future version", "has format version 3, this software reads and writes version 2"),
        (of_version(1, WHOLE), "former version", "has format version 1, this software reads and writes version 2"),
    ],
    ids=["ok", "never written", "torn", "misdirected", "foreign", "future", "former"],
)
def test_each_record_is_shown_with_its_validity(
    capsys: pytest.CaptureFixture[str], image: Path, sector: bytes, validity: str, why: str | None
) -> None:  # S2.5
    place(image, layout.region_lba(1, layout.HEARTBEAT_SECTOR), sector)
    row = by_place(shown(capsys, image))["heartbeat", 1, None]
    assert (row["validity"], row["why"]) == (validity, why)
    assert (row["fields"] is not None) == (row["sequence"] is not None) == (validity == "ok")


def test_what_was_caught_in_the_middle_of_a_write_is_read_again(
    capsys: pytest.CaptureFixture[str], image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place(image, layout.region_lba(1, layout.HEARTBEAT_SECTOR), WHOLE[:100] + bytes(412))
    read = database._read

    def then_it_ends(path: Path) -> bytes:
        data = read(path)
        place(image, layout.region_lba(1, layout.HEARTBEAT_SECTOR), WHOLE)
        return data

    monkeypatch.setattr(database, "_read", then_it_ends)
    assert by_place(shown(capsys, image))["heartbeat", 1, None]["validity"] == "ok"


def test_a_damaged_header_is_shown_beside_its_whole_copy(capsys: pytest.CaptureFixture[str], image: Path) -> None:
    place(image, layout.PERSISTENT_LBA, b"\0" * 100)
    found = shown(capsys, image)
    assert (found["cluster"], found["nodes"]) == ("demo", 3)
    rows = by_place(found)
    assert [rows["header", None, copy]["validity"] for copy in (1, 2)] == ["damaged", "ok"]


def test_without_a_valid_header_what_is_there_is_shown_all_the_same(
    capsys: pytest.CaptureFixture[str], image: Path
) -> None:
    for copy in range(layout.COPIES):
        place(image, layout.PERSISTENT_LBA + layout.header_offset(copy) // SECTOR_SIZE, b"torn")
    place(image, layout.region_lba(1, layout.HEARTBEAT_SECTOR), WHOLE)
    found = shown(capsys, image)
    assert (found["cluster"], found["nodes"], found["cluster_id"]) == (None, None, CLUSTER_ID)
    rows = by_place(found)
    assert [rows["header", None, copy]["validity"] for copy in (1, 2)] == ["damaged", "damaged"]
    assert rows["heartbeat", 1, None]["validity"] == "ok"
    assert len(rows) == 2 + 3 * 2 + 1  # of nodes that nobody counts, only what was written


def test_a_database_of_a_future_version_is_no_other_file(capsys: pytest.CaptureFixture[str], image: Path) -> None:
    data = image.read_bytes()
    for start in range(layout.DATABASE_OFFSET, len(data), SECTOR_SIZE):
        if any(data[start : start + SECTOR_SIZE]):
            place(image, start // SECTOR_SIZE, of_version(9, data[start : start + SECTOR_SIZE]))
    found = shown(capsys, image)
    assert (found["nodes"], {one["validity"] for one in found["records"]}) == (None, {"future version"})


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file or directory"),
        (b"", "too short: 0 bytes; the membership database of a disk ends at byte 1441792"),
        (bytes(layout.DATABASE_OFFSET + 512), "too short"),
        (bytes(2 << 20), "no membership database: the disk is empty at byte 1048576"),
        (b"x" * (2 << 20), "no membership database: the disk holds something else at byte 1048576"),
    ],
    ids=["missing", "empty", "short", "zeros", "rubbish"],
)
def test_what_is_no_database_is_refused_with_status_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes | None, why: str
) -> None:
    path = tmp_path / "image"
    if content is not None:
        path.write_bytes(content)
    status, out, err = hil(capsys, "member", "show", path)
    assert (status, out) == (2, "")
    assert err.startswith(f"hil: {path}: {why}")


def test_the_disk_of_a_run_is_found_by_its_directory_and_by_the_name_of_its_cluster(
    capsys: pytest.CaptureFixture[str], image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shown(capsys, image.parent)["image"] == str(image)
    monkeypatch.setenv("XDG_STATE_HOME", str(image.parent / "state"))
    name = "t-member-finished"
    run = paths.new_run_dir(name)
    (run / "disk.raw").write_bytes(image.read_bytes())
    assert shown(capsys, "--name", name)["image"] == str(run / "disk.raw")
    status, _, err = hil(capsys, "member", "show", "--name", "t-member-never")
    assert (status, err) == (2, "hil: no cluster 't-member-never' runs, and no run of that name is kept\n")
    status, _, err = hil(capsys, "member", "show", image, "--name", name)
    assert (status, err) == (2, "hil: IMAGE and --name: a disk's image, or a cluster's disk\n")


def test_the_disk_of_a_running_cluster_is_found_through_its_bench(
    capsys: pytest.CaptureFixture[str], image: Path, tmp_path: Path
) -> None:
    name = f"t-member-runs-{os.getpid()}"
    with fake_bench(name, tmp_path / "run") as bench:
        (bench.run_dir / "disk.raw").write_bytes(image.read_bytes())
        assert shown(capsys, "--name", name)["image"] == str(bench.run_dir / "disk.raw")
