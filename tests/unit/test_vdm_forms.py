"""docs/vdm.md says byte by byte what the code does; what is not of that form is refused (S7.2)."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guestd.core.value import replace
from guestd.membership import sector
from guestd.membership.sector import NO_NODE, Sector, seal, unseal
from guestd.vdm import layout, records
from guestd.vdm.errors import BadName
from guestd.vdm.records import Disk, Extent, Header, Intent, Log, check_name

PAGE = (Path(__file__).parents[2] / "docs" / "vdm.md").read_text(encoding="utf-8")
CLUSTER = bytes(range(16))
BODY = sector._FRAME.size


def rows(heading: str) -> list[tuple[int, int]]:
    """(offset, size) of each row of the table under that heading."""
    section = PAGE.split(f"\n### {heading}\n")[1].split("\n#")[0]
    return [(int(at), int(size)) for at, size in re.findall(r"^\| (\d+) \| (\d+) \|", section, re.MULTILINE)]


def fields(form: struct.Struct, start: int = BODY) -> list[tuple[int, int]]:
    found = []
    for count, code in re.findall(r"(\d*)([a-zA-Z])", form.format):
        size = struct.calcsize(f"<{count}{code}")
        found.append((start, size))
        start += size
    return found


def test_each_record_is_what_the_page_says() -> None:
    extents = (BODY + records._DISK.size, records.EXTENTS_MAX * records._EXTENT.size)
    assert rows("header") == fields(records._HEADER)
    assert rows("disk") == [*fields(records._DISK), extents]
    assert rows("intent") == [*fields(records._INTENT), (BODY + records._INTENT.size, records.DISK_SIZE)]
    assert rows("log") == [*fields(records._LOG), (BODY + records._LOG.size, records.BITMAP_SIZE)]
    operations = ", ".join(f"{code} {name}" for code, name in enumerate(records.OPERATIONS))
    assert f"operation, for people: {operations} |" in PAGE
    assert f"magic `{layout.FORM.magic.decode()}` and version {layout.FORM.version}" in PAGE
    assert f"at most {records.REGIONS_MAX} regions" in PAGE
    assert f"{layout.SLOTS} virtual disks; {records.EXTENTS_MAX} extents each" in PAGE
    assert records._INTENT.size + records.DISK_SIZE <= sector.BODY_SIZE
    kinds = (layout.RECORD_HEADER, layout.RECORD_DISK, layout.RECORD_INTENT, layout.RECORD_LOG)
    assert kinds == (1, 2, 3, 4)
    assert "for disks (type 2), nodes for intents (type 3) and logs (type 4), and is 255 in headers" in PAGE.replace(
        "\n", " "
    )


def test_every_record_is_where_the_page_says() -> None:
    section = PAGE.split("\n## The disk\n")[1].split("\n##")[0]
    areas = [(int(at), size) for at, size in re.findall(r"^\| (\d+) \| (\d*) ?\|", section, re.MULTILINE)]
    assert areas == [
        (layout.VOLUMES_OFFSET, str(layout.COPY_SIZE)),
        (layout.VOLUMES_OFFSET + layout.COPY_SIZE, str(layout.COPY_SIZE)),
        (layout.VOLUMES_OFFSET + layout.INTENTS_OFFSET, str(64 * layout.INTENT_SIZE)),
        (layout.VOLUMES_OFFSET + layout.LOGS_OFFSET, str(64 * layout.LOG_SIZE)),
        (layout.EXTENTS_OFFSET, ""),
    ]
    assert layout.VOLUMES_OFFSET + layout.TABLES_SIZE <= layout.EXTENTS_OFFSET
    for copy in range(2):
        assert f"| header, copy {copy + 1} | {layout.header_lba(copy)} |" in PAGE
        assert f"| disk i, copy {copy + 1} | {layout.disk_lba(0, copy)} + i |" in PAGE
        assert f"| intent of node n, copy {copy + 1} | {layout.intent_lba(0) + copy} + 2 n |" in PAGE
    assert f"| log i of node n | {layout.log_lba(0, 0)} + 64 n + i |" in PAGE
    assert layout.disk_lba(9, 1) == layout.disk_lba(0, 1) + 9
    assert layout.intent_lba(9) == layout.intent_lba(0) + 18
    assert layout.log_lba(9, 5) == layout.log_lba(0, 0) + 64 * 9 + 5


DISK = Disk(7, "größe", 5, ((Extent(0, 3), Extent(9, 2)), (Extent(20, 5),)))
HEADER = Header(3, 1000, 128, 128, 0xDEADBEEF)


def body_of(data: bytes, kind: int, place: int) -> Sector:
    found = unseal(CLUSTER, kind, place, data, layout.FORM)
    assert found is not None
    return found


def test_a_disk_in_bytes() -> None:
    data = records.encode_disk(CLUSTER, 9, 4, DISK)
    name = "größe".encode()
    assert data[:32] == b"HILV" + bytes([1, 2, 4, 0]) + CLUSTER + (9).to_bytes(8, "little")
    assert data[32:111] == (7).to_bytes(8, "little") + bytes([2, 7]) + name.ljust(63, b"\0") + bytes([5, 0, 0, 0, 2, 1])
    assert data[111:135] == struct.pack("<6I", 0, 3, 9, 2, 20, 5)
    assert not any(data[135:508])
    assert records.disk_in(body_of(data, layout.RECORD_DISK, 4).body) == DISK


def test_what_is_written_is_read() -> None:
    header = body_of(records.encode_header(CLUSTER, 5, HEADER), layout.RECORD_HEADER, NO_NODE)
    assert (header.sequence, records.header_in(header)) == (5, HEADER)
    for disk in (DISK, None):
        intent = Intent(12, "mirror", 62, 99, disk)
        data = records.encode_intent(CLUSTER, 2, intent)
        assert data[:512] == data[512:]
        assert records.intent_in(body_of(data[:512], layout.RECORD_INTENT, 2)) == intent
    log = Log(3, 5, 77, 256, 1 << 3583 | 5)
    assert records.decode_log(CLUSTER, 1, 5, records.encode_log(CLUSTER, 1, log)) == log
    assert records.decode_log(CLUSTER, 1, 5, bytes(512)) is None


EXTENTS = st.lists(st.builds(Extent, st.integers(0, 2**32 - 1), st.integers(1, 2**20)), min_size=1, max_size=24)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 2**64 - 1),
    st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=15),
    EXTENTS,
    st.booleans(),
)
def test_any_disk_is_read_as_it_was_written(identity: int, name: str, extents: list[Extent], mirrored: bool) -> None:
    units = sum(one.count for one in extents)
    copies = (tuple(extents), (Extent(1, units),)) if mirrored else (tuple(extents),)
    disk = Disk(identity, name, units, copies)
    data = records.encode_disk(CLUSTER, 1, 0, disk)
    assert records.disk_in(body_of(data, layout.RECORD_DISK, 0).body) == disk


def put(body: bytes, at: int, new: bytes) -> bytes:
    """at: offset in the sector."""
    return body[: at - BODY] + new + body[at - BODY + len(new) :]


GOOD = records._disk(DISK)
WRONG_DISKS = {
    "three copies": (40, bytes([3]), "3 copies"),
    "one copy with extents of two": (40, bytes([1]), "copies with extents|1 copies"),
    "free but not empty": (40, bytes([0]), "zeros"),
    "id 0": (32, bytes(8), "id 0"),
    "name too long": (41, bytes([64]), "name of 64"),
    "name of nothing": (41, bytes([0]), "name of 0"),
    "name shorter than it is": (41, bytes([6]), "name"),
    "name not UTF-8": (42, b"\xff", "UTF-8"),
    "name with a newline": (42, b"\n", "print"),
    "other units": (105, bytes([6]), "says 6 units"),
    "no extents of copy 1": (109, bytes([0]), "extents"),
    "no extents of copy 2": (110, bytes([0]), "extents"),
    "more extents than there is room": (110, bytes([47]), "49 extents"),
    "extent of nothing": (115, bytes(4), "extents of"),
    "something behind the extents": (135, bytes([1]), "zeros"),
}


@pytest.mark.parametrize("what", WRONG_DISKS)
def test_each_field_of_a_disk_that_is_wrong_is_refused(what: str) -> None:
    at, new, why = WRONG_DISKS[what]
    with pytest.raises(ValueError, match=why):
        records.disk_in(put(GOOD, at, new).ljust(sector.BODY_SIZE, b"\0"))


WRONG_HEADERS = {
    "one node": (replace(HEADER, nodes=1), "1 nodes"),
    "too many nodes": (replace(HEADER, nodes=65), "65 nodes"),
    "other units": (replace(HEADER, unit_blocks=64), "units of 64"),
    "no units": (replace(HEADER, units=0), "0 units"),
    "other regions": (replace(HEADER, region_blocks=256), "regions of 256"),
}


@pytest.mark.parametrize("what", WRONG_HEADERS)
def test_each_field_of_a_header_that_is_wrong_is_refused(what: str) -> None:
    header, why = WRONG_HEADERS[what]
    with pytest.raises(ValueError, match=why):
        records.header_in(body_of(records.encode_header(CLUSTER, 5, header), layout.RECORD_HEADER, NO_NODE))


def refused(kind: int, body: bytes, decode: Callable[[Sector], object]) -> str:
    with pytest.raises(ValueError, match=r".") as found:
        decode(body_of(seal(CLUSTER, kind, 1, 1, body, layout.FORM), kind, 1))
    return str(found.value)


def test_each_field_of_an_intent_or_a_log_that_is_wrong_is_refused() -> None:
    intent = layout.RECORD_INTENT
    assert "operation 5" in refused(intent, records._INTENT.pack(5, 0, 0) + GOOD, records.intent_in)
    assert "slot 63" in refused(intent, records._INTENT.pack(0, 63, 0) + GOOD, records.intent_in)
    assert "says id 0" in refused(intent, records._INTENT.pack(0, 0, 0) + put(GOOD, 32, bytes(8)), records.intent_in)
    kind, bits = layout.RECORD_LOG, bytes([1]).ljust(448, b"\0")
    assert "is of slot 3" in refused(kind, records._LOG.pack(3, 7, 128) + bits, lambda one: records.log_in(one, 4))
    for identity, region in ((0, 128), (7, 64), (7, 129)):
        said = refused(kind, records._LOG.pack(4, identity, region) + bits, lambda one: records.log_in(one, 4))
        assert f"regions of {region} blocks" in said
    said = refused(kind, records._LOG.pack(4, 7, 128) + bits + b"x", lambda one: records.log_in(one, 4))
    assert "zeros" in said


def test_names() -> None:
    for good in ("a", "x" * 63, "ä" * 31, "shared disk", b"bytes"):
        assert check_name(good) == (good if isinstance(good, str) else good.decode())
    wrong = {"": "0 bytes", "x" * 64: "64 bytes", "ä" * 32: "64 bytes", "a\nb": "print", " a": "spaces", "a\0": "print"}
    for name, why in wrong.items():
        with pytest.raises(BadName, match=why):
            check_name(name)
    for encoded in (b"\xff\xfe", "\ud800"):
        with pytest.raises(BadName, match="not UTF-8"):
            check_name(encoded)


def test_regions_are_as_small_as_the_log_has_room_for() -> None:
    for units in (1, 3584, 3585, 16384, 2**32 - 1):
        blocks = records.region_blocks(units)
        assert blocks * records.REGIONS_MAX >= units * 128
        assert blocks == 128 or blocks // 2 * records.REGIONS_MAX < units * 128
