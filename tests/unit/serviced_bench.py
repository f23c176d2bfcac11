"""A bench whose nodes have event managers: those are real, the machines and the commands are not."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from guestd.events.inputs import Asked
from hil.bench import address
from hil.bench.address import running_clusters
from hil.client import Node
from hil.client.backend import Guests
from tests.unit.fake_bench import FakeBench, fake_bench
from tests.unit.services_world import World

_numbers = itertools.count()


class Stack:
    """A bench whose nodes have event managers; a command ends at once with the status that it has in ``status``."""

    def __init__(self, bench: FakeBench) -> None:
        self.bench = bench
        self.world = World(3)
        self.asked: list[tuple[int, dict[str, Any]]] = []
        self.status: dict[tuple[str, str, int], int] = {}
        self.away: dict[int, Exception] = {}
        self._told = 0
        for node in range(3):
            self.world.join(node)
        self.world.settle()

    def ask(self, node: int, request: dict[str, Any]) -> dict[str, Any]:
        self.asked.append((node, request))
        if node in self.away:
            raise self.away[node]
        self.world.give(node, Asked(1, request))
        self.world.run()
        answer = self.world.answers[-1]
        self.go_on()
        return answer

    def go_on(self) -> None:
        """Until nothing happens by itself; then the events come out."""
        self.world.settle()
        while self.world.commands:
            one = self.world.commands[0]
            status = self.status.get((one.service, one.action, one.node), 0)
            self.world.end(one.service, one.action, status, one.node)
        told, self._told = self.world.events[self._told :], len(self.world.events)
        for node, kind, fields in told:
            subject = {"subject": fields["node"]} if "node" in fields else {}
            rest = {key: value for key, value in fields.items() if key != "node"}
            self.bench.log.emit(kind, node=node, **{**subject, **rest})


@contextmanager
def serviced_bench(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """A running cluster of three, the only one that counts; its event managers answer without SSH."""
    name = f"t-service-{os.getpid()}-{next(_numbers)}"
    with fake_bench(name, directory / "run") as bench:
        monkeypatch.setattr(address, "running_clusters", lambda: [n for n in running_clusters() if n == name])
        bench.all_joined()
        made = Stack(bench)

        def ask(_: Guests, node: Node, request: dict[str, Any]) -> dict[str, Any]:
            return made.ask(node.id, request)

        monkeypatch.setattr(Guests, "ask_event_manager", ask)
        yield made
