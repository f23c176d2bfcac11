"""Plan files: what is drawn from a seed, what is wrong told with its line; and plans beside scenarios (spec S10.7)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from hil.beside import Beside, find
from hil.cli import main
from hil.errors import BadPlan, InvalidRun, UsageError
from hil.faults.injection import LOOK_S
from hil.faults.plan_file import read
from tests.unit.sim_cluster import started

TREE = Path(__file__).resolve().parents[2]
PLANS = sorted((TREE / "scenarios" / "faults").glob("*.toml"))

pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True)
def evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def write(directory: Path, text: str) -> Path:
    path = directory / "plan.toml"
    path.write_text(text, encoding="utf-8")
    return path


DRAWN = """\
until_ms = 60_000
[draw]
every_ms = 1_000
from_ms = 5_000
[[fault]]
kind = "link-silent"
weight = 5
whom = ["any", "master"]
for_ms = [100, 900]
direction = ["in", "out"]
others = [1, 2]
[[fault]]
kind = "disk-slow"
whom = 2
for_ms = 500
ms = [10, 20]
"""


def test_the_same_seed_draws_the_same_faults_and_another_does_not(tmp_path: Path) -> None:
    path = write(tmp_path, DRAWN)
    assert read(path, 3) == read(path, 3)
    assert read(path, 3).steps != read(path, 4).steps


def test_what_is_drawn_keeps_to_what_the_file_says(tmp_path: Path) -> None:
    steps = [step for seed in range(20) for step in read(write(tmp_path, DRAWN), seed).steps]
    silent = [step for step in steps if step.kind == "link-silent"]
    slow = [step for step in steps if step.kind == "disk-slow"]
    assert len(silent) > 3 * len(slow) > 0
    assert {step.whom for step in silent} == {"any", "master"}
    assert {step.parameters["direction"] for step in silent} == {"in", "out"}
    assert all(step.parameters["others"] == [1, 2] for step in silent), "a list of nodes is one value"
    assert all(100 <= step.for_ms <= 900 for step in silent)
    assert {(step.whom, step.for_ms, step.parameters["ms"]) for step in slow} == {("2", 500, 10), ("2", 500, 20)}
    assert all(step.drawn for step in steps)
    for seed in range(5):
        plan = read(write(tmp_path, DRAWN), seed)
        assert plan.steps[0].at_ms >= 5000
        assert all(one.end_ms <= other.at_ms for one, other in zip(plan.steps, plan.steps[1:], strict=False))
        assert plan.steps[-1].end_ms <= plan.until_ms


def test_fixed_times_and_the_simulators_kinds_are_legal(tmp_path: Path) -> None:
    plan = read(
        write(
            tmp_path,
            'until_ms = 9000\noperator = false\n[[fault]]\nkind = "power-off"\nat_ms = 4000\nwhom = [0, "master"]\n'
            '[[fault]]\nkind = "cut-node"\nat_ms = 1000\nfor_ms = 500\nnode = "other"\n',
        )
    )
    assert [(step.kind, step.whom, step.at_ms, step.for_ms) for step in plan.steps] == [
        ("link-silent", "any_other", 1000, 500),
        ("power-off", "0,master", 4000, 5000),
    ]
    assert not plan.operator


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ":1: until_ms: missing (legal: milliseconds, 1 to"),
        ("until_ms = 0\n", ":1: until_ms: 0 (legal: milliseconds"),
        ("until_ms = [\n", "not TOML"),
        ("until_ms = 5\nfaults = 3\n", ":2: faults: a plan has no such key (legal: until_ms, operator, draw, fault)"),
        ("until_ms = 5\noperator = 1\n", ":2: operator: 1 (legal: true, false)"),
        ("until_ms = 5\nfault = 1\n", ":2: fault: 1 (legal: [[fault]] tables)"),
        ("until_ms = 5\n[draw]\nevery_ms = 50\n", ":2: draw: there is no fault without at_ms, so nothing to draw"),
        (
            'until_ms = 5\n[[fault]]\nkind = "reset"\nwhom = 1\nfor_ms = 0\n',
            "fault: a fault without at_ms is drawn: [draw] with every_ms says how often",
        ),
        ("until_ms = 5\n[[fault]]\nat_ms = 1\n", ":2: lacks kind (legal: power-off,"),
        ('until_ms = 5\n[[fault]]\nat_ms = 1\nkind = "cut"\n', ":4: kind = 'cut' (legal: power-off,"),
        (
            'until_ms = 5\n[[fault]]\nkind = "cut-node"\n',
            ":3: kind 'cut-node' is the simulator's: legal with at_ms only",
        ),
        (
            'until_ms = 5\n[[fault]]\nkind = "doom"\nat_ms = 1\nfor_ms = 1\nnode = 1\neffects = 1\n',
            ":3: kind: fault doom at 1 ms: no machine can be stopped between two effects",
        ),
        (
            'until_ms = 5\n[[fault]]\nkind = "reset"\nat_ms = 9\nwhom = 1\n',
            ":4: at_ms: 9 (legal: milliseconds, 0 to until_ms = 5)",
        ),
        ('until_ms = 5\n[[fault]]\nkind = "reset"\nat_ms = 1\n', ":2: whom: missing: legal: a role, or numbers"),
        ('until_ms = 5\n[[fault]]\nkind = "reset"\nat_ms = 1\nwhom = "boss"\n', ":5: whom: 'boss': no role 'boss'"),
        ('until_ms = 5\n[[fault]]\nkind = "reset"\nat_ms = 1\nwhom = 64\n', ":5: whom: 64: no node 64"),
        (
            'until_ms = 5\n[[fault]]\nkind = "reset"\nat_ms = 1\nwhom = 1\nms = 3\n',
            ":6: ms: a fault reset has no such key (legal: kind, whom, at_ms, for_ms, weight)",
        ),
        (
            'until_ms = 5\n[[fault]]\nkind = "link-loss"\nat_ms = 1\nwhom = 1\nshare = 1001\n',
            ":6: fault link-loss: share = 1001 (legal: 1 to 1000)",
        ),
        (
            (
                'until_ms = 5\n[draw]\nevery_ms = 50\n[[fault]]\nkind = "link-loss"\nwhom = 1\nfor_ms = 5\n'
                "share = [5, 0]\n"
            ),
            ":8: fault link-loss: share = 0 (legal: 1 to 1000)",
        ),
        (
            'until_ms = 5\n[draw]\nevery_ms = 50\n[[fault]]\nkind = "reset"\nwhom = 1\nfor_ms = [5, 1]\nweight = 0\n',
            ":7: for_ms: [5, 1] (legal: milliseconds from 0, or [from, to])\n",
        ),
        ("until_ms = 5\n[draw]\nevery_ms = 1\nsoon = 2\n", ":2: draw: draw has no 'soon' (legal: every_ms, from_ms)"),
    ],
)
def test_what_is_wrong_is_told_with_its_line_and_what_is_legal(tmp_path: Path, text: str, told: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(BadPlan) as refused:
        read(path)
    assert f"{path}{told}" in str(refused.value) or told in str(refused.value)


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    text = 'until_ms = -1\n[[fault]]\nkind = "cut"\nat_ms = 1\n[[fault]]\nkind = "reset"\nat_ms = 1\nwhom = "x"\n'
    with pytest.raises(BadPlan) as refused:
        read(write(tmp_path, text))
    assert [line.rpartition("plan.toml:")[2][0] for line in str(refused.value).splitlines()] == ["1", "3", "8"]


def test_a_file_that_is_not_there_and_a_name_that_is_not_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadPlan, match="No such file"):
        read(tmp_path / "no.toml")
    with pytest.raises(UsageError, match="no plan 'no', and no such file; there are: disk, links, mixed, power"):
        find("no")


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_the_plans_of_the_library_are_legal_on_both_back_ends_and_strike_at_every_seed(path: Path) -> None:
    for seed in range(10):
        plan = read(path, seed)
        for backend in ("qemu", "sim"):
            plan.check(3, backend)
        assert len(plan.steps) >= 3
    assert find(path.stem) == path


# -- beside a scenario

STRIKES = """\
until_ms = 6_000
[[fault]]
kind = "link-silent"
at_ms = 500
for_ms = 800
whom = "any_other"
[[fault]]
kind = "freeze-vcpu"
at_ms = 2_000
for_ms = 700
whom = "master"
"""


def test_a_plan_strikes_while_the_scenario_waits_for_something_else(tmp_path: Path) -> None:
    with started() as cluster:
        beside = Beside(cluster, read(write(tmp_path, STRIKES), 5))
        cluster.wait_faults_over()
        beside.finish()
        told = [event for event in cluster.events() if event["kind"] in ("injection", "fault-plan")]
        assert [event["step"] for event in told] == [
            "begun",
            *(2 * ["begun", "holds", "recovering", "undone"]),
            "over",
        ]
        assert [step["kind"] for step in told[0]["steps"]] == ["link-silent", "freeze-vcpu"]
        assert (told[-1]["struck"], told[-1]["passed_over"], told[-1]["seed"]) == (2, 0, 5)


def test_the_same_seeds_are_the_same_run(tmp_path: Path) -> None:
    streams = []
    for _ in range(2):
        with started(seed=3) as cluster:
            beside = Beside(cluster, read(PLANS[-1], 4))
            cluster.wait_faults_over()
            beside.finish()
            streams.append(list(cluster.events()))
    assert streams[0] == streams[1]


def test_a_scenario_that_is_over_first_ends_the_plan_and_all_is_healed(tmp_path: Path) -> None:
    with started() as cluster:
        beside = Beside(cluster, read(write(tmp_path, STRIKES)))
        cluster.pass_time(0.5 + 3 * LOOK_S)
        beside.finish()
        assert cluster.injections() == []
        cluster.pass_time(5)
        told = [event for event in cluster.events() if event["kind"] == "injection"]
        assert {event["fault"] for event in told} == {"link-silent"}


def test_a_plan_of_which_nothing_has_struck_makes_the_run_invalid(tmp_path: Path) -> None:  # S10.7
    with started() as cluster:
        beside = Beside(cluster, read(write(tmp_path, STRIKES)))
        with pytest.raises(InvalidRun, match=r"none of its faults has taken hold: the scenario was over after 0.0 s"):
            beside.finish()


def test_a_fault_at_a_fixed_time_that_strikes_nobody_makes_the_run_invalid_and_a_drawn_one_does_not(  # S10.7
    tmp_path: Path,
) -> None:
    fixed = 'until_ms = 3000\n[[fault]]\nkind = "reset"\nat_ms = 500\nwhom = "runs(nothing)"\n'
    with started() as cluster:
        beside = Beside(cluster, read(write(tmp_path, fixed)))
        with pytest.raises(InvalidRun, match="at 500 ms: reset: nobody is runs"):
            cluster.wait_faults_over()
        with pytest.raises(InvalidRun):
            beside.finish()
    drawn = (
        'until_ms = 9000\n[draw]\nevery_ms = 300\n[[fault]]\nkind = "reset"\nwhom = "runs(nothing)"\nfor_ms = 1\n'
        '[[fault]]\nkind = "freeze-vcpu"\nwhom = "any"\nfor_ms = 200\n'
    )
    with started() as cluster:
        beside = Beside(cluster, read(write(tmp_path, drawn), 1))
        cluster.wait_faults_over()
        beside.finish()
        told = [event for event in cluster.events() if event["kind"] == "fault-plan"][-1]
        assert told["struck"] > 0
        assert told["passed_over"] > 0


def test_a_plan_that_names_a_node_that_is_not_there_is_refused_before_anything_happens(tmp_path: Path) -> None:
    path = write(tmp_path, 'until_ms = 9000\n[[fault]]\nkind = "reset"\nat_ms = 1\nwhom = 5\n')
    with started() as cluster:
        with pytest.raises(UsageError, match="plan plan: at 1 ms: no node 5; there are 0 to 2"):
            Beside(cluster, read(path))
        assert cluster.beside is None


# -- under pytest, and `hil run`

STORY = '''\
"""A story."""
import pytest
@pytest.mark.cluster(nodes=3)
def test_story(cluster):
    cluster.wait_faults_over()
    cluster.wait_joined()
'''
INVALID = 'until_ms = 3000\n[[fault]]\nkind = "subsystem-hang"\nat_ms = 500\nfor_ms = 900\nwhom = 1\nlevel = 10\n'


def hil_run(directory: Path, plan: str, *more: str) -> subprocess.CompletedProcess[str]:
    (directory / "story.py").write_text(STORY, encoding="utf-8")
    (directory / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    write(directory, plan)
    command = [sys.executable, "-m", "hil.cli", "run", "story.py", "--backend", "sim", "--faults", "plan.toml", *more]
    return subprocess.run(
        command,
        cwd=directory,
        env={"PYTHONPATH": str(TREE), "XDG_STATE_HOME": str(directory), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_a_run_with_a_plan_passes_and_tells_how_to_repeat_it(tmp_path: Path) -> None:
    done = hil_run(tmp_path, STRIKES, "--seed", "7")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_fault_that_did_not_take_hold_is_a_verdict_of_its_own_everywhere(tmp_path: Path) -> None:  # S10.7
    done = hil_run(tmp_path, INVALID, "--junit", "junit.xml", "--seed", "7")
    assert done.returncode == 4, done.stdout + done.stderr
    assert "INVALID" in done.stdout
    assert "hil run story.py::test_story --backend sim --faults plan.toml --seed 7" in done.stdout
    (case,) = ElementTree.parse(tmp_path / "junit.xml").iter("testcase")
    properties = {one.get("name"): one.get("value") for one in case.iter("property")}
    assert properties["hil-verdict"] == "invalid"


def test_a_bad_plan_is_refused_before_any_cluster_is_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, "until_ms = 0\n")
    assert main.main(["run", "carry_on", "--faults", str(path)]) == 2
    assert f"hil: {path}:1: until_ms: 0 (legal" in capsys.readouterr().err
    only_guests = 'until_ms = 9\n[[fault]]\nkind = "clock-step"\nat_ms = 1\nwhom = 1\nseconds = 5\n'
    assert main.main(["run", "carry_on", "--backend", "sim", "--faults", str(write(tmp_path, only_guests))]) == 2
    assert "fault clock-step: guestd reads no time of day" in capsys.readouterr().err
