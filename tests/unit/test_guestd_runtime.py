"""guestd as it runs in a guest, in three real processes: loopback for the interconnect, a file for the disk."""

from __future__ import annotations

import contextlib
import json
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from guestd.core.effects import Effect, Exit, Wake
from guestd.core.inputs import Input, Start, Tick
from guestd.membership import layout, manager, persistent
from guestd.runtime.loop import Loop
from guestd.runtime.panic import REFUSED_STATUS
from guestd.runtime.program_socket import ProgramSocket
from guestd.vdm.format import format_volumes

TREE = Path(__file__).resolve().parents[2]
CLUSTER_ID = "ab" * 16
TIMING = {"heartbeat_ms": 50, "disk_heartbeat_ms": 100, "death_ms": 3000, "settle_ms": 200}
"""So long a machine that others use as well may make a process wait."""
MAIN = "import sys; sys.path.insert(0, {tree!r}); from guestd.runtime.main import main; raise SystemExit(main())"


class Guest:
    """One guestd process and the host's end of its port."""

    def __init__(self, directory: Path, node: int) -> None:
        self.directory = directory
        self.node = node
        self.events: list[dict[str, Any]] = []
        self._text = b""
        self._orders = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(directory / f"port{node}"))
        self._listener.listen()
        self.host: socket.socket | None = None
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.events.clear()
        environment = {
            "HIL_CONFIG": str(self.directory / f"config{self.node}.json"),
            "HIL_NODE": str(self.node),
            "HIL_STAGES": "initramfs=1.70 root=2.2 broken",
            "HIL_PORT": str(self.directory / f"port{self.node}"),
        }
        command = [sys.executable, "-I", "-S", "-X", "utf8", "-c", MAIN.format(tree=str(TREE))]
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
        self._listener.settimeout(20)
        self.host, _ = self._listener.accept()
        self._orders = 0

    def order(self, order: str, **fields: Any) -> None:
        assert self.host is not None
        self._orders += 1
        self.host.sendall(json.dumps({"n": self._orders, "order": order, **fields}).encode() + b"\n")

    def read(self) -> None:
        assert self.host is not None
        data = self.host.recv(65536)
        *lines, self._text = (self._text + data).split(b"\n")
        self.events += [json.loads(line) for line in lines]

    def last(self, kind: str) -> dict[str, Any] | None:
        return next((event for event in reversed(self.events) if event["kind"] == kind), None)

    @property
    def state(self) -> str:
        return str((self.last("state") or {"state": "inactive"})["state"])

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None
        if self.host is not None:
            self.host.close()
            self.host = None

    def close(self) -> None:
        self.stop()
        self._listener.close()


DISK_SIZE = 8 << 20


class Trio:
    """Three of them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.disk = directory / "disk"
        content = bytearray(layout.DATABASE_OFFSET)
        content += persistent.format_database(CLUSTER_ID, "trio", 3)
        content += bytes(layout.VOLUMES_OFFSET - len(content)) + format_volumes(CLUSTER_ID, 3, DISK_SIZE)
        content += bytes(DISK_SIZE - len(content))
        self.disk.write_bytes(content)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        for node in range(3):
            config = {
                "cluster": "trio",
                "cluster_id": CLUSTER_ID,
                "nodes": 3,
                "disk": {"path": str(self.disk)},
                "port": {"path": str(directory / f"port{node}")},
                "programs": {"path": str(directory / f"programs{node}")},
                "interconnect": {
                    "broadcast": "127.255.255.255",
                    "addresses": [f"127.0.0.{1 + node}" for node in range(3)],
                    "port": port,
                },
                "timing": TIMING,
                "fence": "panic",  # a plain file takes no reservations
            }
            (directory / f"config{node}.json").write_text(json.dumps(config))
        self.guests = [Guest(directory, node) for node in range(3)]

    def wait(self, reached: Callable[[], object], within_s: float = 90) -> None:
        end_s = time.monotonic() + within_s
        while not reached():
            assert time.monotonic() < end_s, [guest.events[-5:] for guest in self.guests]
            with selectors.DefaultSelector() as selector:
                for guest in self.guests:
                    if guest.host is not None:
                        selector.register(guest.host, selectors.EVENT_READ, guest)
                for key, _ in selector.select(1):
                    key.data.read()


@pytest.fixture
def trio(tmp_path: Path) -> Iterator[Trio]:
    with contextlib.ExitStack() as stack:
        made = Trio(tmp_path)
        for guest in made.guests:
            stack.callback(guest.close)
        yield made


def test_three_processes_join_one_is_killed_and_forced_out_comes_back_and_leaves(trio: Trio) -> None:
    guests = trio.guests
    for guest in guests:
        guest.start()
    trio.wait(lambda: all(guest.state == "joined" for guest in guests))
    for guest in guests:
        assert [event["n"] for event in guest.events] == list(range(1, len(guest.events) + 1))
        started = guest.events[0]
        assert (started["kind"], started["node"]) == ("guestd-started", guest.node)
        assert started["stages"].keys() == {"initramfs", "root", "python"}

    guests[2].stop()
    trio.wait(lambda: membership(guests[0], 2) == "inactive" and membership(guests[1], 2) == "inactive")
    guests[2].start()
    trio.wait(lambda: guests[2].state == "joined")
    incarnation = guests[2].last("incarnation")
    assert incarnation is not None
    assert incarnation["incarnation"] == 2

    assert guests[1].process is not None
    guests[1].order("leave")
    trio.wait(lambda: guests[1].last("left"))
    assert guests[1].process.wait(10) == 0


def test_a_process_that_was_stopped_finds_itself_forced_out_and_panics_but_not_this_machine(trio: Trio) -> None:
    guests = trio.guests
    for guest in guests:
        guest.start()
    trio.wait(lambda: all(guest.state == "joined" for guest in guests))
    process = guests[2].process
    assert process is not None
    process.send_signal(signal.SIGTERM)  # which is ignored
    process.send_signal(signal.SIGSTOP)
    trio.wait(lambda: membership(guests[0], 2) == "inactive")
    process.send_signal(signal.SIGCONT)
    trio.wait(lambda: guests[2].last("panic"))
    _, error = process.communicate(timeout=10)
    assert process.returncode == REFUSED_STATUS
    # With fence = "panic" it may look at its lease before it reads the disk.
    found_out = (b"found itself forced out in epoch", b"its lease ran out")
    assert b"PANIC: node 2 (incarnation 1) " in error
    assert any(why in error for why in found_out)
    assert guests[0].state == guests[1].state == "joined"


def refusal(guest: Guest, trio: Trio) -> str:
    """Why a process that has ended was refused; its console says the same."""
    process = guest.process
    assert process is not None
    trio.wait(lambda: guest.last("refused"))
    _, error = process.communicate(timeout=10)
    assert process.returncode == manager.REFUSED_STATUS
    reason = str((guest.last("refused") or {})["reason"])
    assert f"hil: guestd: refused: {reason}" in error.decode()
    return reason


def test_a_second_process_with_a_node_id_is_refused_on_its_console_too(trio: Trio) -> None:  # A16
    guests = trio.guests
    for guest in guests:
        guest.start()
    trio.wait(lambda: all(guest.state == "joined" for guest in guests))
    epoch = (guests[0].last("membership") or {})["epoch"]
    elsewhere = trio.directory / "elsewhere"
    elsewhere.mkdir()
    config = json.loads((trio.directory / "config1.json").read_text()) | {"port": {"path": str(elsewhere / "port1")}}
    (elsewhere / "config1.json").write_text(json.dumps(config))
    second = Guest(elsewhere, 1)
    with contextlib.closing(second):
        trio.guests.append(second)
        second.start()
        assert refusal(second, trio).startswith("another machine runs as node 1: ")
    trio.guests.remove(second)
    guests[0].order("status")
    trio.wait(lambda: guests[0].last("status"))
    assert (guests[0].last("status") or {})["epoch"] == epoch
    assert guests[1].state == "joined"


def test_a_cluster_file_that_does_not_match_the_disk_is_refused_on_the_console_too(trio: Trio) -> None:  # S2.2
    config = json.loads((trio.directory / "config0.json").read_text())
    for changes, why in (({"nodes": 4}, "is of the cluster trio with 3 nodes"), ({"cluster_id": "00" * 16}, "belongs")):
        (trio.directory / "config0.json").write_text(json.dumps(config | changes))
        trio.guests[0].start()
        assert why in refusal(trio.guests[0], trio)
        trio.guests[0].stop()


def test_a_node_that_waits_has_no_identity_until_it_is_told_to_begin(trio: Trio) -> None:
    """What a saved machine goes through (guestd.runtime.begin), but for the clock and the kernel's randomness."""
    guests = trio.guests
    configurations = [trio.directory / f"config{guest.node}.json" for guest in guests]
    real = [path.read_bytes() for path in configurations]
    for guest, path in zip(guests, configurations, strict=True):
        path.write_text('{"wait": true}')
        guest.start()
    trio.wait(lambda: all(guest.last("guestd-waiting") for guest in guests))
    blank = trio.disk.read_bytes()
    guests[2].order("leave")  # one that comes too early is carried out in its turn
    time.sleep(1)
    assert trio.disk.read_bytes() == blank
    for guest, path, content in zip(guests, configurations, real, strict=True):
        assert [event["kind"] for event in guest.events] == ["guestd-waiting"]
        secret = b"key of node %d" % guest.node
        files = {path.name: content.hex(), f"../key{guest.node}": secret.hex()}
        guest.events.clear()
        guest.order("begin", files=files, time_ns=0, entropy="00")
    process = guests[2].process
    assert process is not None
    trio.wait(lambda: all(guest.state == "joined" for guest in guests[:2]) and process.poll() is not None)
    assert process.returncode == 0
    started = guests[0].events[0]
    assert (started["n"], started["kind"], started["stages"]) == (1, "guestd-started", {})
    key = trio.directory / "key0"  # beside the configuration, wherever it asks to be
    assert (key.read_bytes(), key.stat().st_mode & 0o777) == (b"key of node 0", 0o600)


class Quiet:
    """A port, an interconnect and a disk where nothing ever happens."""

    wants_to_write = False
    changes = 0
    filenos: tuple[int, ...] = ()

    def fileno(self) -> int:
        return -1

    def open(self) -> None: ...

    def flush(self) -> None: ...

    def orders_back(self) -> list[str]:
        return []


class Sleeper:
    """A stack that wants to be woken, and ends when it is."""

    def __init__(self) -> None:
        self.given: list[Input] = []
        self.at_ms: list[int] = []

    def handle(self, given: Input, now_ms: int) -> list[Effect]:
        self.given.append(given)
        self.at_ms.append(now_ms)
        if isinstance(given, Start):
            return [Wake(30)]
        return [Exit(5)] if len(self.given) == 3 else []


def test_a_stack_that_wants_to_be_woken_gets_a_tick_of_its_own() -> None:
    stack, quiet = Sleeper(), cast("Any", Quiet())
    # The next tick of its own would come in an hour.
    loop = Loop(cast("Any", stack), 3_600_000, quiet, quiet, {0: quiet, 1: quiet}, ProgramSocket(None), lambda _: 0)
    assert loop.run() == 5
    assert stack.given == [Start(), Tick(), Tick()]
    assert 30 <= stack.at_ms[2] - stack.at_ms[0] < 30_000


def membership(guest: Guest, node: int) -> str | None:
    """The state of a node in another node's view."""
    view = guest.last("membership")
    return None if view is None else view["nodes"][str(node)]["state"]
