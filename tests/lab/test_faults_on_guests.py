"""Every fault of the library on real guests: it takes hold, it is undone, and what cannot take hold is invalid (S10.7).

One warm cluster. Faults of one disk command at a time hurt nobody; those that end a life come last.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from hil import Cluster
from hil.beside import Beside
from hil.client import Node
from hil.errors import InvalidRun, NothingToStrike, UsageError
from hil.evidence.derive import derive
from hil.faults.fault import QEMU
from hil.faults.library import KINDS
from hil.faults.plan import FaultPlan, Step
from hil.scenario import ScenarioCluster

pytestmark = pytest.mark.lab

ONCE: dict[str, Any] = {"count": 1}
FREE = 40_000
"""From this block on the disk is nobody's: what is misdirected goes there."""

GIVEN: dict[str, dict[str, Any]] = {
    "link-loss": {"share": 500},
    "link-delay": {"ms": 40},
    "disk-hang": ONCE,
    "disk-delay-writes": ONCE,
    "disk-slow": {"ms": 50, **ONCE},
    "disk-error": {"sense": "busy", **ONCE},
    "disk-reset": {"direction": "read", **ONCE},
    "disk-torn": ONCE,
    "disk-lost": ONCE,
    "disk-misdirected": {"shift": FREE, **ONCE},
    "disk-flip": {"direction": "read", **ONCE},
    "disk-stale": ONCE,
    "disk-offline": ONCE,
    "clock-drift": {"ppm": 20_000},
    "clock-step": {"seconds": -3600},
}
OF_GUESTS = [name for name, kind in KINDS.items() if QEMU not in kind.lacking]


@pytest.fixture
def node(cluster: Cluster) -> Iterator[Node]:
    yield cluster.nodes[1]
    assert cluster.injections() == []


@pytest.mark.parametrize(
    "kind", [*(one for one in OF_GUESTS if not KINDS[one].boots), *(one for one in OF_GUESTS if KINDS[one].boots)]
)
def test_a_fault_takes_hold_on_guests_and_is_undone(cluster: Cluster, node: Node, kind: str) -> None:  # S10.2 to S10.7
    before = cluster.catch_up().n
    with cluster.inject(kind, node, **GIVEN.get(kind, {})) as fault:
        assert fault.step == "holds"
    told = [event for event in cluster.events(since=before) if event["kind"] == "injection"]
    assert [event["step"] for event in told] == ["begun", "holds", "recovering", "undone"]
    print(f"{kind}: held after {told[1]['seconds']:.2f} s, undone after {told[3]['seconds']:.2f} s")
    if not KINDS[kind].boots:
        assert not [event for event in cluster.events(since=before) if event["kind"] == "panic"]


@pytest.mark.parametrize("kind", [name for name in KINDS if name not in OF_GUESTS])
def test_what_guests_cannot_do_is_refused_by_name(cluster: Cluster, kind: str) -> None:
    with pytest.raises(UsageError, match=f"fault {kind}: .*; `--backend sim` can"):
        cluster.inject(kind, 1, ms=5)


def test_what_cannot_take_hold_on_guests_is_invalid(  # S10.7
    cluster: Cluster, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hil.faults.injection.HOLD_S", 3.0)  # a dozen heartbeats are enough to know
    other = cluster.nodes[0]
    cluster.inject("guestd-kill", node)
    cluster.wait_state(node, "inactive")
    with pytest.raises(NothingToStrike, match="its guestd is exited"):
        cluster.inject("guestd-kill", node)
    with pytest.raises(InvalidRun, match=r"did not take hold within .* it has met no datagram yet"):
        cluster.inject("link-silent", node, direction="out")
    with pytest.raises(InvalidRun, match="has struck no command of node 1 yet"):
        cluster.inject("disk-hang", node)
    cluster.power_off([node])
    for kind in ("clock-step", "clock-drift", "link-delay", "subsystem-hang", "freeze-vcpu", "reset"):
        with pytest.raises(NothingToStrike, match="its machine is off"):
            cluster.inject(kind, node, **GIVEN.get(kind, {}))
    with pytest.raises(InvalidRun, match=r"was not notified yet: .*level 10"):
        cluster.inject("subsystem-hang", other, level=10)
    for fault in cluster.injections():
        fault.heal()


def short_plan(cluster: Cluster) -> FaultPlan:
    """By the cluster's own periods: a node has three rounds of disk commands within the fault that they must meet."""
    timing = cluster.settings["settings"]["timing"]
    cut_ms, slow_ms = timing["heartbeat_ms"] * 4, timing["disk_heartbeat_ms"] * 4
    steps = (
        Step("link-silent", "any_other", 200, cut_ms, {"direction": "out"}),
        Step("disk-slow", "all", 600 + cut_ms, slow_ms, {"ms": 20}),
        Step("freeze-vcpu", "master", 1200 + cut_ms + slow_ms, 400),
    )
    return FaultPlan("short", steps[-1].at_ms + 2000, steps)


def test_a_plan_goes_on_while_the_scenario_waits_for_something_else(cluster: Cluster) -> None:  # S10.7
    before, plan = cluster.catch_up().n, short_plan(cluster)
    with ScenarioCluster(cluster.name) as story:
        beside = Beside(story, plan)
        cluster.nodes[0].ssh(f"sleep {plan.until_ms / 1000 + 1}")  # nobody reads events meanwhile
        story.wait_faults_over()
        beside.finish()
    events = list(cluster.events(since=before))
    zero = next(event["t"] for event in events if event["kind"] == "fault-plan")
    begun = [event for event in events if event["kind"] == "injection" and event["step"] == "begun"]
    assert [event["fault"] for event in begun] == [step.kind for step in plan.steps]
    for event, step in zip(begun, plan.steps, strict=True):
        assert event["t"] - zero >= step.at_ms / 1000
    again = derive(list(cluster.events()), len(cluster.nodes)).plan.steps[-len(plan.steps) :]
    assert [step.kind for step in again] == [step.kind for step in plan.steps]
    over = next(event for event in events if event["kind"] == "fault-plan" and event["step"] == "over")
    assert (over["struck"], over["passed_over"]) == (3, 0)
