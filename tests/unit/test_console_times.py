"""When a console has shown what."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from hil.console_times import ConsoleTimes, console_lines, times_path


@pytest.fixture
def console(tmp_path: Path) -> Path:
    return tmp_path / "console-n0.log"


def test_a_line_is_as_old_as_the_first_look_that_saw_its_end(console: Path) -> None:
    now = [1.0]
    times = ConsoleTimes([console], lambda: now[0])
    console.write_bytes(b"one\r\ntw")
    times.look()
    now[0] = 2.0
    console.write_bytes(b"one\r\ntwo\r\nthree")
    times.look()
    times.look()
    assert [tuple(line) for line in console_lines(console)] == [(1.0, "one"), (2.0, "two"), (2.0, "three")]
    assert len(times_path(console).read_text().splitlines()) == 2


def test_what_nobody_took_down_has_no_time(console: Path) -> None:
    console.write_text("one\n")
    assert [tuple(line) for line in console_lines(console)] == [(None, "one")]


def test_what_was_written_after_the_last_look_is_as_old_as_that(console: Path) -> None:
    console.write_text("one\ntwo\n")
    times_path(console).write_text("1.5 4\n")
    assert [line.t for line in console_lines(console)] == [1.5, 1.5]


def test_without_a_console_there_are_no_lines(console: Path) -> None:
    ConsoleTimes([console], lambda: 0.0).look()
    assert console_lines(console) == []
    assert not times_path(console).exists()


@pytest.mark.parametrize("torn", ["1.5 4\n2.", "1.5 4\n2.5 x\n", "\0\xff\n"])
def test_times_that_are_torn_do_no_harm(console: Path, torn: str) -> None:
    console.write_text("one\n")
    times_path(console).write_text(torn, encoding="latin-1")
    assert [line.text for line in console_lines(console)] == ["one"]


def test_it_watches_while_it_is_entered(console: Path) -> None:
    with ConsoleTimes([console], time.monotonic):
        console.write_text("one\n")
        while not times_path(console).exists():
            time.sleep(0.01)
        console.write_text("one\ntwo\n")  # what is there at the end is taken down, too
    assert times_path(console).read_text().splitlines()[-1].endswith(" 8")
