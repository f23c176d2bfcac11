"""``./run bench cluster``: how long a real cluster takes to boot, to come back and to force a node out.

Prints one line per round while it runs, then medians and extremes in seconds, and what the machine is. Options:
``--nodes N --rounds R --accelerator auto|kvm|tcg --json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time

from hil import Cluster
from hil.config import make_config

FIGURES = {
    "up": "cold `up` until all joined",
    "reboot": "power on of all after a power failure until all joined",
    "forced out": "silent link cut until libvirt reports the kernel panic",
    "rejoined": "power cycle of the forced-out node until all joined",
    "leave": "graceful shutdown of one node until its machine is off",
}


def main() -> int:
    """Run the rounds and print the figures."""
    parser = argparse.ArgumentParser(prog="./run bench cluster", description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=10, help="mass reboots; the other faults get a third as many")
    parser.add_argument("--accelerator", default="auto", choices=["auto", "kvm", "tcg"])
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    arguments = parser.parse_args()

    seconds: dict[str, list[float]] = {name: [] for name in FIGURES}
    config = make_config(name=f"bench-{os.getpid()}", nodes=arguments.nodes, accelerator=arguments.accelerator)
    started = time.monotonic()
    cluster = Cluster.up(config, cold=True)  # a boot is what is measured, not a saved machine
    try:
        cluster.wait_joined()
        _note(seconds, "up", started)
        for _ in range(arguments.rounds):
            _reboot(cluster, seconds)
        for _ in range(max(1, arguments.rounds // 3)):
            _force_out(cluster, seconds)
            _leave(cluster, seconds)
        settings = cluster.settings["settings"]
    finally:
        cluster.down()
    if arguments.json:
        print(json.dumps({"nodes": arguments.nodes, "accelerator": settings["accelerator"], "seconds": seconds}))
    else:
        _print_table(arguments.nodes, settings, seconds)
    return 0


def _reboot(cluster: Cluster, seconds: dict[str, list[float]]) -> None:
    cluster.power_off()
    started = time.monotonic()
    cluster.power_on()
    cluster.wait_joined()
    _note(seconds, "reboot", started)


def _force_out(cluster: Cluster, seconds: dict[str, list[float]]) -> None:
    victim = cluster.any_other()
    started = time.monotonic()
    cluster.cut_link(victim, "silent")
    cluster.wait_crashed(victim)
    _note(seconds, "forced out", started)
    cluster.heal_link(victim)
    started = time.monotonic()
    cluster.power_cycle([victim])
    cluster.wait_joined()
    _note(seconds, "rejoined", started)


def _leave(cluster: Cluster, seconds: dict[str, list[float]]) -> None:
    leaver = cluster.any_other()
    started = time.monotonic()
    cluster.shutdown(leaver)
    cluster.wait_off(leaver)
    _note(seconds, "leave", started)
    cluster.power_on([leaver])
    cluster.wait_joined()


def _note(seconds: dict[str, list[float]], figure: str, started: float) -> None:
    seconds[figure].append(round(time.monotonic() - started, 2))
    print(f"{figure}: {seconds[figure][-1]:.2f} s", flush=True)


def _print_table(nodes: int, settings: dict[str, str], seconds: dict[str, list[float]]) -> None:
    print(f"\n{nodes} nodes, {settings['accelerator']} ({settings['why']})")
    print(f"{os.cpu_count()} processors, Linux {platform.release()}\n")
    print(f"{'median':>8} {'least':>8} {'most':>8} {'n':>4}")
    for name, meaning in FIGURES.items():
        values = seconds[name]
        print(f"{statistics.median(values):8.2f} {min(values):8.2f} {max(values):8.2f} {len(values):4}  {meaning}")


if __name__ == "__main__":
    raise SystemExit(main())
