"""The event stream: one order without a gap, the same for everybody who follows."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hil.bench.log import EventLog
from hil.view import MALFORMED


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    log = EventLog(tmp_path / "events.jsonl", nodes=2)
    yield log
    log.close()


def test_events_are_numbered_without_a_gap_whoever_emits(log: EventLog, tmp_path: Path) -> None:
    threads = [threading.Thread(target=lambda: [log.emit("x") for _ in range(200)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["n"] for line in lines] == list(range(1, 801))


def test_a_follower_sees_old_and_new_events_and_ends_with_the_log(log: EventLog) -> None:
    log.emit("first")
    seen: list[str] = []
    two = threading.Event()

    def read() -> None:
        for chunk in log.follow(since=0, follow=True):
            seen.extend(json.loads(line)["kind"] for line in chunk.splitlines())
            if len(seen) >= 2:
                two.set()

    reader = threading.Thread(target=read)
    reader.start()
    log.emit("second")
    assert two.wait(5)
    log.emit("last")
    log.close()
    reader.join(5)
    assert seen == ["first", "second", "last"]


def test_a_reader_that_does_not_follow_ends_with_what_there_is(log: EventLog) -> None:
    log.emit("a")
    log.emit("b")
    assert [json.loads(line)["n"] for chunk in log.follow(1, follow=False) for line in chunk.splitlines()] == [2]


def test_the_log_keeps_the_view(log: EventLog) -> None:
    log.emit("machine-starting", node=1)
    assert log.power(1) == "starting"
    log.emit("machine-started", node=1)
    assert log.status()["nodes"][1]["power"] == "running"
    assert log.wait_for(lambda view: view.nodes[1].power == "running", 0)
    assert not log.wait_for(lambda view: view.nodes[0].power == "running", 0)


@pytest.mark.parametrize(
    "event",
    [
        {"kind": "membership", "node": 0, "epoch": 1},
        {"kind": "membership", "node": 0, "epoch": 1, "step": 1, "master": 9, "nodes": {}},
        {"kind": "membership", "node": 0, "epoch": "x", "step": 1, "master": 0, "nodes": {}},
        {"kind": "guestd-started", "node": 0, "guest_t": "x", "stages": {"initramfs": 1}},
        {"kind": "incarnation", "node": 0, "incarnation": None},
        {"kind": "level-complete", "node": 0, "subject": 7, "level": 0, "incarnation": 1, "transition": "join"},
        {"kind": "level-complete", "node": 0, "subject": 1, "level": [], "incarnation": 1, "transition": "join"},
        {"kind": "subsystems", "node": 0, "levels": 3},
    ],
)
def test_an_event_that_the_view_can_make_nothing_of_reaches_nobody(log: EventLog, event: dict[str, Any]) -> None:
    before = log.status()["nodes"]
    kind = event["kind"]
    with pytest.raises(MALFORMED):
        log.emit(kind, **{name: value for name, value in event.items() if name != "kind"})
    assert log.position == 0
    assert log.status()["nodes"] == before
    log.emit("after")
    assert [json.loads(line)["n"] for chunk in log.follow(0, follow=False) for line in chunk.splitlines()] == [1]


def test_a_full_disk_is_told_once_and_who_follows_still_hears_all() -> None:
    log = EventLog(Path("/dev/full"), nodes=1)
    told = []
    log.on_broken = lambda: told.append(log.broken)
    log.emit("first")
    log.emit("second")
    assert told == ["the events cannot be kept: /dev/full: No space left on device"]
    assert b"".join(log.follow(0, follow=False)).count(b"\n") == 2
    log.close()


def test_the_late_word_of_a_reset_does_not_switch_a_machine_on_that_is_off(log: EventLog) -> None:
    for kind in ("machine-starting", "machine-started", "machine-stopped", "machine-reset"):
        log.emit(kind, node=0)
    assert log.power(0) == "off"
