"""The interconnect of one node is cut silently: the others force it out, and it panics with its reason.

Its network card still has a carrier; it just hears nobody and nobody hears it. On the disk all are alive, and publish
there whom they hear. The others are the larger group: they go on and force the silent node out. It reads that on the
disk and panics at once (spec S6.1), a real kernel panic, which libvirt reports. Healed and power-cycled it joins again.
"""

import pytest

from hil.checkers import level_order
from hil.scenario import ScenarioCluster

pytestmark = pytest.mark.lab


@pytest.mark.cluster(nodes=3)
def test_a_silently_cut_node_is_forced_out_and_panics(cluster: ScenarioCluster, request: pytest.FixtureRequest) -> None:
    master = cluster.master
    assert master is not None
    victim = cluster.any_other(master)
    survivors = [node for node in cluster.nodes if node is not victim]
    incarnation, before = victim.view.incarnation, cluster.view.n

    with cluster.expecting_panic(victim, because="forced out") as panic:
        cluster.cut_link(victim, how="silent")
    cluster.wait_crashed(victim)

    reason = victim.view.panic_reason
    assert reason is not None
    assert f"PANIC: {reason}" in victim.console()
    assert "Kernel panic" in victim.console()
    assert panic.fulfilled_by is not None
    events = list(cluster.events(since=before))
    (cut_t,) = (event["t"] for event in events if event["kind"] == "fault-injected")
    (crash_t,) = (event["t"] for event in events if event["kind"] == "machine-crashed")
    request.node.user_properties.append(("seconds from cut to crash", f"{crash_t - cut_t:.2f}"))

    cluster.wait_state(victim, "inactive")
    assert {node.view.state for node in survivors} == {"joined"}
    assert {node.view.power for node in survivors} == {"running"}

    cluster.heal_link(victim)
    cluster.power_cycle([victim])
    cluster.wait_joined()

    assert victim.view.incarnation > incarnation
    level_order.check(cluster.events(since=before))
