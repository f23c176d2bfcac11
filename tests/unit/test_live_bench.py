"""The live view of a bench in another process: long verbs, its end, many events; in a terminal and in a browser."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from hil.cli import main
from hil.client import Cluster
from hil.live.serve import listen
from tests.unit.fake_bench import FakeBench, fake_bench
from tests.unit.live_view import Watched, watching
from tests.unit.terminal import TREE, terminal

_numbers = itertools.count()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[FakeBench]:
    with fake_bench(f"t-live-{os.getpid()}-{next(_numbers)}", tmp_path / "run") as bench:
        bench.all_joined()
        yield bench


def test_keys_and_events_go_on_while_a_verb_runs(bench: FakeBench) -> None:
    reached, goes_on = threading.Event(), threading.Event()

    def hold(call: str, arguments: dict[str, Any]) -> None:
        if call == "power_off":
            reached.set()
            assert goes_on.wait(60)

    bench.on_call = hold

    async def look(seen: Watched) -> None:
        await seen.press("f")
        await seen.until(reached.is_set, "the verb")
        await seen.until(lambda: "off node 0 …" in seen.screen[0], "what is under way")
        await seen.press("down", "x")  # neither waits for it
        await seen.until_told("node 1: interconnect cut silently")
        bench.log.emit("fault-injected", node=2, fault="link-silent")
        await seen.until(lambda: "n2: link-silent" in "".join(seen.screen), "an event")
        goes_on.set()
        await seen.until_told("node 0: powered off")
        assert "…" not in seen.screen[0]

    with Cluster.connect(bench.name) as cluster:
        watching(cluster, look)


def test_the_view_stays_when_the_bench_ends_and_says_why(bench: FakeBench) -> None:
    async def look(seen: Watched) -> None:
        bench.log.emit("bench-stopping", reason="down")
        bench.end()
        await seen.until_told(f"cluster {bench.name}: it ended: down; q quits")
        assert seen.screen[0].rstrip().endswith("it ended: down")
        assert seen.row(1)[:3] == ["n1", "running", "1"]
        await seen.press("down", "f")
        await seen.until_told("off: it ended: down")
        await seen.press("enter")
        await seen.until(lambda: "last words" in "".join(seen.screen), "the console")
        await seen.press("escape", "q")
        await seen.until(lambda: not seen.app.is_running, "the end")

    (bench.run_dir / "console-n1.log").write_text("last words\n")
    with Cluster.connect(bench.name) as cluster:
        watching(cluster, look)


def test_a_bench_that_is_killed_is_told_from_one_that_was_taken_down(bench: FakeBench) -> None:
    async def look(seen: Watched) -> None:
        bench.end()
        await seen.until_told("its bench died")
        await seen.until(lambda: seen.screen[0].rstrip().endswith("its bench died"), "the headline")

    with Cluster.connect(bench.name) as cluster:
        watching(cluster, look)


def test_thirty_thousand_events_are_taken_in_and_keys_go_on(bench: FakeBench) -> None:
    for number in range(30_000):
        bench.log.emit("state", node=1, state="joined", previous=str(number))

    async def look(seen: Watched) -> None:
        await seen.press("down")
        await seen.until(lambda: seen.app.view.n >= 30_000, "all of them")
        await seen.press("v")
        assert len(seen.app.events.text) == 10_000
        assert seen.screen[-2].split()[-1] == "previous=29999"

    with Cluster.connect(bench.name) as cluster:
        watching(cluster, look)


def test_in_a_terminal(bench: FakeBench) -> None:
    with terminal("status", "--watch", "--name", bench.name) as screen:
        screen.until("3 of 3 nodes joined")
        screen.until("filter")
        screen.type("x")
        screen.until("interconnect cut silently")
        screen.type("q")
        assert screen.status() == 0
    assert ("cut_link", {"nodes": [0], "how": "silent"}) in bench.calls


def test_ctrl_c_ends_it_and_the_end_of_the_cluster_is_told_where_it_stays(bench: FakeBench) -> None:
    with terminal("status", "--watch", "--name", bench.name) as screen:
        screen.until("3 of 3 nodes joined")
        bench.log.emit("bench-stopping", reason="down")
        bench.end()
        screen.until("it ended: down")
        screen.type("\x03")
        assert screen.status() == 0
    assert f"cluster {bench.name}: it ended: down; evidence: {bench.run_dir}" in screen.shown


def test_without_a_terminal_it_says_what_to_type(capsys: pytest.CaptureFixture[str], bench: FakeBench) -> None:
    assert main.main(["status", "--watch", "--name", bench.name]) == 2
    said = (
        "hil: --watch needs a terminal; `hil status --json` shows the cluster once, `hil events -f` tells what happens"
    )
    assert capsys.readouterr() == ("", f"{said}\n")


# -- in a browser


@contextmanager
def served(bench: FakeBench) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The URL of the live view, and the process that serves it."""
    command = [sys.executable, "-m", "hil.cli", "status", "--serve", "0", "--name", bench.name]
    environment = os.environ | {"PYTHONPATH": str(TREE)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout is not None
        try:
            url = server.stdout.readline().split()[-1]
            assert re.fullmatch(r"http://127\.0\.0\.1:[0-9]+/[A-Za-z0-9_-]{16}/", url)
            yield url, server
        finally:
            server.kill()


async def shown_until(socket: aiohttp.ClientWebSocketResponse, words: bytes) -> bytes:
    """What the terminal of the page is sent, up to ``words``."""
    shown = b""
    while words not in shown:
        message = await socket.receive(timeout=120)
        assert message.type is aiohttp.WSMsgType.BINARY, (message, shown)
        shown += message.data
    return shown


def children_of(process: int) -> list[int]:
    """The processes that it has started."""
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def test_a_page_shows_it_loads_nothing_from_elsewhere_and_its_keys_act(bench: FakeBench) -> None:
    async def browse(url: str) -> None:
        async with aiohttp.ClientSession() as browser:
            async with browser.get(url) as answer:
                page = await answer.text()
                assert (answer.status, answer.content_type) == (200, "text/html")
                assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
            assert bench.name in page
            assert re.findall(r"(?:https?:)?//(?!\s)[\w.]+\.\w+", page) == []
            files = re.findall(r'(?:src|href)="(static/[^"]+)"|src(?: =|:)? (?:url\()?"(static/[^"]+)"', page)
            assert len(files) == 3
            for name in ("".join(pair) for pair in files):
                async with browser.get(url + name) as answer:
                    assert answer.status == 200
                    assert not re.search(rb"(?:src|href|url|import)\W{1,3}https?://", await answer.read())
            root = url.split("/", 3)
            for wrong in ("", "x/", "x/terminal", "static/js/textual.js"):
                async with browser.get("/".join([*root[:3], wrong])) as answer:
                    assert answer.status == 404
            async with browser.ws_connect(f"{url}terminal?width=80&height=24") as line:
                await shown_until(line, b"nodes joined")
                await line.send_json(["stdin", "x"])
                await shown_until(line, b"cut silently")

    with served(bench) as (url, server):
        asyncio.run(browse(url))
        server.send_signal(signal.SIGINT)
        assert server.wait(60) == 0
    assert ("cut_link", {"nodes": [0], "how": "silent"}) in bench.calls


def test_the_end_of_the_server_is_the_end_of_the_processes_behind_its_pages(bench: FakeBench) -> None:
    async def browse(url: str, server: subprocess.Popen[str]) -> list[int]:
        async with aiohttp.ClientSession() as browser, browser.ws_connect(f"{url}terminal") as line:
            await shown_until(line, b"nodes joined")
            behind = children_of(server.pid)
            server.kill()
            await line.receive(timeout=60)
            return behind

    with served(bench) as (url, server):
        (behind,) = asyncio.run(browse(url, server))
    # Its new parent reaps it, so that its number may be somebody else's by now.
    for _ in range(600):
        try:
            command = Path(f"/proc/{behind}/cmdline").read_bytes()
        except FileNotFoundError:
            return
        if b"hil.live" not in command:
            return
        threading.Event().wait(0.1)
    pytest.fail(f"process {behind} goes on")


def test_a_port_that_cannot_be_had_is_named(capsys: pytest.CaptureFixture[str], bench: FakeBench) -> None:
    with listen(0) as taken:
        port = taken.getsockname()[1]
        assert taken.getsockname()[0] == "127.0.0.1"
        assert main.main(["status", "--serve", str(port), "--name", bench.name]) == 2
    assert f"port {port} of 127.0.0.1 is in use; `--serve 0` takes a free one" in capsys.readouterr().err
    for words, told in (
        ("--serve 70000", "less than or equal to 65535"),
        ("--serve x", "valid int"),
        ("--serve 0 --watch", "these are two"),
        ("--serve 0 --json", "these are two"),
    ):
        assert main.main(["status", *words.split(), "--name", bench.name]) == 2
        assert told in capsys.readouterr().err


def test_a_port_of_the_systems_is_told_to_ordinary_users(monkeypatch: pytest.MonkeyPatch) -> None:
    from hil.errors import UsageError

    def refuse(*_: object) -> socket.socket:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket, "create_server", refuse)
    with pytest.raises(UsageError, match=r"port 80 of 127\.0\.0\.1 is not for ordinary users"):
        listen(80)


def test_watched_as_json_each_change_is_one_object(capsys: pytest.CaptureFixture[str], bench: FakeBench) -> None:
    bench.log.close()
    assert main.main(["status", "--watch", "--json", "--name", bench.name]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert told[0]["members"] == [0, 1, 2]
