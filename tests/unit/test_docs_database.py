"""docs/membership-database.md says byte by byte what the code does (S2)."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from guestd.membership import layout, persistent, records, sector, wire
from hil.database import places

PAGE = (Path(__file__).parents[2] / "docs" / "membership-database.md").read_text(encoding="utf-8")


def rows(heading: str, table: int = 0) -> list[tuple[int, int]]:
    """(offset, size) of each row of a table under that heading."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    tables = section.split("| offset | size | |\n|---|---|---|\n")[1:]
    return [(int(at), int(size)) for at, size in re.findall(r"^\| (\d+) \| (\d+) \|", tables[table], re.MULTILINE)]


def fields(form: struct.Struct, start: int) -> list[tuple[int, int]]:
    """(offset, size) of each field of a packed structure."""
    found = []
    for count, code in re.findall(r"(\d*)([a-zA-Z])", form.format):
        size = struct.calcsize(f"<{count}{code}")
        found.append((start, size))
        start += size
    return found


BODY = sector._FRAME.size
CRC_AT = sector.SECTOR_SIZE - sector._CRC.size


def test_the_frame_is_what_the_page_says() -> None:  # S2.5
    frame = [*fields(sector._FRAME, 0), (BODY, sector.BODY_SIZE), (CRC_AT, sector._CRC.size)]
    assert rows("The frame of every record") == frame
    assert f"version of the format, {sector.VERSION} |" in PAGE
    assert f"magic, `{sector.MAGIC.decode()}`" in PAGE
    kinds = ("header", "configuration", "heartbeat", "ballot", "commit", "match")
    types = ", ".join(f"{getattr(layout, f'RECORD_{kind.upper()}')} {kind}" for kind in kinds)
    assert f"record type: {types} |" in PAGE


@pytest.mark.parametrize(
    ("heading", "form"),
    [
        ("header", persistent._HEADER),
        ("heartbeat", records._HEARTBEAT),
        ("ballot", records._BALLOT),
        ("commit", wire._VIEW),
        ("match", records._MATCH),
    ],
)
def test_each_record_is_what_the_page_says(heading: str, form: struct.Struct) -> None:
    assert rows(heading) == fields(form, BODY)


def test_each_node_of_a_commit_is_what_the_page_says() -> None:
    assert rows("commit", table=1) == fields(wire._ENTRY, 0)
    assert f"{wire._ENTRY.size} bytes from offset {BODY + wire._VIEW.size} on" in PAGE
    states = ", ".join(f"{code} {state.value}" for state, code in wire.STATE_CODES.items())
    assert f"state: {states} |" in PAGE
    assert f"intent: {', '.join(f'{code} {intent}' for code, intent in enumerate(records.INTENTS))} |" in PAGE


def test_every_record_is_where_the_page_says() -> None:  # S2.1
    found = {}
    table = r"^\| (\w+)(?: of node i)?(?:, copy (\d))? \| (\d+)(?: \+ (\d+) i)? \| (\d+)(?: \+ (?:(\d+) )?i)? \| \w+"
    for name, copy, offset, per_node, lba, lba_per_node in re.findall(table, PAGE, re.MULTILINE):
        for node in range(64) if per_node else [None]:
            at = int(offset) + int(per_node or 0) * (node or 0)
            found[name, node, int(copy) if copy else None] = at
            block = int(lba) + (int(lba_per_node or 1) * node if node is not None else 0)
            assert block * sector.SECTOR_SIZE == layout.DATABASE_OFFSET + at
    assert found == {(name, node, copy): offset for name, node, copy, offset in places(64)}
    assert f"begins at byte {layout.DATABASE_OFFSET} of the disk (LBA {layout.PERSISTENT_LBA})" in PAGE
    assert f"is {layout.DATABASE_SIZE} bytes long" in PAGE
