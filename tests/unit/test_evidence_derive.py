"""Faults read out of a recorded run: those that a cluster had, when, whom they struck and for how long."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hil.evidence import layout
from hil.evidence.derive import AFTER_MS, JOINED, POWER_ON, Derived, derive
from hil.play import play
from hil.scenario import ScenarioCluster
from hil.sim.plan import Fault, Plan
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


def shown(found: Derived) -> list[tuple[str, dict[str, Any]]]:
    return [(fault.kind, fault.parameters()) for fault in found.plan.faults]


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


ONE: dict[str, tuple[Do, str, dict[str, Any]]] = {
    "silent": (link, "cut-node", {"node": 1}),
    "silent, one way": (
        lambda c: link(c, direction="in"),
        "cut-one-way",
        {"node": 1, "others": (0, 2), "direction": "in"},
    ),
    "silent, from one": (lambda c: link(c, 2), "cut-link", {"node": 1, "others": (2,)}),
    "one way, to one": (
        lambda c: link(c, 2, direction="out"),
        "cut-one-way",
        {"node": 1, "others": (2,), "direction": "out"},
    ),
    "vcpu": (lambda c: frozen(c, "vcpu"), "freeze-vcpu", {"node": 1, "drops": False}),
    "process": (lambda c: frozen(c, "process"), "freeze-process", {"node": 1, "drops": False}),
    "hang": (lambda c: disk(c, "hang", 1), "disk-hang", {"node": 1}),
    "hang of all": (lambda c: disk(c, "hang", None), "disk-hang-all", {}),
    "writes": (lambda c: disk(c, "delay-writes", 1), "delay-writes", {"node": 1}),
    "errors": (lambda c: disk(c, "error", 1), "disk-errors", {"node": 1, "share": 1000}),
    "library: silent, from one": (
        lambda c: library(c, "link-silent", "1", others=[2], direction="in"),
        "cut-one-way",
        {"node": 1, "others": (2,), "direction": "in"},
    ),
    "library: silent, of one": (lambda c: library(c, "link-silent", "1"), "cut-node", {"node": 1}),
    "library: split": (
        lambda c: library(c, "link-split", "all", groups=[[1], [0, 2]]),
        "split",
        {"groups": ((1,), (0, 2))},
    ),
    "power": (lambda c: off(c, 1), "crash", {"node": 1}),
    "power of two": (lambda c: off(c, 0, 2), "power-failure", {"nodes": (0, 2)}),
}


@pytest.mark.parametrize("what", ONE)
def test_a_fault_of_a_run_is_a_fault_of_its_plan(what: str) -> None:
    do, kind, parameters = ONE[what]
    found = of_run(do)
    assert shown(found) == [(kind, parameters)]
    (fault,) = found.plan.faults
    assert (found.begins, found.left_out) == (JOINED, ())
    assert abs(fault.at_ms - 500) < 100
    assert -5 < fault.for_ms - 300 < 105  # the library looks for a tenth of a second whether it holds


def test_cuts_between_groups_are_one_split() -> None:
    def split(cluster: ScenarioCluster) -> None:
        a, b, c, d = cluster.nodes
        cluster.split([a, c], [b, d])
        cluster.pass_time(0.2)
        cluster.heal_link(a)
        cluster.pass_time(0.2)
        cluster.heal_link(c)

    found = of_run(split, nodes=4)
    assert shown(found) == [("split", {"groups": ((0, 2), (1, 3))})]
    assert abs(found.plan.faults[0].for_ms - 400) < 5


def test_a_split_that_leaves_a_node_with_everybody_is_no_split_of_a_plan() -> None:
    found = of_run(lambda c: c.split([c.nodes[0]], [c.nodes[1]]))
    assert shown(found) == [("cut-link", {"node": 0, "others": (1,)}), ("cut-link", {"node": 1, "others": (0,)})]


def test_what_was_never_healed_lasts_to_the_end() -> None:
    def cut(cluster: ScenarioCluster) -> None:
        cluster.cut_link(cluster.nodes[2], "silent")
        cluster.pass_time(0.4)

    (fault,) = of_run(cut).plan.faults
    assert (fault.kind, abs(fault.for_ms - 400) < 5) == ("cut-node", True)


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
    assert [(fault.kind, fault.node, fault.for_ms) for fault in found.plan.faults] == [
        ("panic", 1, 0),
        ("leave", 2, 0),
        ("crash", 0, 0),
    ]


def test_a_node_that_is_frozen_and_loses_its_power_is_frozen_no_more() -> None:
    def do(cluster: ScenarioCluster) -> None:
        cluster.freeze(cluster.nodes[1], "process")
        cluster.pass_time(0.2)
        off(cluster, 1)

    frozen, crash = of_run(do).plan.faults
    assert (frozen.kind, crash.kind) == ("freeze-process", "crash")
    assert abs(frozen.end_ms - crash.at_ms) <= 1


@pytest.mark.parametrize(
    ("do", "told"),
    [
        (lambda c: disk(c, "torn", 1), "disk-torn: no plan has it"),
        (lambda c: disk(c, "hang", 1, direction="write"), "disk-hang: a plan has it for "),
        (lambda c: disk(c, "error", 1, lba=(0, 7)), "disk-error: no plan has it with lba"),
        (lambda c: c.simulation.lose_datagrams(0.5), "datagram-loss: no plan has it"),
    ],
)
def test_what_no_plan_has_is_left_out_and_told(do: Do, told: str) -> None:
    found = of_run(do)
    assert found.plan.faults == ()
    (line,) = found.left_out
    assert line.startswith("event ")
    assert told in line


def test_a_carrier_that_is_down_is_played_as_a_silent_cut_and_that_is_told() -> None:
    found = of_run(lambda c: link(c, how="carrier"))
    assert shown(found) == [("cut-node", {"node": 1})]
    assert "played as a silent cut" in found.left_out[0]


def test_before_all_have_joined_times_count_from_power_on() -> None:
    def do(cluster: ScenarioCluster) -> None:
        cluster.pass_time(0.1)
        off(cluster, 1)
        cluster.wait_joined()

    found = of_run(do, joined=False)
    assert (found.begins, found.master) == (POWER_ON, None)
    (fault,) = found.plan.faults
    assert abs(fault.at_ms - 100) < 5


def test_a_run_without_faults_has_an_empty_plan_and_ends_in_time() -> None:
    found = of_run(lambda c: c.pass_time(AFTER_MS / 1000 + 60))
    assert found.plan.faults == ()
    assert found.plan.until_ms <= AFTER_MS + 1
    assert derive([], 3).plan == Plan(1)


PLAN = Plan(
    6000,
    (
        Fault("cut-node", 300, 200, node=0),
        Fault("freeze-vcpu", 600, 150, node=1, drops=False),
        Fault("crash", 1000, 2500, node=2),
        Fault("disk-hang", 1200, 700, node=1),
        Fault("split", 5000, 100, groups=((0,), (1, 2))),
    ),
)


def test_a_plan_that_is_played_is_read_out_again() -> None:
    with started(1) as cluster:
        assert play(cluster, PLAN, operator=False) == []
    found = derived(cluster)
    assert [replace_times(fault) for fault in found.plan.faults] == [replace_times(fault) for fault in PLAN.faults]
    for one, other in zip(found.plan.faults, PLAN.faults, strict=True):
        assert abs(one.at_ms - other.at_ms) < 60, one  # it began to play a moment after all had joined
        assert abs(one.for_ms - other.for_ms) <= 1, one


def replace_times(fault: Fault) -> tuple[str, dict[str, Any]]:
    return fault.kind, fault.parameters()


def test_another_master_takes_the_place_of_the_first_one() -> None:
    plan = Plan(
        900,
        (
            Fault("cut-link", 10, 20, node=0, others=(1, 2)),
            Fault("split", 30, 40, groups=((0, 1), (2,))),
            Fault("power-failure", 50, 0, nodes=(0, 2)),
            Fault("disk-hang-all", 60, 5),
        ),
    )
    given = Derived(plan, JOINED, master=0)
    assert given.with_master(0) is given
    found = given.with_master(2).plan
    assert found.faults[0] == Fault("cut-link", 10, 20, node=2, others=(1, 0))
    assert found.faults[1].groups == ((2, 1), (0,))
    assert found.faults[2].nodes == (2, 0)
    assert found.faults[3] == plan.faults[3]
    found.check(3)


def test_slower_clusters_have_their_faults_later_and_longer() -> None:
    found = Derived(PLAN, JOINED).scaled(2.5).plan
    assert (found.until_ms, found.faults[0].at_ms, found.faults[0].for_ms) == (15_000, 750, 500)
    shortest = Derived(Plan(10, (Fault("cut-node", 1, 1, node=0), Fault("panic", 2, node=1))), JOINED).scaled(0.1).plan
    assert [fault.for_ms for fault in shortest.faults] == [1, 0]


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
        assert play(cluster, found.with_master(cluster.master.id).plan, operator=False) == []
        assert len(cluster.panics.panics) == 1
        cluster.wait_joined()
