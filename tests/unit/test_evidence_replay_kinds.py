"""Each kind of fault of the library happens again: recorded in the simulator, played by ``hil replay`` (S10.7, S10.10).

The same faults with the same parameters on the same nodes in the same order at the same points, and the same verdict. A
kind that is added to the library without its row here fails.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hil.beside import Beside
from hil.checkers.recorded import judge
from hil.checkers.recording import load
from hil.cli import main
from hil.errors import UsageError
from hil.evidence import layout
from hil.evidence.derive import JOINED, derive
from hil.evidence.replay import recorded, run_plan
from hil.faults.fault import BACKENDS, QEMU, SIM
from hil.faults.library import KINDS, check
from hil.faults.plan import FaultPlan, Step
from hil.faults.plan_file import read
from hil.play import play
from hil.scenario import ScenarioCluster
from tests.unit.sim_cluster import started

ROOT = Path(__file__).parents[2]
SEED = 5
MASTER, OTHER = "master", "any_other"
LOOK_MS = 110
"""Every tenth of a second a player looks whether all have joined again, a fault holds, or is undone."""

FREE = [40_000, 40_100]
"""Blocks of the disk that are nobody's."""

ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "power-off": ("minority", {}),
    "power-cycle": ("0,2", {}),
    "reset": (MASTER, {}),
    "shutdown": (MASTER, {}),
    "link-carrier": (OTHER, {}),
    "link-silent": (MASTER, {"direction": "out"}),
    "link-split": (OTHER, {"groups": [[0], [1, 2]]}),
    "link-loss": ("all", {"share": 300}),
    "link-delay": (OTHER, {"ms": 50}),
    "disk-hang": (OTHER, {"direction": "write"}),
    "disk-delay-writes": (OTHER, {"lun": 0}),
    "disk-slow": ("all", {"ms": 20, "spread": "exponential", "seed": 9}),
    "disk-error": (OTHER, {"sense": "busy", "count": 2}),
    "disk-reset": (OTHER, {"when": "after", "direction": "read"}),
    "disk-refuse-login": (OTHER, {"count": 3}),
    "disk-torn": (OTHER, {"sectors": 0, "bytes": 100, "count": 1}),
    "disk-lost": (OTHER, {"count": 1}),
    "disk-misdirected": (OTHER, {"shift": 40_000, "count": 1}),
    "disk-flip": (OTHER, {"bits": 3, "seed": 4, "direction": "read", "count": 1}),
    "disk-stale": (OTHER, {"count": 1}),
    "disk-offline": (OTHER, {"count": 2}),
    "disk-volatile-cache": ("all", {"lose": "random", "seed": 3}),
    "freeze-vcpu": (MASTER, {}),
    "freeze-process": (OTHER, {}),
    "panic": (MASTER, {"reason": "to be had again"}),
    "subsystem-hang": (OTHER, {"level": 60}),
    "guestd-kill": (OTHER, {}),
    "clock-drift": ("all", {"ppm": -20_000}),
    "slow-cpu": (OTHER, {"ms": 4}),
}
"""Whom, how."""


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def newest(home: Path) -> Path:
    return max((home / "hil/runs").glob("*/[0-9]*"), key=lambda path: path.name)


def events_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / layout.EVENTS).read_text().splitlines()]


def verdict(run: Path) -> list[tuple[str, str]]:
    """The outcome of each claim."""
    return [(ruling.claim, ruling.outcome) for ruling in judge(load(run)).rulings]


def struck(run: Path) -> list[tuple[str, list[int], dict[str, Any]]]:
    """What was injected, by the word of the library, on whom it came to."""
    return [
        (event["fault"], event["nodes"], event["parameters"])
        for event in events_of(run)
        if event["kind"] == "injection" and event["step"] == "begun"
    ]


def again(run: Path, home: Path, seed: int | None = None) -> Path:
    """Its faults on a fresh simulated cluster."""
    known = recorded(run, str(run))
    assert known.derived.begins == JOINED
    assert known.derived.left_out == ()
    run_plan(known, SIM, seed, lambda _: None)
    return newest(home)


def point(plan: FaultPlan, at_ms: int) -> tuple[int, int]:
    """How often all nodes had joined again by then, and milliseconds since the last time, or since the beginning."""
    before = [one for one in plan.rejoined_ms if one <= at_ms]
    return len(before), at_ms - max(before, default=0)


def compare(run: Path, replayed: Path) -> None:
    """The same kinds, parameters and nodes, in the same order, at the same points."""
    was, now = (derive(events_of(one), 3).plan for one in (run, replayed))
    assert [timeless(step) for step in now.steps] == [timeless(step) for step in was.steps]
    for one, other in zip(was.steps, now.steps, strict=True):
        for at_ms, other_at_ms in ((one.at_ms, other.at_ms), (one.end_ms, other.end_ms)):
            (joins, since_ms), (again, other_ms) = point(was, at_ms), point(now, other_at_ms)
            assert joins == again, (one, other)
            assert abs(since_ms - other_ms) <= 2 * LOOK_MS, (one, other)


def timeless(step: Step) -> tuple[str, str, dict[str, Any]]:
    return step.kind, step.whom, check(step.kind, step.parameters)


def test_no_kind_is_without_its_row() -> None:
    assert set(ROWS) == {name for name, kind in KINDS.items() if SIM not in kind.lacking}


@pytest.mark.parametrize("kind", ROWS)
def test_a_fault_of_a_run_is_had_again_by_its_replay(kind: str, tmp_path: Path) -> None:  # S10.7, S10.10
    whom, parameters = ROWS[kind]
    with started(SEED) as cluster:
        cluster.pass_time(0.7)
        with cluster.inject("link-delay", MASTER, ms=7):
            cluster.pass_time(0.1)  # one before it, so that there is an order
        cluster.pass_time(0.3)
        with cluster.inject(kind, whom, **parameters):
            cluster.pass_time(0.2)
        cluster.wait_joined()
        cluster.pass_time(0.5)
    run = cluster.run_dir
    replayed = again(run, tmp_path)
    assert replayed != run
    assert struck(replayed) == struck(run)
    assert [name for name, _, _ in struck(run)] == ["link-delay", kind]
    compare(run, replayed)
    assert verdict(replayed) == verdict(run)
    assert json.loads((replayed / layout.VERDICT).read_text())["verdict"] == "passed"


@pytest.mark.parametrize("kind", ["link-silent", "disk-hang", "power-off", "guestd-kill"])
def test_another_seed_has_the_faults_on_who_is_in_the_same_place(kind: str, tmp_path: Path) -> None:
    with started(SEED) as cluster:
        cluster.pass_time(0.7)
        with cluster.inject(kind, MASTER):
            cluster.pass_time(0.2)
        cluster.wait_joined()
    replayed = again(cluster.run_dir, tmp_path, seed=SEED + 1)
    (was,), (now,) = struck(cluster.run_dir), struck(replayed)
    assert (was[0], was[2]) == (now[0], now[2])
    assert len(was[1]) == len(now[1])
    assert now[1] == [master_before_the_faults(replayed)]


def master_before_the_faults(run: Path) -> int:
    found = derive(events_of(run), 3)
    assert found.master is not None
    return found.master


# -- wherever the faults came from


def by_command(cluster: ScenarioCluster) -> None:
    """As `hil fault` does: what one has injected another heals."""
    cluster.inject("link-silent", 1, direction="in")
    cluster.pass_time(0.2)
    for fault in cluster.injections():
        fault.heal()


def by_verbs(cluster: ScenarioCluster) -> None:
    """As scenarios do."""
    one, other = cluster.nodes[1], cluster.nodes[2]
    cluster.cut_link(one, "silent", "out", [other])
    cluster.pass_time(0.3)
    cluster.heal_link(one)
    cluster.power_off([one, other])
    cluster.pass_time(0.4)
    cluster.power_on([one, other])
    cluster.wait_joined()
    with cluster.disk.inject("torn", one, sectors=0, count=1) as fault:
        fault.wait_struck()
    cluster.wait_joined()
    cluster.freeze(other, "process")
    cluster.pass_time(0.1)
    cluster.thaw(other)
    cluster.simulation.lose_datagrams(0.2)
    cluster.pass_time(0.5)
    cluster.simulation.lose_datagrams(0)


def by_a_plan(cluster: ScenarioCluster) -> None:
    """As `hil run --faults` does."""
    plan = read(ROOT / "scenarios/faults/mixed.toml", seed=2)
    beside = Beside(cluster, plan)
    cluster.wait_faults_over()
    beside.finish()
    cluster.wait_joined()


@pytest.mark.parametrize("do", [by_command, by_verbs, by_a_plan])
def test_a_fault_is_had_again_whoever_has_injected_it(do: Callable[[ScenarioCluster], None], tmp_path: Path) -> None:
    with started(SEED) as cluster:
        cluster.pass_time(0.5)
        do(cluster)
        cluster.pass_time(0.5)
    replayed = again(cluster.run_dir, tmp_path)
    assert struck(replayed)
    compare(cluster.run_dir, replayed)
    assert verdict(replayed) == verdict(cluster.run_dir)


def test_what_came_after_a_node_was_back_waits_until_it_is_back(tmp_path: Path) -> None:
    """However long a boot takes: it takes three times as long here."""
    quick, slow = {"boot_ms_max": 600}, {"boot_ms_max": 15_000}
    with started(SEED, asked=quick) as cluster:
        cluster.pass_time(0.3)
        cluster.power_cycle([cluster.nodes[1]])
        cluster.wait_joined()
        cluster.pass_time(0.4)
        with cluster.inject("freeze-vcpu", 1):
            cluster.pass_time(0.3)
        cluster.shutdown(cluster.nodes[2])
        cluster.wait_off(cluster.nodes[2])
        cluster.power_on([cluster.nodes[2]])
        cluster.wait_joined()
        cluster.pass_time(0.2)
        with cluster.inject("link-silent", 2):
            cluster.pass_time(0.1)
    plan = derive(events_of(cluster.run_dir), 3).plan
    assert len(plan.rejoined_ms) == 2
    with started(SEED, asked=slow) as other:
        assert play(other, plan) == []
    again = derive(events_of(other.run_dir), 3).plan
    assert [timeless(step) for step in again.steps] == [timeless(step) for step in plan.steps]
    assert again.rejoined_ms[1] > plan.rejoined_ms[1] + 5000, "the boots were not longer: another seed is needed"
    for one, other_one in zip(plan.steps, again.steps, strict=True):
        (joins, since_ms), (joins_again, other_ms) = point(plan, one.at_ms), point(again, other_one.at_ms)
        assert joins == joins_again
        assert abs(since_ms - other_ms) <= LOOK_MS


def test_a_moment_that_does_not_come_is_given_up_and_the_rest_is_played() -> None:
    plan = FaultPlan(
        "given",
        3000,
        (Step("power-off", "1", 100, 2800), Step("freeze-vcpu", "0", 1200, 200)),
        operator=False,
        rejoined_ms=(1000,),  # while node 1 is off
    )
    with started(SEED) as cluster:
        begun = cluster.clock
        assert play(cluster, plan) == []
        (frozen,) = [event for event in cluster.events() if event["kind"] == "fault-injected"]
        assert frozen["t"] - begun == pytest.approx(1.2 + cluster.default_timeout_s, abs=0.2)


# -- what only one back end can do


@pytest.mark.parametrize(
    ("kind", "backend"), [(name, one) for name, kind in KINDS.items() for one in BACKENDS if one in kind.lacking]
)
def test_what_a_back_end_cannot_do_is_refused_by_name_before_anything_is_booted(  # S10.9
    kind: str, backend: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    needed = {"clock-step": {"seconds": 60}, "slow-cpu": {"ms": 4}}
    with started(SEED) as cluster:
        cluster.pass_time(0.3)
        about = {"fault": kind, "whom": "1", "nodes": [1], "parameters": check(kind, needed[kind])}
        number = cluster.caller.call("begin_injection", **about)["number"]
        cluster.caller.call("note_injection", number=number, step="holds")
        cluster.pass_time(0.2)
    capsys.readouterr()
    assert main.main(["replay", str(cluster.run_dir), "--backend", backend]) == 2
    told = capsys.readouterr()
    assert f"fault {kind}: {KINDS[kind].lacking[backend]}; `--backend " in told.err
    assert told.out == ""
    assert newest(tmp_path) == cluster.run_dir, "a cluster was started"


def test_a_verb_that_only_the_simulator_has_is_refused_on_guests_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with started(SEED) as cluster:
        cluster.simulation.slow_down(cluster.nodes[1], 4)
        cluster.pass_time(0.3)
    assert main.main(["replay", str(cluster.run_dir), "--backend", QEMU]) == 2
    assert "fault slow-cpu: " in capsys.readouterr().err
    assert newest(tmp_path) == cluster.run_dir


@pytest.mark.parametrize(
    ("step", "told"),
    [
        (Step("warp", "1", 5, 5), "no fault 'warp'"),
        (Step("link-loss", "1", 5, 5, {"share": 5000}), "share = 5000"),
        (Step("power-off", "7", 5, 5), "no node 7"),
        (Step("link-split", "1", 5, 5, {"groups": [[0], [64]]}), "no node 64"),
    ],
)
def test_a_recording_that_tells_of_what_cannot_be_is_refused(step: Step, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        FaultPlan("recorded", 9, (step,)).check(3, None)
