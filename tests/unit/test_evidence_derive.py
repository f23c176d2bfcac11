"""Faults read out of a recorded run: those that a cluster had, when, whom they struck and for how long."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hil.errors import NothingToStrike
from hil.evidence import layout
from hil.evidence.derive import AFTER_MS, JOINED, POWER_ON, Derived, derive
from hil.faults.fault import SIM
from hil.faults.library import KINDS
from hil.faults.plan import FaultPlan, Step
from hil.play import play
from hil.scenario import ScenarioCluster
from tests.unit.sim_cluster import started

Do = Callable[[ScenarioCluster], Any]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def derived(cluster: ScenarioCluster) -> Derived:
    events = [json.loads(line) for line in (cluster.run_dir / layout.EVENTS).read_text().splitlines()]
    return derive(events, len(cluster.nodes))


def of_run(do: Do, *, joined: bool = True, nodes: int = 3) -> Derived:
    """What is read out of a run in which that was done, half a second after all had joined."""
    with started(1, joined=joined, nodes=nodes) as cluster:
        if joined:
            cluster.pass_time(0.5)
        do(cluster)
    return derived(cluster)


def shown(found: Derived) -> list[tuple[str, str, dict[str, Any]]]:
    return [(step.kind, step.whom, dict(step.parameters)) for step in found.plan.steps]


def link(cluster: ScenarioCluster, *others: int, how: str = "silent", direction: str = "both") -> None:
    cluster.cut_link(cluster.nodes[1], how, direction, [cluster.nodes[other] for other in others] or None)
    cluster.pass_time(0.3)
    cluster.heal_link(cluster.nodes[1])


def frozen(cluster: ScenarioCluster, how: str) -> None:
    cluster.freeze(cluster.nodes[1], how)
    cluster.pass_time(0.3)
    cluster.thaw(cluster.nodes[1])


def disk(cluster: ScenarioCluster, kind: str, node: int | None, **how: Any) -> None:
    fault = cluster.disk.inject(kind, None if node is None else cluster.nodes[node], **how)
    cluster.pass_time(0.3)
    fault.heal()


def off(cluster: ScenarioCluster, *nodes: int) -> None:
    chosen = [cluster.nodes[node] for node in nodes]
    cluster.power_off(chosen)
    cluster.pass_time(0.3)
    cluster.power_on(chosen)


def library(cluster: ScenarioCluster, kind: str, whom: str, **parameters: Any) -> None:
    with cluster.inject(kind, whom, **parameters):
        cluster.pass_time(0.3)


ONE: dict[str, tuple[Do, str, str, dict[str, Any]]] = {
    "silent": (link, "link-silent", "1", {}),
    "silent, one way": (lambda c: link(c, direction="in"), "link-silent", "1", {"direction": "in"}),
    "silent, from one": (lambda c: link(c, 2), "link-silent", "1", {"others": [2]}),
    "one way, to one": (
        lambda c: link(c, 2, direction="out"),
        "link-silent",
        "1",
        {"direction": "out", "others": [2]},
    ),
    "carrier": (lambda c: link(c, how="carrier"), "link-carrier", "1", {}),
    "vcpu": (lambda c: frozen(c, "vcpu"), "freeze-vcpu", "1", {}),
    "process": (lambda c: frozen(c, "process"), "freeze-process", "1", {}),
    "hang": (lambda c: disk(c, "hang", 1), "disk-hang", "1", {}),
    "hang of all": (lambda c: disk(c, "hang", None), "disk-hang", "all", {}),
    "hang of writes": (lambda c: disk(c, "hang", 1, direction="write"), "disk-hang", "1", {"direction": "write"}),
    "hang of one LUN": (
        lambda c: disk(c, "hang", 1, direction="reserve", lun=0),
        "disk-hang",
        "1",
        {"direction": "reserve", "lun": 0},
    ),
    "writes": (lambda c: disk(c, "delay-writes", 1), "disk-delay-writes", "1", {}),
    "errors": (lambda c: disk(c, "error", 1), "disk-error", "1", {"sense": "medium"}),
    "errors of some blocks": (
        lambda c: disk(c, "error", 1, lba=(0, 7), count=3, direction="media"),
        "disk-error",
        "1",
        {"sense": "medium", "lba": [0, 7], "count": 3},
    ),
    "torn": (lambda c: disk(c, "torn", 1, bytes=100), "disk-torn", "1", {"sectors": 1, "bytes": 100}),
    "power": (lambda c: off(c, 1), "power-off", "1", {}),
    "power of two": (lambda c: off(c, 0, 2), "power-off", "0,2", {}),
    "power of all": (lambda c: off(c, 0, 1, 2), "power-off", "all", {}),
}


@pytest.mark.parametrize("what", ONE)
def test_what_a_scenario_does_is_a_fault_of_the_library(what: str) -> None:
    do, kind, whom, parameters = ONE[what]
    found = of_run(do)
    assert shown(found) == [(kind, whom, parameters)]
    (step,) = found.plan.steps
    assert (found.begins, found.left_out) == (JOINED, ())
    assert abs(step.at_ms - 500) < 100
    assert abs(step.for_ms - 300) < 5


NEEDED: dict[str, dict[str, Any]] = {"link-loss": {"share": 300}, "link-delay": {"ms": 20}, "disk-slow": {"ms": 20}}
NEEDED |= {"slow-cpu": {"ms": 5}, "clock-drift": {"ppm": 20_000}, "link-split": {"groups": [[1], [0, 2]]}}
WHOM = {"link-split": "all", "power-off": "0,2"}
HERE = [name for name, kind in KINDS.items() if SIM not in kind.lacking]


@pytest.mark.parametrize("kind", HERE)
def test_each_fault_of_the_library_is_read_out_as_it_was_injected_and_happens_again(kind: str) -> None:  # S10.7, S10.10
    whom, given = WHOM.get(kind, "1"), NEEDED.get(kind, {})
    found = of_run(lambda c: library(c, kind, whom, **given))
    (step,) = found.plan.steps
    assert (step.kind, step.whom) == (kind, whom)
    assert given.items() <= step.parameters.items()
    assert found.left_out == ()
    assert abs(step.at_ms - 500) < 100
    with started(1) as cluster:
        assert play(cluster, found.plan) == []
    again = derived(cluster).plan.steps
    assert [(one.kind, one.whom, one.parameters) for one in again] == [(step.kind, step.whom, step.parameters)]
    assert abs(again[0].at_ms - step.at_ms) < 60


def test_what_did_not_take_hold_is_left_out_and_told() -> None:
    def in_vain(cluster: ScenarioCluster) -> None:
        cluster.power_off([cluster.nodes[1]])
        with pytest.raises(NothingToStrike):
            cluster.inject("freeze-vcpu", "1")
        cluster.power_on([cluster.nodes[1]])

    found = of_run(in_vain)
    assert shown(found) == [("power-off", "1", {})]
    assert "freeze-vcpu: it did not take hold: " in found.left_out[0]


def test_cuts_between_groups_are_one_split() -> None:
    def split(cluster: ScenarioCluster) -> None:
        a, b, c, d = cluster.nodes
        cluster.split([a, c], [b, d])
        cluster.pass_time(0.2)
        cluster.heal_link(a)
        cluster.pass_time(0.2)
        cluster.heal_link(c)

    found = of_run(split, nodes=4)
    assert shown(found) == [("link-split", "all", {"groups": [[0, 2], [1, 3]]})]
    assert abs(found.plan.steps[0].for_ms - 400) < 5


def test_a_split_that_leaves_a_node_with_everybody_is_no_split_of_a_plan() -> None:
    found = of_run(lambda c: c.split([c.nodes[0]], [c.nodes[1]]))
    assert shown(found) == [("link-silent", "0", {"others": [1]}), ("link-silent", "1", {"others": [0]})]


def test_what_was_never_healed_lasts_to_the_end() -> None:
    def cut(cluster: ScenarioCluster) -> None:
        cluster.cut_link(cluster.nodes[2], "silent")
        cluster.pass_time(0.4)

    (step,) = of_run(cut).plan.steps
    assert (step.kind, abs(step.for_ms - 400) < 5) == ("link-silent", True)


def test_orders_and_resets_are_faults_too() -> None:
    def do(cluster: ScenarioCluster) -> None:
        cluster.panic(cluster.nodes[1], "for the test")
        cluster.wait_crashed(cluster.nodes[1])
        cluster.power_cycle([cluster.nodes[1]])
        cluster.shutdown(cluster.nodes[2])
        cluster.wait_off(cluster.nodes[2])
        cluster.power_on([cluster.nodes[2]])
        cluster.wait_joined()
        cluster.reset(cluster.nodes[0])
        cluster.pass_time(1)

    found = of_run(do)
    assert shown(found) == [
        ("panic", "1", {"reason": "for the test"}),
        ("shutdown", "2", {}),
        ("reset", "0", {}),
    ]
    assert [step.for_ms > 0 for step in found.plan.steps] == [True, True, False]  # until it was switched on again


def test_a_node_that_is_frozen_and_loses_its_power_is_frozen_no_more() -> None:
    def do(cluster: ScenarioCluster) -> None:
        cluster.freeze(cluster.nodes[1], "process")
        cluster.pass_time(0.2)
        off(cluster, 1)

    frozen, crash = of_run(do).plan.steps
    assert (frozen.kind, crash.kind) == ("freeze-process", "power-off")
    assert abs(frozen.end_ms - crash.at_ms) <= 1


def test_what_the_library_has_not_is_left_out_and_told() -> None:
    found = of_run(lambda c: c.simulation.lose_datagrams(0.5))
    assert found.plan.steps == ()
    (line,) = found.left_out
    assert line.startswith("event ")
    assert "datagram-loss: the fault library has it not" in line


def test_before_all_have_joined_times_count_from_power_on() -> None:
    def do(cluster: ScenarioCluster) -> None:
        cluster.pass_time(0.1)
        off(cluster, 1)
        cluster.wait_joined()

    found = of_run(do, joined=False)
    assert (found.begins, found.master) == (POWER_ON, None)
    (step,) = found.plan.steps
    assert abs(step.at_ms - 100) < 5


def test_a_run_without_faults_has_an_empty_plan_and_ends_in_time() -> None:
    found = of_run(lambda c: c.pass_time(AFTER_MS / 1000 + 60))
    assert found.plan.steps == ()
    assert found.plan.until_ms <= AFTER_MS + 1
    assert derive([], 3).plan == FaultPlan("recorded", 1, operator=False)


PLAN = FaultPlan(
    "given",
    6000,
    (
        Step("link-silent", "0", 300, 200, {"direction": "both"}),
        Step("freeze-vcpu", "1", 600, 150),
        Step("power-off", "2", 1000, 2500),
        Step("disk-hang", "1", 1200, 700),
        Step("link-split", "all", 5000, 100, {"groups": [[0], [1, 2]]}),
    ),
    operator=False,
)


def test_a_plan_that_is_played_is_read_out_again() -> None:
    with started(1) as cluster:
        assert play(cluster, PLAN) == []
    found = derived(cluster)
    assert shown(found) == [(step.kind, step.whom, dict(step.parameters)) for step in PLAN.steps]
    for one, other in zip(found.plan.steps, PLAN.steps, strict=True):
        assert abs(one.at_ms - other.at_ms) < 60, one  # it began to play a moment after all had joined
        assert abs(one.for_ms - other.for_ms) <= 1, one


def test_another_master_takes_the_place_of_the_first_one() -> None:
    steps = (
        Step("link-silent", "0", 10, 20, {"others": [1, 2]}),
        Step("link-split", "all", 30, 40, {"groups": [[0, 1], [2]]}),
        Step("power-off", "0,1", 50, 0),
        Step("disk-hang", "all", 60, 5, {"count": 2}),
    )
    given = Derived(FaultPlan("recorded", 900, steps), JOINED, master=0)
    assert given.with_master(0) is given
    found = given.with_master(2).plan
    assert found.steps[0] == Step("link-silent", "2", 10, 20, {"others": [1, 0]})
    assert found.steps[1].parameters == {"groups": [[2, 1], [0]]}
    assert found.steps[2].whom == "1,2"
    assert found.steps[3] == steps[3]
    found.check(3, "sim")


def test_slower_clusters_have_their_faults_later_and_longer() -> None:
    found = Derived(PLAN, JOINED).scaled(2.5).plan
    assert (found.until_ms, found.steps[0].at_ms, found.steps[0].for_ms) == (15_000, 750, 500)
    short = (Step("link-silent", "0", 1, 1), Step("reset", "1", 2, 0))
    shortest = Derived(FaultPlan("recorded", 10, short), JOINED).scaled(0.1).plan
    assert [step.for_ms for step in shortest.steps] == [1, 0]


@pytest.mark.parametrize("seed", range(6, 10))
def test_who_has_panicked_and_was_switched_off_at_once_panics_in_a_replay_too(seed: int) -> None:  # S6.1, S10.10
    def cut_and_cycled(cluster: ScenarioCluster) -> None:
        victim = cluster.any_other(*[cluster.master] if cluster.master else [])
        cluster.cut_link(victim, "silent")
        cluster.wait_crashed(victim)
        cluster.heal_link(victim)
        cluster.power_cycle([victim])
        cluster.wait_joined()

    found = of_run(cut_and_cycled)
    with started(10 + seed) as cluster:
        cluster.pass_time(0.05 * seed)
        assert cluster.master is not None
        assert play(cluster, found.with_master(cluster.master.id).plan) == []
        assert len(cluster.panics.panics) == 1
        cluster.wait_joined()
