"""The load of a cluster of guests: one real program on each member, whose lines come to the host as they are said."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hil import vdisk
from hil.client.running import Running
from hil.errors import ClaimFailed, HilError
from hil.evidence.layout import DISK
from hil.workloads import histories, on_node
from hil.workloads.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hil.client.cluster import Cluster
    from hil.client.node import Node

PAUSE_MS: Final = 100
"""Between two things that one thread does: an emulated processor has to carry the cluster as well."""

PROGRAM: Final = Path(on_node.__file__)
_BEGIN_S: Final = 120.0
_END_S: Final = 60.0
"""Nothing depends on these two but how long a hang goes unnoticed; times the factor of the machine."""


@dataclass
class Program:
    """Of one life of a node."""

    node: Node
    incarnation: int
    serial: int
    running: Running

    @property
    def writer(self) -> str:
        """As it signs its records."""
        return f"n{self.node.id}-{self.serial}"

    @property
    def lives(self) -> bool:
        """Whether its node is a member in the life in which it began."""
        view = self.node.view
        return view.power == "running" and view.state == "joined" and view.incarnation == self.incarnation


class GuestWorkload(Workload):
    """The programs of all lives, in the order in which they began."""

    def __init__(self, cluster: Cluster, kinds: Sequence[str]) -> None:
        super().__init__(cluster, kinds)
        self._name = f"load{os.urandom(4).hex()}"
        self._all: list[Program] = []
        self._beginnings = 0
        self._factor: float = cluster.settings["settings"]["timing_factor"]

    def resume(self) -> None:
        """On the members where none runs. Raises :class:`ClaimFailed` if one does not come to its work."""
        self.cluster.poll()
        running = [program.node for program in self._all if program.lives]
        self._leave_the_dead()
        members = [node for node in self.cluster.in_role("any") if node not in running]
        if not self._programs or not members:
            return
        self._beginnings += not running
        begun = [self._start(node) for node in members]
        for program in begun:
            for kind in self._programs:
                program.running.wait_lines(1, f"ready {kind}", _BEGIN_S * self._factor)

    def acknowledged(self) -> dict[str, int]:
        """By the lines that have come."""
        words = {"files": "wrote ", "locks": "took ", "volumes": "made "}
        return {kind: sum(len(program.running.lines(words[kind])) for program in self._all) for kind in self._programs}

    def _start(self, node: Node) -> Program:
        serial, source = len(self._all) + 1, PROGRAM.read_bytes()
        words = [self._name, node.id, serial, PAUSE_MS, *self._programs]
        path = f"/run/hil-load-{serial}.py"
        command = (
            f"head -c {len(source)} >{path}; until grep -q ' /shared fuse' /proc/mounts; do sleep 0.1; done;"
            f" PYTHONPATH=/usr/lib/hil exec python3.11 -S {path} {' '.join(map(str, words))}"
        )
        program = Program(node, node.view.incarnation, serial, Running(node, command, source))
        self._all.append(program)
        return program

    def _begin(self) -> None:
        self.resume()

    def _end(self) -> None:
        self.cluster.poll()
        self._leave_the_dead()
        there = [program for program in self._all if program.lives and program.running.is_running]
        for program in there:
            program.running.stop()
        for program in there:
            try:
                program.running.finish(_END_S * self._factor)
            except HilError:  # its node ended meanwhile, or stands still; what it has said was checked
                program.running.abandon()

    def _leave_the_dead(self) -> None:
        for program in self._all:
            if not program.lives:
                program.running.abandon()

    # -- checks

    def _check_programs(self) -> dict[str, int]:
        self.cluster.poll()
        for program in self._all:
            for kind, *why in histories.words(program.running.lines(), "ended") if program.lives else ():
                raise ClaimFailed(f"{kind} of node {program.node.id}, which is a member, ended: {' '.join(why)}")
            if program.lives:
                program.running.check_runs()
        checks = {"files": self._check_files, "locks": self._check_locks, "volumes": self._check_volumes}
        return {kind: checks[kind]() for kind in self._programs}

    def _check_files(self) -> int:
        """By each member."""
        acknowledged = histories.written(self._lines())
        writers = [program.writer for program in self._all]
        members = self.cluster.in_role("any")
        if not members:
            raise ClaimFailed("the load is checked: there is no member that could read its log")
        with ThreadPoolExecutor() as pool:
            logs = list(pool.map(partial(_read, path=f"/shared/{on_node.DIRECTORY}/{self._name}"), members))
        found = [
            histories.check_log(log, acknowledged, writers, f"the log as node {node.id} reads it")
            for node, log in zip(members, logs, strict=True)
        ]
        return min(found)

    def _check_locks(self) -> int:
        return histories.check_locks(self._lines(), self._beginnings)

    def _check_volumes(self) -> int:
        before = histories.made(self._lines())
        there = {
            disk.name: (disk.size // on_node.SIZE, disk.copies)
            for disk in vdisk.inspect(self.cluster.run_dir / DISK).disks
        }
        # A change that is on the disk was told to begin before; if its line is still on its way, it is the next one.
        told = [(one.running, len(one.running.lines("begins "))) for one in self._all if one.lives]
        for running, count in told:
            running.wait_lines(count + 1, "begins ", _BEGIN_S * self._factor)
        self.cluster.poll()
        return histories.check_volumes(before, there, histories.made(self._lines()))

    def _check_service(self, name: str) -> None:
        """Its stamps, too: each registration was started once, one after the other, and the last is where it is."""
        super()._check_service(name)
        node = self.cluster.runs(name)
        stamps = [line.split() for line in _read(node, f"/shared/load/{name}").decode().splitlines()]
        starts = [(int(registration), int(where)) for word, registration, where in stamps if word == "start"]
        numbers = [registration for registration, _ in starts]
        if numbers != sorted(set(numbers)):
            raise ClaimFailed(f"service {name}: the stamps of its starts are {starts}: not one after the other")
        if not starts or starts[-1][1] != node.id:
            raise ClaimFailed(f"service {name} is registered on node {node.id}, and its last start was {starts[-1:]}")
        told = {step.registration for step in self.cluster.services.steps(name) if step.state == "registered"}
        if lost := sorted(told - set(numbers)):
            raise ClaimFailed(f"service {name}: registrations {lost} were told, and their stamps are not there")

    def _lines(self) -> list[list[str]]:
        return [program.running.lines() for program in self._all]

    def _why_slow(self) -> str:
        last = [f"{program.writer}: {program.running.lines()[-1:]}" for program in self._all if program.lives]
        return f"; last said: {', '.join(last)}"


def _read(node: Node, path: str) -> bytes:
    """A file of the node. Raises :class:`ClaimFailed` if it is not there."""
    done = node.exchange(f"cat {path}", b"", timeout=120.0)
    if done.status != 0:
        raise ClaimFailed(f"node {node.id}: {done.complained.strip()}")
    return done.said
