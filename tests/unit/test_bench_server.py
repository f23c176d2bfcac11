"""The bench's socket protocol, with a bench that has no machines."""

import itertools
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.bench import address
from hil.bench.cluster import Bench
from hil.bench.log import EventLog
from hil.bench.server import Server
from hil.client.connection import Caller, EventReader
from hil.errors import BenchDied, LaboratoryError, UnknownNode, UsageError

_numbers = itertools.count()


@pytest.fixture
def name() -> str:
    """Another one for each test: the accepting thread of the last one may hold its name for a moment longer."""
    return f"t-server-{os.getpid()}-{next(_numbers)}"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    log = EventLog(tmp_path / "events.jsonl", nodes=0)
    yield log
    log.close()


@pytest.fixture
def server(log: EventLog, name: str) -> Iterator[Server]:
    with address.listen(name) as listener:
        server = Server(listener, log)
        server.start()
        yield server
        log.close()
        server.finish(5)
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def caller(server: Server, name: str) -> Iterator[Caller]:
    caller = Caller(name)
    yield caller
    caller.close()


def test_a_call_waits_until_the_bench_is_set_up(server: Server, log: EventLog, caller: Caller) -> None:
    answers = []
    thread = threading.Thread(target=lambda: answers.append(caller.call("power_off", nodes=[])))
    thread.start()
    assert not answers
    server.open(Bench(log))
    thread.join(5)
    assert answers[0]["changed"] == []


def test_calls_are_refused_when_the_set_up_failed(server: Server, caller: Caller) -> None:
    server.open(None)
    with pytest.raises(LaboratoryError, match=r"could not set up its cluster; see bench\.log"):
        caller.call("power_off", nodes=[])


def test_the_status_is_answered_during_the_set_up(server: Server, log: EventLog, caller: Caller) -> None:
    log.emit("bench-started")
    assert caller.call("status")["n"] == 1


def test_an_error_arrives_as_what_it_is_and_the_line_goes_on(server: Server, log: EventLog, caller: Caller) -> None:
    server.open(Bench(log))
    with pytest.raises(UnknownNode, match="no node 3"):
        caller.call("power_off", nodes=[3])
    with pytest.raises(UsageError, match="no call 'dance'; there are: events, status"):
        caller.call("dance")
    with pytest.raises(UsageError, match="power_off: missing a required argument: 'nodes'"):
        caller.call("power_off")
    assert caller.call("power_off", nodes=[])["changed"] == []


@pytest.mark.parametrize(
    "request_line", [b"{}\n", b"[]\n", b"\xff\n", b'"x"\n', b'{"call": "status", "arguments": 3}\n']
)
def test_rubbish_is_answered_with_what_is_legal(server: Server, log: EventLog, name: str, request_line: bytes) -> None:
    server.open(Bench(log))
    with address.connect(name) as client:
        client.sendall(request_line)
        assert b'"type": "UsageError"' in client.recv(4096)


def test_events_stream_from_any_number_and_end_with_the_bench(server: Server, log: EventLog, name: str) -> None:
    for kind in "abc":
        log.emit(kind)
    reader = EventReader(name, since=1)
    assert [event["kind"] for event in reader.read(5)] == ["b", "c"]
    assert reader.read(0.01) == []
    log.emit("d")
    assert [event["kind"] for event in reader.read(5)] == ["d"]
    log.close()
    assert reader.read(5) == []
    assert (reader.ended, reader.read(0)) == (True, [])
    reader.close()


def test_a_client_that_never_reads_holds_up_nobody(server: Server, log: EventLog, caller: Caller, name: str) -> None:
    server.open(Bench(log))
    lazy = EventReader(name)
    for _ in range(20_000):
        log.emit("noise", text="x" * 100)
    assert caller.call("status")["n"] == 20_000
    lazy.close()


def test_an_answer_says_how_far_the_events_were_when_the_verb_was_done(
    server: Server, log: EventLog, caller: Caller
) -> None:
    server.open(Bench(log))
    log.emit("before")
    caller.call("power_off", nodes=[])
    assert caller.position == 2  # the event "power" of this very verb


def test_down_is_told_to_everybody_before_the_end(server: Server, log: EventLog, caller: Caller, name: str) -> None:
    bench = Bench(log)
    server.open(bench)
    reader = EventReader(name)
    caller.call("down")
    assert bench.stop_requested.is_set()
    assert [event["kind"] for event in reader.read(5)] == ["bench-stopping"]
    reader.close()


def test_a_bench_that_dies_during_a_call_is_reported(log: EventLog, name: str) -> None:
    with address.listen(name) as listener:
        caller = Caller(name)

        def die() -> None:
            connection, _ = listener.accept()
            connection.close()

        thread = threading.Thread(target=die)
        thread.start()
        with pytest.raises(BenchDied, match=f"bench of '{name}' ended during `status`"):
            caller.call("status")
        thread.join()
        caller.close()
