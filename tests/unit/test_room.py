"""Room for one more cluster: starts take turns, wait for one that ends, and a killed process leaves nothing behind."""

import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil import room
from hil.bench import address
from hil.bench.log import EventLog
from hil.bench.server import Server
from hil.config import make_config
from hil.errors import PreflightFailed
from tests.unit.fake_bench import fake_bench

TREE = Path(__file__).resolve().parents[2]
LIMIT_S = 30

# What another process does: it runs a cluster, or has the turn, until it is killed. A process of its own, for it is the
# end of a process by which a bench hangs up on everybody.
RUNS_A_CLUSTER = """
import sys, threading
from pathlib import Path
from hil.bench import address
from tests.unit.fake_bench import fake_bench
address._PREFIX = sys.argv[1]
with fake_bench(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])):
    print("here", flush=True)
    threading.Event().wait()
"""
HAS_THE_TURN = """
import sys, threading
from hil import room
from hil.bench import address
from hil.config import make_config
address._PREFIX = sys.argv[1]
with room.turn(make_config(name=sys.argv[2], nodes=2), print):
    print("here", flush=True)
    threading.Event().wait()
"""


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Clusters and turns of this test only, six nodes at once."""
    monkeypatch.setattr(address, "_PREFIX", f"hil-room-{os.getpid()}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HIL_NODES_MAX", "6")


@contextlib.contextmanager
def another(program: str, tmp_path: Path, name: str, nodes: int = 2) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", program, address._PREFIX, name, str(tmp_path / name), str(nodes)]
    environment = os.environ | {"PYTHONPATH": str(TREE)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "here\n"
            yield process
        finally:
            process.kill()


class Waiter:
    """One start, in a thread of its own: what it was told, and whether it has its turn."""

    def __init__(self, nodes: int, until: threading.Event | None = None) -> None:
        self.told: queue.Queue[str] = queue.Queue()
        self.started = threading.Event()
        self._until = until
        self._nodes = nodes
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with room.turn(make_config(name="mine", nodes=self._nodes), self.told.put):
            self.started.set()
            if self._until is not None:
                self._until.wait(LIMIT_S)

    def why(self) -> str:
        return self.told.get(timeout=LIMIT_S)

    def has_started(self) -> bool:
        self._thread.join(LIMIT_S)
        return self.started.is_set() and not self._thread.is_alive()


def test_what_fits_starts_at_once() -> None:
    waiter = Waiter(6)
    assert waiter.has_started()
    assert waiter.told.empty()


def test_what_does_not_fit_waits_until_enough_has_ended(tmp_path: Path) -> None:
    with (
        another(RUNS_A_CLUSTER, tmp_path, "small", 2) as small,
        another(RUNS_A_CLUSTER, tmp_path, "big", 4) as big,
    ):
        waiter = Waiter(6)
        assert waiter.why() == "waiting for room: 6 of 6 nodes are running (big, small)"
        assert not waiter.started.is_set()
        small.kill()
        assert waiter.why() == "waiting for room: 4 of 6 nodes are running (big)"
        assert not waiter.started.is_set()
        big.kill()
        assert waiter.has_started()


def test_the_nodes_of_a_killed_process_are_room_again(tmp_path: Path) -> None:
    with another(RUNS_A_CLUSTER, tmp_path, "others", 3) as process, fake_bench("mine-too", tmp_path / "mine-too", 2):
        waiter = Waiter(4)
        assert waiter.why() == "waiting for room: 5 of 6 nodes are running (mine-too, others)"
        process.send_signal(signal.SIGKILL)
        assert waiter.has_started()


def test_a_killed_process_hands_its_turn_on(tmp_path: Path) -> None:
    with another(HAS_THE_TURN, tmp_path, "others") as process:
        waiter = Waiter(2)
        assert waiter.why() == "waiting for room: another cluster is to start first"
        assert not waiter.started.is_set()
        process.send_signal(signal.SIGKILL)
        assert waiter.has_started()


def test_starts_take_turns() -> None:
    over = threading.Event()
    first = Waiter(2, over)
    assert first.started.wait(LIMIT_S)
    second = Waiter(2)
    assert "another cluster is to start first" in second.why()
    assert not second.started.is_set()
    over.set()
    assert second.has_started()


def test_a_start_that_fails_hands_its_turn_on() -> None:
    with pytest.raises(KeyError), room.turn(make_config(name="mine", nodes=2), print):
        raise KeyError
    assert Waiter(2).has_started()


def test_what_can_never_fit_is_refused_even_if_others_wait() -> None:
    over = threading.Event()
    first = Waiter(2, over)
    assert first.started.wait(LIMIT_S)
    with pytest.raises(PreflightFailed, match="legal: 2 to 6"), room.turn(make_config(nodes=7), print):
        pass
    over.set()
    assert first.has_started()


def test_without_memory_and_without_a_cluster_that_could_end_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.memory.free_mib", lambda _: 300)
    with pytest.raises(PreflightFailed, match="no other cluster runs"), room.turn(make_config(nodes=3), print):
        pass


@pytest.mark.parametrize(("nodes", "warned"), [(3, False), (4, True)])
def test_who_starts_one_by_hand_is_warned_and_not_kept(tmp_path: Path, nodes: int, warned: bool) -> None:
    with fake_bench("first", tmp_path / "first", 3):
        told = room.crowding(make_config(nodes=nodes))
    assert (told is not None) is warned
    assert told is None or "7 nodes at once, and this machine carries 6" in told


def test_a_bench_that_only_tells_why_it_ends_takes_no_room(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl", nodes=0)
    log.emit("bench-stopping", reason="it could not even begin", failed=True)
    with address.listen("hopeless") as listener:
        server = Server(listener, log)
        server.start()
        assert room.running_now() == []
        log.close()
        server.finish(5)
        listener.shutdown(socket.SHUT_RDWR)


def test_a_bench_that_does_not_answer_is_counted_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "ANSWER_TIMEOUT_S", 0.05)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    run_dir = tmp_path / "hil/runs/silent/latest"
    run_dir.mkdir(parents=True)
    (run_dir / "cluster.json").write_text('{"config": {"name": "silent", "nodes": 5}}')
    with address.listen("silent"):
        assert [(cluster.name, cluster.nodes) for cluster in room.running_now()] == [("silent", 5)]
