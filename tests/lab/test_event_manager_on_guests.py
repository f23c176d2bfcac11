"""The event manager of real guests: registered on each node, back after its death, with services that follow it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hil.checkers import level_order
from hil.client import Node
from hil.config import make_config
from hil.scenario import ScenarioCluster
from tests.lab.host_programs import shell

pytestmark = pytest.mark.lab

# A service is a process that says on /shared who it is, in a line of its own.
SERVICE = """
[[service]]
name = "web"
node_preferences = [1, 2, 0]
start_command = ["/bin/busybox", "sh", "/shared/web", "start"]
stop_command = ["/bin/busybox", "sh", "/shared/web", "stop"]
recovery_command = ["/bin/busybox", "sh", "/shared/web", "recovery"]

[[service]]
name = "child"
parent = "web"
start_command = "/bin/busybox sh /shared/web start"
"""
PROGRAM = """
echo "$HIL_SERVICE $HIL_ACTION $HIL_NODE $HIL_REGISTRATION $HIL_REASON" >> /shared/told
if [ "$1" = start ]; then
    sleep 100000 </dev/null >/dev/null 2>&1 &
    echo $! >"/run/$HIL_SERVICE.pid"
elif [ "$1" = stop ]; then
    kill "$(cat "/run/$HIL_SERVICE.pid")"
fi
"""
FIND = "for p in $(pidof python3.11); do grep -q event_manager.pyc /proc/$p/cmdline && echo $p; done; true"


@pytest.fixture
def cluster() -> Iterator[ScenarioCluster]:
    cluster = ScenarioCluster.up(make_config(name=f"t-event-manager-{os.getpid()}", nodes=3))
    try:
        cluster.wait_joined()
        yield cluster
        cluster.check_panics()
        level_order.check(cluster.events())
    finally:
        cluster.down()


def await_event(cluster: ScenarioCluster, what: str, found: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """The first such event of the whole stream."""

    def why_not(_: object) -> str | None:
        return None if any(found(event) for event in cluster.events()) else f"there is no event: {what}"

    cluster.wait(why_not, about=what)
    return next(event for event in cluster.events() if found(event))


def registered(cluster: ScenarioCluster, node: Node, since: int = 0) -> None:
    await_event(
        cluster,
        f"node {node.id}'s event manager is registered",
        lambda event: (
            event["n"] > since
            and (event["kind"], event.get("node")) == ("program", node.id)
            and (event["program"], event["state"]) == ("event-manager", "registered")
        ),
    )


def listed(node: Node) -> dict[str, Any]:
    """What the event manager of that node knows; it may have to be waited for."""
    text = shell(node, "until guestctl service list --json; do sleep 1; done 2>/dev/null")
    told: dict[str, Any] = json.loads(text)
    return told


def test_event_managers_and_their_services_on_real_guests(cluster: ScenarioCluster) -> None:  # S8.6, S9.2, S9.5, S9.6
    first, second, third = cluster.nodes
    for node in cluster.nodes:
        registered(cluster, node)
    for node in cluster.nodes:  # each signs on by itself once it has registered, and the others read of it
        shell(
            node,
            "until guestctl service list --json >/tmp/list && ! grep -Eq '\"up\": ?false' /tmp/list; do sleep 1; done",
        )
        assert [one["up"] for one in listed(node)["nodes"]] == [True, True, True]
    assert cluster.catch_up().subsystems[40] == ("event-manager", True)  # it does not only acknowledge any more

    first.send("cat > /shared/web", PROGRAM.encode())
    first.send("cat > /tmp/web.toml", SERVICE.encode())
    # A node that is told of a service for the first time awaits nothing but its start.
    assert "web: registered on node 1" in shell(first, "guestctl service add /tmp/web.toml")
    told = shell(second, "kill -0 $(cat /run/web.pid); kill -0 $(cat /run/child.pid); cat /shared/told")
    assert told.splitlines() == ["web start 1 1 auto", "child start 1 1 auto"]

    # An event manager that was killed comes back, and what it had started has gone on.
    before = cluster.catch_up().n
    (pid,) = shell(second, FIND).split()
    shell(second, f"kill -9 {pid}")
    registered(cluster, second, before)
    assert next(one for one in listed(second)["services"] if one["name"] == "web")["nodes"] == {"1": "registered"}
    shell(second, "kill -0 $(cat /run/web.pid)")

    # Its node leaves: the child stops before its parent, both start elsewhere, and only then it is gone.
    cluster.shutdown(second)
    cluster.wait_off(second)
    (left,) = (event["n"] for event in cluster.events() if event["kind"] == "left")
    started = await_event(
        cluster,
        "web is registered on node 2",
        lambda event: (
            (event["kind"], event.get("service"), event.get("state"), event.get("subject"))
            == ("service", "web", "registered", 2)
        ),
    )
    assert started["n"] < left
    assert shell(third, "tail -n 3 /shared/told").splitlines() == [
        "web stop 1 1 auto",
        "web start 2 2 transfer",
        "child start 2 2 transfer",
    ]

    # Its node loses power: it is cleaned up after, and starts elsewhere.
    cluster.power_off([third])
    await_event(
        cluster,
        "web is registered on node 0",
        lambda event: (
            (event["kind"], event.get("service"), event.get("state"), event.get("subject"))
            == ("service", "web", "registered", 0)
        ),
    )
    lines = shell(first, "cat /shared/told").splitlines()
    assert any(line.startswith("web recovery 0 2 ") for line in lines), lines
    assert any(line.startswith("web start 0 3 ") for line in lines), lines


def test_services_end_with_their_nodes_guestd_and_start_elsewhere(cluster: ScenarioCluster) -> None:  # S9.5
    first, second, _ = cluster.nodes
    for node in (first, second):
        listed(node)
    first.send("cat > /shared/web", PROGRAM.encode())
    first.send("cat > /tmp/web.toml", SERVICE.encode())
    assert "web: registered on node 1" in shell(first, "guestctl service add /tmp/web.toml")
    pid = shell(second, "cat /run/web.pid").strip()
    shell(second, f"kill -0 {pid}")
    shell(second, "for p in $(pidof python3.11); do grep -q guestd.pyc /proc/$p/cmdline && kill -9 $p; done; true")
    await_event(cluster, "node 1's guestd has ended", lambda event: event["kind"] == "guestd-exited")
    assert shell(second, f"kill -0 {pid} 2>/dev/null && echo it runs; true") == ""  # though the machine goes on
    await_event(
        cluster,
        "web is registered on node 2",
        lambda event: (
            (event["kind"], event.get("service"), event.get("state"), event.get("subject"))
            == ("service", "web", "registered", 2)
        ),
    )


def test_a_node_whose_stop_command_fails_panics(cluster: ScenarioCluster) -> None:  # S6.1, S9.5, A21
    first, _, third = cluster.nodes
    listed(first)
    service = '[[service]]\nname = "stuck"\nallowable_nodes = [2]\nstop_command = "/bin/busybox false"\n'
    first.send("cat > /tmp/stuck.toml", service.encode())
    shell(first, "until guestctl service add /tmp/stuck.toml; do sleep 1; done")
    with cluster.expecting_panic(third, "the stop command of stuck has failed"):
        shell(first, "guestctl service stop stuck --no-wait")
        cluster.wait_state(third, "inactive")
    assert [event["cause"] for event in cluster.events() if event["kind"] == "panic"] == ["expelled-by-program"]
