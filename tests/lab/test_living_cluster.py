"""One cluster of two real guests: the lines into a guest, power verbs, faults, and waits that end in time."""

import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hil import Cluster
from hil.checkers import level_order
from hil.client.running import Running
from hil.errors import ClaimFailed, GuestdExited, LaboratoryError, MachineLost, UnknownNode, UsageError

pytestmark = pytest.mark.lab


def test_events_of_guest_and_bench_are_in_one_stream_without_a_gap(cluster: Cluster) -> None:
    events = list(cluster.events())
    assert [event["n"] for event in events] == list(range(1, len(events) + 1))
    kinds = {event["kind"] for event in events}
    assert {"bench-started", "disk-started", "machine-started", "guestd-started", "disk-found", "membership"} <= kinds
    assert not kinds & {"events-lost", "garbage"}


def test_every_level_is_passed_bottom_up_and_acknowledged_by_every_node(cluster: Cluster) -> None:  # S4.4, S4.5
    for node in cluster.nodes:
        assert node.view.levels == dict.fromkeys((0, 10, 20, 30, 40), "joined")
    events = list(cluster.events())
    level_order.check(events)
    for subject in cluster.nodes:
        join = {"subject": subject.id, "incarnation": subject.view.incarnation, "transition": "join"}
        # What registered later was taken through the joins late, and may still be at it.
        told = [event for event in events if join.items() <= event.items() and not event.get("late")]
        assert level_order.completed_levels(told, subject.id, "join") == [0, 10, 20, 30, 40]
        # Each node by its own line: what two nodes did cannot be compared by its place in the stream.
        for node in cluster.nodes:
            notified, acknowledged = (
                [event["level"] for event in told if (event["kind"], event.get("node")) == (kind, node.id)]
                for kind in ("notified", "acknowledged")
            )
            assert notified == acknowledged
            assert node is not subject or list(dict.fromkeys(notified)) == [0, 10, 20, 30, 40]  # one barrier or two


def test_ssh_runs_commands_on_the_right_node(cluster: Cluster) -> None:
    for node in cluster.nodes:
        result = node.ssh("hostname; exit 3")
        assert result.stdout.strip() == f"n{node.id}"
        assert result.exited == 3


def test_ssh_refuses_a_host_key_that_is_not_the_clusters(cluster: Cluster) -> None:
    known_hosts = cluster.run_dir / "known_hosts"
    right = known_hosts.read_text()
    other = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    try:
        known_hosts.write_text("".join(f"{line.split()[0]} {other}\n" for line in right.splitlines()))
        with pytest.raises(LaboratoryError, match=r"SSH failed: Host key .* does not match"):
            cluster.nodes[0].ssh("true")
    finally:
        known_hosts.write_text(right)


def test_the_guest_sees_one_shared_disk_with_the_clusters_identity(cluster: Cluster) -> None:  # S1.2
    seen = {node.ssh("cat /sys/block/sda/device/wwid").stdout.strip() for node in cluster.nodes}
    assert len(seen) == 1
    cluster.nodes[0].ssh("echo shared-bytes | dd of=/dev/sda bs=512 seek=4096 conv=sync oflag=direct")
    read = cluster.nodes[1].ssh("dd if=/dev/sda bs=512 skip=4096 count=1 iflag=direct | head -c 12")
    assert read.stdout == "shared-bytes"


def test_a_carrier_cut_is_seen_by_the_guests_driver_and_healed(cluster: Cluster) -> None:
    node = cluster.nodes[1]
    # Before the cut: a login may take longer than a node may be cut off. SSH goes over the other bridge.
    watch = Running(
        node,
        "file=$(grep -il 52:54:00:77 /sys/class/net/*/address | sed s/address/carrier/); was=; changes=0;"
        ' while [ $changes -lt 3 ]; do now=$(cat $file); [ "$now" = "$was" ] ||'
        " { echo carrier $now; was=$now; changes=$((changes + 1)); }; sleep 0.05; done",
    )
    watch.wait_lines(1)
    cluster.cut_link(node)
    cut = list(cluster.poll().faults[1])
    watch.wait_lines(2)
    cluster.heal_link(node)
    assert watch.finish() == ["carrier 1", "carrier 0", "carrier 1"]
    assert cut == ["link-carrier"]
    assert cluster.poll().faults[1] == []


def test_an_ordered_panic_is_a_real_one_with_its_reason_on_the_console(cluster: Cluster) -> None:  # S6.1, S10.8
    node = cluster.nodes[1]
    cluster.panic(node, "to see it panic")
    cluster.wait_crashed(node)
    assert "PANIC: to see it panic" in node.console()
    assert "Kernel panic - not syncing" in node.console()
    cluster.wait_state(node, "inactive")
    before = node.view.incarnation
    cluster.power_cycle([node])
    cluster.wait_joined()
    assert node.view.incarnation == before + 1  # S2.6


def test_a_reset_machine_boots_again_as_a_new_incarnation(cluster: Cluster) -> None:
    node = cluster.nodes[0]
    before = node.view.incarnation
    cluster.reset(node)
    cluster.wait(
        lambda view: None if view.nodes[0].incarnation == before + 1 else "no new incarnation",
        about="reset node is back",
    )
    cluster.wait_joined()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("how", ["vcpu", "process"])
def test_a_frozen_node_refuses_at_once_what_needs_it_and_loses_power_all_the_same(  # S10.5
    cluster: Cluster, how: str, tmp_path: Path
) -> None:
    node = cluster.nodes[1]
    cluster.freeze(node, how)
    for verb in (cluster.reset, cluster.panic, cluster.freeze):
        with pytest.raises(UsageError, match=rf"node 1 is frozen \({how}\); `hil thaw 1` first"):
            verb(node)
    with pytest.raises(UsageError, match=r"a checkpoint is of nodes that run|faults are in force"):
        cluster.checkpoint(tmp_path / "frozen")
    if how == "process":
        with pytest.raises(UsageError, match="node 1 is frozen"):
            cluster.cut_link(node)
    assert cluster.thaw(node)["thawed"] == [1]
    assert cluster.thaw(node)["thawed"] == []
    cluster.wait(lambda view: None if node.view.power in ("running", "crashed") else node.view.power, about="the thaw")

    cluster.power_cycle([node])
    cluster.freeze(node, how)
    cluster.power_off([node])
    assert node.view.power == "off"
    assert cluster.thaw(node)["thawed"] == []
    assert not cluster.catch_up().faults.get(1)


def test_a_wait_ends_at_once_when_the_machine_it_needs_is_gone(cluster: Cluster) -> None:
    node = cluster.nodes[1]
    cluster.power_off([node])
    started = time.monotonic()
    with pytest.raises(MachineLost, match="node 1's machine is off"):
        cluster.wait_joined(timeout=300)
    assert time.monotonic() - started < 5


def test_a_wait_ends_at_once_when_guestd_ends(cluster: Cluster) -> None:
    node = cluster.nodes[1]
    node.ssh("kill -9 $(pidof python3.11)")
    started = time.monotonic()
    with pytest.raises(GuestdExited, match="guestd on node 1 ended with status"):
        cluster.wait(lambda view: "for ever", 300, about="nothing", alive=[node])
    assert time.monotonic() - started < 30


def test_a_timeout_says_what_is_still_missing(cluster: Cluster) -> None:
    with pytest.raises(ClaimFailed, match=r"the moon: not within 0 s: no cheese(.|\n)*console of node 0:"):
        cluster.wait(lambda view: "no cheese", 0, about="the moon", alive=[cluster.nodes[0]])


def test_bad_requests_are_refused_by_name(cluster: Cluster) -> None:
    with pytest.raises(UnknownNode, match=r"no node 7.*there are 0 to 1"):
        cluster.node(7)
    with pytest.raises(UnknownNode, match="no node 7; there are 0 to 1"):
        cluster.caller.call("power_off", nodes=[7])
    with pytest.raises(UsageError, match=r"no call 'explode'; there are: .*power_off"):
        cluster.caller.call("explode")
    with pytest.raises(UsageError, match="power_off: got an unexpected keyword argument 'volume'"):
        cluster.caller.call("power_off", nodes=[], volume=11)
    with pytest.raises(UsageError, match="a carrier has no direction"):
        cluster.cut_link(cluster.nodes[0], "carrier", "in")
    cluster.power_off([cluster.nodes[1]])
    with pytest.raises(UsageError, match="node 1's machine is off; `hil power"):
        cluster.panic(cluster.nodes[1])
