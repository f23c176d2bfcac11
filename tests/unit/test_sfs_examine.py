"""`hil fsck` and `guestctl fsck`: the file system on a virtual disk, looked over from the shared disk alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from guestd.sfs import mkfs
from guestd.sfs.examine import READS_MAX, CannotCheck, examine
from guestd.vdm import layout, plans, records, tables
from guestd.vdm.extents import places
from guestd.vdm.format import format_volumes
from guestd.vdm.records import Disk, Log
from guestd.vdm.volume import Volume
from hil.bench.volumes import make_volumes
from hil.cli import main
from hil.sfs import examined
from tests.unit.guestd_world import CLUSTER_ID
from tests.unit.sfs_disk import SECTOR, CachedDisk
from tests.unit.sfs_node import SoloNode

SIZE = 24 << 20
SHARED = 4 << 20
IDENTITY = bytes.fromhex(CLUSTER_ID)
SECTORS = 8


class Bench:
    """A disk's image with the virtual disk "shared" in several extents, and a file system on it that has been used."""

    def __init__(self, directory: Path, copies: int) -> None:
        self.path = directory / "disk.raw"
        now = tables.empty(IDENTITY, 3, SIZE // SECTOR)
        for name, units, mirrors in (("one", 1, 1), ("shared", 20, copies), ("two", 1, 1)):
            slot, disk = plans.created(now, name, units, mirrors)
            now = tables.with_record(IDENTITY, now, slot, disk)
        self.slot, disk = plans.grown(now, "shared", SHARED >> 16)
        now = tables.with_record(IDENTITY, now, self.slot, disk)
        self.disk: Disk = disk
        self.tables = now
        self.path.write_bytes(bytes(SIZE))
        self.put(layout.TABLES_LBA, (tables.encoded_header(IDENTITY, now) + b"".join(now.sectors)) * layout.COPIES)
        self._fill()

    def _fill(self) -> None:
        self.superblock = mkfs.layout(SHARED // 4096, bytes(range(16)), slots=3)
        data = bytearray(SHARED)
        for number, block in mkfs.make(self.superblock, 1):
            data[4096 * number : 4096 * (number + 1)] = block
        node = SoloNode(
            CachedDisk({lba: bytes(data[SECTOR * lba : SECTOR * (lba + 1)]) for lba in range(len(data) // SECTOR)}),
            self.superblock.blocks,
        )
        node.volume = Volume(0, SECTORS * self.superblock.blocks)
        system = node.mount()
        file_inode = node.run(system.create(system.root, b"file", 0o600, 0, 0, 1)).inode
        node.run(system.write(file_inode, 0, bytes(range(256)) * 300, 1))
        node.run(system.sync())  # in use, and so is its journal
        for copy in range(len(self.disk.copies)):
            for number in range(self.superblock.blocks):
                self.put_block(number, node.disk.read(SECTORS * number, SECTORS), copy)

    def put(self, lba: int, data: bytes) -> None:
        with self.path.open("r+b") as file:
            file.seek(lba * SECTOR)
            file.write(data)

    def put_block(self, number: int, block: bytes, copy: int = 0) -> None:
        self.put(self.lba(number, copy), block)

    def lba(self, number: int, copy: int = 0) -> int:
        (place, _), *_ = places(self.disk.copies[copy], layout.UNIT_BLOCKS, SECTORS * number, SECTORS)
        return layout.EXTENTS_LBA + place

    def dirty(self, node: int, regions: int) -> None:
        log = Log(1, self.slot, self.disk.id, self.tables.header.region_blocks, regions)
        self.put(layout.log_lba(node, self.slot), records.encode_log(IDENTITY, node, log))


@pytest.fixture
def plain(tmp_path: Path) -> Bench:
    return Bench(tmp_path, 1)


@pytest.fixture
def mirror(tmp_path: Path) -> Bench:
    return Bench(tmp_path, 2)


def test_a_sound_file_system_in_several_extents_and_in_use(
    plain: Bench, capsys: pytest.CaptureFixture[str]
) -> None:  # S7.3
    assert len(plain.disk.copies[0]) > 1
    for where in (plain.path, plain.path.parent):
        assert main.main(["fsck", str(where)]) == 0
        told = capsys.readouterr().out
        assert "note: journal 0 is in use, or its node has died" in told
        assert told.endswith("nothing is wrong\n")
    assert main.main(["fsck", str(plain.path), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["disk"], shown["copies"], shown["blocks"], shown["wrong"]) == ("shared", 1, 1024, [])
    assert list(shown) == ["image", "disk", "copies", "blocks", "wrong", "notes"]


def test_what_is_wrong_is_named_and_is_the_exit_status(plain: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    plain.put_block(plain.superblock.orphans(1), b"\xa5" * 4096)
    assert main.main(["fsck", str(plain.path)]) == 1
    told = capsys.readouterr().out
    assert f"wrong: block {plain.superblock.orphans(1)} begins with" in told
    assert told.endswith("1 thing is wrong\n")
    plain.put_block(0, b"\xa5" * 4096)
    assert main.main(["fsck", str(plain.path), "--json"]) == 1
    assert "block 0 begins with" in json.loads(capsys.readouterr().out)["wrong"][0]


def test_guestctl_says_the_same_of_the_disk_that_guestd_uses(plain: Bench, tmp_path: Path) -> None:
    settings = {
        "cluster_id": CLUSTER_ID,
        "cluster": "demo",
        "nodes": 3,
        "disk": {"path": str(plain.path)},
        "interconnect": {"broadcast": "127.255.255.255", "port": 1},
    }
    config = tmp_path / "config.json"
    config.write_text(json.dumps(settings))

    def guestctl(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-S", "-m", "guestd.guestctl", "fsck", *words]
        environment = {"HIL_CONFIG": str(config), "HIL_NODE": "1", "PATH": os.environ["PATH"]}
        tree = Path(__file__).resolve().parents[2]
        return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)

    found = examined(plain.path)
    done = guestctl()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [*(f"note: {line}" for line in found.notes), "nothing is wrong"]
    plain.put_block(plain.superblock.orphans(1), b"\xa5" * 4096)
    done = guestctl("--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["wrong"] == list(examined(plain.path).wrong)
    for words, why in ((("--disk", "none"), "no virtual disk 'none'"), (("--repair",), "does not take --repair")):
        done = guestctl(*words)
        assert done.returncode == 2
        assert why in done.stderr
    plain.path.unlink()
    done = guestctl()
    assert (done.returncode, "No such file" in done.stderr) == (2, True)


def test_what_cannot_be_checked_is_refused_with_the_reason(
    plain: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*words: str) -> str:
        assert main.main(["fsck", *words]) == 2
        return capsys.readouterr().err

    empty, short = tmp_path / "empty", tmp_path / "short"
    empty.write_bytes(bytes(8 << 20))
    short.write_bytes(b"x")
    assert "there are no virtual disks: the disk is empty at byte 2097152" in refused(str(empty))
    assert "there are no virtual disks: nothing can be read at byte 2097152" in refused(str(short))
    assert "No such file" in refused(str(tmp_path / "none"))
    assert "there is no virtual disk 'data' (there are: one, shared, two)" in refused(str(plain.path), "--disk", "data")
    assert "there is no file system on 'two'" in refused(str(plain.path), "--disk", "two")
    for copy in range(layout.COPIES):
        plain.put(layout.header_lba(copy), b"\xa5" * SECTOR)
    assert "the tables of virtual disks cannot be believed: header, copy 1: magic" in refused(str(plain.path))


def test_damaged_tables_that_can_still_be_believed_are_named(plain: Bench) -> None:
    plain.put(layout.disk_lba(plain.slot, 1), b"\xa5" * SECTOR)
    assert [line for line in examined(plain.path).wrong if "VDM's tables: record 1, copy 2: magic" in line]


def test_each_copy_of_a_mirror_is_checked_and_the_two_are_compared(mirror: Bench) -> None:
    found = examined(mirror.path)
    assert (found.copies, found.wrong) == (2, ())
    at = mirror.superblock.orphans(1)
    mirror.put_block(at, b"\xa5" * 4096, copy=1)
    wrong = examined(mirror.path).wrong
    assert wrong[0].startswith(f"copy 2: block {at} begins with")
    assert wrong[1:] == (f"the copies differ in the blocks {at}, and no dirty-region log explains it",)
    last = mirror.superblock.blocks - 1
    mirror.put_block(last, b"contents, or nothing", copy=0)
    assert examined(mirror.path).wrong[-1] == (
        f"the copies differ in the blocks {at}, {last}, and no dirty-region log explains it"
    )


def test_copies_may_differ_where_a_dirty_region_log_says_so(mirror: Bench) -> None:
    at = mirror.superblock.orphans(1)
    mirror.put_block(at, b"\xa5" * 4096, copy=1)
    region = SECTORS * at // mirror.tables.header.region_blocks
    mirror.dirty(2, 1 << region + 1)
    assert len(examined(mirror.path).wrong) == 2
    mirror.dirty(2, 1 << region)
    found = examined(mirror.path)
    assert found.wrong == ()
    assert any("the copies differ where a node was writing" in note for note in found.notes)
    mirror.put(layout.log_lba(1, mirror.slot), b"\xa5" * SECTOR)
    mirror.dirty(2, 0)
    found = examined(mirror.path)
    assert found.wrong == ()
    assert any("log of node 1 cannot be believed" in note for note in found.notes)


def test_a_disk_that_changes_while_it_is_read_is_read_again(plain: Bench) -> None:
    data = plain.path.read_bytes()
    at = plain.lba(plain.superblock.orphans(1))
    counts = {"torn": 0, "limit": 3}

    def read(lba: int, count: int) -> bytes:
        found = data[lba * SECTOR : (lba + count) * SECTOR]
        if lba == at and counts["torn"] < counts["limit"]:
            counts["torn"] += 1
            return bytes([counts["torn"]]) + found[1:]  # another write each time that it is under way
        return found

    found = examine(read)
    assert found.wrong == ()
    assert not any("changed while it was read" in note for note in found.notes)
    counts["torn"], counts["limit"] = 0, 3 * READS_MAX
    found = examine(read)
    assert found.wrong != ()
    assert any("changed while it was read" in note for note in found.notes)


def test_sectors_that_cannot_be_read_are_named(plain: Bench) -> None:
    data = plain.path.read_bytes()
    bad = plain.lba(plain.superblock.orphans(2)), layout.disk_lba(0, 0)

    def read(lba: int, count: int) -> bytes:
        return b"" if any(lba <= one < lba + count for one in bad) else data[lba * SECTOR : (lba + count) * SECTOR]

    wrong = examine(read).wrong
    assert wrong == (
        "VDM's tables: record 0, copy 1: cannot be read",
        f"block {plain.superblock.orphans(2)} cannot be read",
    )
    with pytest.raises(CannotCheck, match="nothing can be read"):
        examine(lambda _lba, _count: b"")


def test_volumes_that_are_only_formatted_have_none_of_it(tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    made = format_volumes(CLUSTER_ID, 3, SIZE)
    path.write_bytes(bytes(layout.VOLUMES_OFFSET) + made + bytes(SIZE - layout.VOLUMES_OFFSET - len(made)))
    assert main.main(["fsck", str(path)]) == 2


def test_the_disk_of_a_new_cluster_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    path.write_bytes(bytes(SIZE))
    with path.open("r+b") as file:
        for at, data in make_volumes(CLUSTER_ID, 3, SIZE, 16 << 20, 1):
            file.seek(at)
            file.write(data)
    found = examined(path)
    assert (found.copies, found.blocks, found.wrong, found.notes) == (1, 4096, (), ())
