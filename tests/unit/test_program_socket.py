"""The socket at which programs register, the client, and the example of docs/programs.md against real guestds."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from guestd import client
from guestd.core.inputs import Input, ProgramGone, ProgramMessage
from guestd.locks import LockDenied, LockLost, LockRefused, Locks, Wanted
from guestd.runtime.program_socket import BUFFER_SIZE_MAX, LINE_SIZE_MAX, ProgramSocket
from hil.vdisk import inspect
from tests.unit.test_guestd_runtime import TIMING, TREE, Trio, trio

__all__ = ["trio"]  # a fixture

DOCS = TREE / "docs" / "programs.md"


def take(door: ProgramSocket) -> list[Input]:
    """Everything that has come in."""
    given: list[Input] = []
    for _ in range(100):
        given += door.take(set(door.wanted()))
    return given


@pytest.fixture
def door(tmp_path: Path) -> Iterator[ProgramSocket]:
    with contextlib.closing(ProgramSocket(str(tmp_path / "run" / "door"))) as made:
        yield made


@pytest.fixture
def program(door: ProgramSocket, tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as made:
        made.connect(str(tmp_path / "run" / "door"))
        made.settimeout(5)
        yield made


def test_only_root_may_register(door: ProgramSocket, tmp_path: Path) -> None:
    assert (tmp_path / "run" / "door").stat().st_mode & 0o777 == 0o600
    assert len(door.wanted()) == 1


def test_a_machine_that_is_no_guest_has_no_socket_unless_it_is_told() -> None:
    assert ProgramSocket(None).wanted() == {}


def test_what_is_left_of_an_earlier_guestd_is_replaced(door: ProgramSocket, tmp_path: Path) -> None:
    again = ProgramSocket(str(tmp_path / "run" / "door"))
    with contextlib.closing(again), socket.socket(socket.AF_UNIX) as made:
        made.connect(str(tmp_path / "run" / "door"))
        take(again)
        assert len(again.wanted()) == 2
    assert len(door.wanted()) == 1


def test_lines_come_whole_and_the_end_of_a_program_comes_after_its_last_line(
    door: ProgramSocket, program: socket.socket
) -> None:
    program.sendall(b'{"a":')
    assert take(door) == []
    program.sendall(b'1}\n{"b":2}\nrest')
    assert take(door) == [ProgramMessage(1, '{"a":1}'), ProgramMessage(1, '{"b":2}')]
    program.sendall(b"\nlast\n")
    program.close()
    assert take(door) == [ProgramMessage(1, "rest"), ProgramMessage(1, "last"), ProgramGone(1)]
    door.answer(1, {"x": 1})  # nobody there: nothing happens
    assert take(door) == []


def test_answers_reach_the_program_that_they_are_for(
    door: ProgramSocket, program: socket.socket, tmp_path: Path
) -> None:
    take(door)
    with socket.socket(socket.AF_UNIX) as second:
        second.connect(str(tmp_path / "run" / "door"))
        second.settimeout(5)
        take(door)
        door.answer(2, {"to": "second"})
        door.answer(1, {"to": "first"})
        door.flush()
        assert program.recv(100) == b'{"to":"first"}\n'
        assert second.recv(100) == b'{"to":"second"}\n'


def test_a_program_that_does_not_read_is_cut_off(door: ProgramSocket, program: socket.socket) -> None:
    take(door)
    for _ in range(100):
        door.answer(1, {"filler": "x" * 10_000})
        door.flush()
    assert 2 * BUFFER_SIZE_MAX < 100 * 10_000
    assert take(door) == [ProgramGone(1)]
    text = b""
    while data := program.recv(1 << 16):
        text += data
    assert text.startswith(b'{"filler"')


def test_who_is_hung_up_on_has_been_sent_what_was_said_to_it(door: ProgramSocket, program: socket.socket) -> None:
    take(door)
    door.answer(1, {"last": "words"})
    door.hang_up(1)
    door.hang_up(1)  # nobody there: nothing happens
    more = [door.has_more]
    assert door.take(set()) == [ProgramGone(1)]
    more.append(door.has_more)
    assert more == [True, False]
    assert program.recv(100) == b'{"last":"words"}\n'
    assert program.recv(100) == b""


def test_a_line_without_an_end_is_cut_off(door: ProgramSocket, program: socket.socket) -> None:
    program.setblocking(False)
    given: list[Input] = []
    sent = 0
    with contextlib.suppress(BrokenPipeError):
        while not given and sent < 10 * LINE_SIZE_MAX:
            with contextlib.suppress(BlockingIOError):
                sent += program.send(b"x" * 4096)
            given += door.take(set(door.wanted()))
    assert given == [ProgramGone(1)]


class Guestd:
    """A guestd that says what the test wants, to one client."""

    def __init__(self, path: str, *lines: str) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        self.heard = b""
        self._lines = lines
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        end, _ = self._listener.accept()
        with end, self._listener:
            for line in self._lines:
                end.sendall(line.encode() + b"\n")
            end.shutdown(socket.SHUT_WR)
            while data := end.recv(4096):
                self.heard += data

    def join(self) -> bytes:
        self._thread.join(10)
        return self.heard


REGISTERED = '{"registered": {"node": 1, "nodes": 3}}'
NOTIFIED = (
    '{"notification": {"number": 7, "states": ["joined", "joining"], "transitions": '
    '[{"node": 1, "incarnation": 4, "transition": "join", "barrier": 0}]}}'
)


def test_the_client_registers_waits_acknowledges_and_closes(tmp_path: Path) -> None:
    guestd = Guestd(str(tmp_path / "g"), REGISTERED, NOTIFIED, '{"closed": "over"}')
    with client.register("x", 50, {"join": 2}, on_death="gone", path=str(tmp_path / "g")) as subsystem:
        assert (subsystem.node, subsystem.nodes) == (1, 3)
        notification = subsystem.wait()
        assert notification is not None
        assert notification.transitions == (client.Transition(1, 4, "join", 0),)
        assert notification.states == ("joined", "joining")
        subsystem.working(notification)
        subsystem.emit("service", kind="web", self=[1])
        subsystem.expel("it is over")
        subsystem.acknowledge(notification)
        assert subsystem.wait() is None
    assert guestd.join().decode().splitlines() == [
        '{"register":{"name":"x","order":50,"barriers":{"join":2},"on_death":"gone"}}',
        '{"working":7}',
        '{"emit":{"kind":"service","self":[1]}}',
        '{"expel":"it is over"}',
        '{"acknowledge":7}',
    ]


@pytest.mark.parametrize(
    ("lines", "error", "why"),
    [
        (['{"refused": "x: order = 0 (legal: 1 to 253)"}'], client.Refused, r"x: order = 0 \(legal"),
        ([], client.Disconnected, "guestd has gone"),
        ([REGISTERED], client.Disconnected, "guestd has gone"),
        ([REGISTERED, '{"error": "what?"}'], client.Misused, r"what\?"),
    ],
)
def test_the_clients_errors_have_types_and_reasons(
    tmp_path: Path, lines: list[str], error: type[client.ClientError], why: str
) -> None:
    guestd = Guestd(str(tmp_path / "g"), *lines)
    with pytest.raises(error, match=why), client.register("x", 50, path=str(tmp_path / "g")) as subsystem:
        subsystem.wait()
    guestd.join()


class Running:
    """A program that runs, and the lines that it has printed."""

    def __init__(self, source: str, *arguments: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(TREE), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-c", source, *arguments]
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        self._text = b""

    @property
    def lines(self) -> list[str]:
        assert self.process.stdout is not None
        self._text += self.process.stdout.read() or b""
        return self._text.decode().splitlines()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def joined(trio: Trio) -> Trio:
    for guest in trio.guests:
        guest.start()
    trio.wait(lambda: all(guest.state == "joined" for guest in trio.guests))
    return trio


def test_the_example_of_the_page_watches_a_cluster(trio: Trio) -> None:
    example = re.search(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    joined(trio)
    watch = Running(example[1], str(trio.directory / "programs1"))
    try:
        trio.wait(lambda: "states: joining joining joining" in watch.lines)
        trio.wait(lambda: trio.guests[1].last("caught-up"))
        assert watch.lines[:5] == [
            "registered with node 1",
            *[f"node {node} comes: prepared" for node in range(3)],
            "states: joining joining joining",
        ]
        trio.guests[2].stop()
        trio.wait(lambda: "states: joined joined forced-leaving" in watch.lines)
        assert watch.lines[-2] == "node 2 has died: recovered"
        trio.guests[1].order("leave")
        assert watch.process.wait(20) == 0
        assert watch.lines[-3:] == [
            "leave of node 1, barrier 0",
            "states: joined leaving inactive",
            "this node has left",
        ]
    finally:
        watch.stop()


def test_a_program_that_is_killed_is_gone_or_takes_its_node_with_it_as_it_chose(trio: Trio) -> None:  # S4.13
    for node in range(3):
        config = trio.directory / f"config{node}.json"
        assert '"settle_ms": 200' in config.read_text()
        config.write_text(config.read_text().replace('"settle_ms": 200', '"settle_ms": 200, "subsystem_ms": 6000'))
    assert TIMING["settle_ms"] == 200
    joined(trio)
    source = (
        "import sys; from guestd.client import register\n"
        "s = register('victim', 50, on_death=sys.argv[2], path=sys.argv[1])\n"
        "s.acknowledge(s.wait()); print('ready', flush=True); s.wait()"
    )
    programs = [
        Running(source, str(trio.directory / "programs0"), "gone"),
        Running(source, str(trio.directory / "programs1"), "hang"),
    ]
    try:
        trio.wait(lambda: all("ready" in running.lines for running in programs))
        trio.wait(lambda: all(guest.last("caught-up") for guest in trio.guests[:2]))
        for running in programs:
            running.process.kill()
        trio.wait(lambda: all(guest.last("program") for guest in trio.guests[:2]))
        trio.guests[2].order("leave")
        trio.wait(lambda: trio.guests[1].last("panic"))
        panic = trio.guests[1].last("panic")
        assert panic is not None
        assert panic["reason"] == "node 1 (incarnation 1): subsystem victim did not acknowledge within 6000 ms"
        trio.wait(lambda: (trio.guests[0].last("elected") or {"victims": []})["victims"] == [1])
        trio.wait(lambda: trio.guests[2].last("left"))
        assert trio.guests[0].state == "joined"
    finally:
        for running in programs:
            running.stop()


def test_programs_on_two_nodes_lock_each_other_out_and_guestctl_shows_it(trio: Trio) -> None:  # S7.1
    joined(trio)
    paths = [str(trio.directory / f"programs{node}") for node in range(3)]
    with Locks(paths[0]) as one, Locks(paths[1]) as two:
        volume = one.acquire("volume", mode="CW")
        assert one.values[volume] == bytes(64)
        file = one.acquire("volume", "file", mode="EX", parent=volume)
        with pytest.raises(LockDenied, match="again"):
            two.acquire("volume", mode="EX", noqueue=True)
        with pytest.raises(TimeoutError):
            two.acquire("volume", mode="EX", timeout_s=0.3)
        assert one.wanted(10) == Wanted(volume, "EX")
        with pytest.raises(LockRefused, match="locks below"):
            one.release(volume)
        command = [sys.executable, "-m", "guestd.guestctl", "--socket", paths[0], "locks"]
        told = subprocess.run(command, cwd=TREE, capture_output=True, text=True, check=True).stdout
        assert "lock manager over nodes 0, 1, 2: granting" in told
        assert "program:volume/file  EX, master: node 0" in told
        as_json = subprocess.run([*command, "--json"], cwd=TREE, capture_output=True, text=True, check=True).stdout
        names = [lock["name"] for lock in json.loads(as_json)["own"]]
        assert [name for name in names if name.startswith("program:")] == ["program:volume", "program:volume/file"]
        one.release(file)
        one.convert(volume, "EX")
        one.convert(volume, "PR", value=b"v" * 64)
        other = two.acquire("volume", mode="PR")
        assert two.values[other] == b"v" * 64
        two.release(other)
        trio.guests[2].stop()  # of the machine: the lock manager goes on over the others
        trio.wait(lambda: "forced-leaving" in str(trio.guests[0].last("membership")))
        two.acquire("something else", mode="EX", timeout_s=20)
        trio.guests[0].order("leave")
        with pytest.raises(LockLost):
            one.wanted(20)
    missing = subprocess.run([*command, "--json"], cwd=TREE, capture_output=True, text=True, check=False)
    assert missing.returncode == 1
    assert "does not answer" in missing.stderr


def test_an_operator_makes_grows_and_deletes_virtual_disks_with_guestctl(trio: Trio) -> None:  # S7.2
    joined(trio)

    def guestctl(node: int, *words: str) -> subprocess.CompletedProcess[str]:
        socket_path = str(trio.directory / f"programs{node}")
        command = [sys.executable, "-m", "guestd.guestctl", "--socket", socket_path, "vdisk", *words]
        return subprocess.run(command, cwd=TREE, capture_output=True, text=True, check=False)

    assert guestctl(0, "create", "data", "1M").returncode == 0
    assert guestctl(2, "grow", "data", "1100K").returncode == 0
    listed = json.loads(guestctl(1, "list", "--json").stdout)
    assert [(disk["name"], disk["fixed"]) for disk in listed["disks"]] == [
        ("bootstrap", True),
        ("membership-database", True),
        ("data", False),
    ]
    assert listed["disks"][-1]["size"] == 18 * listed["unit"]
    assert [disk.name for disk in inspect(trio.disk).disks] == ["bootstrap", "membership-database", "data"]
    assert "data" in guestctl(1, "list").stdout
    for words, status, why in (
        (("create", "data", "1M"), 1, "data"),
        (("create", "more", "1T"), 2, "is no size"),
        (("create", "more", "1G"), 1, "units"),
        (("delete", "membership-database"), 1, "fixed"),
        (("delete", "nothing"), 1, "nothing"),
        (("shrink", "data"), 2, "no command"),
    ):
        done = guestctl(1, *words)
        assert (done.returncode, why in done.stderr) == (status, True), done
    assert guestctl(1, "delete", "data").returncode == 0
    assert len(inspect(trio.disk).disks) == 2
