"""The event stream: one order without a gap, the same for everybody who follows."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.bench.log import EventLog


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
