"""Faults read out of a recorded run: those that a cluster had, when, whom they struck and for how long."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hil.errors import InvalidRun, NothingToStrike
from hil.evidence import layout
from hil.evidence.derive import AFTER_MS, JOINED, POWER_ON, Derived, derive
from hil.faults.plan import FaultPlan, Step
from hil.play import play
from hil.scenario import ScenarioCluster
from tests.unit.sim_cluster import started

Do = Callable[[ScenarioCluster], Any]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def events_of(cluster: ScenarioCluster) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (cluster.run_dir / layout.EVENTS).read_text().splitlines()]


def derived(cluster: ScenarioCluster) -> Derived:
    return derive(events_of(cluster), len(cluster.nodes))


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


def slow(cluster: ScenarioCluster) -> None:
    cluster.simulation.slow_down(cluster.nodes[1], 3)
    cluster.pass_time(0.3)
    cluster.simulation.slow_down(cluster.nodes[1], 0)


def loss(cluster: ScenarioCluster) -> None:
    cluster.simulation.lose_datagrams(0.4)
    cluster.pass_time(0.3)
    cluster.simulation.lose_datagrams(0)


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
    "busy": (
        lambda c: disk(c, "error", 1, direction="any", sense="busy"),
        "disk-error",
        "1",
        {"sense": "busy", "direction": "any"},
    ),
    "no logins": (lambda c: disk(c, "refuse-login", 1), "disk-refuse-login", "1", {}),
    "cache": (lambda c: disk(c, "volatile-cache", None), "disk-volatile-cache", "all", {"lose": "all", "seed": 0}),
    "slow node": (slow, "slow-cpu", "1", {"ms": 3}),
    "loss": (loss, "link-loss", "all", {"share": 400}),
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


def test_an_injection_is_one_fault_whatever_the_bench_tells_of_it() -> None:
    def inject(cluster: ScenarioCluster) -> None:
        with cluster.inject("power-off", "1,2"):
            cluster.pass_time(0.3)
        with cluster.inject("panic", 1, reason="for the test"):
            cluster.pass_time(0.3)
        with cluster.inject("link-split", "all", groups=[[1], [0, 2]]), cluster.inject("disk-hang", "all"):
            cluster.pass_time(0.3)

    assert shown(of_run(inject)) == [
        ("power-off", "1,2", {}),
        ("panic", "1", {"reason": "for the test"}),
        ("link-split", "all", {"groups": [[1], [0, 2]]}),
        ("disk-hang", "all", {}),
    ]


def test_what_was_done_while_an_injection_is_in_force_is_a_fault_of_its_own() -> None:
    def inject(cluster: ScenarioCluster) -> None:
        with cluster.inject("link-silent", 1, others=[2]):
            cluster.pass_time(0.2)
            link(cluster, 0)
        with cluster.inject("freeze-vcpu", 1):
            cluster.pass_time(0.1)
            cluster.thaw(cluster.nodes[1])
            frozen(cluster, "vcpu")
        with cluster.inject("power-off", 1):
            cluster.pass_time(0.1)
            cluster.power_on([cluster.nodes[1]])
            off(cluster, 1)

    steps = of_run(inject).plan.steps
    assert [(step.kind, step.whom) for step in steps] == [
        ("link-silent", "1"),
        ("link-silent", "1"),
        ("freeze-vcpu", "1"),
        ("freeze-vcpu", "1"),
        ("power-off", "1"),
        ("power-off", "1"),
    ]
    assert [abs(step.for_ms - 300) < 5 for step in steps[1::2]] == [True] * 3
    # Whoever heals a node's link, has it go on, or switches it on ends the injection, too.
    assert abs(steps[0].end_ms - steps[1].end_ms) < 5
    assert abs(steps[2].for_ms - 100) < 5
    assert abs(steps[4].for_ms - 100) < 5


def test_what_did_not_take_hold_is_left_out_and_told() -> None:
    def in_vain(cluster: ScenarioCluster) -> None:
        cluster.power_off([cluster.nodes[1]])
        with pytest.raises(NothingToStrike):
            cluster.inject("freeze-vcpu", "1")
        cluster.power_on([cluster.nodes[1]])

        cluster.wait_joined()
        cluster.caller.call("kill_guestd", nodes=[1])
        cluster.wait_state(cluster.nodes[1], "inactive")
        with pytest.raises(InvalidRun):
            cluster.inject("link-silent", "1", direction="out")

    found = of_run(in_vain)
    assert shown(found) == [("power-off", "1", {})]
    assert "freeze-vcpu: it did not take hold: " in found.left_out[0]
    assert "link-silent: it did not take hold: " in found.left_out[1]


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


def test_a_split_leaves_whoever_is_in_no_group_with_everybody() -> None:
    found = of_run(lambda c: c.split([c.nodes[0]], [c.nodes[1]]))
    assert shown(found) == [("link-split", "0,1", {"groups": [[0], [1]]})]


def test_a_cut_from_two_of_which_one_is_healed_goes_on_from_the_other() -> None:
    def cut(cluster: ScenarioCluster) -> None:
        cluster.cut_link(cluster.nodes[0], "silent", others=[cluster.nodes[1], cluster.nodes[2]])
        cluster.pass_time(0.2)
        cluster.heal_link(cluster.nodes[2])
        cluster.pass_time(0.1)
        cluster.heal_link(cluster.nodes[0])

    found = of_run(cut, nodes=4)
    assert [(step.parameters["others"], round(step.for_ms, -1)) for step in found.plan.steps] == [
        ([2], 200),
        ([1], 300),
    ]


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


def test_what_is_done_to_a_machine_that_is_off_begins_when_it_starts() -> None:
    def do(cluster: ScenarioCluster) -> None:
        node = cluster.nodes[1]
        cluster.power_off([node])
        cluster.pass_time(0.1)
        link(cluster)  # cut and healed: it has heard nothing of that
        cluster.cut_link(node, "carrier")
        cluster.pass_time(0.1)
        cluster.power_on([node])
        cluster.pass_time(0.5)
        cluster.heal_link(node)

    power, carrier = of_run(do).plan.steps
    assert (power.kind, carrier.kind) == ("power-off", "link-carrier")
    assert (carrier.at_ms - power.end_ms, abs(carrier.for_ms - 500) < 5) == (1, True)


def test_who_loses_its_power_while_it_leaves_is_off_until_it_is_switched_on() -> None:
    def do(cluster: ScenarioCluster) -> None:
        cluster.shutdown(cluster.nodes[1])
        off(cluster, 1)

    order, power = of_run(do).plan.steps
    assert (order.kind, power.kind) == ("shutdown", "power-off")
    assert order.end_ms == power.end_ms == power.at_ms + 300


def test_a_node_that_is_frozen_and_loses_its_power_is_frozen_no_more() -> None:
    def do(cluster: ScenarioCluster) -> None:
        cluster.freeze(cluster.nodes[1], "process")
        cluster.pass_time(0.2)
        off(cluster, 1)

    frozen, crash = of_run(do).plan.steps
    assert (frozen.kind, crash.kind) == ("freeze-process", "power-off")
    assert abs(frozen.end_ms - crash.at_ms) <= 1


def test_what_the_library_has_in_another_way_is_told() -> None:
    def do(cluster: ScenarioCluster) -> None:
        disk(cluster, "torn", None, count=5, lba=(40_000, 40_001))
        cluster.simulation.slow_down(cluster.nodes[1], 0.4)

    found = of_run(do)
    assert [step.kind for step in found.plan.steps] == ["disk-torn", "slow-cpu"]
    assert found.plan.steps[0].drawn, "it has struck nothing, so it need not"
    counts, whole = found.left_out
    assert "disk-torn: its count is of each node when it is played" in counts
    assert "slow-cpu of 0.4 ms: played as 1 ms" in whole


def test_a_recording_of_an_older_version_says_what_it_lacks() -> None:
    with started(1) as cluster:
        cluster.simulation.lose_datagrams(0.4)
        cluster.simulation.slow_down(cluster.nodes[1], 2)
        cluster.pass_time(0.2)
    old = [{key: value for key, value in event.items() if key not in ("share", "ms")} for event in events_of(cluster)]
    found = derive(old, 3)
    assert found.plan.steps == ()
    assert [line.partition(": ")[2] for line in found.left_out] == [
        "datagram-loss: the recording does not say which share",
        "slow-cpu: the recording does not say how slow",
    ]


def test_a_recording_that_is_cut_short_within_an_injection_has_it() -> None:
    with started(1) as cluster, cluster.inject("freeze-vcpu", 1):
        cluster.pass_time(0.2)
    events = events_of(cluster)
    cut = next(place for place, event in enumerate(events) if event["kind"] == "injection")
    (step,) = derive(events[: cut + 1], 3).plan.steps
    assert (step.kind, step.whom, step.drawn) == ("freeze-vcpu", "1", True)


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
    assert derive([], 3).plan == FaultPlan("recorded", 1, operator=False, recorded=True)


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


CUT = FaultPlan("cut", 9000, (Step("link-silent", "2", 500, 6000),), operator=True)


def test_the_operator_of_a_plan_is_one_of_its_replay() -> None:
    with started(1) as cluster:
        assert play(cluster, CUT) == []
        cluster.wait_joined()
    found = derived(cluster)
    assert any(event["kind"] == "machine-crashed" for event in events_of(cluster)), "nobody was forced out"
    assert found.plan.operator
    assert [step.kind for step in found.plan.steps] == ["link-silent"]


def test_where_somebody_else_has_switched_on_too_the_operator_did_faults_as_well() -> None:
    def cut_again(cluster: ScenarioCluster) -> None:
        assert play(cluster, CUT) == []
        cluster.wait_joined()
        cluster.pass_time(10)
        cluster.cut_link(cluster.nodes[2], "silent")
        cluster.wait_crashed(cluster.nodes[2])
        cluster.heal_link(cluster.nodes[2])
        cluster.power_cycle([cluster.nodes[2]])
        cluster.wait_joined()

    plan = of_run(cut_again).plan
    assert not plan.operator
    assert [(step.kind, step.whom) for step in plan.steps] == [("link-silent", "2"), ("power-off", "2")] * 2


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
