"""What an operator gets wrong around a real guest: its clock, and the node id that it is given."""

from __future__ import annotations

import time

import pytest

from hil import Cluster
from hil.client import Node
from hil.client.running import Running

pytestmark = pytest.mark.lab

GUESTD = "timeout 60 python3.11 -I -S -X utf8 /usr/lib/hil/guestd.pyc"


def since(cluster: Cluster, number: int, *kinds: str) -> list[dict[str, object]]:
    return [event for event in cluster.events(since=number) if event["kind"] in kinds]


def rate(node: Node, ppm: int) -> None:
    """Have the guest's clocks, the monotonic one too, run fast or slow; the kernel allows 10 % at most."""
    ticks = 10_000 + ppm // 100
    node.ssh(f"adjtimex -t {ticks}")
    assert f"tick:         {ticks} us" in node.ssh("adjtimex").stdout


def test_clocks_that_step_or_run_fast_or_slow_hurt_nobody(cluster: Cluster) -> None:  # A19
    one, other = cluster.nodes
    before = cluster.catch_up().n
    death_s = cluster.settings["settings"]["timing"]["death_ms"] / 1000
    for node, step in ((one, "+3600"), (other, "-3600")):
        now = int(node.ssh("date +%s").stdout)
        node.ssh(f"date -s @{now + int(step)}")
        assert abs(int(node.ssh("date +%s").stdout) - now - int(step)) < 60
    rate(one, 100_000)
    rate(other, -100_000)
    # Lines that come by themselves: a login takes its time, on each node another.
    uptimes = [Running(node, "while cat /proc/uptime; do sleep 0.1; done") for node in cluster.nodes]
    for each in uptimes:
        each.wait_lines(1)
    begun = [float(each.lines()[-1].split()[0]) for each in uptimes]
    time.sleep(4 * death_s)
    ended = [float(each.lines()[-1].split()[0]) for each in uptimes]
    for each in uptimes:
        each.abandon()
    assert ended[0] - begun[0] > 1.05 * (ended[1] - begun[1])  # they did run apart
    assert since(cluster, before, "silent", "bid", "elected", "panic") == []
    for node in cluster.nodes:
        rate(node, 0)


def test_a_second_machine_with_the_id_of_a_living_node_is_refused_and_the_first_notices_nothing(
    cluster: Cluster,
) -> None:  # A16
    first, second = cluster.nodes
    second.ssh("kill -9 $(pidof python3.11)")
    cluster.wait(lambda view: None if second.view.state == "inactive" else "node 1 is still a member", about="its end")
    before = cluster.catch_up().n
    incarnation, epoch = first.view.incarnation, cluster.view.epoch

    refused = second.ssh(f"HIL_NODE={first.id} {GUESTD}")

    assert refused.exited == 2
    why = f"another machine runs as node {first.id}: it is heard on the interconnect (incarnation {incarnation})"
    assert f"hil: guestd: refused: {why}" in refused.stderr
    cluster.catch_up()
    assert second.view.refused == why
    assert (first.view.state, first.view.incarnation, cluster.view.epoch) == ("joined", incarnation, epoch)
    assert since(cluster, before, "state", "panic", "epoch-not-begun", "garbage") == []
