"""The host's view of virtual disks: a disk formatted with them, and an image read record by record (S7.2)."""

from __future__ import annotations

from pathlib import Path

import pytest

from guestd.core.value import replace
from guestd.membership.sector import seal
from guestd.vdm import layout, plans, records, tables
from guestd.vdm.format import format_volumes
from guestd.vdm.records import Log
from hil.bench.partitions import partition_tables
from hil.errors import UsageError
from hil.vdisk import inspect
from tests.unit.dlm_net import CLUSTER_ID
from tests.unit.vdm_net import SharedDisk

SIZE = 16 << 20
MIB = 1 << 20


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.raw"
    with open(path, "wb") as disk:
        disk.truncate(SIZE)
        disk.seek(layout.VOLUMES_OFFSET)
        disk.write(format_volumes(CLUSTER_ID.hex(), 3, SIZE, [("shared", 4 * MIB), ("logs", 1)]))
    return path


def put(image: Path, lba: int, data: bytes) -> None:
    with open(image, "r+b") as disk:
        disk.seek(lba * 512)
        disk.write(data)


def test_a_fresh_disk(image: Path) -> None:
    found = inspect(image)
    assert found.cluster_id == CLUSTER_ID.hex()
    assert found.sequence == 3
    assert (found.refused, found.pending, found.damaged()) == (None, None, 0)
    assert [(one.name, one.size, one.fixed, one.copies) for one in found.disks] == [
        ("bootstrap", 1984 * 512, True, 1),
        ("membership-database", 384 << 10, True, 1),
        ("logs", 64 << 10, False, 1),
        ("shared", 4 * MIB, False, 1),
    ]
    assert found.disks[3].extents == [[(layout.EXTENTS_LBA, 8192)]]
    assert [one.id for one in found.disks] == [None, None, 3, 2]
    assert len(found.records) == 2 * (1 + layout.SLOTS)
    assert {one.validity for one in found.records} == {"ok"}
    shared = next(one for one in found.records if one.record == "disk 0")
    assert (shared.lba, shared.copy, shared.sequence) == (layout.disk_lba(0, 0), 1, 2)
    assert shared.fields == {"id": 2, "name": "shared", "units": 64, "copies": [[(0, 64)]]}


def test_the_area_ends_where_the_partition_does(image: Path) -> None:
    for size in (7 * MIB, SIZE, SIZE + 512, SIZE - 512, 64 * MIB + 5 * 512):
        blocks = size // 512
        primary, _ = partition_tables(blocks * 512, CLUSTER_ID.hex())
        entry = primary[1024 + 2 * 128 : 1024 + 3 * 128]
        first, last = (int.from_bytes(entry[at : at + 8], "little") for at in (32, 40))
        assert first == layout.TABLES_LBA
        units = tables.empty(CLUSTER_ID, 3, blocks).header.units
        end = layout.EXTENTS_LBA + units * layout.UNIT_BLOCKS
        assert end <= last + 1 < end + layout.UNIT_BLOCKS
    with open(image, "rb") as disk:
        disk.seek(layout.VOLUMES_OFFSET)
        assert inspect(image).free == tables.empty(CLUSTER_ID, 3, SIZE // 512).header.units * 65536 - 65 * 65536


def test_each_record_is_told_with_what_is_wrong_with_it(image: Path) -> None:
    put(image, layout.disk_lba(0, 0), b"\xa5" * 512)
    put(image, layout.disk_lba(1, 1), bytes(512))
    put(image, layout.header_lba(1), records.encode_header(bytes(16), 3, records.Header(3, 5, 128, 128, 0)))
    put(image, layout.log_lba(1, 0), records.encode_log(CLUSTER_ID, 1, Log(4, 0, 2, 128, 0b101)))
    put(image, layout.log_lba(2, 5), records.encode_log(CLUSTER_ID, 2, Log(4, 4, 2, 128, 1)))
    found = inspect(image)
    assert found.refused is None
    shown = [one for one in found.records if one.validity != "ok" or "log" in one.record]
    told = {(one.record, one.node, one.copy): one for one in shown}
    assert {key: one.validity for key, one in told.items()} == {
        ("disk 0", None, 1): "damaged",
        ("disk 1", None, 2): "never written",
        ("header", None, 2): "foreign cluster",
        ("log 0", 1, None): "ok",
        ("log 5", 2, None): "damaged",
    }
    assert told["log 0", 1, None].fields == {"slot": 0, "id": 2, "region_blocks": 128, "dirty": [0, 2]}
    assert "of slot 4" in str(told["log 5", 2, None].why)
    assert [one.name for one in found.disks if not one.fixed] == ["logs", "shared"]


def test_a_change_that_was_begun_is_shown_as_what_will_be(image: Path) -> None:
    disk = SharedDisk(3)
    disk.write(layout.TABLES_LBA, format_volumes(CLUSTER_ID.hex(), 3, SIZE, [("shared", MIB)]), durable=True)
    now = disk.tables(3).tables
    slot, new = plans.created(now, "new", 3, 1)
    after = tables.with_record(CLUSTER_ID, now, slot, new)
    writes = tables.writes(CLUSTER_ID, 1, "create", slot, after)
    put(image, layout.TABLES_LBA, format_volumes(CLUSTER_ID.hex(), 3, SIZE, [("shared", MIB)]))
    for done, pending in ((1, "create"), (2, "create"), (4, "create"), (5, None)):
        for lba, data in writes[:done]:
            put(image, lba, data)
        found = inspect(image)
        assert (found.pending, found.sequence) == (pending, 3)
        assert [one.name for one in found.disks if not one.fixed] == ["new", "shared"]
        intent = next(one for one in found.records if one.record == "intent")
        assert (intent.node, intent.copy, intent.sequence) == (1, 1, 3)
        assert intent.fields is not None
        assert (intent.fields["operation"], intent.fields["disk"]["name"]) == ("create", "new")


def test_tables_that_are_refused_are_shown_with_the_reason(image: Path) -> None:
    for copy in range(2):
        put(image, layout.disk_lba(7, copy), b"\xa5" * 512)
    found = inspect(image)
    assert "record 7, copy 1: magic" in str(found.refused)
    assert [one.name for one in found.disks] == ["bootstrap", "membership-database"]
    assert (found.sequence, found.free) == (None, None)
    assert found.damaged() == 2


def test_a_future_version_is_told(image: Path) -> None:
    form = replace(layout.FORM, version=9)
    put(image, layout.header_lba(0), seal(CLUSTER_ID, layout.RECORD_HEADER, 255, 3, b"", form))
    found = inspect(image)
    assert "format version 9" in str(found.refused)
    assert found.records[0].validity == "future version"


def test_what_has_no_virtual_disks(tmp_path: Path) -> None:
    path = tmp_path / "other.raw"
    with pytest.raises(UsageError, match="No such file"):
        inspect(path)
    path.write_bytes(bytes(3 * MIB))
    with pytest.raises(UsageError, match="too short"):
        inspect(path)
    path.write_bytes(bytes(6 * MIB))
    with pytest.raises(UsageError, match="no virtual disks: the disk is empty at byte 2097152"):
        inspect(path)
    path.write_bytes(b"\x55" * 6 * MIB)
    found = inspect(path)
    assert "header, copy 1" in str(found.refused)
    assert found.cluster_id is None
