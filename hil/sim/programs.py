"""Programs on the nodes: subsystems that register at run time and take their time to acknowledge (docs/programs.md).

Each node starts the same ones after each boot, at levels with several barriers, so that transitions stand between two
steps for as long as a fault needs to hit them there.

Faults that a correct cluster must survive, at a share of the notifications and of the registrations:

* a program takes its leave, or dies: it chose whether its node counts it as gone then, or answers for it (S4.13)
* a program never acknowledges: its node panics after its time (A14)
* a program asks for other barriers than one on another node has at that level, and is refused
One that has ended begins anew a little later.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from guestd.core import json
from guestd.core.inputs import ProgramGone, ProgramMessage
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

_STRANGER: Final = ("stranger", 60)
"""On nodes with odd numbers it wants other barriers than on those with even ones: only one kind can be registered."""

_AGAIN_US_MAX: Final = 2_000_000  # until a program that has ended begins anew
_START_US_MAX: Final = 400_000  # from a boot until its programs begin


class Program:
    """One of one life of a node."""

    def __init__(self, node: Node, name: str, order: int, barriers: dict[str, int]) -> None:
        self.node = node
        self.life = node.life
        self.name = name
        self.order = order
        self.barriers = barriers
        self.on_death = "gone"
        self.told: list[tuple[int, int, str, int]] = []  # (node, incarnation, transition, barrier), in order
        self.last: dict[int, tuple[int, int, str, int]] = {}  # the last of each node
        self.unacknowledged: set[tuple[int, int, str, int]] = set()
        self.notified: list[tuple[int, int, str, int]] = []  # by the last notification
        self.states: list[str] = []  # of every node, as that had them
        self.registered = False
        self.refused = False
        self.ended = False
        """It has closed its connection, or died and counts as gone."""
        self.deregistered = False
        """Its node has said so, with its own leave (S4.9): it is not waited for any more, and may not know it yet."""
        self.hangs = False
        """It acknowledges nothing any more, or is dead and its node answers for that."""

    @property
    def runs(self) -> bool:
        """Whether its node does, in the life in which it began, and it has neither ended nor been refused."""
        here = self.node.stack is not None and self.node.life == self.life
        return here and not self.ended and not self.refused

    @property
    def works(self) -> bool:
        """Whether it is registered, and acknowledges what it is told."""
        return self.runs and self.registered and not self.deregistered and not self.hangs


class Programs:
    """All of them. ``on_told`` hears of each notification."""

    def __init__(self, queue: Queue, randomness: random.Random, options: Options) -> None:
        self.all: list[Program] = []
        self.on_told: Callable[[Program, tuple[int, int, str, int]], None] = lambda _program, _told: None
        self._queue = queue
        self._random = [child(randomness) for _ in range(options.nodes)]
        self._ill = [child(randomness) for _ in range(options.nodes)]  # of what goes wrong with programs
        self._count = options.programs
        self._answer_us = options.answer_ms_max * 1000
        self._share = options.program_share / 1000
        self.counts = {"closed": 0, "died": 0, "hung": 0, "refused": 0}
        self.enabled = True  # the faults are

    def start(self, node: Node) -> None:
        """After a boot."""
        for name, order, barriers in KINDS[: self._count]:
            delay_us = self._random[node.number].randint(0, _START_US_MAX)
            self._queue.after(delay_us, self._register, node, node.life, name, order, barriers)
        if self._count and self._share and self.enabled:
            barriers = {"join": 2 + node.number % 2}
            delay_us = self._random[node.number].randint(0, _START_US_MAX)
            self._queue.after(delay_us, self._register, node, node.life, *_STRANGER, barriers)

    def answer(self, node: Node, connection: int, message: dict[str, Any]) -> None:
        """A node says something to one of its programs; over a socket, so in order."""
        if "closed" in message:
            self.all[connection - 1].deregistered = True
        self._queue.after(100, self._hear, self.all[connection - 1], node, json.loads(json.dumps(message)))

    def behind(self, incarnations: Sequence[int]) -> str | None:
        """Of all programs that run, the first that is not registered or has not been taken through all joins (S4.12).

        incarnations: of the nodes, which are all joined. None: there is no such one.
        """
        for program in self.all:
            if not program.runs:
                continue
            if not program.registered:
                return f"{program.name} on node {program.node.number} is not registered"
            last = program.barriers.get("join", 1) - 1
            for node, incarnation in enumerate(incarnations):
                join = (node, incarnation, "join", last)
                if program.last.get(node) != join or join in program.unacknowledged:
                    return f"{program.name} on node {program.node.number} does not know that node {node} has joined"
        return None

    def _register(self, node: Node, life: int, name: str, order: int, barriers: dict[str, int]) -> None:
        if node.life != life or node.stack is None:
            return
        program = Program(node, name, order, barriers)
        self.all.append(program)
        strikes = self._strikes(node.number)
        program.on_death = "hang" if self._share and self._ill[node.number].random() < 0.5 else "gone"
        asked = {"name": name, "order": order, "barriers": barriers, "on_death": program.on_death}
        self._say(program, len(self.all), {"register": asked})
        if strikes:  # a death that its node has to answer for comes later, when it is certainly registered
            self._end(program, dies=self._ill[node.number].random() < 0.5 and program.on_death == "gone")

    def start_mute(self, node: Node, name: str, order: int) -> Program:
        """One that registers there now, and acknowledges nothing."""
        program = Program(node, name, order, {})
        program.hangs = True
        self.all.append(program)
        self._say(program, len(self.all), {"register": {"name": name, "order": order, "on_death": "gone"}})
        return program

    def kill(self, program: Program) -> None:
        """It counts as gone, and nobody starts it again."""
        if program.runs:
            program.ended = True
            program.node.give(program.life, ProgramGone(self.all.index(program) + 1))

    def _strikes(self, number: int) -> bool:
        return bool(self._share) and self.enabled and self._ill[number].random() < self._share

    def _end(self, program: Program, *, dies: bool) -> None:
        """It closes its connection, or dies."""
        self.counts["died" if dies else "closed"] += 1
        program.hangs = dies and program.on_death == "hang"
        program.ended = not program.hangs
        connection = self.all.index(program) + 1
        if dies:
            program.node.give(program.life, ProgramGone(connection))
        else:
            self._say(program, connection, {"close": True})
        if program.ended:
            delay_us = self._random[program.node.number].randint(1, _AGAIN_US_MAX)
            again = (program.node, program.life, program.name, program.order, program.barriers)
            self._queue.after(delay_us, self._register, *again)

    def _hear(self, program: Program, node: Node, message: dict[str, Any]) -> None:
        if node.life != program.life or node.stack is None or program.ended:
            return
        program.registered = program.registered or "registered" in message
        if "refused" in message and not program.refused:
            program.refused = True
            self.counts["refused"] += 1
        if "closed" in message and not program.ended:  # after its node's leave
            program.ended = True
        given = message.get("notification")
        if given is None:
            return
        keys = ("node", "incarnation", "transition", "barrier")
        program.notified = [tuple(one[key] for key in keys) for one in given["transitions"]]
        program.states = given["states"]
        for told in program.notified:
            program.told.append(told)
            program.last[told[0]] = told
            program.unacknowledged.add(told)
            self.on_told(program, told)
        if program.hangs or self._strikes(program.node.number):
            self._fail(program)
            return
        connection = self.all.index(program) + 1
        delay_us = self._random[program.node.number].randint(0, self._answer_us)
        self._queue.after(delay_us, self._acknowledge, program, connection, given["number"], program.notified)

    def _fail(self, program: Program) -> None:
        if program.hangs:
            return
        if self._ill[program.node.number].random() < 0.3:
            self.counts["hung"] += 1
            program.hangs = True
        else:
            self._end(program, dies=self._ill[program.node.number].random() < 0.5)

    def _acknowledge(
        self, program: Program, connection: int, number: int, told: list[tuple[int, int, str, int]]
    ) -> None:
        if program.ended or program.hangs:
            return
        program.unacknowledged.difference_update(told)
        self._say(program, connection, {"acknowledge": number})

    @staticmethod
    def _say(program: Program, connection: int, message: dict[str, Any]) -> None:
        program.node.give(program.life, ProgramMessage(connection, json.dumps(message)))
