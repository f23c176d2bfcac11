"""The programs of the example services as processes on this machine: what they promise holds when they are killed.

They are the ones that guests run, but for their directories and ports.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parents[2] / "scenarios" / "services"
LIMIT_S = 120.0


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Ask again and again: these processes tell nobody."""
    end = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < end, f"not within {LIMIT_S:.0f} s: {what}"
        time.sleep(0.01)


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Home:
    """Where the programs and all that they write are."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shared = path / "shared"
        self.programs = self.shared / "services"
        self.programs.mkdir(parents=True)
        self.clients: list[subprocess.Popen[bytes]] = []
        self.ports: dict[str, int] = {}
        (path / "run" / "hil").mkdir(parents=True)
        (path / "run" / "hil" / "config.json").write_text('{"interconnect": {"addresses": ["127.0.0.1"]}}')
        for source in PROGRAMS.glob("*.py"):
            text = source.read_text(encoding="utf-8")
            text = text.replace('"/shared', f'"{self.shared}').replace("/run/hil", f"{path}/run/hil")
            port = free_port()
            text = text.replace("PORT = 7", f"PORT = {port}  # not 7").replace("PAGE_S = 0.05", "PAGE_S = 0.002")
            self.ports[source.stem] = port
            (self.programs / source.name).write_text(text, encoding="utf-8")

    def command(self, service: str, action: str, registration: int, *words: str) -> subprocess.CompletedProcess[str]:
        """As an event manager runs it; the node is the registration's number."""
        environment = {
            **os.environ,
            "HIL_SERVICE": service,
            "HIL_ACTION": action,
            "HIL_NODE": str(registration),
            "HIL_INCARNATION": "1",
            "HIL_REGISTRATION": str(registration),
        }
        command = [sys.executable, "-S", str(self.programs / words[0]), *words[1:]]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=LIMIT_S)

    def start(self, service: str, registration: int, *words: str) -> None:
        done = self.command(service, "start", registration, *words)
        assert done.returncode == 0, done.stderr + done.stdout

    def pid(self, service: str) -> int:
        return int((self.path / "run" / f"hil-{service}.pid").read_text())

    def kill(self, service: str) -> None:
        """As the power of its node would: no word, no end."""
        os.kill(self.pid(service), signal.SIGKILL)

    def run(self, *words: str) -> str:
        command = [sys.executable, "-S", str(self.programs / words[0]), *words[1:]]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=LIMIT_S)
        return done.stdout

    def stamps(self, service: str) -> list[list[str]]:
        """Number, event, node, incarnation, registration, seconds."""
        return [line.split() for line in (self.shared / "stamps" / service).read_text().splitlines()]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path)
    yield made
    for process in made.clients:
        process.kill()
        process.wait()
    for file in (tmp_path / "run").glob("hil-*.pid"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(file.read_text()), signal.SIGKILL)


# -- the spooler

PAGES = 6


@pytest.mark.parametrize("lines", [1, 3, 8, 9, 15])
def test_a_spooler_that_is_killed_prints_every_job_once(home: Home, lines: int) -> None:  # S9.8, S9.5
    """Killed when the paper has so many lines: 8 of them are a job."""
    jobs = {f"job{number}": [f"page{number}.{page}" for page in range(PAGES)] for number in range(4)}
    for name, pages in jobs.items():
        home.run("spool_job.py", name, *pages)
    home.start("spooler", 1, "spooler.py")
    paper = home.shared / "spool" / "paper"
    wait_until(lambda: len(paper.read_text().splitlines()) >= lines, f"{lines} lines")
    home.kill("spooler")
    assert home.command("spooler", "recovery", 2, "spooler.py").returncode == 0
    recovered = paper.read_text()
    assert home.command("spooler", "recovery", 2, "spooler.py").returncode == 0
    assert paper.read_text() == recovered, "a recovery that is run again changes something"
    assert not list((home.shared / "spool" / "hand").iterdir())
    home.start("spooler", 2, "spooler.py")
    done = home.shared / "spool" / "done"
    wait_until(lambda: len(list(done.iterdir())) == len(jobs), "all jobs are done")
    expected = [line for name, pages in jobs.items() for line in (f"begin {name}", *pages, f"end {name}")]
    assert paper.read_text().splitlines() == expected
    assert home.command("spooler", "stop", 2, "spooler.py").returncode == 0


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_paper_that_ends_anywhere_is_mended(home: Home, cut: int) -> None:  # S9.5
    """As a power failure may leave it: some of what was appended last is there."""
    whole = "begin a\n1\n2\nend a\nbegin b\n1\n2\nend b\n"
    spool = home.shared / "spool"
    for name in ("queue", "hand", "done"):
        (spool / name).mkdir(parents=True)
    (spool / "paper").write_text(whole[:cut])
    hand = "a" if cut < whole.index("begin b") else "b"
    (spool / "hand" / hand).write_text("1\n2\n")
    assert home.command("spooler", "recovery", 1, "spooler.py").returncode == 0
    finished = f"end {hand}\n" in whole[:cut]
    assert [path.name for path in (spool / ("done" if finished else "queue")).iterdir()] == [hand]
    left = (spool / "paper").read_text()
    assert left == (whole[:cut] if finished else whole[: whole.index(f"begin {hand}")])


def test_a_job_in_hand_waits_again_when_the_spooler_is_stopped(home: Home) -> None:  # S9.6
    # More than are printed before somebody comes to stop it.
    home.run("spool_job.py", "long", *(f"page{page}" for page in range(20_000)))
    home.start("spooler", 1, "spooler.py")
    paper = home.shared / "spool" / "paper"
    wait_until(lambda: len(paper.read_text()) > 20, "it is being printed")
    assert home.command("spooler", "stop", 1, "spooler.py").returncode == 0
    assert paper.read_text() == ""
    assert [path.name for path in (home.shared / "spool" / "queue").iterdir()] == ["long"]


# -- the licence server


def test_a_licence_server_that_is_killed_knows_who_holds_one(home: Home) -> None:  # S9.8
    home.start("licence", 1, "licence.py", "2")
    clients = {name: client(home, "licence_client.py", name) for name in "abc"}
    said = {name: one.wait(1)[0].split()[0] for name, one in clients.items()}
    assert sorted(said.values()) == ["has", "has", "none"]
    holders = [name for name in "abc" if said[name] == "has"]
    home.kill("licence")
    home.start("licence", 2, "licence.py", "2")
    late = client(home, "licence_client.py", "late")
    assert late.wait(1) == ["none 2"]
    for name in holders:
        before = len(clients[name].wait(1))
        clients[name].wait(before + 2)
    assert (home.shared / "licences").read_text().split() == holders
    assert clients[holders[0]].end()[-1] == "given"
    again = client(home, "licence_client.py", "again")
    assert again.wait(1) == ["has 2"]
    assert not any(line.startswith("lost") for name in holders for line in clients[name].lines())
    again.end()
    clients[holders[1]].end()
    assert home.command("licence", "stop", 2, "licence.py", "2").returncode == 0
    assert (home.shared / "licences").read_text() == ""


class Client:
    """A client program that goes on."""

    def __init__(self, output: Path, process: subprocess.Popen[bytes]) -> None:
        self._output = output
        self._process = process

    def lines(self) -> list[str]:
        return self._output.read_text().rpartition("\n")[0].splitlines()

    def wait(self, count: int) -> list[str]:
        wait_until(lambda: len(self.lines()) >= count, f"{count} lines of {self._output.name}")
        return self.lines()

    def end(self) -> list[str]:
        self._process.terminate()
        assert self._process.wait(LIMIT_S) == 0
        return self.lines()


def client(home: Home, *words: str) -> Client:
    output = home.path / f"{'-'.join(words)}.out"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-S", str(home.programs / words[0]), *words[1:]], stdout=file, stdin=subprocess.DEVNULL
        )
    home.clients.append(process)
    return Client(output, process)


# -- the counter


def test_a_counter_that_is_killed_counts_no_request_twice(home: Home) -> None:  # S9.8
    home.start("counter", 1, "counter.py", "127.0.0.1")
    asks = client(home, "counter_client.py", "127.0.0.1")
    for registration in range(2, 7):
        asks.wait(len(asks.lines()) + 5)
        home.kill("counter")
        home.start("counter", registration, "counter.py", "127.0.0.1")
    asks.wait(len(asks.lines()) + 5)
    answers = [line.split() for line in asks.end()]
    assert [int(count) for _, count, _ in answers] == list(range(1, len(answers) + 1))
    lives = [int(registration) for _, _, _, _, registration, _ in home.stamps("counter")]
    assert lives == sorted(lives)


def test_a_request_that_is_sent_again_counts_once(home: Home) -> None:  # S9.8
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.settimeout(LIMIT_S)

        def ask(request: str) -> str:
            wire.sendto(request.encode(), ("127.0.0.1", home.ports["counter"]))
            return wire.recv(100).decode()

        home.start("counter", 1, "counter.py", "127.0.0.1")
        assert [ask(one) for one in ("x 1", "x 1", "y 1", "x 1", "x 2")] == ["1 1", "1 1", "1 2", "1 1", "2 3"]
        home.kill("counter")
        home.start("counter", 2, "counter.py", "127.0.0.1")
        assert [ask(one) for one in ("x 2", "y 1", "y 2")] == ["2 3", "1 2", "2 4"]


# -- what all of them share


def test_a_start_fails_where_its_process_cannot_begin(home: Home) -> None:  # S9.5
    home.start("counter", 1, "counter.py", "127.0.0.1")
    first = home.pid("counter")
    second = home.command("counter", "start", 2, "counter.py", "192.0.2.1")
    os.kill(first, signal.SIGKILL)  # its file has the second one's number now
    assert second.returncode != 0
    assert "the service ended before it was ready" in second.stderr


def test_a_stop_ends_the_process_and_may_be_run_again(home: Home) -> None:  # S9.5
    home.start("licence", 1, "licence.py", "1")
    pid = home.pid("licence")
    for _ in range(2):
        assert home.command("licence", "stop", 1, "licence.py", "1").returncode == 0
    state = Path(f"/proc/{pid}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"
    assert [event for _, event, *_ in home.stamps("licence") if event != "alive"] == ["start", "end", "end"]


def test_stamps_go_on_after_a_line_that_was_cut_off(home: Home) -> None:
    home.start("licence", 1, "licence.py", "1")
    home.kill("licence")
    path = home.shared / "stamps" / "licence"
    whole = path.read_text()
    path.write_text(f"{whole}99 ali")
    assert home.command("licence", "stop", 2, "licence.py", "1").returncode == 0
    assert path.read_text().startswith(whole)
    told = home.stamps("licence")
    assert [int(number) for number, *_ in told] == list(range(1, len(told) + 1))
