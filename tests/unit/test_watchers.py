"""The watchers that come with the system, and the library: real programs at a socket with the real event daemon."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from guestd import watcher as library
from guestd.events.daemon import Limits
from guestd.events.watchers import WATCHERS
from guestd.watchers import process, rounds
from tests.unit.events_server import TREE, Server

FULL = "/dev/shm"  # a file system of which no test uses much


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    yield made
    made.close()


def group(*events: dict[str, Any]) -> dict[str, Any]:
    return {"name": "g", "events": list(events)}


def event(name: str, watcher: str, given: dict[str, Any], *words: str, **fields: Any) -> dict[str, Any]:
    often = {"times": 1000, "period": 1}
    return {"name": name, "watcher": watcher, "in": given, "action": ["/act", *words], "at_most": often, **fields}


def test_each_watcher_of_the_system_is_a_program_and_the_other_way_round() -> None:  # S8.5
    programs = {path.stem for path in (TREE / "guestd" / "watchers").glob("*.py")}
    assert programs - {"__init__", "probe", "rounds"} == set(WATCHERS)


def test_the_timer(server: Server) -> None:  # S8.3, S8.5
    server.define(
        group(
            event("fast", "timer", {"every_s": 0.3}, "fast", "$OUT.count"),
            event("slow", "timer", {"every_s": 1000}, "slow"),
        )
    )
    server.watched("fast", "slow")
    assert server.occurrences(3)[:3] == [("/act", "fast", "1"), ("/act", "fast", "2"), ("/act", "fast", "3")]
    assert len(server.programs) == 1  # one program for both


def test_a_timer_that_is_too_fast_is_counted_and_floods_nobody(server: Server) -> None:  # S8.1, S8.3
    server.define(group(event("fast", "timer", {"every_s": 0.1}, "$OUT.count")))
    server.wait(lambda: server.event("fast")["occurrences"] >= 20)
    assert len(server.runs) < server.event("fast")["occurrences"]
    assert int(server.runs[-1][1]) == server.event("fast")["occurrences"]
    assert server.daemon.shown()["watchers"][0]["failures"] == 0


def test_times_that_have_passed_while_the_timer_could_not_run_are_one_occurrence(tmp_path: Path) -> None:  # S8.5
    server = Server(tmp_path, Limits(answer_ms=600_000))
    try:
        server.define(group(event("t", "timer", {"every_s": 0.2}, "$OUT.count")))
        server.occurrences(1)
        (program,) = server.programs.values()
        program.send_signal(signal.SIGSTOP)
        until_s = time.monotonic() + 4
        server.wait(lambda: time.monotonic() >= until_s)
        before = server.event("t")["occurrences"]
        server.runs.clear()
        program.send_signal(signal.SIGCONT)
        counts = [int(count) for _, count in server.occurrences(3)]
        assert before < counts[2] < before + 12  # and not twenty and more
    finally:
        server.close()


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["/bin/sleep", "1000"])


def test_a_process_by_its_pid_file(server: Server, tmp_path: Path) -> None:  # S8.5
    pid_file = tmp_path / "pid"
    about = ("$IN.pid_file", "$OUT.change", "$OUT.pid")
    given = {"pid_file": str(pid_file), "every_s": 0.1}
    server.define(
        group(
            event("ended", "process", {**given, "grace_s": 1000}, *about),
            event("appeared", "process", {**given, "change": "appeared"}, *about),
        )
    )
    server.watched("ended", "appeared")
    with sleeper() as first, sleeper() as second:
        try:
            pid_file.write_text(f"{first.pid}\nmore\n")
            assert server.occurrences(1) == [("/act", str(pid_file), "appeared", str(first.pid))]
            # Another process has taken its place between two looks.
            (tmp_path / "new").write_text(f"{second.pid}\n")
            (tmp_path / "new").rename(pid_file)
            assert sorted(server.occurrences(2)) == [
                ("/act", str(pid_file), "appeared", str(second.pid)),
                ("/act", str(pid_file), "ended", str(first.pid)),
            ]
            second.kill()  # not waited for: a zombie has ended
            assert server.occurrences(1) == [("/act", str(pid_file), "ended", str(second.pid))]
            pid_file.write_text(f"{first.pid}\n")
            assert server.occurrences(1) == [("/act", str(pid_file), "appeared", str(first.pid))]
            pid_file.unlink()
            assert server.occurrences(1) == [("/act", str(pid_file), "ended", str(first.pid))]
        finally:
            first.kill()
            second.kill()


def test_a_process_that_is_never_there_has_ended_when_its_grace_is_over(server: Server, tmp_path: Path) -> None:  # S8.5
    given = {"pid_file": str(tmp_path / "none"), "every_s": 0.1, "grace_s": 0.5}
    server.define(group(event("ended", "process", given, "$OUT.pid"), event("t", "timer", {"every_s": 0.4}, "time")))
    server.wait(lambda: ("/act", "0") in server.runs)
    before = len(server.runs)
    server.wait(lambda: len(server.runs) > before + 6)
    assert server.runs.count(("/act", "0")) == 1  # said once


def test_a_process_by_the_name_of_its_program(server: Server, tmp_path: Path) -> None:  # S8.5
    name = f"sleeper-{os.getpid()}-of-a-long-name"  # longer than the kernel keeps
    program = tmp_path / name
    program.symlink_to("/bin/sleep")
    given = {"name": name, "every_s": 0.1, "grace_s": 1000}
    server.define(
        group(
            event("ended", "process", given, "$OUT.process", "$OUT.change", "$OUT.pid"),
            event("appeared", "process", {**given, "change": "appeared"}, "appeared", "$OUT.pid"),
            event("other", "process", {**given, "name": name[:-1], "change": "appeared"}, "other"),
        )
    )
    server.watched("ended", "appeared", "other")
    with subprocess.Popen([program, "1000"]) as first, subprocess.Popen([program, "1000"]) as second:
        pids = {str(first.pid), str(second.pid)}
        try:
            ((_, change, pid),) = server.occurrences(1)
            assert (change, {pid} <= pids) == ("appeared", True)
            first.kill()
            server.wait(lambda: first.poll() is not None)
        finally:
            second.kill()
            first.kill()
        ((_, process, change, pid),) = server.occurrences(1)  # of the last one, once
        assert (process, change, {pid} <= pids) == (name, "ended", True)


class FakeWatch(library.Watch):
    """Of the IN parameters, and nobody behind it."""

    def __init__(self, **given: Any) -> None:
        super().__init__({"watch": 1, "event": "e", "in": given})


class FakeWatcher:
    """What has occurred."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    def occurred(self, watch: library.Watch, **out: Any) -> None:
        self.told.append((watch["change"], out["pid"]))


def test_what_one_watch_of_a_process_has_seen_the_others_have_seen_too(monkeypatch: pytest.MonkeyPatch) -> None:  # S8.5
    given = {"pid_file": None, "name": "p", "every_s": 0.1, "grace_s": 1000}
    watches = [FakeWatch(**given, change=change) for change in ("ended", "appeared")]
    looks = iter([None, process.Process(7, "1"), process.Process(7, "1")])  # one in each round
    monkeypatch.setattr(process, "by_name", lambda _name: next(looks))
    monkeypatch.setattr(process, "rounds", lambda _watcher: iter([(at_s, watches) for at_s in (0.93, 1.0, 1.1)]))
    watcher = FakeWatcher()
    process.serve(watcher)  # type: ignore[arg-type]
    assert watcher.told == [("appeared", 7)]
    assert {watch.memory.process for watch in watches} == {process.Process(7, "1")}


def test_watches_of_one_period_are_looked_at_in_the_same_rounds() -> None:  # S8.5
    early, late = FakeWatch(every_s=0.1), FakeWatch(every_s=0.1)
    assert rounds.is_due(early, 10.03)
    assert rounds.is_due(late, 10.07)
    assert early.next_s == late.next_s == pytest.approx(10.1)
    assert not rounds.is_due(early, 10.09)
    assert rounds.is_due(early, 10.1001)
    assert rounds.is_due(late, 10.1001)
    assert early.next_s == late.next_s == pytest.approx(10.2)


def test_room_in_a_file_system(server: Server) -> None:  # S8.5
    found = os.statvfs(FULL)
    free = found.f_bavail * found.f_frsize
    about = ("$OUT.path", "$OUT.bytes_total")
    server.define(
        group(
            event("enough", "file_system_space", {"path": FULL, "below_bytes": 1, "every_s": 0.1}, "enough"),
            event("little", "file_system_space", {"path": FULL, "below_bytes": free * 2, "every_s": 0.1}, *about),
            event("share", "file_system_space", {"path": FULL, "below_percent": 100.1, "every_s": 0.1}, "$OUT.path"),
            event("lost", "file_system_space", {"path": "/no/such", "below_bytes": 1, "every_s": 0.1}, "lost"),
            event("t", "timer", {"every_s": 0.5}, "t"),
        )
    )
    total = str(found.f_blocks * found.f_frsize)
    server.wait(lambda: {("/act", FULL), ("/act", FULL, total)} <= set(server.runs))
    server.wait(lambda: server.event("lost")["why"] == "/no/such: No such file or directory")
    server.occurrences(len(server.runs) + 4)
    # Said once; there is enough for one byte; and no file system is no lack of room.
    names = ("enough", "little", "share", "lost")
    assert [server.event(name)["occurrences"] for name in names] == [0, 1, 1, 0]
    assert [fields["event"] for kind, fields in server.emitted if fields["what"] == "trouble"] == ["lost"]


def test_a_path_to_a_disk(server: Server, tmp_path: Path) -> None:  # S8.5
    disk, away = tmp_path / "disk", tmp_path / "away"
    disk.write_bytes(bytes(1 << 16))
    given = {"path": str(disk), "every_s": 0.1}
    about = ("$OUT.path", "$OUT.change", "$OUT.reason")
    server.define(
        group(
            event("lost", "disk_path", given, *about),
            event("back", "disk_path", {**given, "change": "back"}, *about),
        )
    )
    server.watched("lost", "back")
    disk.rename(away)
    assert server.occurrences(1) == [("/act", str(disk), "lost", "No such file or directory")]
    away.rename(disk)
    assert server.occurrences(1) == [("/act", str(disk), "back", "it can be read")]


def test_a_read_that_hangs_is_a_path_that_is_lost_and_its_watcher_still_answers(tmp_path: Path) -> None:  # S8.1, S8.5
    server = Server(tmp_path, Limits(ping_ms=200, answer_ms=5000))
    pipe, other = tmp_path / "pipe", tmp_path / "other"
    os.mkfifo(pipe)  # its opening for reading waits until somebody opens it for writing
    given = {"path": str(pipe), "every_s": 0.1, "within_s": 0.5}
    try:
        server.define(
            group(
                event("lost", "disk_path", given, "$OUT.change", "$OUT.reason"),
                event("back", "disk_path", {**given, "change": "back"}, "$OUT.change", "$OUT.path"),
                event("sound", "disk_path", {**given, "path": __file__, "within_s": 60}, "sound"),
                event("t", "timer", {"every_s": 1}),
            )
        )
        server.wait(lambda: ("/act", "lost", "no answer after 0.5 s") in server.runs)
        server.wait(lambda: server.event("t")["occurrences"] > 5)
        assert [one["failures"] for one in server.daemon.shown()["watchers"]] == [0, 0]
        assert server.event("sound")["occurrences"] == 0
        assert server.event("lost")["occurrences"] == 1
        pipe.rename(other)
        pipe.write_bytes(bytes(4096))
        before = server.event("t")["occurrences"]
        server.wait(lambda: server.event("t")["occurrences"] > before + 2)
        assert server.event("back")["occurrences"] == 0  # no second read beside the one that hangs
        os.close(os.open(other, os.O_WRONLY))
        server.wait(lambda: ("/act", "back", str(pipe)) in server.runs)
        assert server.event("lost")["occurrences"] == 1
    finally:
        server.close()


def test_the_shared_disk_is_found_as_guestd_finds_it(server: Server, tmp_path: Path) -> None:  # S8.5
    server.environment["HIL_CONFIG"] = str(tmp_path / "no-config.json")
    server.define(group(event("lost", "disk_path", {"every_s": 0.1}, "$OUT.path", "$OUT.reason")))
    ((_, path, reason),) = server.occurrences(1)
    assert path == "the shared disk"
    assert "no-config.json" in reason


@pytest.fixture
def namespace() -> Iterator[tuple[str, ...]]:
    """A network namespace with its loopback up: how to enter it."""
    holder = subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "ip link set lo up && echo ready && exec sleep 1000"], stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    try:
        if holder.stdout.readline() != b"ready\n":
            pytest.skip("no network namespaces here")
        yield ("nsenter", "--net", "--target", str(holder.pid))
    finally:
        holder.kill()
        holder.communicate()


def ip(namespace: tuple[str, ...], *words: str) -> None:
    subprocess.run([*namespace, "ip", "link", *words], check=True)


def test_links(tmp_path: Path, namespace: tuple[str, ...]) -> None:  # S8.5
    server = Server(tmp_path, prefix=namespace)
    given = {"interface": "lo", "every_s": 1000}  # what is seen, is seen since the kernel has told
    about = ("$IN.interface", "$OUT.before", "$OUT.state")
    try:
        server.define(
            group(
                event("down", "link", given, "down", *about),
                event("up", "link", {**given, "change": "up"}, "up", *about),
                event("any", "link", {**given, "change": "any"}, "any", *about),
                event("gone", "link", {**given, "interface": "none"}, *about),
            )
        )
        # What is so at the first look has just become so, but for `any`.
        assert sorted(server.occurrences(2)) == [("/act", "none", "", "absent"), ("/act", "up", "lo", "", "up")]
        server.watched("any")
        ip(namespace, "set", "lo", "down")
        assert sorted(server.occurrences(2)) == [
            ("/act", "any", "lo", "up", "down"),
            ("/act", "down", "lo", "up", "down"),
        ]
        ip(namespace, "set", "lo", "up")
        assert sorted(server.occurrences(2)) == [
            ("/act", "any", "lo", "down", "up"),
            ("/act", "up", "lo", "down", "up"),
        ]
    finally:
        server.close()


def test_the_membership_of_nodes(server: Server) -> None:  # S8.5
    about = ("$OUT.node", "$OUT.incarnation", "$OUT.transition", "$OUT.members")
    first = group(
        event("all", "membership", {}, "all", *about),
        event("dead", "membership", {"transition": "forced-leave"}, "dead", *about),
        event("two", "membership", {"node": 2}, "two", *about),
    )
    server.define(first)
    # Its program has not connected yet: it hears of it all the same. An event that is enabled afterwards does not.
    server.daemon.transition(2, 7, "join", (0, 1, 2), server.now_ms())
    server.define(first, {**group(event("late", "membership", {"node": 2}, "late")), "name": "h"})
    assert sorted(server.occurrences(2)) == [
        ("/act", "all", "2", "7", "join", "3"),
        ("/act", "two", "2", "7", "join", "3"),
    ]
    server.daemon.transition(0, 3, "forced-leave", (1, 2), server.now_ms())
    assert sorted(server.occurrences(2)) == [
        ("/act", "all", "0", "3", "forced-leave", "2"),
        ("/act", "dead", "0", "3", "forced-leave", "2"),
    ]
    assert server.event("late")["occurrences"] == 0


def test_a_watcher_that_is_killed_or_stopped_is_replaced_and_the_others_go_on(tmp_path: Path) -> None:  # S8.1
    server = Server(tmp_path, Limits(ping_ms=200, answer_ms=4000, pause_ms=100))
    try:
        missing = {"path": str(tmp_path / "none"), "every_s": 0.1}
        server.define(group(event("t", "timer", {"every_s": 0.3}), event("d", "disk_path", missing, "lost")))
        server.watched("t", "d")
        server.wait(lambda: ("/act", "lost") in server.runs)
        numbers = {name: number for number, name in server.names.items()}
        server.programs[numbers["disk_path"]].send_signal(signal.SIGSEGV)
        server.wait(lambda: server.event("d")["state"] == "waiting")
        server.wait(lambda: server.event("d")["occurrences"] == 2)  # what is so still, is said again
        stopped = next(number for number in server.programs if number not in numbers.values())
        server.programs[stopped].send_signal(signal.SIGSTOP)
        server.wait(lambda: server.event("d")["occurrences"] == 3)
        whys = [fields["why"] for kind, fields in server.emitted if kind == "watcher" and fields["what"] == "failed"]
        assert whys == ["ended with signal 11", "has not answered within 4000 ms"]
        assert numbers["timer"] in server.programs
    finally:
        server.close()


def test_watchers_end_with_their_event_manager(server: Server) -> None:  # S8.1
    server.define(group(event("t", "timer", {"every_s": 1}), event("m", "membership", {})))
    server.watched("t", "m")
    server.socket.close()
    assert [program.wait(60) for program in server.programs.values()] == [0, 0]


# The library.


def serving(server: Server, serve: Callable[[], None], meanwhile: Callable[[], object] = bool) -> None:
    """Run that beside the server, in a thread; meanwhile: called again and again, between the server's steps."""
    failed: list[BaseException] = []

    def guarded() -> None:
        try:
            serve()
        except BaseException as why:  # noqa: BLE001  # raised again below
            failed.append(why)

    thread = threading.Thread(target=guarded)
    thread.start()
    server.wait(lambda: meanwhile() or not thread.is_alive())
    thread.join()
    if failed:
        raise failed[0]


def test_the_library_keeps_a_watch_from_call_to_call_and_forgets_one_that_is_disabled(server: Server) -> None:  # S8.6
    server.define(group(event("e", "own", {"path": "/x"}, "$OUT.entries")))

    def serve() -> None:
        with library.connect(
            "own",
            [library.parameter("path"), library.parameter("deep", "boolean", default=False)],
            [library.parameter("entries", "integer")],
            path=server.path,
        ) as watcher:
            assert watcher.node == 1
            (watch,) = watcher.watches(60)
            assert (watch.event, watch["path"], watch["deep"], watch.get("no")) == ("e", "/x", False, None)
            watch.memory = "kept"
            watcher.occurred(watch, entries=5)
            assert watcher.watches(0)[0].memory == "kept"
            readable, writable = os.pipe()
            os.write(writable, b"x")
            assert watcher.watches(60, [readable]) == [watch]  # at once
            os.close(readable)
            os.close(writable)
            disable.set()
            assert watcher.watches(60) == []
            watcher.occurred(watch, entries=6)  # nobody asks for it any more
            watcher.trouble(watch, "none")

    disable = threading.Event()

    def meanwhile() -> None:
        if disable.is_set() and server.runs:  # what was said before is heard first
            server.define()

    serving(server, serve, meanwhile)
    assert server.runs == [("/act", "5")]


def test_what_occurs_too_often_is_counted_by_the_library(server: Server) -> None:  # S8.1, S8.3
    server.define(group(event("e", "own", {}, "$OUT.number")))

    def serve() -> None:
        number = library.parameter("number", "integer")
        with library.connect("own", out_parameters=[number], path=server.path) as watcher:
            (watch,) = watcher.watches(60)
            for count in range(1, 10_001):
                watcher.occurred(watch, number=count)
            watcher.watches(1)

    serving(server, serve)
    server.wait(lambda: server.event("e")["occurrences"] == 10_000)
    assert server.runs[-1] == ("/act", "10000")
    assert len(server.runs) < 100
    assert [fields["what"] for kind, fields in server.emitted if kind == "watcher"] == ["connected", "gone"]


def test_what_the_library_raises(server: Server) -> None:  # S8.6
    server.define(group(event("e", "own", {})))

    def serve() -> None:
        with pytest.raises(library.WatcherRefused, match=r"name 'a b' \(legal: "):
            library.connect("a b", path=server.path)
        with library.connect("own", out_parameters=[library.parameter("n", "integer")], path=server.path) as watcher:
            with pytest.raises(library.WatcherRefused, match="'own' is connected already"):
                library.connect("own", path=server.path)
            (watch,) = watcher.watches(60)
            watcher.occurred(watch, n="text")
            with pytest.raises(library.Misused, match=r"out 'n': 'text' \(legal: a whole number\)"):
                watcher.watches(60)
            server.socket.close()
            with pytest.raises(library.Disconnected):
                watcher.watches(60)
        with pytest.raises(OSError, match=r"refused|No such file"):
            library.connect("own", path=server.path)

    serving(server, serve)


def test_the_example_of_the_page(server: Server, tmp_path: Path) -> None:  # S8.6
    page = (TREE / "docs" / "event-manager.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert example is not None
    assert len(example[1].splitlines()) <= 30
    spool = tmp_path / "spool"
    spool.mkdir()
    given = {"path": str(spool), "above": 2}
    server.define(group(event("long", "queue-length", given, "$OUT.entries", "$IN.path")))
    command = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        f"import sys; sys.path.insert(0, {str(TREE)!r})\n{example[1]}",
        server.path,
    ]
    with subprocess.Popen(command) as program:
        try:
            server.watched("long")
            for name in "ab":
                (spool / name).touch()
            server.wait(lambda: server.event("long")["state"] == "watched")
            (spool / "c").touch()
            assert server.occurrences(1) == [("/act", "3", str(spool))]
            for name in "abc":
                (spool / name).unlink()
            spool.rmdir()
            server.wait(lambda: "No such file" in server.event("long")["why"])
            spool.mkdir()
            server.wait(lambda: server.event("long")["why"] == "")
        finally:
            program.kill()
