"""The event manager's runtime: real processes, real files, and three of them beside three real guestds of this host."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from guestd import guestctl
from guestd.events.effects import AppendStore, LockStore, ReadStore, ReplaceStore, UnlockStore
from guestd.events.inputs import CommandEnded, StoreDone
from guestd.runtime.event_manager.commands import OUTPUT_SIZE, Commands
from guestd.runtime.event_manager.processes import MARK, members, start_of
from guestd.runtime.event_manager.store import Store
from guestd.runtime.event_manager.watchers import watcher_command
from tests.unit.test_guestd_runtime import TREE, Trio, trio

__all__ = ["trio"]  # a fixture

LIMIT_S = 60.0  # of what is waited for by an event; this machine may be busy
LONG_MS = 60_000


def now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class Runner:
    """Commands, and the loop that they need."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.commands = Commands(str(directory))
        self.number = 0

    def start(self, *arguments: str, timeout_ms: int | None = LONG_MS, **environment: str) -> int:
        self.number += 1
        self.commands.start(self.number, arguments, environment, timeout_ms, now_ms())
        return self.number

    def turn(self) -> list[CommandEnded]:
        """Wait for the next thing to happen, and let it."""
        poll = select.poll()
        for fd, events in self.commands.wanted().items():
            poll.register(fd, events)
        due_ms = self.commands.due_ms()
        wait_ms = LIMIT_S * 1000 if due_ms is None else max(0, due_ms - now_ms())
        return self.commands.take({fd for fd, _ in poll.poll(min(wait_ms, LIMIT_S * 1000))}, now_ms())

    def wait(self, number: int) -> CommandEnded:
        end_s = time.monotonic() + LIMIT_S
        while time.monotonic() < end_s:
            for ended in self.turn():
                assert ended.number == number
                return ended
        raise AssertionError(f"command {number} has not ended")

    def run(self, *arguments: str, timeout_ms: int | None = LONG_MS, **environment: str) -> CommandEnded:
        return self.wait(self.start(*arguments, timeout_ms=timeout_ms, **environment))


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    made = Runner(tmp_path / "commands")
    yield made
    made.commands.close()


def is_there(pid: int) -> bool:
    """Whether that process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def pid_in(path: Path) -> int:
    """The number that a process is about to write there."""
    end_s = time.monotonic() + LIMIT_S
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < end_s
        time.sleep(0.01)
    return int(path.read_text())


# -- commands


def test_a_command_runs_without_a_shell_in_the_root_directory_with_its_environment_and_no_input(  # S9.5
    runner: Runner,
) -> None:
    script = "import os, sys; print(sys.argv[1:], os.getcwd(), repr(sys.stdin.read()), sorted(os.environ.items()))"
    ended = runner.run(sys.executable, "-I", "-c", script, "$HOME;", "*", HIL_SERVICE="web")
    assert (ended.status, ended.timed_out, ended.reason) == (0, False, "")
    told = ended.output.decode()
    assert told.startswith("['$HOME;', '*'] / ''")
    assert "('HIL_SERVICE', 'web')" in told
    assert "('PATH', '/usr/sbin:/usr/bin:/sbin:/bin')" in told
    assert "HOME'" not in told.partition("''")[2]


def test_a_command_has_the_signals_of_a_fresh_process_and_a_session_of_its_own(runner: Runner) -> None:
    script = "import os; print(os.getsid(0) == os.getpgid(0) == os.getpid(), os.getpriority(os.PRIO_PROCESS, 0))"
    assert runner.run(sys.executable, "-I", "-c", script).output == b"True 0\n"
    ignored = runner.run("grep", "SigIgn", "/proc/self/status").output
    assert int(ignored.split()[1], 16) & (1 << signal.SIGPIPE - 1) == 0


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("/nowhere/at/all",), "/nowhere/at/all: No such file or directory"),
        (("nothing-of-that-name",), "nothing-of-that-name: No such file or directory"),
        (("/etc/passwd",), "/etc/passwd: Permission denied"),
        (("/",), "/: Permission denied"),
        (("a\0b",), "a\0b: Invalid argument"),
        (("",), ": Invalid argument"),
    ],
)
def test_what_cannot_be_started_has_ended_with_127_and_the_reason(
    runner: Runner, arguments: tuple[str, ...], why: str
) -> None:
    ended = runner.run(*arguments)
    assert (ended.status, ended.reason, ended.output) == (127, why, b"")


def test_a_file_that_is_no_program_is_told_from_a_program_that_ends_with_127(runner: Runner, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no program\n")
    text.chmod(0o755)
    assert runner.run(str(text)).reason == f"{text}: Exec format error"
    ended = runner.run("sh", "-c", "echo it was me; exit 127")
    assert (ended.status, ended.reason, ended.output) == (127, "", b"it was me\n")


def test_status_signal_and_both_outputs_are_told(runner: Runner) -> None:
    ended = runner.run("sh", "-c", "echo out; echo err >&2; exit 3")
    assert (ended.status, ended.output) == (3, b"out\nerr\n")
    assert runner.run("sh", "-c", "kill -TERM $$").status == -signal.SIGTERM


def test_a_hundred_megabytes_of_output_cost_no_memory_and_the_end_is_kept(runner: Runner) -> None:
    before = _memory_kib()
    ended = runner.run("sh", "-c", "head -c 100000000 /dev/zero | tr '\\0' x; echo the end")
    assert ended.status == 0
    assert ended.output == b"x" * (OUTPUT_SIZE - 8) + b"the end\n"
    assert _memory_kib() - before < 4096


def _memory_kib() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") // 1024


def test_an_endless_command_is_killed_when_its_time_is_over_and_others_end_meanwhile(runner: Runner) -> None:
    endless = runner.start("sh", "-c", "while :; do echo more; done", timeout_ms=5000)
    quick = runner.start("echo", "quick")
    ended: dict[int, CommandEnded] = {}
    while len(ended) < 2:
        ended |= {one.number: one for one in runner.turn()}
    assert list(ended) == [quick, endless]
    assert (ended[endless].status, ended[endless].timed_out) == (-signal.SIGKILL, True)
    assert ended[endless].output.endswith(b"more\n") or b"more" in ended[endless].output


@pytest.mark.parametrize(
    "leaves",
    [
        "{program} &",
        "setsid {program} &",  # its group
        "env -i setsid {program} &",  # its group and its environment, but not its parent
        "(setsid {program} &)",  # its group and its parent
        "(env -i {program} &)",  # its environment and its parent
    ],
)
def test_of_a_command_that_is_killed_everybody_is_who_left_its_group_too(
    runner: Runner, tmp_path: Path, leaves: str
) -> None:
    file = tmp_path / "pid"
    script = leaves.format(program=f"sh -c 'echo $$ > {file}; exec sleep 1000'") + "\nsleep 1000"
    number = runner.start("sh", "-c", script, timeout_ms=LONG_MS)
    pid = pid_in(file)
    runner.commands.kill(number, now_ms())
    ended = runner.wait(number)
    assert (ended.status, ended.timed_out) == (-signal.SIGKILL, False)
    assert not is_there(pid)  # when the end is told, not some time after it


def test_who_was_found_is_found_until_it_has_ended_whosever_child_it_is_by_then(tmp_path: Path) -> None:
    """A killed process takes time to end. Its parent may be quicker, and another process may have its number then."""
    file = tmp_path / "pid"
    subprocess.run(["sh", "-c", f"env -i setsid sh -c 'echo $$ > {file}; exec sleep 1000' &"], check=True)
    pid = pid_in(file)
    start = start_of(pid)
    assert start is not None
    assert members("no mark", None, {}) == {}
    assert members("no mark", None, {pid: start}) == {pid: start}
    assert members("no mark", None, {pid: start + 1}) == {}
    os.kill(pid, signal.SIGKILL)
    while start_of(pid) == start and is_there(pid):
        time.sleep(0.01)
    assert members("no mark", None, {pid: start}) == {}


def test_what_a_command_leaves_running_goes_on_if_it_has_succeeded(runner: Runner, tmp_path: Path) -> None:  # S9.5
    file = tmp_path / "pid"
    # The service has the output open, and does not hold up the end.
    ended = runner.run("sh", "-c", f"sh -c 'echo $$ > {file}; exec sleep 1000' & echo started")
    assert (ended.status, ended.output) == (0, b"started\n")
    pid = pid_in(file)
    assert is_there(pid)
    assert os.listdir(runner.directory) == []
    Runner(runner.directory)  # the next event manager leaves it alone too
    assert is_there(pid)
    os.kill(pid, signal.SIGKILL)


def test_a_service_may_write_after_its_start_has_ended(runner: Runner, tmp_path: Path) -> None:
    go, done = tmp_path / "go", tmp_path / "done"
    script = f"(until [ -e {go} ]; do sleep 0.05; done; head -c 300000 /dev/zero; echo $? > {done}) & echo started"
    assert runner.run("sh", "-c", script).status == 0
    go.touch()
    while not done.exists():
        runner.turn() if runner.commands.wanted() else time.sleep(0.01)
    assert pid_in(done) == 0  # its status: no signal, and it did not have to wait
    while runner.commands.wanted():
        runner.turn()


def test_what_a_command_leaves_running_is_killed_if_it_has_failed(runner: Runner, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    script = f"setsid sh -c 'echo $$ > {file}; exec sleep 1000' & until [ -s {file} ]; do sleep 0.05; done; exit 1"
    assert runner.run("sh", "-c", script).status == 1
    assert not is_there(pid_in(file))


ORPHANS = """
import sys
sys.path.insert(0, {tree!r})
from guestd.runtime.event_manager.commands import Commands
commands = Commands({directory!r})
commands.start(1, ("sh", "-c", {script!r}), {{}}, None, 0)
sys.stdin.read()
"""


def test_when_an_event_manager_dies_its_commands_are_killed_by_the_next_one(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    script = f"setsid sh -c 'echo $$ > {second}; exec sleep 1000' & echo $$ > {first}; exec sleep 1000"
    program = ORPHANS.format(tree=str(TREE), directory=str(tmp_path / "commands"), script=script)
    with subprocess.Popen([sys.executable, "-I", "-c", program], stdin=subprocess.PIPE) as dies:
        pids = [pid_in(first), pid_in(second)]
        dies.kill()
    assert all(is_there(pid) for pid in pids)
    assert Commands(str(tmp_path / "commands")).again
    assert not any(is_there(pid) for pid in pids)
    assert os.listdir(tmp_path / "commands") == []


def test_the_first_event_manager_of_a_boot_knows_that_it_is(tmp_path: Path) -> None:
    assert not Commands(str(tmp_path / "commands")).again
    assert Commands(str(tmp_path / "commands")).again


def test_a_number_that_another_process_has_now_is_no_command(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as other:
        (tmp_path / "commands").mkdir()
        (tmp_path / "commands" / "1-2-3").write_text(f"{other.pid} 1\n")  # started at another time
        (tmp_path / "commands" / "1-2-4").write_text("")  # its event manager died before it was written
        Commands(str(tmp_path / "commands"))
        assert other.poll() is None
        other.kill()
    assert os.listdir(tmp_path / "commands") == []


def test_the_members_of_a_command_are_found_by_their_mark(runner: Runner) -> None:
    number = runner.start("sleep", "1000")
    name = ""
    end_s = time.monotonic() + LIMIT_S
    while not name or not members(name, None, {}):
        assert time.monotonic() < end_s
        name = next(iter(os.listdir(runner.directory)), "")
    (pid,) = members(name, None, {})
    assert f"{MARK}={name}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    runner.commands.kill(number, now_ms())
    assert runner.wait(number).status == -signal.SIGKILL


def test_a_watcher_is_a_program_beside_the_event_manager() -> None:  # S8.1
    arguments = watcher_command("timer", "/run/socket")
    assert Path(arguments[-2]).is_file()
    for name in ("nothing", "../../etc/passwd", ""):
        with pytest.raises(LookupError, match="there is no watcher"):
            watcher_command(name, "/run/socket")


# -- the database's file


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path), is_mount=False)


def test_a_database_that_nobody_has_written_is_no_error(store: Store, tmp_path: Path) -> None:
    assert store.carry_out(ReadStore(1, 0)) == StoreDone(1, 0)
    assert os.listdir(tmp_path) == []  # reading makes nothing


def test_what_is_written_is_read_and_an_append_cuts_off_what_is_torn(store: Store) -> None:
    assert store.carry_out(LockStore(1)).errno == 0
    made = store.carry_out(ReplaceStore(2, b"11111111 first\n"))
    assert made.errno == 0
    assert store.carry_out(AppendStore(3, 15, b"torn line that is long")) == StoreDone(3, 0)
    assert store.carry_out(AppendStore(4, 15, b"second\n")) == StoreDone(4, 0)
    assert store.carry_out(UnlockStore(5)) == StoreDone(5, 0)
    assert store.carry_out(ReadStore(6, 0)) == StoreDone(6, 0, made.identity, b"11111111 first\nsecond\n")
    assert store.carry_out(ReadStore(7, 15)).data == b"second\n"
    assert store.carry_out(ReadStore(8, 100)) == StoreDone(8, 0, made.identity, b"")


def test_a_file_that_takes_the_place_of_another_one_has_another_identity(store: Store) -> None:
    store.carry_out(LockStore(1))
    found = [store.carry_out(ReplaceStore(tag, b"%08d whole\n" % tag)).identity for tag in range(2, 12)]
    assert len(set(found)) == 10
    assert store.carry_out(ReadStore(20, 0)).identity == found[-1]


def test_nobody_writes_without_the_lock(store: Store) -> None:
    assert store.carry_out(ReplaceStore(1, b"x")).errno == errno.ENOLCK
    store.carry_out(LockStore(2))
    store.carry_out(UnlockStore(3))
    assert store.carry_out(AppendStore(4, 0, b"x")).errno == errno.ENOLCK


def test_where_nothing_is_mounted_there_is_no_database(tmp_path: Path) -> None:
    away = Store(str(tmp_path), is_mount=True)
    for effect in (ReadStore(1, 0), LockStore(1)):
        assert away.carry_out(effect) == StoreDone(1, errno.ENOTCONN)
    assert os.listdir(tmp_path) == []
    assert Store(str(tmp_path / "nothing"), is_mount=False).carry_out(LockStore(1)).errno == errno.ENOENT
    assert Store("/proc", is_mount=True).carry_out(ReadStore(1, 0)) == StoreDone(1, 0)  # that is mounted, and empty


def test_a_replacement_is_the_old_file_or_the_new_one(store: Store, tmp_path: Path) -> None:
    found: set[bytes] = set()
    child = os.fork()
    if child == 0:
        writes = Store(str(tmp_path), is_mount=False)
        writes.carry_out(LockStore(1))
        for turn in range(10_000):
            writes.carry_out(ReplaceStore(2, b"%08d " % turn + b"ab"[turn % 2 :][:1] * 200_000))
        os._exit(0)
    try:
        while len(found) < 20:
            done = store.carry_out(ReadStore(1, 0))
            assert done.errno == 0
            assert done.data or not found
            if done.data:
                assert len(done.data) == 200_009
                assert done.data[9:].strip(done.data[-1:]) == b""
                found.add(done.data[:8])
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


CONTENDER = """
import sys
sys.path.insert(0, {tree!r})
from guestd.events.effects import AppendStore, LockStore, ReadStore, UnlockStore
from guestd.runtime.event_manager.store import Store
store = Store({directory!r}, is_mount=False)
for turn in range(50):
    assert store.carry_out(LockStore(1)).errno == 0
    read = store.carry_out(ReadStore(2, 0)).data
    assert store.carry_out(AppendStore(3, len(read), b"%d\\n" % (read.count(b"\\n") + 1))).errno == 0
    store.carry_out(UnlockStore(4))
"""


def test_two_processes_that_contend_for_the_lock_lose_nothing(store: Store, tmp_path: Path) -> None:
    store.carry_out(LockStore(1))
    store.carry_out(ReplaceStore(2, b"1\n"))
    program = CONTENDER.format(tree=str(TREE), directory=str(tmp_path))
    running = [subprocess.Popen([sys.executable, "-I", "-c", program]) for _ in range(2)]
    store.carry_out(UnlockStore(3))
    assert [process.wait(LIMIT_S) for process in running] == [0, 0]
    assert store.carry_out(ReadStore(4, 0)).data == b"".join(b"%d\n" % number for number in range(1, 102))


def test_whoever_waits_for_the_lock_does_not_hold_up_the_loop(store: Store, tmp_path: Path) -> None:
    holds = Store(str(tmp_path), is_mount=False)
    holds.carry_out(LockStore(1))
    store.submit(LockStore(7))
    store.submit(ReadStore(8, 0))
    assert store.take() == []
    holds.carry_out(UnlockStore(2))
    done: list[StoreDone] = []
    while len(done) < 2:
        assert select.select([store.fileno()], [], [], LIMIT_S)[0]
        done += store.take()
    assert [one.tag for one in done] == [7, 8]  # in the order in which they were asked for


# -- three event managers

PROGRAM = (
    "import sys; sys.path.insert(0, {tree!r}); from guestd.runtime.event_manager.main import main; sys.exit(main())"
)


class Managers:
    """Beside the three guestds of a trio."""

    def __init__(self, trio: Trio) -> None:
        self.trio = trio
        self.directory = trio.directory
        self.shared = self.directory / "shared"
        self.shared.mkdir()
        self.running: dict[int, subprocess.Popen[bytes]] = {}

    def socket(self, node: int) -> str:
        return str(self.directory / f"events{node}")

    def start(self, node: int) -> None:
        environment = {
            "HIL_GUESTD": str(self.directory / f"programs{node}"),
            "HIL_EVENTS": self.socket(node),
            "HIL_SHARED": str(self.shared),
            "HIL_COMMANDS": str(self.directory / f"commands{node}"),
        }
        command = [sys.executable, "-I", "-S", "-X", "utf8", "-c", PROGRAM.format(tree=str(TREE))]
        self.running[node] = subprocess.Popen(command, env=environment)

    def ask(self, node: int, message: Mapping[str, Any]) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as made:
            made.settimeout(LIMIT_S)
            made.connect(self.socket(node))
            made.sendall(json.dumps(message).encode() + b"\n")
            text = b""
            while not text.endswith(b"\n"):
                data = made.recv(1 << 16)
                assert data, text
                text += data
        answer = json.loads(text)
        assert isinstance(answer, dict)
        return answer

    def told(self, node: int, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.trio.guests[node].events if event["kind"] == kind]

    def wait_part(self, *nodes: int) -> None:
        """Until each of them takes part."""

        def takes_part(node: int) -> bool:
            with contextlib.suppress(OSError):
                return "error" not in self.ask(node, {"service": {"do": "list"}})["service"]
            return False

        self.trio.wait(lambda: all(takes_part(node) for node in nodes), LIMIT_S)

    def close(self) -> None:
        for process in self.running.values():
            process.kill()
            process.wait()


@pytest.fixture
def managers(trio: Trio) -> Iterator[Managers]:
    made = Managers(trio)
    for node in range(3):
        made.start(node)  # before there is a guestd: they wait for it
    for guest in trio.guests:
        guest.start()
    trio.wait(lambda: all(guest.state == "joined" for guest in trio.guests), LIMIT_S)
    made.wait_part(0, 1, 2)
    yield made
    made.close()


def administer(managers: Managers, node: int, *words: str) -> int:
    return guestctl.main(["--socket", managers.socket(node), *words])


def wait_for(managers: Managers, reached: Callable[[], object]) -> None:
    managers.trio.wait(reached, LIMIT_S)


WEB = """
[[service]]
name = "web"
node_preferences = [1, 2, 0]
start_command = ["/bin/sh", "-c", "echo $HIL_SERVICE $HIL_ACTION $HIL_REASON"]
stop_command = "/bin/true"
"""


def test_services_on_three_nodes_by_the_hand_of_an_administrator(  # S8.6, S9.2, S9.5, S9.6
    managers: Managers, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (real,) = [event["levels"] for event in managers.told(0, "subsystems")][1:]
    assert real == [{"level": 40, "name": "event-manager", "real": True}]
    file = tmp_path / "web.toml"
    file.write_text(WEB)
    assert administer(managers, 0, "service", "add", str(file)) == 0
    assert capsys.readouterr().out == "web: registered on node 1: registered on node 1: auto\n"
    assert administer(managers, 2, "service", "move", "web", "2") == 0
    assert "web: registered on node 2: " in capsys.readouterr().out
    wait_for(managers, lambda: len(managers.told(2, "service-command")) == 2)
    begun, ended = managers.told(2, "service-command")
    assert (begun["state"], ended["state"], ended["status"]) == ("begun", "ended", 0)
    assert ended["output"] == "web start transfer\n"
    wait_for(managers, lambda: any(event["state"] == "registered" for event in managers.told(2, "service")))
    assert [event["subject"] for event in managers.told(2, "service") if event["state"] == "registered"] == [2]

    assert administer(managers, 1, "service", "list") == 0
    assert capsys.readouterr().out.splitlines()[:2] == [
        "service  state       flags  nodes",
        "web      registered  -      n2",
    ]
    assert administer(managers, 1, "service", "show", "web") == 0
    assert "  node 2 chosen: " in capsys.readouterr().out
    assert administer(managers, 1, "service", "stop", "web", "--json", "--no-wait") == 0
    assert set(json.loads(capsys.readouterr().out)) == {"number"}
    assert administer(managers, 1, "service", "remove", "web") == 0
    assert capsys.readouterr().out == "web: removed\n"

    for words, status, why in (
        (("service", "start", "web"), 1, "'web' is no service (legal: none: there is no service)"),
        (("service", "add", str(tmp_path / "nothing")), 1, "No such file"),
        (
            ("service", "add", str(TREE / "pyproject.toml")),
            1,
            "there are to be tables [[service]], and not build-system",
        ),
        (("service", "move", "web", "one"), 2, "'one' is no node"),
        (("service", "stop", "web", "--wait", "soon"), 2, "--wait soon (legal: seconds)"),
        (("service", "dance"), 2, "service dance is no command"),
        (("event", "remove", "e"), 1, "is no event group"),
    ):
        assert administer(managers, 1, *words) == status, words
        assert why in capsys.readouterr().err
    assert guestctl.main(["--socket", str(tmp_path / "nobody"), "service", "list"]) == 1
    assert "the event manager does not answer at" in capsys.readouterr().err


def test_a_start_that_fails_everywhere_is_told_to_who_waits(
    managers: Managers, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:  # S9.5
    file = tmp_path / "bad.toml"
    file.write_text('[[service]]\nname = "bad"\nstart_command = "/bin/false"\n')
    assert administer(managers, 0, "service", "add", str(file)) == 1
    assert capsys.readouterr().err.startswith("guestctl: bad: -: ")


def test_an_event_manager_that_was_killed_comes_back_and_its_command_is_not_left_behind(  # S4.12, S8.1
    managers: Managers, tmp_path: Path
) -> None:
    file = tmp_path / "pid"
    script = f"echo $$ > {file}; exec sleep 1000"
    table = {"name": "slow", "start_command": ["/bin/sh", "-c", script], "start_timeout": 600, "allowable_nodes": [1]}
    managers.ask(0, {"service": {"do": "add", "services": [table]}})
    pid = pid_in(file)
    managers.running[1].kill()
    managers.running[1].wait()
    assert is_there(pid)
    managers.start(1)
    managers.wait_part(1)
    assert not is_there(pid)
    wait_for(managers, lambda: len(managers.told(1, "program")) == 4)
    states = [(event["state"], event["why"]) for event in managers.told(1, "program")]
    assert states[1:] == [("silent", "died"), ("ended", "replaced"), ("registered", "agreed")]
    assert all(guest.state == "joined" for guest in managers.trio.guests)


def test_an_event_manager_that_dies_while_its_node_leaves_costs_the_node_and_the_others_go_on(  # S4.13
    managers: Managers,
) -> None:
    table = {
        "name": "slow",
        "node_preferences": [2, 1],
        "start_command": ["/bin/true"],
        "stop_command": ["/bin/sleep", "1000"],
        "stop_timeout": 1000,
    }
    managers.ask(0, {"service": {"do": "add", "services": [table]}})
    wait_for(managers, lambda: any(event["state"] == "registered" for event in managers.told(2, "service")))
    managers.trio.guests[2].order("leave")
    wait_for(managers, lambda: any(event["action"] == "stop" for event in managers.told(2, "service-command")))
    managers.running[2].kill()
    managers.running[2].wait()
    managers.start(2)
    wait_for(managers, lambda: managers.told(2, "panic"))
    assert managers.told(2, "panic")[0]["cause"] == "subsystem-hung"
    managers.running[2].kill()  # of a machine that has panicked nothing runs any more
    wait_for(
        managers,
        lambda: any(
            (event["state"], event["subject"]) == ("registered", 1)
            for node in (0, 1)
            for event in managers.told(node, "service")
        ),
    )


def test_when_its_node_has_left_an_event_manager_ends_well_and_when_guestd_dies_it_does_not(managers: Managers) -> None:
    managers.trio.guests[2].order("leave")
    assert managers.running[2].wait(LIMIT_S) == 0
    guest = managers.trio.guests[1]
    assert guest.process is not None
    guest.process.kill()
    assert managers.running[1].wait(LIMIT_S) == 1


def test_a_stop_that_fails_costs_the_node(managers: Managers) -> None:  # S9.5, S6.1
    table = {"name": "stuck", "allowable_nodes": [2], "start_command": ["/bin/true"], "stop_command": ["/bin/false"]}
    managers.ask(0, {"service": {"do": "add", "services": [table]}})
    managers.ask(0, {"service": {"do": "stop", "name": "stuck"}})
    wait_for(managers, lambda: managers.told(2, "panic"))
    assert managers.told(2, "panic")[0]["cause"] == "expelled-by-program"


def test_who_says_what_is_no_request_is_told_what_is_one(managers: Managers) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.settimeout(LIMIT_S)
        made.connect(managers.socket(0))
        made.sendall(b'nonsense\n[1]\n{"dance": 1}\n')
        text = b""
        while text.count(b"\n") < 3:
            text += made.recv(1 << 16)
    errors: Sequence[str] = [json.loads(line)["error"] for line in text.splitlines()]
    assert "'nonsense' (legal: a JSON object" in errors[0]
    assert "'[1]' (legal: a JSON object" in errors[1]
    assert "legal: service, event, watcher" in errors[2]
