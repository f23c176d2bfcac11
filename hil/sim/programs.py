"""Programs on the nodes: subsystems that register at run time and take their time to acknowledge (docs/programs.md).

Each node starts the same ones after each boot, at levels with several barriers, so that transitions stand between two
steps for as long as a fault needs to hit them there. A program always answers; one that does not is a claim of its own.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from guestd.core.inputs import ProgramMessage
from hil.sim.randomness import child

if TYPE_CHECKING:
    from hil.sim.nodes import Node
    from hil.sim.options import Options
    from hil.sim.queue import Queue

KINDS: Final[tuple[tuple[str, int, dict[str, int]], ...]] = (
    ("recoverer", 15, {"join": 2, "forced-leave": 3}),
    ("mounter", 40, {}),
    ("service", 50, {"join": 3, "leave": 2}),
)
"""Name, level and barriers, as they are registered; 40 is the event manager's level too."""

_START_US_MAX: Final = 400_000  # from a boot until its programs begin


class Program:
    """One of one life of a node."""

    def __init__(self, node: Node, name: str, order: int, barriers: dict[str, int]) -> None:
        self.node = node
        self.life = node.life
        self.name = name
        self.order = order
        self.barriers = barriers
        self.told: list[tuple[int, int, str, int]] = []  # (node, incarnation, transition, barrier), in order


class Programs:
    """All of them. ``on_told`` hears of each notification."""

    def __init__(self, queue: Queue, randomness: random.Random, options: Options) -> None:
        self.all: list[Program] = []
        self.on_told: Callable[[Program, tuple[int, int, str, int]], None] = lambda _program, _told: None
        self._queue = queue
        self._random = [child(randomness) for _ in range(options.nodes)]
        self._count = options.programs
        self._answer_us = options.answer_ms_max * 1000

    def start(self, node: Node) -> None:
        """After a boot."""
        for name, order, barriers in KINDS[: self._count]:
            delay_us = self._random[node.number].randint(0, _START_US_MAX)
            self._queue.after(delay_us, self._register, node, node.life, name, order, barriers)

    def answer(self, node: Node, connection: int, message: dict[str, Any]) -> None:
        """A node says something to one of its programs; over a socket, so in order."""
        self._queue.after(100, self._hear, self.all[connection - 1], node, json.loads(json.dumps(message)))

    def _register(self, node: Node, life: int, name: str, order: int, barriers: dict[str, int]) -> None:
        if node.life != life or node.stack is None:
            return
        program = Program(node, name, order, barriers)
        self.all.append(program)
        asked = {"name": name, "order": order, "barriers": barriers, "on_death": "gone"}
        self._say(program, len(self.all), {"register": asked})

    def _hear(self, program: Program, node: Node, message: dict[str, Any]) -> None:
        if node.life != program.life or node.stack is None:
            return
        given = message.get("notification")
        if given is None:
            return
        for one in given["transitions"]:
            told = (one["node"], one["incarnation"], one["transition"], one["barrier"])
            program.told.append(told)
            self.on_told(program, told)
        connection = self.all.index(program) + 1
        delay_us = self._random[node.number].randint(0, self._answer_us)
        self._queue.after(delay_us, self._say, program, connection, {"acknowledge": given["number"]})

    @staticmethod
    def _say(program: Program, connection: int, message: dict[str, Any]) -> None:
        program.node.give(program.life, ProgramMessage(connection, json.dumps(message)))
