"""Programs in real guests take part in the transitions; one that never answers costs its node, by a kernel panic."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import images
from hil.checkers import level_order
from hil.client import Node
from hil.config import make_config
from hil.machine import accelerator
from hil.scenario import ScenarioCluster
from hil.timing import timing_factor

pytestmark = pytest.mark.lab

PROGRAM = """
from guestd.client import register
with register("{name}", order=50, barriers={{"join": 2}}) as subsystem:
    while notification := subsystem.wait():
        print(*((one.node, one.transition, one.barrier) for one in notification.transitions), flush=True)
        if any(one.transition == "{mute_at}" for one in notification.transitions):
            import signal
            signal.pause()
        subsystem.acknowledge(notification)
"""


@pytest.fixture
def cluster() -> Iterator[ScenarioCluster]:
    # Shorter than usual, for one that never answers; the others need it, too, and the more the slower the machine is.
    timing = {"subsystem_ms": round(2400 * timing_factor(accelerator(images.ensure()).kind, nodes=3))}
    cluster = ScenarioCluster.up(make_config(name=f"t-programs-{os.getpid()}", nodes=3, timing=timing))
    try:
        cluster.wait_joined()
        yield cluster
        cluster.check_panics()
        level_order.check(cluster.events())
    finally:
        cluster.down()


def start(node: Node, name: str, mute_at: str = "nothing") -> None:
    """Run a program in the guest, on its own; what it is told goes to /tmp/NAME."""
    source = PROGRAM.format(name=name, mute_at=mute_at)
    node.ssh(f"cat > /tmp/{name}.py <<'END'\n{source}\nEND")
    node.ssh(f"PYTHONPATH=/usr/lib/hil setsid python3.11 /tmp/{name}.py > /tmp/{name} 2>&1 < /dev/null &")


def caught_up(cluster: ScenarioCluster, node: Node, since: int) -> None:
    def why_not(_: object) -> str | None:
        events = cluster.events(since=since)
        done = any(
            (event["kind"], event["node"]) == ("caught-up", node.id) and event["subsystem"] != "event-manager"
            for event in events
        )
        return None if done else f"node {node.id}'s program has not caught up"

    cluster.wait(why_not, about="a late registration")


def test_a_program_hears_of_all_nodes_and_one_that_is_mute_costs_its_node(  # S4.12, S4.13, S8.6, A14
    cluster: ScenarioCluster,
) -> None:
    good, bad, leaving = cluster.nodes
    before = cluster.catch_up().n
    start(good, "good")
    start(bad, "bad", mute_at="leave")
    for node in (good, bad):
        caught_up(cluster, node, before)
    assert good.ssh("cat /tmp/good").stdout.splitlines() == [
        "(0, 'join', 0) (1, 'join', 0) (2, 'join', 0)",
        "(0, 'join', 1) (1, 'join', 1) (2, 'join', 1)",
    ]

    subsystem_ms = cluster.settings["settings"]["timing"]["subsystem_ms"]
    with cluster.expecting_panic(bad, f"subsystem bad did not acknowledge within {subsystem_ms} ms"):
        cluster.shutdown(leaving)
    cluster.wait_off(leaving)  # its leave did not hang on the mute one
    cluster.wait_state(bad, "inactive")
    (cause,) = (event["cause"] for event in cluster.events(since=before) if event["kind"] == "panic")
    assert cause == "subsystem-hung"
    told = good.ssh("cat /tmp/good").stdout.splitlines()
    assert "(2, 'leave', 0)" in told
    assert "(1, 'forced-leave', 0)" in told
    assert good.view.state == "joined"
