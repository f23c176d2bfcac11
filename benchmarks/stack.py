"""``./run bench stack``: how fast locks, files and the recovery of a dead node are on real guests.

Three nodes. Locks that nobody else uses; one lock handed to and fro between two nodes, against a round trip of
datagrams between the same two; a file written in sequence, against the disk that it lies on; the journal of a node that
has lost its power. Exit status 1 when a bound is missed. Options: ``--rounds R --accelerator auto|kvm|tcg --json``.

What the rows mean, and what was measured: docs/architecture.md.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import json
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, note, print_figures
from hil.client import Cluster, Node
from hil.config import make_config
from hil.errors import LaboratoryError

LOCKS_PER_S_MIN = 2000
ROUND_TRIPS_MAX = 3
RAW_SHARE_MIN = 0.5
REPLAY_S_MAX = 1.0
"""At a timing factor of 1, from the forced leave at level 30 until the journal is replayed."""

PROGRAMS = Path(__file__).parent / "stacks"
HOME = "/tmp/bench"  # in a guest
PAIRS = 256
BOUNCES = 20
PINGS = 100
QUIET_S = 4.0
WRITE_SIZE = 8 << 20
PIECE_SIZE = 1 << 20
SPARE_DISK = "bench"  # a virtual disk: what is written to its blocks is nobody's
LIMIT_S = 300.0
SFS_LEVEL = 30


def main() -> int:
    """Run everything and print the figures."""
    parser = argparse.ArgumentParser(prog="./run bench stack", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="of everything (3)")
    parser.add_argument("--accelerator", default="auto", choices=["auto", "kvm", "tcg"])
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    arguments = parser.parse_args()
    config = make_config(name=f"bench-{os.getpid()}", nodes=3, accelerator=arguments.accelerator)
    cluster = Cluster.up(config)
    try:
        cluster.wait_joined()
        figures = measure(cluster, arguments.rounds)
    finally:
        cluster.down()
    return print_figures(figures, as_json=arguments.json)


def measure(cluster: Cluster, rounds: int) -> list[Figure]:
    """All rows."""
    factor = cluster.settings["settings"]["timing_factor"]
    for node in cluster.nodes:
        send_programs(node)
    return [
        Figure("timing factor of this machine", factor, "", None, []),
        *locks(cluster.nodes[0], rounds),
        *bounces(cluster, rounds),
        *writes(cluster.nodes[0], rounds),
        *recoveries(cluster, rounds, factor),
    ]


# -- programs in guests


def send_programs(node: Node) -> None:
    """All of them, to their place."""
    for program in sorted(PROGRAMS.glob("guest_*.py")):
        # Packed: dropbear takes no command of more than 9000 bytes.
        packed = base64.b64encode(gzip.compress(program.read_bytes())).decode()
        shell(node, f"mkdir -p {HOME} && echo {packed} | base64 -d | gunzip >{HOME}/{program.name}")


def shell(node: Node, command: str) -> str:
    """What the command prints. Raises LaboratoryError if it fails."""
    done = node.ssh(command, timeout=LIMIT_S)
    if done.exited != 0:
        raise LaboratoryError(f"node {node.id}: {command[:60]!r} ended with {done.exited}: {done.stderr.strip()}")
    return str(done.stdout)


def run(node: Node, program: str, *arguments: object) -> Any:
    """What a program in the guest prints, as JSON; None if it prints nothing."""
    words = " ".join(str(argument) for argument in arguments)
    printed = shell(node, f"PYTHONPATH=/usr/lib/hil python3.11 -S {HOME}/guest_{program}.py {words}")
    return json.loads(printed) if printed.strip() else None


def together(*calls: Callable[[], Any]) -> list[Any]:
    """Their results, when all have ended."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


# -- locks


def locks(node: Node, rounds: int) -> list[Figure]:
    """Acquired and released, by nobody but one program; the node is the resource's master."""
    rates: dict[str, list[float]] = run(node, "locks", rounds, PAIRS)
    names = {
        "manager": "uncontended local lock: lock manager alone",
        "program": "the same, by a program, one after another",
        "pipelined": "the same, by a program, 64 in flight",
        "kept": "the same, by a program that keeps what it releases",
    }
    return [
        Figure(names[kind], statistics.median(rates[kind]), "/s", None, rates[kind], least)
        for kind, least in (("manager", None), ("program", None), ("pipelined", None), ("kept", LOCKS_PER_S_MIN))
    ]


def bounces(cluster: Cluster, rounds: int) -> list[Figure]:
    """Between two nodes, of which one is the master. The count is of everything that goes over the network meanwhile,
    but for what goes anyway; so it holds more than has to be waited for."""
    one, other = cluster.nodes[:2]
    pings: list[float] = []
    times: list[float] = []
    counted: list[float] = []
    for _ in range(rounds):
        pings += round_trips(one, other)
        quiet = sent(cluster, lambda: time.sleep(QUIET_S))
        began = time.monotonic()
        found: list[float] = []

        def bounce(found: list[float] = found) -> None:
            for taken in together(lambda: run(one, "bounce", BOUNCES), lambda: run(other, "bounce", BOUNCES)):
                found += taken

        count = sent(cluster, bounce)
        seconds = time.monotonic() - began
        counted.append((count - quiet * seconds / QUIET_S) / len(found) / 2)
        times += found
        note("a lock handed over", statistics.median(found) / 1000)
    ping, taken = statistics.median(pings), statistics.median(times)
    return [
        Figure("round trip of a datagram between two programs", ping, "ms", None, pings),
        Figure("lock bounced between two nodes, by two programs", taken, "ms", None, times),
        Figure("round trips that it takes (datagrams / 2)", statistics.median(counted), "", ROUND_TRIPS_MAX, counted),
    ]


def round_trips(one: Node, other: Node) -> list[float]:
    """In ms."""
    address = json.loads(shell(other, "cat /run/hil/config.json"))["interconnect"]["addresses"][other.id]

    def measured() -> Any:
        time.sleep(2.0)  # until the other one listens
        return run(one, "round_trip", address, PINGS)

    _, found = together(lambda: run(other, "round_trip", "echo", address), measured)
    times: list[float] = found
    return times


def sent(cluster: Cluster, action: Callable[[], object]) -> int:
    """Datagrams that the nodes have sent meanwhile."""

    def count() -> int:
        lines = [shell(node, "grep ^Udp: /proc/net/snmp").splitlines() for node in cluster.nodes]
        udp = [dict(zip(names.split(), numbers.split(), strict=True)) for names, numbers in lines]
        return sum(int(one["OutDatagrams"]) for one in udp)

    before = count()
    action()
    return count() - before


# -- files


def writes(node: Node, rounds: int) -> list[Figure]:
    """A file, and a hole of the same disk."""
    shell(node, f"guestctl vdisk create {SPARE_DISK} {WRITE_SIZE}")
    listed = json.loads(shell(node, "guestctl vdisk list --json"))
    (lba, blocks), *more = next(disk for disk in listed["disks"] if disk["name"] == SPARE_DISK)["extents"][0]
    assert not more, "the hole is in pieces"
    assert blocks * 512 >= WRITE_SIZE, blocks
    device = shell(node, "ls -d /sys/block/sd?").split()[0].rpartition("/")[2]
    rates = run(node, "write", "/shared/bench", f"/dev/{device}", lba, WRITE_SIZE, PIECE_SIZE, rounds)
    shell(node, f"guestctl vdisk delete {SPARE_DISK}")

    def row(name: str, kind: str) -> Figure:
        return Figure(name, statistics.median(rates[kind]), "MiB/s", None, rates[kind])

    def share(name: str, kind: str, least: float | None = None) -> Figure:
        shares = [one / raw for one, raw in zip(rates[kind], rates["raw"], strict=True)]
        return Figure(name, statistics.median(shares), "", None, shares, least)

    return [
        row("the raw disk, direct I/O in pieces of 1 MiB", "raw"),
        row("a file in the node's memory", "memory"),
        row("a file of a file system that does nothing", "empty"),
        row("a file of the shared file system", "file"),
        share("a file system that does nothing / raw disk", "empty"),
        share("sequential file write / raw disk", "file", RAW_SHARE_MIN),
    ]


# -- recovery


def recoveries(cluster: Cluster, rounds: int, factor: float) -> list[Figure]:
    """Of nodes that have lost their power with something in the journal."""
    seconds = [note("recovery of a journal", recover(cluster)) for _ in range(rounds)]
    most = REPLAY_S_MAX * factor
    return [Figure("recovery of a dead node's journal", statistics.median(seconds), "s", most, seconds)]


def recover(cluster: Cluster) -> float:
    """Seconds from the first notification of its forced leave at the file system's level until the replay is done."""
    victim, before = cluster.any_other(), cluster.catch_up().n
    shell(victim, "until grep -q ' /shared ' /proc/mounts; do sleep 0.2; done")  # some time after the join
    shell(victim, "for i in 1 2 3 4 5 6 7 8; do echo $i >/shared/victim.$i; done; sync /shared/victim.8")
    cluster.power_off([victim])
    cluster.wait_state(victim, "inactive")
    events = list(cluster.events(since=before))
    replayed = next(e for e in events if e["kind"] == "journal-replayed" and e["subject"] == victim.id)
    assert replayed["found"], "its journal said nothing"
    begun = next(
        event
        for event in events
        if (event["kind"], event.get("transition"), event.get("level")) == ("notified", "forced-leave", SFS_LEVEL)
        and event["subject"] == victim.id
    )
    cluster.power_on([victim])
    cluster.wait_joined()
    return float(replayed["t"]) - float(begun["t"])


if __name__ == "__main__":
    raise SystemExit(main())
