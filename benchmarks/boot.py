"""``./run bench boot``: how long a cold node takes until its guestd answers, and what of that is the least possible.

The least is the floor: the same machine, started by the same bench through libvirt (devices, memory, processor, kernel
command line and vmlinux are the node's own), whose initramfs holds nothing but busybox and an ``/init`` that prints one
line. Both are taken from the same instant, the moment before the client asks for power, to the moment at which a
process of the host sees the end: for a node the event ``guestd-started`` in the client's hands, for the floor its line
in the console's file (``tail --follow``, so inotify). A node alone is one whose cluster is off but for it. Each round
boots the floor, a node and then all three; the ratio is taken within the round, and the half of the rounds that other
processes disturbed least counts. Exit status 1 when the median of
the ratio, or that of the time until three nodes have joined, misses its bound. Options: ``--rounds N``,
``--accelerator auto|kvm|tcg``, ``--json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import images
from benchmarks.boots import figures, floor
from benchmarks.boots.neighbours import Neighbours
from hil import Cluster
from hil.bench.launch import launch
from hil.client.connection import Caller
from hil.config import make_config
from hil.errors import HilError, UsageError

NODES = 3
ALONE = 0  # the node that boots alone, here and on the floor
BOOT_S_MAX = 60.0


def main() -> int:
    """Run the rounds and print the figures; 0 when every bound is met, 1 when not, more as ``hil.errors`` says."""
    parser = argparse.ArgumentParser(prog="./run bench boot", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="how often each is booted (7)")
    parser.add_argument("--accelerator", default="auto", choices=["auto", "kvm", "tcg"])
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    arguments = parser.parse_args()
    try:
        if arguments.rounds < 1:
            raise UsageError(f"--rounds {arguments.rounds}: 1 or more is legal")
        return measure(arguments)
    except HilError as error:
        print(f"bench boot: {error}", file=sys.stderr)
        return error.exit_status


def measure(arguments: argparse.Namespace) -> int:
    """Everything; both clusters are gone when it returns."""
    rounds, joined = [], []
    config = make_config(name=f"bench-boot-{os.getpid()}", nodes=NODES, accelerator=arguments.accelerator)
    cluster = Cluster.up(config)
    try:
        settings = cluster.settings["settings"]
        cluster.wait_joined()
        cluster.power_off()
        with floor_cluster(settings) as least:
            for number in range(1, arguments.rounds + 1):
                floor_s, floor_others = boot_floor(least)
                node_s, node_others, stages = boot_node(cluster)
                rounds.append(figures.Round(floor_s, node_s, stages, max(floor_others, node_others)))
                joined.append(boot_all(cluster))
                print(
                    f"round {number}: floor {floor_s:.2f} s, node {node_s:.2f} s, {rounds[-1].ratio:.2f} times, "
                    f"{rounds[-1].neighbours:.0%} others'; "
                    f"{NODES} joined {joined[-1].seconds:.2f} s, {joined[-1].neighbours:.0%} others'",
                    file=sys.stderr,
                    flush=True,
                )
    finally:
        cluster.down()
    found = figures.Figures(tuple(rounds), tuple(joined))
    about = {
        "accelerator": settings["accelerator"],
        "why": settings["why"],
        "memory_mib": config.memory_mib,
        "processors": os.cpu_count(),
        "linux": platform.release(),
    }
    if arguments.json:
        print(json.dumps(about | figures.as_json(found)))
    else:
        print(f"\n{figures.table(found)}\n")
        print(f"{len(rounds)} rounds, {about['memory_mib']} MiB per node, {about['accelerator']} ({about['why']})")
        print(f"{about['processors']} processors, Linux {about['linux']}")
    return 0 if found.met else 1


@contextmanager
def floor_cluster(settings: dict[str, str]) -> Iterator[Cluster]:
    """A cluster of machines that only print a line, all off."""
    image = images.ensure()
    if str(image.path) != settings["image"]:
        raise UsageError("the image was changed while the cluster started")
    config = make_config(name=f"bench-floor-{os.getpid()}", nodes=2)
    with tempfile.TemporaryDirectory(prefix="hil-bench-floor-") as directory:
        floor.write_image(image, Path(directory))
        launch(config, {**settings, "image": directory})
        try:
            cluster = Cluster(config.name)
        except BaseException:
            with suppress(HilError):
                Caller(config.name).call("down")
            raise
        try:
            cluster.wait(
                lambda view: None if all(node.power == "running" for node in view.nodes) else "not all run",
                BOOT_S_MAX,
                about="the floor's machines",
            )
            cluster.power_off()
            yield cluster
        finally:
            cluster.down()


def boot_floor(cluster: Cluster) -> tuple[float, float]:
    """Seconds from power on asked to the line, and the others' part of them; the machine is off again."""
    node = cluster.node(ALONE)
    with floor.console(node.console_path) as console:
        neighbours = Neighbours(cluster.name)
        started = time.monotonic()
        cluster.power_on([node])
        console.wait_line(floor.LINE)
        took_s = time.monotonic() - started
        others = neighbours.part()
    cluster.power_off([node])
    return took_s, others


def boot_node(cluster: Cluster) -> tuple[float, float, dict[str, float]]:
    """Seconds from power on asked to ``guestd-started``, the others' part, the stages; the machine is off again."""
    node = cluster.node(ALONE)
    before = cluster.catch_up().n
    neighbours = Neighbours(cluster.name)
    started = time.monotonic()
    cluster.power_on([node])
    cluster.wait(
        lambda view: None if view.nodes[ALONE].guestd == "running" else "guestd has not started",
        BOOT_S_MAX,
        about=f"guestd of node {ALONE}",
        alive=[node],
    )
    took_s = time.monotonic() - started
    others = neighbours.part()
    cluster.power_off([node])
    return took_s, others, figures.stages(cluster.events(before), ALONE)


def boot_all(cluster: Cluster) -> figures.Joined:
    """From power on of all asked to all joined; the machines are off again."""
    neighbours = Neighbours(cluster.name)
    started = time.monotonic()
    cluster.power_on()
    cluster.wait_joined()
    took_s = time.monotonic() - started
    others = neighbours.part()
    cluster.power_off()
    return figures.Joined(took_s, others)


if __name__ == "__main__":
    raise SystemExit(main())
