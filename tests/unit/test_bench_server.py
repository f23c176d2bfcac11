"""The bench's socket protocol, with a bench that has no machines."""

import contextlib
import itertools
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.bench import address
from hil.bench.cluster import Bench
from hil.bench.log import EventLog
from hil.bench.server import CLIENTS_MAX, Server
from hil.client.connection import Caller, EventReader
from hil.errors import BenchDied, LaboratoryError, UnknownNode, UsageError

_numbers = itertools.count()


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks for room, or lists the clusters of this user, finds none of these benches."""
    monkeypatch.setattr(address, "_PREFIX", f"hil-server-{os.getpid()}")


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


def test_who_comes_when_the_set_up_has_failed_already_hears_why(server: Server, log: EventLog, name: str) -> None:
    log.emit("bench-stopping", reason="no such image", failed=True)
    server.open(None)
    log.close()

    def end() -> None:
        server.await_reader(60)
        server.finish(5)

    ending = threading.Thread(target=end)
    ending.start()
    with contextlib.closing(EventReader(name)) as reader:
        assert [event["reason"] for event in reader.read(30)] == ["no such image"]
    ending.join(30)
    assert not ending.is_alive()


def test_a_bench_that_nobody_listens_to_does_not_wait_for_ever(server: Server, log: EventLog) -> None:
    log.close()
    server.await_reader(0.01)


def test_calls_are_refused_when_the_set_up_failed(server: Server, caller: Caller) -> None:
    server.open(None)
    with pytest.raises(LaboratoryError, match=r"could not set up its cluster; see bench\.log"):
        caller.call("power_off", nodes=[])
    assert caller.call("down") == {}  # it ends anyway


def test_who_comes_after_the_others_were_hung_up_on_is_hung_up_on_too(server: Server, log: EventLog, name: str) -> None:
    log.close()
    server.finish(5)
    with address.connect(name) as late:
        late.settimeout(10)
        assert late.recv(1) == b""


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


def test_threads_that_call_at_once_get_their_own_answers(server: Server, log: EventLog, caller: Caller) -> None:
    server.open(Bench(log))
    wrong: list[str] = []

    def ask(node: int) -> None:
        for _ in range(50):
            try:
                caller.call("power_off", nodes=[node])
            except UnknownNode as error:
                wrong.extend([str(error)] if f"no node {node}" not in str(error) else [])

    threads = [threading.Thread(target=ask, args=(node,), daemon=True) for node in range(3, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20.0)
    assert not any(thread.is_alive() for thread in threads), "one has lost its answer to another"
    assert wrong == []


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


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("power_off", {"nodes": "01"}),
        ("power_off", {"nodes": [0.5]}),
        ("power_off", {"nodes": [None]}),
        ("panic", {"nodes": [], "reason": 3}),
        ("panic", {"nodes": [], "reason": "x" * 5000}),
        ("open_ssh", {"node": [1]}),
        ("events", {"since": "x"}),
    ],
)
def test_a_wrong_type_or_size_is_the_callers_fault(
    server: Server, log: EventLog, caller: Caller, call: str, arguments: dict[str, object]
) -> None:
    server.open(Bench(log))
    with pytest.raises(UsageError, match=f"^{call.replace('events', '_stream')}: "):
        caller.call(call, **arguments)


def test_many_hung_clients_do_not_hold_up_the_end_one_by_one(server: Server, log: EventLog, name: str) -> None:
    hung = [EventReader(name) for _ in range(10)]
    for _ in range(5000):
        log.emit("noise", text="x" * 200)
    log.close()
    begun = time.monotonic()
    server.finish(2)
    assert time.monotonic() - begun < 12  # one by one it would be 20
    for reader in hung:
        reader.close()


def test_more_clients_than_are_legal_are_refused_and_one_that_leaves_makes_room(server: Server, name: str) -> None:
    crowd = [_admitted(name) for _ in range(CLIENTS_MAX)]
    late = Caller(name)
    with pytest.raises(LaboratoryError, match="200 clients are connected"):
        late.call("status")
    late.close()
    for member in crowd:
        member.close()
    for _ in range(100):  # the server's threads end a moment after their clients have hung up
        with contextlib.suppress(LaboratoryError):
            late.call("status")
            break
        late.close()
        time.sleep(0.02)
    else:
        pytest.fail("no room")
    late.close()


def _admitted(name: str) -> Caller:
    """A client that was answered, maybe late: a `hil list` beside this test asks every bench of this user."""
    caller = Caller(name)
    for _ in range(100):
        with contextlib.suppress(LaboratoryError):
            caller.call("status")
            return caller
        time.sleep(0.02)
    pytest.fail("no room")


def test_a_refusal_is_heard_by_a_client_that_was_hung_up_on_before_it_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(b'{"error": {"type": "LaboratoryError", "message": "200 clients are connected"}}\n')
    theirs.close()
    monkeypatch.setattr(address, "connect", lambda cluster: ours)
    caller = Caller("any")
    with pytest.raises(LaboratoryError, match="200 clients are connected"):
        caller.call("status")
    caller.close()


def test_the_answer_to_an_interrupted_call_is_not_taken_for_the_next_ones(
    server: Server, log: EventLog, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.emit("bench-started")
    receive = socket.recv_fds

    def interrupted(*arguments: object) -> object:
        monkeypatch.setattr(socket, "recv_fds", receive)
        raise KeyboardInterrupt

    monkeypatch.setattr(socket, "recv_fds", interrupted)
    with pytest.raises(KeyboardInterrupt):
        caller.call("power_off", nodes=[])
    server.open(Bench(log))
    assert "nodes" in caller.call("status")
    assert "spread_s" not in caller.call("status")


class EndingBench(Bench):
    """Its server finishes as soon as somebody says so."""

    server: Server
    ended: threading.Thread

    def down(self) -> dict[str, object]:
        self.ended = threading.Thread(target=self.server.finish, args=(5,))
        self.ended.start()
        return {}


def test_the_client_that_ends_the_bench_is_hung_up_on_however_quick_it_is(log: EventLog) -> None:
    for number in range(200):
        name = f"t-quick-{os.getpid()}-{number}"
        with address.listen(name) as listener:
            bench = EndingBench(log)
            bench.server = Server(listener, log)
            bench.server.open(bench)
            bench.server.start()
            with address.connect(name) as client:
                client.sendall(b'{"call": "down"}\n')
                client.settimeout(5)
                assert client.recv(1000)
                assert not client.recv(1000)
            bench.ended.join(5)
            listener.shutdown(socket.SHUT_RDWR)
