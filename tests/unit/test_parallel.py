"""Tests on several workers: the same verdicts, statuses and summary as on one, live lines, and an orderly end."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from hil.bench import address
from hil.cli.main import main
from hil.parallel import LINE_MAX, Worker
from hil.runner import plugin_arguments

# As long as the runs that it starts may take.
pytestmark = pytest.mark.timeout(600)

TREE = Path(__file__).resolve().parents[2]

CONFTEST = """
import contextlib, os, pytest
from hil.bench import address
from hil.scenario import ScenarioCluster
from tests.unit.fake_bench import fake_bench

address._PREFIX = os.environ["TEST_PREFIX"]  # real clusters of this user are none of these tests' business

@pytest.fixture(scope="session")
def hil_start(tmp_path_factory):
    with contextlib.ExitStack() as stack:
        def start(config, **_):
            run_dir = tmp_path_factory.mktemp("run")
            bench = stack.enter_context(fake_bench(config.name, run_dir, config.nodes))
            (run_dir / "console-n0.log").write_text("the last line\\n")
            cluster = ScenarioCluster(config.name)
            bench.all_joined()
            cluster.fake = bench
            return cluster
        yield start
"""

HEADER = """
import os, signal, pytest
from hil.errors import *
"""

ALL_KINDS = """
def test_passes(cluster): assert len(cluster.nodes) == 3
def test_claims_what_is_not_so(cluster): assert cluster.view.epoch == 7
def test_breaks(cluster): raise MachineLost("node 2 is off")
def test_is_invalid(cluster): raise InvalidRun("the cut did not take hold")
@pytest.mark.cluster(node=2)
def test_is_refused(cluster): pass
"""


@pytest.fixture
def story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a file for scenarios; its clusters are a fake's."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HIL_NODES_MAX", "1000")
    monkeypatch.setenv("PYTHONPATH", str(TREE))
    monkeypatch.setenv("TEST_PREFIX", f"hil-parallel-{os.getpid()}")
    monkeypatch.setattr(address, "_PREFIX", f"hil-parallel-{os.getpid()}")
    (tmp_path / "conftest.py").write_text(CONFTEST)
    return tmp_path / "story.py"


def start(story: Path, source: str, *options: str) -> "subprocess.Popen[str]":
    story.write_text(HEADER + source)
    return subprocess.Popen(
        [sys.executable, "-m", "hil.cli", "run", "story.py", *options],
        cwd=story.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(story: Path, source: str, *options: str) -> tuple[int, str]:
    """The exit status of ``hil run``, and what it said."""
    with start(story, source, *options) as process:
        try:
            said, _ = process.communicate(timeout=500)
        finally:
            process.kill()
    return process.returncode, said


def paragraphs(said: str) -> dict[str, list[str]]:
    """The summary: test to its lines, without what differs from run to run."""
    found: dict[str, list[str]] = {}
    for match in re.finditer(r"^-+ hil: (\S+::\S+) -+\n((?:(?![-=]{5}).*\n)+)", said, re.MULTILINE):
        found[match[1]] = [re.sub(r"^evidence: .*/", "evidence: ", line) for line in match[2].splitlines()]
    return found


def test_verdicts_status_and_summary_are_the_same_with_workers_as_without(story: Path) -> None:
    alone, alone_said = run(story, ALL_KINDS, "--report", "alone")
    side_by_side, said = run(story, ALL_KINDS, "--jobs", "2", "--report", "two", "--junit", "j.xml")
    assert (alone, side_by_side) == (1, 1)
    assert paragraphs(said) == paragraphs(alone_said)
    assert paragraphs(said)["story.py::test_is_invalid"] == [
        "invalid: the cut did not take hold",
        "repeat it: hil run story.py::test_is_invalid",
        "evidence: story.py-test_is_invalid",
    ]
    assert len(paragraphs(said)) == 4
    for line in ("INVALID story.py::test_is_invalid", "REFUSED story.py::test_is_refused"):
        assert line in said
    assert (story.parent / "j.xml").read_text().count('name="hil-verdict"') == 4
    told = [json.loads(path.read_text()) for path in sorted((story.parent / "two").glob("*/verdict.json"))]
    assert {entry["verdict"] for entry in told} == {"passed", "claim failed", "laboratory broke", "invalid", "refused"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("assert len(cluster.nodes) == 3", 0),
        ("raise MachineLost('node 2 is off')", 3),
        ("this is no Python", 2),
    ],
)
def test_the_status_with_workers(story: Path, body: str, status: int) -> None:
    got, said = run(story, f"def test_other(): pass\ndef test_it(cluster): {body}\n", "--jobs", "2")
    assert got == status, said


def test_a_worker_that_dies_is_told_as_a_broken_laboratory(story: Path) -> None:
    status, said = run(story, "def test_it(cluster): os.kill(os.getpid(), signal.SIGKILL)\n", "--jobs", "2")
    assert status == 3
    (line,) = paragraphs(said)["story.py::test_it"]
    assert line.startswith("laboratory broke: worker 'gw")


class Interrupting:
    """A pipe whose other end interrupts this process while it writes."""

    def __init__(self) -> None:
        self.written = ""
        self.told = ""

    def write(self, text: str) -> None:
        self.written += text
        signal.raise_signal(signal.SIGINT)

    def flush(self) -> None:
        self.told, self.written = self.told + self.written, ""


def test_who_is_interrupted_while_it_tells_its_end_has_told_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        worker = Worker(SimpleNamespace(workerinput={"workerid": "gw7"}))  # type: ignore[arg-type]
        pipe = Interrupting()
        monkeypatch.setattr(worker, "_pipe", pipe)
        finish = worker.pytest_sessionfinish()
        next(finish)
        with contextlib.suppress(StopIteration, KeyboardInterrupt):
            next(finish)
        worker.pytest_unconfigure()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert [json.loads(line) for line in pipe.told.splitlines()] == [{"worker": "gw7", "finished": True}]


def test_who_is_interrupted_before_its_session_begins_tells_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    worker = Worker(SimpleNamespace(workerinput={"workerid": "gw7"}))  # type: ignore[arg-type]
    pipe = io.StringIO()
    monkeypatch.setattr(worker, "_pipe", pipe)
    worker.pytest_unconfigure()
    assert json.loads(pipe.getvalue()) == {"worker": "gw7", "finished": True}


def test_each_phase_is_told_as_it_comes(story: Path) -> None:
    source = "def test_one(cluster): pass\n@pytest.mark.cluster(nodes=2)\ndef test_two(cluster): assert False\n"
    _, said = run(story, source, "--jobs", "2")
    for test, nodes, verdict in (("one", 3, "passed"), ("two", 2, "claim failed")):
        told = re.findall(rf"^\[gw\d\] story::{test}: (.*)$", said, re.MULTILINE)
        told = [line for line in told if not line.startswith("waiting for room")]  # the other one may be first
        assert [re.sub(r"\d+\.\d s", "T", line) for line in told] == [
            f"starting {nodes} nodes as {told[0].rpartition(' ')[2]}",
            f"booting {nodes} nodes",
            f"{nodes} of {nodes} joined, T",
            "running",
            "taking down",
            f"{verdict}, T in all",
        ]


def test_a_test_that_is_repeated_runs_side_by_side_with_itself(story: Path) -> None:
    status, said = run(story, "def test_it(cluster): pass\n", "--jobs", "3", "--repeat", "4")
    assert status == 0
    assert "4 passed" in said
    assert len(re.findall(r"story\[round\d\]: passed", said)) == 4
    assert len(set(re.findall(r"starting 3 nodes as (\S+)", said))) == 4


def test_clusters_side_by_side_need_a_name_each(story: Path) -> None:
    status, said = run(story, "def test_it(cluster): pass\n", "--jobs", "2", "--name", "mine")
    assert status == 2
    assert "--name mine --jobs 2: clusters that run side by side need a name each" in said
    status, said = run(story, "def test_it(cluster): assert cluster.name == 'mine'\n", "--jobs", "1", "--name", "mine")
    assert status == 0, said


def test_plain_pytest_refuses_one_name_for_several_workers_too(story: Path) -> None:
    story.write_text(HEADER + "def test_it(cluster): pass\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *plugin_arguments(), "-n", "2", "--hil-name", "mine", "story.py"],
        cwd=story.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--hil-name: clusters that run side by side need a name each" in done.stderr


@pytest.mark.parametrize("jobs", ["0", "-1", "some"])
def test_a_number_of_jobs_that_is_none_is_refused(jobs: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "mass_reboot", "--jobs", jobs]) == 2
    assert "legal are auto, and numbers from 1" in capsys.readouterr().err


@pytest.mark.parametrize(("limit", "workers"), [("6", "2 workers"), ("5", None)])
def test_auto_is_what_the_machine_allows(story: Path, limit: str, workers: str | None) -> None:
    status, said = run(story, "def test_it(cluster): pass\n", "--jobs", "auto", "--max-nodes", limit, "--nodes", "3")
    assert status == 0, said
    assert ("workers" in said) is (workers is not None)
    assert workers is None or workers in said


def test_never_more_nodes_at_once_than_there_is_room_for(story: Path) -> None:
    source = """
@pytest.mark.parametrize("i", range(4))
def test_it(cluster, i):
    from hil.room import running_now
    ours = [each for each in running_now() if each.name.startswith("it-")]
    assert sum(each.nodes for each in ours) == 3
"""
    status, said = run(story, source, "--jobs", "4", "--max-nodes", "4")
    assert status == 0, said
    assert "waiting for room: " in said


def test_what_never_fits_is_refused_at_once(story: Path) -> None:
    status, said = run(story, "def test_it(cluster): pass\n", "--jobs", "2", "--max-nodes", "5", "--nodes", "6")
    assert status == 2
    assert re.search(r"cluster 'it-\d+' has 6 nodes, and this machine carries 5 at once .*legal: 2 to 5", said)


ENDLESS = """
@pytest.mark.parametrize("i", range(4))
def test_it(cluster, i):
    cluster.wait(lambda view: "never", 100, about="the end of time")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_every_worker_takes_its_cluster_down(story: Path, number: signal.Signals) -> None:
    said = []
    # A shell has what it starts in the background ignore SIGINT, and its children inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with start(story, ENDLESS, "--jobs", "2") as process:
        signal.signal(signal.SIGINT, before)
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if "".join(said).count(": running\n") == 2:
                break
        process.send_signal(number)
        try:
            rest, _ = process.communicate(timeout=500)
        finally:
            process.kill()
    assert process.returncode == 130, rest
    assert rest.count(": taking down\n") == 2
    assert "ended without" not in rest
    assert address.running_clusters() == []


def test_a_message_of_a_worker_is_written_in_one_piece() -> None:
    longest = json.dumps({"worker": "gw1000", "say": "\N{SNOWMAN}" * LINE_MAX}) + "\n"
    assert len(longest.encode()) <= os.pathconf("/", "PC_PIPE_BUF")
