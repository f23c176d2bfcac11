"""The two worked examples of registration and launch, line by line (spec S9.9).

Each row is what the services' database says after an event: the steps that were decided, with the flags and the node of
each, and nothing besides. In the document a minute is what here is a second.
"""

from __future__ import annotations

from typing import Any

import pytest

from hil.client import Node
from hil.scenario import ScenarioCluster

pytestmark = pytest.mark.lab

MATURITY_S = 20
COMMAND = ["/bin/true"]

A: dict[str, Any] = {
    "name": "a",
    "allowable_nodes": [0, 1],
    "maturity_count": 2,
    "maturity_time": MATURITY_S,
    "auto_register": "auto",
    "start_command": COMMAND,
    "stop_command": COMMAND,
}

B: dict[str, Any] = {
    "name": "b",
    "node_preferences": [0],
    "maturity_count": 2,
    "auto_register": "auto",
    "placement_policy": "register_on_one",
    "transfer_cost": "free",
    "start_command": COMMAND,
    "stop_command": COMMAND,
    "notify_command": COMMAND,
}


class Table:
    """What happens to one service, row by row."""

    def __init__(self, cluster: ScenarioCluster, service: dict[str, Any]) -> None:
        """The service is there, all nodes are down: t0."""
        self.cluster = cluster
        self.name: str = service["name"]
        cluster.services.wait_ready()
        cluster.services.add(service)
        cluster.services.wait_registered(self.name)
        cluster.power_off()
        self.since = cluster.catch_up().n

    def steps(self) -> list[tuple[str, str, int | None]]:
        """State, flags and node of each step since the last row."""
        since, self.since = self.since, self.cluster.catch_up().n
        return [(step.state, step.flags, step.node) for step in self.cluster.services.steps(self.name, since)]

    def boot(self, node: Node, *others: Node) -> None:
        """It joins, beside those that are up."""
        self.cluster.power_on([node])
        self.cluster.wait_joined([node, *others])
        self.cluster.services.wait_ready([node])

    def leave(self, node: Node) -> None:
        """Gracefully; its machine is off."""
        self.cluster.shutdown(node)
        self.cluster.wait_off(node)

    def shown(self, **fields: Any) -> None:
        """What an event manager shows, some time soon."""
        self.cluster.services.wait_shown(self.name, **fields)

    def notified(self, since: int) -> list[int]:
        """The nodes whose notify command has begun after event ``since``."""
        told = self.cluster.services.commands(self.name, since)
        return sorted(one["node"] for one in told if (one["action"], one["state"]) == ("notify", "begun"))

    def wait_notified(self, node: Node, since: int) -> None:
        """Its notify command has ended well."""
        assert self.cluster.services.wait_command(self.name, "notify", node, since).status == 0


@pytest.mark.cluster(nodes=3)
def test_example_a(cluster: ScenarioCluster) -> None:  # S9.9, S9.2, S9.3, S9.5, S9.6, S9.7
    n0, n1, n2 = cluster.nodes
    table = Table(cluster, A)

    table.boot(n2)  # t1: not allowable
    table.shown(state="-", flags="", nodes={})
    table.steps()  # the registration of its last life is over

    table.boot(n0, n2)  # t2
    table.shown(state="awaiting maturity", flags="M", nodes={})
    assert table.steps() == []

    cluster.services.wait_registered("a", on=n0)  # t3, t4: the time has passed
    assert table.steps() == [("starting", "", 0), ("registered", "", 0)]
    begun = cluster.services.steps("a")[-2]
    (joined_t,) = [n0.view.joined_t]
    assert joined_t is not None
    assert begun.t - joined_t > MATURITY_S - 2, "it was started before the cluster was mature"
    table.shown(state="registered", flags="", nodes={"0": "registered"})

    before = cluster.catch_up().n
    table.boot(n1, n0, n2)  # t5: no action
    table.shown(state="registered", flags="", nodes={"0": "registered"})
    table.leave(n2)  # t6
    table.shown(state="registered", flags="", nodes={"0": "registered"})
    assert table.steps() == []
    assert cluster.services.commands("a", before) == []

    table.leave(n0)  # t7 to t11
    cluster.services.wait_registered("a", on=n1)
    steps = table.steps()
    assert steps == [
        ("stopping", "T", 0),  # t7
        ("de-registered", "T", 0),  # t8
        ("starting", "T", 1),  # t9
        ("registered", "", 1),  # t10
    ]
    registered = cluster.services.steps("a", before)[-1]
    stopped = next(e for e in cluster.events(since=before) if e["kind"] == "machine-stopped" and e["node"] == n0.id)
    assert registered.t < stopped["t"], "t11: its leave is complete when the transfer is"
    table.shown(state="registered", flags="", nodes={"1": "registered"})

    table.leave(n1)  # t12, t13: nobody is left to take it
    assert table.steps() == [("stopping", "T", 1), ("de-registered", "T", 1)]
    table.boot(n2)
    table.shown(state="-", flags="", nodes={})
    assert table.steps() == []


@pytest.mark.cluster(nodes=3)
def test_example_b(cluster: ScenarioCluster) -> None:  # S9.9, S9.2, S9.3, S9.5, S9.6, S9.7
    n0, n1, n2 = cluster.nodes
    table = Table(cluster, B)

    table.boot(n0)  # t1, t2: the primary is up, so the cluster is mature
    cluster.services.wait_registered("b", on=n0)
    assert [step for step in table.steps() if step[0] != "de-registered"] == [
        ("starting", "N", 0),
        ("registered", "N", 0),
    ]

    before = cluster.catch_up().n
    table.boot(n1, n0)  # t3
    table.wait_notified(n1, before)
    table.shown(state="registered", flags="N", nodes={"0": "registered"})
    assert table.notified(before) == [1]
    assert table.steps() == []

    table.leave(n0)  # t4 to t7
    cluster.services.wait_registered("b", on=n1)
    assert table.steps() == [
        ("stopping", "TN", 0),
        ("de-registered", "TN", 0),
        ("starting", "TN", 1),
        ("registered", "N", 1),
    ]

    before = cluster.catch_up().n
    table.boot(n2, n1)  # t8
    table.wait_notified(n2, before)
    assert table.notified(before) == [2]
    assert table.steps() == []

    before = cluster.catch_up().n
    cluster.power_on([n0])  # t9: notified, and at once it takes over: t10 to t13
    table.wait_notified(n0, before)
    cluster.services.wait_registered("b", on=n0)
    steps = cluster.services.steps("b", before)
    assert [(step.state, step.flags, step.node) for step in steps] == [
        ("stopping", "TN", 1),
        ("de-registered", "TN", 1),
        ("starting", "TN", 0),
        ("registered", "N", 0),
    ]
    for node in (n1, n2):
        table.wait_notified(node, steps[-2].n)
    told = [one for one in cluster.services.commands("b", before) if one["action"] == "notify"]
    old, new = steps[0].registration, steps[-1].registration
    assert {(one["node"], one["registration"]) for one in told} == {(0, old), (1, new), (2, new)}
    table.shown(state="registered", flags="N", nodes={"0": "registered"})
