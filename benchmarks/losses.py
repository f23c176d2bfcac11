"""``./run bench losses``: how long the loss of a node takes to be agreed on, and what that costs the disk.

Real guests, default times. A node loses its power, the master's turn included; a node panics and says so. Then what
the SCSI target's ledger has of a quiet cluster and of the elections; then all lose power at once. Exit status 1 when a
bound is missed. Options: ``--nodes N --rounds R --accelerator auto|kvm|tcg --json``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

from benchmarks.figures import Figure, note, print_figures
from hil.checkers import disk_commands
from hil.client import Cluster, Node
from hil.config import make_config
from hil.view import Event

AGREED_S_MAX = 2.0
"""At a timing factor of 1, from the loss until all others know of the membership without it. Corosync: 8 s for 3."""
GASP_S_MAX = 0.5
QUIET_PERIODS = 20


def main() -> int:
    """Run everything and print the figures."""
    parser = argparse.ArgumentParser(prog="./run bench losses", description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5, help="losses of each kind (5)")
    parser.add_argument("--accelerator", default="auto", choices=["auto", "kvm", "tcg"])
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    arguments = parser.parse_args()
    config = make_config(name=f"bench-{os.getpid()}", nodes=arguments.nodes, accelerator=arguments.accelerator)
    cluster = Cluster.up(config)
    try:
        cluster.wait_joined()
        figures = measure(cluster, arguments.rounds)
    finally:
        cluster.down()
    return print_figures(figures, as_json=arguments.json)


def measure(cluster: Cluster, rounds: int) -> list[Figure]:
    """All rows."""
    settings = cluster.settings["settings"]
    factor, timing = settings["timing_factor"], settings["timing"]
    quiet = quiet_commands(cluster)
    silent: list[float] = []
    elections: dict[bool, list[disk_commands.Commands]] = {False: [], True: []}  # by: the master was lost
    for index in range(2 * rounds):
        masters = index % 2 == 1
        seconds, commands = lose(cluster, masters=masters)
        silent.append(note("silent loss of " + ("the master" if masters else "a node"), seconds))
        elections[masters].append(commands)
    gasps = [note("a node that says that it ends", gasp(cluster)) for _ in range(rounds)]
    first, *others = mass_join_steps(cluster)
    per_round = [one.per_round for one in quiet]
    window = [one * (timing["death_ms"] // timing["disk_heartbeat_ms"]) for one in per_round]
    plain, after_master = ([float(one.election) for one in elections[masters]] for masters in (False, True))
    fences = [float(one.fences) for kind in elections.values() for one in kind]
    return [
        Figure("timing factor of this machine", factor, "", None, []),
        Figure("silent loss until agreed", statistics.median(silent), "s", AGREED_S_MAX * factor, silent),
        Figure("loss with a last gasp until agreed", statistics.median(gasps), "s", GASP_S_MAX * factor, gasps),
        Figure("disk commands of a node in each period", max(per_round), "", 2, per_round),
        Figure("the same within death_ms", max(window), "", 8, window),
        Figure("election: commands but for the fence", max(plain), "", 6, plain),
        Figure("election after the loss of the master", max(after_master), "", 7, after_master),
        Figure("fence commands for each victim", max(fences), "", 1, fences),
        Figure("steps until the first has joined after a power failure", first, "", None, []),
        Figure(f"steps then until all {len(cluster.nodes)} have, together", sum(others), "", first, others),
    ]


def period_s(cluster: Cluster) -> float:
    """Seconds from one round of the disk to the next."""
    return float(cluster.settings["settings"]["timing"]["disk_heartbeat_ms"]) / 1000


def quiet_commands(cluster: Cluster) -> list[disk_commands.Commands]:
    """What each node asks of the disk while nothing happens."""
    first = cluster.disk.status()["commands"]
    time.sleep(QUIET_PERIODS * period_s(cluster))
    last = cluster.disk.status()["commands"]
    return [disk_commands.count(cluster.disk.ledger(), node.id, first, last) for node in cluster.nodes]


def lose(cluster: Cluster, *, masters: bool) -> tuple[float, disk_commands.Commands]:
    """Seconds from the loss of power of one node until all others know; the commands of the node that was elected."""
    master = cluster.master
    assert master is not None
    victim = master if masters else cluster.any_other(master)
    first, before = cluster.disk.status()["commands"], cluster.catch_up().n
    time.sleep(2 * period_s(cluster))  # some whole rounds before, and after
    cluster.power_off([victim])
    cluster.wait_state(victim, "inactive")
    time.sleep(2 * period_s(cluster))
    last = cluster.disk.status()["commands"]
    events = list(cluster.events(since=before))
    lost_t = next(float(e["t"]) for e in events if e["kind"] == "machine-stopped" and e["node"] == victim.id)
    (winner,) = {event["node"] for event in events if event["kind"] == "elected"}
    seconds = known_t(cluster, events, victim) - lost_t
    commands = disk_commands.count(cluster.disk.ledger(), winner, first, last)
    cluster.power_on([victim])
    cluster.wait_joined()
    return seconds, commands


def gasp(cluster: Cluster) -> float:
    """Seconds from the panic of a node, which it tells the others of, until they have agreed."""
    victim, before = cluster.any_other(), cluster.catch_up().n
    cluster.panic(victim, "measured")
    cluster.wait_state(victim, "inactive")
    events = list(cluster.events(since=before))
    (panic_t,) = (float(e["t"]) for e in events if e["kind"] == "panic" and e["node"] == victim.id)
    seconds = known_t(cluster, events, victim) - panic_t
    cluster.power_cycle([victim])
    cluster.wait_joined()
    return seconds


def known_t(cluster: Cluster, events: list[Event], victim: Node) -> float:
    """When the last of the others knew of a membership in which the victim is forced out."""
    known: dict[int, float] = {}
    for event in events:
        if event["kind"] == "membership" and event["nodes"][str(victim.id)]["state"] != "joined":
            known.setdefault(event["node"], float(event["t"]))
    assert len(known) == len(cluster.nodes) - 1, known
    return max(known.values())


def mass_join_steps(cluster: Cluster) -> list[float]:
    """From the power-on of all at once until all have joined: of each epoch the steps of its transitions.

    The first is of the node that forms the cluster, and recovers all former lives as it joins.
    """
    cluster.power_off()
    before = cluster.catch_up().n
    cluster.power_on()
    cluster.wait_joined()
    steps: dict[int, int] = {}
    for event in cluster.events(since=before):
        if event["kind"] == "membership":
            steps[event["epoch"]] = max(steps.get(event["epoch"], 0), event["step"])
    return [float(steps[epoch]) for epoch in sorted(steps)]


if __name__ == "__main__":
    raise SystemExit(main())
