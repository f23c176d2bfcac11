"""`hil shell`: code from a command line, from standard input, and typed at its prompt in a real terminal."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.bench import address
from hil.cli import main
from hil.paths import state_dir
from tests.unit.fake_bench import FakeBench, fake_bench
from tests.unit.terminal import TREE, Terminal, terminal


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return state_dir()


SIM = ("shell", "--backend", "sim", "--nodes", "2")


@pytest.mark.parametrize(
    ("code", "status", "said", "complained"),
    [
        ("print(cluster.master, n1.id, len(cluster.nodes))", 0, "<node 0 of simulated> 1 2\n", ""),
        ("cluster.power_off([n1]); cluster.pass_time(1); print(n1.view.power)", 0, "off\n", ""),
        ("def two(): return 2\nprint([two() for _ in cluster.nodes])", 0, "[2, 2]\n", ""),
        ("try: cluster.node(7)\nexcept UnknownNode as error: print(error)", 0, "no node 7", ""),
        ("exit(5)", 5, "", ""),
        ("raise SystemExit", 0, "", ""),
        ("assert cluster.view.epoch == 7", 1, "", "assert cluster.view.epoch == 7"),
        ("cluster.wait(lambda view: 'never', 2, about='it')", 1, "", "hil: it: not within 2 s: never\n"),
        ("cluster.node(7)", 2, "", "hil: no node 7 in cluster 'simulated'; there are 0 to 1\n"),
        ("print(", 2, "", "hil: <command line>, line 1: '(' was never closed\n"),
        ("a = '\0'", 2, "", "hil: <command line>"),
        ("nosuch", 3, "", "NameError: name 'nosuch' is not defined"),
        ("", 0, "", ""),
    ],
)
def test_code_of_the_command_line(
    capsys: pytest.CaptureFixture[str], code: str, status: int, said: str, complained: str
) -> None:
    assert main.main([*SIM, "-c", code]) == status
    out, err = capsys.readouterr()
    assert said in out
    assert complained in err
    assert "hil/shell" not in err  # a traceback begins in the code itself
    assert (out == "") is (said == "")
    assert (err == "") is (complained == "")


def test_status_shows_the_cluster_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([*SIM, "-c", "cluster.power_off([n1]); cluster.wait_state(n1, 'inactive'); status(); live()"]) == 2
    out, err = capsys.readouterr()
    assert out.startswith("cluster simulated: 1 of 2 nodes joined, epoch 2, master n0\n")
    assert err == "hil: live() needs a terminal; `status()` shows the cluster once\n"


def test_code_of_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("print(n0)\nfor _ in range(2):\n    print(1 / 0)\n"))
    assert main.main([*SIM]) == 3
    out, err = capsys.readouterr()
    assert out == "<node 0 of simulated>\n"
    assert 'File "<stdin>", line 3' in err
    assert "print(1 / 0)" in err


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("shell a --name b -c 0", "these are two names"),
        ("shell --nodes 2 -c 0", "--nodes is for --backend sim"),
        ("shell --seed 0 -c 0", "--seed is for --backend sim"),
        ("shell --backend sim --nodes 1 -c 0", "nodes"),
        ("shell nosuch -c 0", "no cluster 'nosuch' is running"),
    ],
)
def test_what_cannot_be_is_refused(capsys: pytest.CaptureFixture[str], line: str, told: str) -> None:
    assert main.main(line.split()) == 2
    assert told in capsys.readouterr().err


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBench]:
    name = f"t-shell-{os.getpid()}"
    with fake_bench(name, tmp_path / "run") as bench:
        monkeypatch.setattr(address, "running_clusters", lambda: [name])
        bench.all_joined()
        yield bench


def test_on_a_cluster_that_runs(capsys: pytest.CaptureFixture[str], bench: FakeBench) -> None:
    assert main.main(["shell", "-c", "cluster.cut_link(n1, 'silent'); print(cluster)"]) == 0
    assert bench.calls == [("cut_link", {"nodes": [1], "how": "silent"})]
    assert capsys.readouterr().out == f"<cluster {bench.name}>\n"


# -- at the prompt


PROMPT = "hil> "


def answer(prompt: Terminal, line: str) -> str:
    """What is said to a line."""
    prompt.type(f"{line}\n")
    prompt.until("\n")
    return prompt.until(PROMPT).replace("\r\n", "\n")


def test_tab_completes_and_what_was_typed_is_there_the_next_time(state: Path) -> None:
    with terminal(*SIM) as prompt:
        head = prompt.until(PROMPT)
        assert "cluster simulated: 2 of 2 nodes joined, epoch 1, master n0" in head
        assert all(len(line) <= 80 for line in head.splitlines())
        prompt.type("cluster.any_o\t")
        prompt.until("cluster.any_other(")
        assert answer(prompt, "n0).id") == "1\n"
        assert answer(prompt, "  ") == ""
        prompt.type("\x04")
        assert prompt.status() == 0
    history = state / "shell-history"
    assert history.read_text() == "cluster.any_other(n0).id\n"
    assert history.stat().st_mode & 0o777 == 0o600
    with terminal(*SIM) as prompt:
        prompt.until(PROMPT)
        prompt.type("\x1b[A")  # up
        prompt.until("cluster.any_other(n0).id")
        assert answer(prompt, " + 41") == "42\n"
        assert history.read_text().splitlines()[1:] == ["cluster.any_other(n0).id + 41"]  # kept before the end
        prompt.type("exit(3)\n")
        assert prompt.status() == 3


def test_what_hil_refuses_is_one_line_and_ctrl_c_ends_a_statement_only(bench: FakeBench) -> None:
    with terminal("shell", bench.name) as prompt:
        prompt.until(PROMPT)
        assert answer(prompt, "cluster.node(7)") == (
            f"UnknownNode: no node 7 in cluster {bench.name!r}; there are 0 to 2\n"
        )
        assert answer(prompt, "1 / 0").splitlines()[-1] == "ZeroDivisionError: division by zero"
        bench.panic_node(2, "on purpose")
        assert answer(prompt, "n2.view.panic_reason") == "'on purpose'\n"  # as new as the statement
        prompt.type("print('waits'); cluster.wait(lambda view: 'never', 600, about='it')\n")
        prompt.until("waits\r\n")
        prompt.type("\x03")
        assert "interrupted" in prompt.until(PROMPT)
        assert answer(prompt, "for node in cluster.nodes[:2]: print(node.id)\n") == "...> \n0\n1\n"
        bench.log.emit("bench-stopping", reason="down")
        bench.end()
        assert answer(prompt, "cluster.view.stopping") == "'down'\n"
        for _ in range(2):
            assert re.match("BenchDied: |UnknownCluster: ", answer(prompt, "cluster.reset(n0)"))
        prompt.type("quit()\n")
        assert prompt.status() == 0


def test_sigterm_ends_the_shell_and_its_cluster(state: Path) -> None:
    with terminal(*SIM) as prompt:
        prompt.until(PROMPT)
        assert prompt.terminated() == 130
    (run,) = (state / "runs" / "simulated").glob("2*")
    assert '"bench-stopping"' in (run / "events.jsonl").read_text()


def test_the_live_view_opens_from_the_prompt_and_comes_back_to_it() -> None:
    with terminal(*SIM) as prompt:
        prompt.until(PROMPT)
        prompt.type("live()\n")
        prompt.until("2 of 2 nodes joined")
        prompt.until("filter")
        prompt.type("f")
        prompt.until("node 0: powered off")
        prompt.type("q")
        prompt.until(PROMPT)
        assert answer(prompt, "n0.view.power") == "'off'\n"
        prompt.type("\x04")
        assert prompt.status() == 0


# -- hil run --pause-on-failure

SCENARIO = """
import pytest
from hil.errors import MachineLost

@pytest.mark.cluster(nodes=2)
def test_passes(cluster):
    pass

@pytest.mark.cluster(nodes=2)
def test_fails(cluster):
    print("said by the test")
    cluster.power_off([cluster.nodes[1]])
    assert cluster.view.nodes[1].power == "on"

def broken(cluster):
    raise MachineLost("the beginning fails")

@pytest.mark.cluster(nodes=2, checkpoint=broken)
def test_cannot_begin(cluster):
    pass
"""


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "story.py"
    path.write_text(SCENARIO)
    return path


def test_a_scenario_that_fails_pauses_with_its_cluster_and_the_run_goes_on(scenario: Path) -> None:
    with terminal("run", "--backend", "sim", "--pause-on-failure", str(scenario), env={"PY_COLORS": "0"}) as prompt:
        head = prompt.until(PROMPT)
        assert "test_passes PASSED" in head
        assert "test_fails: claim failed" in head
        assert "assert 'off' == 'on'" in head
        assert "paused; the run goes on when this prompt ends" in head
        assert answer(prompt, "n1.view.power, cluster.power_on()['changed']") == "('off', [1])\n"
        assert "joined [0, 1]" in answer(prompt, "cluster.wait_joined()")
        prompt.type("exit()\n")
        head = prompt.until(PROMPT)
        assert "test_cannot_begin: laboratory broke" in head
        assert "MachineLost: the beginning fails" in head
        assert answer(prompt, "cluster.view.newest.joined()") == "[0, 1]\n"
        prompt.type("\x04")
        assert prompt.status() == 1
    assert "1 failed, 1 passed" in prompt.shown
    assert "1 error" in prompt.shown
    assert "said by the test" in prompt.shown


def test_sigterm_at_the_prompt_ends_the_run_and_takes_its_cluster_down(scenario: Path, state: Path) -> None:
    with terminal("run", "--backend", "sim", "--pause-on-failure", f"{scenario}::test_fails") as prompt:
        prompt.until(PROMPT)
        assert prompt.terminated() == 130
    (run,) = (state / "runs" / "fails-sim").glob("2*")
    assert '"bench-stopping"' in (run / "events.jsonl").read_text()


def test_where_nobody_could_type_it_is_refused(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["run", "--backend", "sim", "--pause-on-failure", str(scenario)]
    assert main.main(options) == 2
    assert "needs a terminal; `hil run --keep-failed` leaves the cluster" in capsys.readouterr().err
    assert main.main([*options, "--jobs", "2"]) == 2
    assert "those that run side by side share no terminal" in capsys.readouterr().err


@pytest.mark.parametrize("more", [[], ["-n", "2"]])
def test_pytest_refuses_it_too(scenario: Path, more: list[str]) -> None:
    command = [sys.executable, "-m", "pytest", "-c", str(TREE / "pyproject.toml"), str(scenario), *more]
    command += ["--hil-backend=sim", "--hil-pause-on-failure", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=TREE, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 4
    told = "share no terminal" if more else "--hil-pause-on-failure needs a terminal; `hil run --keep-failed`"
    assert told in done.stderr


def test_keep_failed_reaches_pytest_and_a_simulation_refuses_it(capsys: pytest.CaptureFixture[str]) -> None:
    from hil.runner import Options, arguments

    assert "--hil-keep-failed" in arguments(["a.py"], Options(keep_failed=True))
    assert main.main(["run", "--backend", "sim", "--keep-failed", "silent_cut"]) == 2
    assert capsys.readouterr().err.startswith("hil: --keep-failed: a simulated cluster ends with the process")
