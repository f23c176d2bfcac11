"""``./run bench failover``: how long a client service is away when its node loses power, and when it is moved.

Three nodes, one service with a start and a stop command that do nothing. Power cuts of its node until it is registered
elsewhere, stage by stage; graceful moves. Then many services on five nodes, of which one dies. Exit status 1 when a
bound is missed. Options: ``--rounds R --many sim|guests|none --accelerator auto|kvm|tcg --json``.

What the rows mean, and what was measured: docs/services-examples.md.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.figures import Figure, note, print_figures
from hil.client import Cluster
from hil.config import make_config
from hil.recovery import STAGES, recoveries

FAILOVER_S_MAX = 5.0
MOVE_S_MAX = 1.0
"""At a timing factor of 1; of a move, beside what the service's own stop and start commands take."""

NAME = "measured"
COMMANDS = {"start_command": ["/bin/true"], "stop_command": ["/bin/true"]}
MANY = (50, 100, 200)
MANY_NODES = 5
LIMIT_S = 600.0
SEED = 1


def main() -> int:
    """Run everything and print the figures."""
    parser = argparse.ArgumentParser(prog="./run bench failover", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20, help="power cuts, and moves (20)")
    parser.add_argument(
        "--many", default="sim", choices=["sim", "guests", "none"], help="where many services run (sim)"
    )
    parser.add_argument("--accelerator", default="auto", choices=["auto", "kvm", "tcg"])
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    arguments = parser.parse_args()
    with guests(3, arguments.accelerator) as cluster:
        figures = measure(cluster, arguments.rounds)
    if arguments.many != "none":
        for count in MANY:
            with simulated() if arguments.many == "sim" else guests(MANY_NODES, arguments.accelerator) as cluster:
                figures += many(cluster, count)
    return print_figures(figures, as_json=arguments.json)


@contextmanager
def guests(nodes: int, accelerator: str) -> Iterator[Cluster]:
    """Real ones, all joined."""
    cluster = Cluster.up(make_config(name=f"bench-{os.getpid()}", nodes=nodes, accelerator=accelerator))
    try:
        cluster.wait_joined()
        cluster.services.wait_ready()
        yield cluster
    finally:
        cluster.down()


@contextmanager
def simulated() -> Iterator[Cluster]:
    """Five simulated ones, always from the same seed, all joined."""
    from hil.sim.backend.simulated import Simulated

    config = make_config(name="bench-many", nodes=MANY_NODES)
    cluster = Cluster(config.name, Simulated(config, SEED))
    try:
        cluster.wait_joined()
        cluster.services.wait_ready()
        yield cluster
    finally:
        cluster.down()


def measure(cluster: Cluster, rounds: int) -> list[Figure]:
    """The rows of one service."""
    factor = cluster.settings["settings"]["timing_factor"]
    cluster.services.add({"name": NAME, **COMMANDS})
    cluster.services.wait_registered(NAME, timeout=LIMIT_S)
    moves = [note("move, beside its own stop and start", move(cluster)) for _ in range(rounds)]
    cuts = [lose(cluster) for _ in range(rounds)]
    totals = [sum(stages.values()) for stages in cuts]
    bound = FAILOVER_S_MAX * factor
    return [
        Figure("timing factor of this machine", factor, "", None, []),
        Figure("power cut until registered elsewhere, median", statistics.median(totals), "s", bound, totals),
        Figure("power cut until registered elsewhere, worst", max(totals), "s", bound, totals),
        *(
            Figure(f"  {stage}", statistics.median(values), "s", None, values)
            for stage in STAGES
            for values in [[one[stage] for one in cuts]]
        ),
        Figure("move, beside its own stop and start", statistics.median(moves), "s", MOVE_S_MAX * factor, moves),
        Figure("the same, worst", max(moves), "s", MOVE_S_MAX * factor, moves),
    ]


def lose(cluster: Cluster) -> dict[str, float]:
    """The power of the service's node is cut; the seconds of each stage until it is registered elsewhere."""
    (node,) = cluster.poll().services[NAME].registered_on
    cluster.power_off([cluster.nodes[node]])
    cluster.services.wait_registered(NAME, timeout=LIMIT_S)
    cluster.catch_up()
    stages = [one for one in recoveries(cluster.events()) if one.victim == node][-1].seconds
    told = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in stages.items())
    note(f"power cut of node {node} ({told})", sum(stages.values()))
    cluster.wait_state(cluster.nodes[node], "inactive", timeout=LIMIT_S)
    cluster.power_on([cluster.nodes[node]])
    cluster.wait_joined(timeout=LIMIT_S)
    cluster.services.wait_ready(timeout=LIMIT_S)
    return stages


def move(cluster: Cluster) -> float:
    """Seconds from the first step of a graceful move to its last, without those that its own commands ran."""
    before = cluster.catch_up().n
    newest = cluster.view.services[NAME].newest_number
    cluster.services.move(NAME)
    cluster.services.wait_transferred(NAME, newest, timeout=LIMIT_S)
    cluster.catch_up()
    steps = cluster.services.steps(NAME, before)
    own = 0.0
    begun: dict[str, float] = {}
    for event in cluster.services.commands(NAME, before):
        if event["state"] == "begun":
            begun[event["action"]] = float(event["t"])
        else:
            own += float(event["t"]) - begun[event["action"]]
    return max(0.0, steps[-1].t - steps[0].t - own)


def many(cluster: Cluster, count: int) -> list[Figure]:
    """So many services on all nodes; the power of one node is cut; until all that it had are registered elsewhere."""
    names = [f"service-{number}" for number in range(count)]
    cluster.services.add(
        *({"name": name, "node_preferences": [number % MANY_NODES], **COMMANDS} for number, name in enumerate(names))
    )
    for name in names:
        cluster.services.wait_registered(name, timeout=LIMIT_S)
    victim = cluster.nodes[1]
    affected = [name for name in names if cluster.view.services[name].registered_on == [victim.id]]
    before = cluster.catch_up().n
    cluster.power_off([victim])
    for name in affected:
        cluster.services.wait_registered(name, timeout=LIMIT_S)
    events = list(cluster.events(since=before))
    (lost_t,) = (float(e["t"]) for e in events if e["kind"] == "machine-stopped" and e["node"] == victim.id)
    ended = [step.t for step in cluster.services.steps(since=before) if step.state == "registered"]
    again = [step for step in cluster.services.steps(since=before) if step.state == "starting"]
    assert len(again) == len(affected), "a service was started twice, or one that had not lost its node"
    seconds = note(f"{count} services, {len(affected)} of them on the node that dies", max(ended) - lost_t)
    where = cluster.settings["settings"]["accelerator"]
    return [Figure(f"{count} services on 5 nodes ({where}), one dies: all run again", seconds, "s", None, [seconds])]


if __name__ == "__main__":
    raise SystemExit(main())
