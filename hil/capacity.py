"""How many nodes this machine can carry at once: counted from its memory, its cores, and what runs already."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import images
from hil import kvm, machine, memory
from hil.config import ClusterConfig
from hil.errors import BadConfig, PreflightFailed
from hil.host import Host
from hil.preflight import MACHINE_OVERHEAD_MIB

OVERRIDE = "HIL_NODES_MAX"

NODES_PER_CORE = {"tcg": 3.0, "kvm": 8.0}
"""tcg: measured on two cores (2026-11, others at work beside it), clusters of three nodes, power off and
on of all clusters at the same instant, which is the worst that scenarios can do to each other:

=====  ==========================  =================================================================
nodes  until all have joined, s    nodes that lost their place in the cluster because they were late
=====  ==========================  =================================================================
3      8 to 10                     none
6      18 to 21                    none in 10 boots of a cluster
9      30 to 39                    1, in 12 boots of a cluster
=====  ==========================  =================================================================

A node that boots takes a whole core, so the time grows with the nodes, and with it how long a node is silent now and
then; ``death_ms`` was 4 s (now it goes by the machine and the cluster's nodes, `hil/timing.py`). 6 on 2 cores is the
largest number without a loss, a third below the smallest with one. What has joined takes 0.03 to 0.07 of a core a
node, so it is the boots that count. Two clusters that *started* side by side
lost nodes in one of four pairs; so starts take turns (`hil/room.py`): 8 to 12 s each, one after the other, instead of
15 to 22 s.

kvm: a guess, for no machine with a KVM on which a kernel boots was at hand: a boot takes a core for a second or two
there, and what is late by that much is not lost.
"""

RESERVE_MIB = 128
"""Left to everybody else of this host: the tests themselves, and pages of files that boots read again and again."""

NODES_MIN = 2
"""The smallest cluster."""

Kind = Literal["kvm", "tcg"]


@dataclass(frozen=True)
class Running:
    """One cluster that runs, or is being started."""

    name: str
    nodes: int
    memory_mib: int
    """Of each node."""
    resident_mib: int
    """What its processes have taken of the host's memory so far."""

    @property
    def to_come_mib(self) -> int:
        """What its machines may still take: a guest that boots has touched little of its memory."""
        return max(0, need_mib(self.nodes, self.memory_mib) - self.resident_mib)


@dataclass(frozen=True)
class Capacity:
    """What this machine can carry at once."""

    nodes_max: int
    why: str
    """Where ``nodes_max`` comes from."""
    free_mib: int | None
    """Memory that nothing uses yet; None if the host does not tell."""

    def why_not_now(self, config: ClusterConfig, running: Sequence[Running]) -> str | None:
        """None if the cluster ``config`` fits beside ``running``, else why not yet."""
        nodes = sum(cluster.nodes for cluster in running)
        names = ", ".join(cluster.name for cluster in running)
        if nodes + config.nodes > self.nodes_max:
            return f"{nodes} of {self.nodes_max} nodes are running ({names})"
        if self.free_mib is None:
            return None
        left = self.free_mib - RESERVE_MIB - sum(cluster.to_come_mib for cluster in running)
        need = need_mib(config.nodes, config.memory_mib)
        if need <= left:
            return None
        return f"{need} MiB of memory are needed, {max(0, left)} MiB are left" + (f" ({names})" if names else "")

    def check_ever(self, config: ClusterConfig) -> None:
        """Raise :class:`PreflightFailed` if the cluster ``config`` has too many nodes for this machine alone."""
        if config.nodes > self.nodes_max:
            raise PreflightFailed(
                f"cluster {config.name!r} has {config.nodes} nodes, and this machine carries {self.nodes_max} at once"
                f" ({self.why}); legal: {NODES_MIN} to {self.nodes_max},"
                f" or try it all the same: {OVERRIDE}={config.nodes} or `hil run --max-nodes {config.nodes}`"
            )


def need_mib(nodes: int, memory_mib: int) -> int:
    """What ``nodes`` machines of ``memory_mib`` each take of the host's memory at most, in MiB."""
    return nodes * (memory_mib + MACHINE_OVERHEAD_MIB)


def capacity(config: ClusterConfig, host: Host | None = None) -> Capacity:
    """What this machine carries of nodes like those of ``config``.

    HIL_NODES_MAX in the environment decides how many nodes, instead of the cores; memory counts all the same. Raises
    :class:`BadConfig` if it is no number that a cluster can have.
    """
    host = host or Host()
    free = memory.free_mib(host)
    asked = os.environ.get(OVERRIDE, "")
    if asked:
        return Capacity(parse_nodes_max(asked), f"{OVERRIDE}={asked} is set", free)
    kind, count = kind_of(config, host), cores(host)
    return Capacity(*by_cores(count, kind), free)


def parse_nodes_max(text: str) -> int:
    """The value of HIL_NODES_MAX; raises :class:`BadConfig`."""
    if not text.isascii() or not text.isdecimal() or int(text) < NODES_MIN:
        raise BadConfig(f"environment variable {OVERRIDE}: {text!r} is no number of nodes (legal: {NODES_MIN} or more)")
    return int(text)


def by_cores(count: float, kind: Kind) -> tuple[int, str]:
    """How many nodes ``count`` cores carry, and why so; the smallest cluster may be tried everywhere."""
    per_core = NODES_PER_CORE[kind]
    how = "emulated" if kind == "tcg" else "with KVM"
    number = max(NODES_MIN, math.floor(count * per_core))
    return number, f"{count:g} core{'s' if count != 1 else ''}, {per_core:g} {how} nodes each"


def cores(host: Host) -> float:
    """The cores that this process may use: those it may run on, and the share that its control groups allow."""
    found = [float(len(os.sched_getaffinity(0)))]
    for group in memory.own_groups(host):
        limit = re.fullmatch(r"(\d+) (\d+)", host.text(f"{group}/cpu.max") or "")  # "max 100000": no limit
        if limit is not None:
            found.append(int(limit[1]) / int(limit[2]))
    return min(found)


def kind_of(config: ClusterConfig, host: Host) -> Kind:
    """How machines of ``config`` will run; emulated as long as no kernel has been seen to boot with KVM here.

    Nothing is built or started to find out: who counts must be quick.
    """
    if config.accelerator != "auto":
        return config.accelerator
    if os.environ.get(machine.OVERRIDE, "") in machine.KINDS:
        return machine.KINDS[os.environ[machine.OVERRIDE]]
    if not kvm.look(host).usable:
        return "tcg"
    known = [machine.known_accelerator(image, host) for image in images.list_images()[:1]]
    return known[0].kind if known and known[0] is not None else "tcg"


def jobs_allowed(config: ClusterConfig, host: Host | None = None) -> int:
    """How many clusters like ``config`` this machine carries at once when no other runs; at least 1."""
    limit = capacity(config, host)
    number = limit.nodes_max // config.nodes
    if limit.free_mib is not None:
        number = min(number, (limit.free_mib - RESERVE_MIB) // need_mib(config.nodes, config.memory_mib))
    return max(1, number)


def resident_mib(names: Iterable[str], proc: Path = Path("/proc")) -> dict[str, int]:
    """What the processes of the clusters ``names`` have taken of the memory so far, in MiB.

    A bench's outermost process names its cluster on the command line; everything below it belongs to it.
    """
    wanted = set(names)
    parents: dict[int, int] = {}
    sizes: dict[int, int] = {}
    tops: dict[int, str] = {}
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            status = (entry / "status").read_text(encoding="utf-8", errors="replace")
            command = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has just ended
            continue
        number = int(entry.name)
        # Pages of files and shared memory are in MemAvailable already, or shared by all machines: only its own count.
        sizes[number] = _field(status, "RssAnon")
        parents[number] = _field(status, "PPid")
        name = _cluster_of(command)
        if name in wanted:
            tops[number] = name
    found = dict.fromkeys(wanted, 0)
    for number, size_kib in sizes.items():
        above, hops = number, 0
        while above not in tops and above in parents and hops < len(parents):
            above, hops = parents[above], hops + 1
        if above in tops:
            found[tops[above]] += size_kib
    return {name: size // 1024 for name, size in found.items()}


def _field(status: str, name: str) -> int:
    match = re.search(rf"^{name}:\s+(\d+)", status, re.MULTILINE)
    return int(match[1]) if match else 0


def _cluster_of(command: Sequence[str]) -> str:
    """The cluster on a bench's command line; empty for every other process."""
    for i in range(len(command) - 3):
        if tuple(command[i : i + 3]) == ("-m", "hil.bench", "--cluster"):
            return command[i + 3]
    return ""
