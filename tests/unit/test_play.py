"""Playing a plan on a cluster: what happens when, and what is refused before anything has happened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guestd.core.timing import Timing
from hil.errors import ClaimFailed, UsageError
from hil.evidence.derive import derive
from hil.faults.injection import HOLD_S
from hil.faults.plan import FaultPlan, Step
from hil.faults.simulated_plan import of_simulated
from hil.play import Fault, Plan, play
from hil.scenario import ScenarioCluster
from tests.unit.sim_cluster import started, world_of


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScenarioCluster]:
    """Three nodes, all joined, node 0 the master."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with started() as made:
        assert made.master is made.nodes[0]
        yield made


def seen(cluster: ScenarioCluster, *steps: str) -> list[tuple[float, str, str, list[int]]]:
    """When which fault came to these steps, in seconds since the plan began: (s, fault, step, nodes)."""
    events = list(cluster.events())
    (zero,) = [event["t"] for event in events if event["kind"] == "fault-plan" and event["step"] == "begun"]
    wanted = steps or ("begun", "recovering")
    return [
        (round(event["t"] - zero, 1), event["fault"], event["step"], event["nodes"])
        for event in events
        if event["kind"] == "injection" and event["step"] in wanted
    ]


def faults(*given: Fault, until_ms: int = 9000) -> Plan:
    return Plan(until_ms, given)


def test_each_fault_begins_and_ends_at_its_time(cluster: ScenarioCluster) -> None:  # S10.7
    plan = faults(
        Fault("freeze-process", 1200, 700, node=1, drops=True),
        Fault("cut-one-way", 2000, 1000, node=2, others=(0, 1), direction="in"),
        Fault("leave", 4000, node="other"),
    )
    assert play(cluster, plan) == []
    assert seen(cluster)[:5] == [
        (1.2, "freeze-process", "begun", [1]),
        (1.9, "freeze-process", "recovering", [1]),
        (2.0, "link-silent", "begun", [2]),
        (3.0, "link-silent", "recovering", [2]),
        (4.0, "shutdown", "begun", [1]),
    ]
    assert [step for _, _, step, _ in seen(cluster, "undone")] == ["undone"] * 3


def test_it_ends_when_nobody_can_be_forced_out_for_it_any_more(cluster: ScenarioCluster) -> None:
    begun = cluster.clock
    play(cluster, faults(until_ms=5000))
    times = Timing(**cluster.settings["settings"]["timing"])
    assert cluster.clock - begun == pytest.approx(5 + (times.death_ms + times.agreed_ms_max) / 1000, abs=0.01)


def test_who_has_no_power_gets_it_back_at_its_time_and_not_before(cluster: ScenarioCluster) -> None:
    before = cluster.view.t
    play(cluster, faults(Fault("power-failure", 1000, 3000, nodes=(0, 2))))
    told = [event for event in cluster.events() if event["kind"] == "power" and event["t"] > before]
    assert [(round(event["t"] - before, 1), event["action"], event["nodes"]) for event in told] == [
        (1.0, "off", [0, 2]),
        (4.0, "on", [0, 2]),
    ]
    cluster.wait_joined()


def test_two_power_failures_overlap_and_the_later_end_counts(cluster: ScenarioCluster) -> None:
    plan = faults(Fault("power-failure", 1000, 2000, nodes=(1, 2)), Fault("crash", 1500, 4000, node=2))
    assert play(cluster, plan) == [plan.faults[1]]  # it was off already
    cluster.wait_joined()


def test_somebody_switches_on_who_has_panicked_or_left(cluster: ScenarioCluster) -> None:
    play(cluster, faults(Fault("panic", 1000, node=2), Fault("leave", 5000, node=1), until_ms=12_000))
    cluster.wait_joined()
    assert [node.view.incarnation for node in cluster.nodes] == [1, 2, 2]


def test_a_cut_that_others_share_goes_on_when_one_of_them_ends(cluster: ScenarioCluster) -> None:
    network = world_of(cluster).network
    reached: dict[str, bool] = {}
    step = cluster.pass_time

    def looking(seconds: float) -> Any:
        for clock, name in ((2.5, "both"), (4.0, "one"), (6.0, "none")):
            if name not in reached and cluster.clock - begun >= clock:
                reached[name] = network.reaches(2, 0)
        return step(seconds)

    cluster.pass_time = looking  # type: ignore[method-assign]
    begun = cluster.clock
    plan = faults(Fault("split", 1000, 2000, groups=((0,), (1, 2))), Fault("cut-link", 1500, 4000, node=2, others=(0,)))
    play(cluster, plan)
    assert reached == {"both": False, "one": False, "none": True}


def test_disk_faults_are_those_of_the_target(cluster: ScenarioCluster) -> None:
    plan = faults(
        Fault("disk-hang-all", 1000, 500),
        Fault("delay-writes", 2000, 500, node="master"),
        Fault("disk-errors", 3000, 500, node=2, share=1000),
    )
    play(cluster, plan)
    told = [event for event in cluster.events() if event["kind"] == "fault-injected"]
    assert [(event["fault"], event["node"]) for event in told] == [
        *(("disk-hang", node) for node in (0, 1, 2)),
        ("disk-delay-writes", 0),
        ("disk-error", 2),
    ]
    assert cluster.disk.status()["faults"] == []


def test_datagrams_are_lost_for_a_while(cluster: ScenarioCluster) -> None:
    play(cluster, faults(Fault("loss", 1000, 4000, share=400)))
    assert world_of(cluster).network.counts["lost"] > 20


def test_the_fence_of_one_lun_is_held_up_by_the_target() -> None:  # A18
    step = of_simulated(Fault("fence-hang", 1000, 500, node="master", lun=2))
    assert (step.kind, step.whom) == ("disk-hang", "master")
    assert step.parameters == {"direction": "reserve", "lun": 2}


def test_all_is_healed_when_the_plan_ends(cluster: ScenarioCluster) -> None:
    play(cluster, faults(Fault("disk-hang", 1000, 60_000, node=1), until_ms=4000))
    assert seen(cluster)[-1] == (4.0, "disk-hang", "recovering", [1])
    assert cluster.injections() == []


def test_what_finds_nothing_to_strike_is_passed_over_and_told(cluster: ScenarioCluster) -> None:
    frozen = Fault("freeze-vcpu", 1000, 3000, node=1, drops=False)
    again, orders = Fault("freeze-process", 2000, 500, node=1, drops=False), Fault("leave", 2200, node=1)
    assert play(cluster, Plan(5000, (frozen, again, orders))) == [again, orders]
    assert [one[1] for one in seen(cluster, "nothing")] == ["freeze-process", "shutdown"]


def test_a_node_may_panic_while_a_plan_is_played_and_not_before(cluster: ScenarioCluster) -> None:  # S10.8
    quiet, loud = cluster.nodes[1], cluster.nodes[2]
    world_of(cluster).nodes[1].order("panic", "for nothing")
    cluster.wait_crashed(quiet)
    cluster.power_cycle([quiet])
    cluster.wait_joined()
    play(cluster, faults(Fault("cut-node", 500, 8000, node=2), until_ms=9000))
    assert loud.view.incarnation == 2, "it was to be forced out"
    with pytest.raises(ClaimFailed, match="node 1 panicked") as refused:
        cluster.check_panics()
    assert "node 2" not in str(refused.value)


def test_a_panic_that_is_ordered_where_any_is_allowed_is_the_one_that_was_declared(cluster: ScenarioCluster) -> None:
    play(cluster, faults(Fault("panic", 1000, node=2)))
    cluster.check_panics()


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Fault("doom", 5, 100, node=0, effects=3), "fault doom at 5 ms: no machine can be stopped between two effects"),
        (Fault("slow-cpu", 5, 100, node=0, cost_us=9), "fault slow-cpu at 5 ms: no machine takes a given time"),
        (Fault("disk-errors", 5, 100, node=0, share=300), "fault disk-errors at 5 ms: share = 300 (legal: 1000)"),
        (Fault("fence-errors", 5, 9, node=0, lun=0, share=9), "fault fence-errors at 5 ms: no target refuses a"),
        (Fault("crash", 5, node=3), "fault crash at 5 ms: node 3 (legal: 0 to 2)"),
    ],
)
def test_what_no_bench_can_do_is_refused_by_name_before_anything_starts(
    cluster: ScenarioCluster, fault: Fault, told: str
) -> None:
    before, clock = cluster.view.n, cluster.clock
    with pytest.raises(UsageError) as refused:
        play(cluster, Plan(9000, (Fault("panic", 1, node=0), fault)))
    assert told in str(refused.value)
    assert cluster.poll().n == before
    assert cluster.clock == clock


# -- plans of the library


def test_what_a_run_has_had_is_a_plan_again(cluster: ScenarioCluster) -> None:
    plan = FaultPlan(
        "given",
        12_000,
        (
            Step("freeze-vcpu", "2", 1000, 800),
            Step("link-silent", "master", 3000, 1000, {"direction": "out"}),
            Step("power-off", "1,2", 6000, 2000),
        ),
    )
    assert play(cluster, plan) == []
    again = derive(list(cluster.events()), len(cluster.nodes)).plan
    assert [(step.kind, step.whom, step.for_ms) for step in again.steps] == [
        ("freeze-vcpu", "2", 800),
        ("link-silent", "0", 1000),
        ("power-off", "1,2", 2000),
    ]
    first_ms = again.steps[0].at_ms  # times count from when all had joined
    assert [step.at_ms - first_ms for step in again.steps] == [0, 2000, 5000]
    assert again.steps[1].parameters == {"direction": "out"}


def test_a_fault_on_nodes_that_another_keeps_off_is_over_with_that_one(cluster: ScenarioCluster) -> None:
    plan = FaultPlan("given", 9000, (Step("reset", "1", 1000, 200), Step("power-off", "1", 1100, 3000)))
    play(cluster, plan)
    cluster.wait_joined()
    assert cluster.injections() == []


def test_a_fault_may_begin_where_another_one_on_its_node_ends(cluster: ScenarioCluster) -> None:
    plan = FaultPlan("given", 3000, (Step("freeze-vcpu", "1", 500, 300), Step("freeze-process", "1", 800, 300)))
    assert play(cluster, plan) == []


RARE = Step("disk-slow", "2", 1100, 1, {"ms": 20, "direction": "write"})
"""For a millisecond: no node writes so often."""
AFTER = Step("freeze-process", "1", 1301, 300)


def test_what_had_struck_in_a_recording_is_not_over_before_it_strikes(cluster: ScenarioCluster) -> None:  # S10.7
    assert play(cluster, FaultPlan("recorded", 3000, (RARE, AFTER), recorded=True)) == []
    (begun, held, healed, frozen) = [
        at_s
        for at_s, fault, step, _ in seen(cluster, "begun", "holds", "recovering")
        if fault == RARE.kind or step == "begun"
    ]
    assert begun == pytest.approx(1.1, abs=0.05)
    assert 0.1 < held <= healed < held + 0.25
    assert frozen == pytest.approx(healed + 0.2, abs=0.11)  # as long after it as it was


@pytest.mark.parametrize(
    "plan",
    [
        FaultPlan("of a file", 3000, (RARE, AFTER)),
        FaultPlan("recorded", 3000, (replace(RARE, drawn=True), AFTER), recorded=True),
    ],
    ids=["nobody has recorded it", "nobody had seen it strike"],
)
def test_what_need_not_strike_is_over_at_its_time(cluster: ScenarioCluster, plan: FaultPlan) -> None:
    assert play(cluster, plan) == [plan.steps[0]]
    assert (1.3, AFTER.kind, "begun", [1]) in seen(cluster)


def test_what_had_struck_in_a_recording_is_given_up_in_the_end(cluster: ScenarioCluster) -> None:
    never = replace(RARE, parameters={**RARE.parameters, "lba": [0, 1]})
    assert play(cluster, FaultPlan("recorded", 3000, (never, AFTER), recorded=True)) == [never]
    ((at_s, *_),) = seen(cluster, "failed")
    assert at_s == pytest.approx(1.1 + HOLD_S * cluster.speed_factor, abs=0.3)
    (frozen,) = [at_s for at_s, fault, step, _ in seen(cluster) if (fault, step) == (AFTER.kind, "begun")]
    assert frozen == pytest.approx(at_s + 0.2, abs=0.11)


CUT = Step("link-silent", "2", 1000, 500)
"""Too short for anybody to be forced out for it."""


def test_nothing_that_came_after_a_panic_comes_before_it(cluster: ScenarioCluster) -> None:  # S10.10
    after = Step("power-off", "2", 2000, 700)
    plan = FaultPlan("recorded", 4000, (CUT, after), operator=False, recorded=True, crashed_ms=((1400, 2),))
    assert play(cluster, plan) == []
    events = list(cluster.events())
    (begun,) = [event["t"] for event in events if event["kind"] == "fault-plan" and event["step"] == "begun"]
    (crashed,) = [event["t"] for event in events if event["kind"] == "machine-crashed"]
    assert crashed - begun > 2  # in the recording it was cut for half a second, and panicked at its end
    times = {(fault, step): at_s for at_s, fault, step, _ in seen(cluster)}
    assert times["link-silent", "recovering"] == pytest.approx(crashed - begun + 0.1, abs=0.15)
    assert times["power-off", "begun"] == pytest.approx(crashed - begun + 0.6, abs=0.15)
    cluster.wait_joined()


def test_a_panic_that_does_not_come_is_given_up(cluster: ScenarioCluster) -> None:
    plan = FaultPlan("recorded", 3000, (CUT, AFTER), operator=False, recorded=True, crashed_ms=((1250, 0),))
    assert play(cluster, plan) == []
    (frozen,) = [at_s for at_s, fault, step, _ in seen(cluster) if (fault, step) == (AFTER.kind, "begun")]
    assert frozen == pytest.approx(1.3 + HOLD_S * cluster.speed_factor, abs=0.3)
