"""The disk path of one node hangs: the others force it out, and it panics, though the network is whole (A8).

Its commands get no answer; it hears everybody and everybody hears it. But it cannot publish on the disk that it is
alive, and who does not see the disk is in no group that survives (spec S5.2). The target's word is the verdict: the
fault has struck, and from the moment of injection no command of the node was answered.
"""

import pytest

from hil.checkers import level_order
from hil.scenario import ScenarioCluster

pytestmark = pytest.mark.lab

BACK_S_MAX = 240.0
"""Linux waits 30 s for a command, and QEMU tries one again that was ended; no claim is made about how long it takes."""


@pytest.mark.case("A8")
@pytest.mark.parametrize("whose", ["a plain node's", "the master's"])
@pytest.mark.cluster(nodes=3)
def test_a_node_whose_disk_path_hangs_is_forced_out_and_panics(
    cluster: ScenarioCluster, request: pytest.FixtureRequest, whose: str
) -> None:
    master = cluster.master
    assert master is not None
    victim = master if whose == "the master's" else cluster.any_other(master)
    survivors = [node for node in cluster.nodes if node is not victim]
    incarnation, before = victim.view.incarnation, cluster.view.n

    with cluster.expecting_panic(victim, because="forced out"):
        fault = cluster.disk.inject("hang", victim)
        fault.wait_struck()
        commands = cluster.disk.status()["commands"]
        cluster.wait_crashed(victim)

    since = [entry for entry in cluster.disk.ledger() if entry.order >= commands and entry.nexus.number == victim.id]
    assert not any(entry.answered for entry in since)
    assert since, "the fence ends what hangs (spec S6.2)"
    events = list(cluster.events(since=before))
    (hang_t,) = (event["t"] for event in events if event["kind"] == "fault-injected")
    (crash_t,) = (event["t"] for event in events if event["kind"] == "machine-crashed")
    request.node.user_properties.append(("seconds from hang to crash", f"{crash_t - hang_t:.2f}"))
    cluster.wait_state(victim, "inactive")
    assert {node.view.state for node in survivors} == {"joined"}
    assert cluster.master in survivors

    cluster.power_off([victim])  # what hangs dies with the machine that sent it
    assert fault.heal() == 0
    cluster.power_on([victim])
    cluster.wait_joined()
    assert victim.view.incarnation > incarnation
    level_order.check(cluster.events(since=before))


@pytest.mark.case("A5")
@pytest.mark.cluster(nodes=3)
def test_who_alone_still_sees_the_disk_goes_on_alone(cluster: ScenarioCluster) -> None:  # S5.3
    """When all lose the disk nobody panics (spec S5.3); when one still sees it the others are forced out (A5)."""
    *victims, survivor = cluster.nodes
    with cluster.expecting_panic(victims[0], because="forced out"), cluster.expecting_panic(victims[1]):
        for victim in victims:
            cluster.disk.inject("hang", victim)
    for victim in victims:
        cluster.wait_state(victim, "inactive")
    assert survivor.view.state == "joined"
    assert cluster.master is survivor


@pytest.mark.case("A5")
@pytest.mark.cluster(nodes=3)
def test_when_all_lose_the_disk_they_wait_for_it_and_go_on_as_they_were(cluster: ScenarioCluster) -> None:  # S5.3
    epoch, before = cluster.view.epoch, cluster.view.n
    faults = [cluster.disk.inject("hang", node) for node in cluster.nodes]
    for fault in faults:
        fault.wait_struck()
    cluster.pass_time(2 * cluster.settings["settings"]["timing"]["death_ms"] / 1000)
    for fault in faults:
        fault.heal()
    commands = cluster.disk.status()["commands"]

    end_s = cluster.clock + BACK_S_MAX
    back: set[int] = set()
    while back != {0, 1, 2}:  # a quiet cluster has no events to wait for
        assert cluster.clock < end_s, f"only nodes {sorted(back)} write again"
        cluster.pass_time(0.1)
        back = {entry.nexus.number for entry in cluster.disk.ledger() if entry.order >= commands and entry.writes}
    cluster.wait_joined()
    assert cluster.view.epoch == epoch
    assert [event for event in cluster.events(since=before) if event["kind"] in {"panic", "bid", "elected"}] == []
