"""Commands that event managers run, and the services that they start: processes of a life of a node.

Each command takes its time. Faults that a correct cluster must survive, at a share of the commands until all is healed:

* a command fails; a start more often than a stop
* a command hangs until its time is over, and is killed with its group
* a start that fails or hangs has begun its service all the same: as a process of its group, which ends with it, or as
  one that has left the group and goes on
* a stop that fails has ended its service, or has not

A service that was started goes on (:class:`Instance`) until its stop command ends it or its node's life ends. One on a
node that stands still goes on when that does, unless its node's key was removed from the disk: then what it does harms
nobody (S6.2).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from guestd.events.inputs import CommandEnded
from hil.sim.randomness import child

if TYPE_CHECKING:
    from guestd.events.effects import RunCommand
    from hil.sim.nodes import Node
    from hil.sim.options import Options
    from hil.sim.queue import Queue
    from hil.sim.trace import Trace

_SHORT_US: Final = 10_000
_LONG_US: Final = 3_000_000
_STOP_FAILS: Final = 0.15
"""Of stops and recoveries, how much less often they fail than starts: each costs a node, or a service its time."""
_HANGS: Final = 0.3  # of those that fail
_BEGINS_ALL_THE_SAME: Final = 0.5  # of starts that fail
_DETACHED: Final = 0.5  # of those
_KILLED: Final = -9
_FAILED: Final = 1


class Run:
    """One command that runs, or has run."""

    def __init__(self, node: Node, owner: int, effect: RunCommand) -> None:
        given = effect.environment
        self.node = node
        self.life: int = node.life
        self.incarnation: int = node.incarnation
        self.owner = owner  # which event manager's it is
        self.number: int = effect.number  # by that event manager's count
        self.action: str = given.get("HIL_ACTION", "")
        self.service: str = given.get("HIL_SERVICE", "")
        self.registration: int = int(given.get("HIL_REGISTRATION", "0"))
        self.environment = given
        self.ill = False  # it may fail
        self.ended = False
        self.succeeded = False
        self.instance: Instance | None = None  # that it has begun

    def __str__(self) -> str:
        return f"{self.action} of {self.service} ({self.registration}) on node {self.node.number} ({self.incarnation})"


class Instance:
    """A service that runs, on one life of a node."""

    def __init__(self, run: Run, *, detached: bool) -> None:
        self.service: str = run.service
        self.registration: int = run.registration
        self.node = run.node.number
        self.incarnation = run.node.incarnation
        self.detached = detached
        """It is in no group of its command any more."""
        self.number: int = run.number

    @property
    def life(self) -> tuple[int, int]:
        """The node and its incarnation."""
        return self.node, self.incarnation

    def __str__(self) -> str:
        return f"{self.service} ({self.registration}) on node {self.node} ({self.incarnation})"


class Commands:
    """All of them, on all nodes. ``instances``: the services that run, in the order in which they began.

    Who listens is told when a command begins, when it has ended (``succeeded`` tells how; or its node's life has, or
    its event manager), and when an instance is one more or one less.
    """

    def __init__(self, queue: Queue, randomness: random.Random, options: Options, trace: Trace) -> None:
        self.on_begin: list[Callable[[Run], None]] = []
        self.on_end: list[Callable[[Run], None]] = []
        self.on_instance: list[Callable[[Instance], None]] = []
        self.on_instance_ended: list[Callable[[Instance], None]] = []
        self.goes_on: Callable[[str], bool] = lambda _: True
        """Whether a start of that service leaves something that runs."""
        self.instances: list[Instance] = []
        self.runs: list[Run] = []  # that have not ended
        self.notified: dict[tuple[str, int, int], int] = {}
        """(service, registration, node) -> in which incarnation its notify command has ended, well or not."""
        self.enabled = True  # the faults are
        self.counts = {"started": 0, "stopped": 0, "notified": 0, "recovered": 0, "failed": 0, "hung": 0, "killed": 0}
        self._queue = queue
        self._trace = trace
        self._random = [child(randomness) for _ in range(options.nodes)]
        self._share = options.command_share / 1000
        self._ends: dict[tuple[int, int], Callable[[CommandEnded], None]] = {}  # (owner, number) -> who hears

    def run(self, node: Node, owner: int, effect: RunCommand, ended: Callable[[CommandEnded], None]) -> Run:
        """It begins. ``ended`` hears of its end, unless its node or ``owner`` ends before."""
        draw = self._random[node.number]
        run = Run(node, owner, effect)
        run.ill = self.enabled
        lasts_us = int(_SHORT_US * (_LONG_US / _SHORT_US) ** draw.random())
        if not self.enabled:
            lasts_us = min(lasts_us, effect.timeout_ms * 500)
        begins_us = int(lasts_us * draw.random())
        share = self._share * (_STOP_FAILS if run.action in ("stop", "recovery") else 1.0)
        fails, hangs = draw.random() < share and self.enabled, draw.random() < _HANGS
        does = not fails or draw.random() < _BEGINS_ALL_THE_SAME
        detached = fails and draw.random() < _DETACHED
        self.runs.append(run)
        self._ends[owner, run.number] = ended
        self._trace.tell(node.number, f"begins {run}")
        for hear in self.on_begin:
            hear(run)
        if does:
            self._later(begins_us, self._does, run, detached)
        if lasts_us > effect.timeout_ms * 1000 or (fails and hangs):
            self._later(effect.timeout_ms * 1000, self._over, run, _KILLED, True)
        else:
            self._later(lasts_us, self._over, run, _FAILED if fails else 0, False)
        return run

    def may_fail(self) -> str | None:
        """One that runs and may fail yet; None if there is none."""
        return next((f"there is {run}, which may fail" for run in self.runs if run.ill), None)

    def kill(self, owner: int, number: int) -> None:
        """Its whole group, now."""
        for run in self.runs:
            if run.owner == owner and run.number == number:
                self._over(run, _KILLED, False)
                return

    def owner_over(self, owner: int) -> None:
        """That event manager has died: the groups of its commands that run die with it, and nobody hears of it."""
        for run in [run for run in self.runs if run.owner == owner]:
            self._ends.pop((owner, run.number), None)
            self._over(run, _KILLED, False)

    def node_over(self, node: Node) -> None:
        """A life has ended, with every process of it."""
        for run in [run for run in self.runs if run.node is node]:
            self._ends.pop((run.owner, run.number), None)
            self._end(run)
        for instance in [one for one in self.instances if one.node == node.number]:
            self._end_instance(instance)

    # -- how they run

    def _later(self, delay_us: int, action: Callable[..., None], *arguments: object) -> None:
        self._queue.after(delay_us, self._when_it_runs, action, arguments)

    def _when_it_runs(self, action: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        run: Run = arguments[0]
        if run.ended:
            return
        if run.node.frozen is not None:
            run.node.keep(self._when_it_runs, action, arguments)
            return
        action(*arguments)

    def _does(self, run: Run, detached: bool) -> None:
        """What it is there for."""
        if run.action == "start" and self.goes_on(run.service):
            instance = run.instance = Instance(run, detached=detached)
            self.instances.append(instance)
            self._trace.tell(run.node.number, f"runs: {instance}")
            for hear in self.on_instance:
                hear(instance)
        elif run.action == "stop":
            here = [one for one in self.instances if one.node == run.node.number and one.service == run.service]
            for instance in here:
                self._end_instance(instance)

    def _over(self, run: Run, status: int, timed_out: bool) -> None:
        run.succeeded = status == 0
        if run.succeeded:
            kinds = {"start": "started", "stop": "stopped", "notify": "notified", "recovery": "recovered"}
            self.counts[kinds.get(run.action, "notified")] += 1
        else:
            self.counts["hung" if timed_out else "failed" if status > 0 else "killed"] += 1
            instance = run.instance
            if instance is not None and instance in self.instances and not instance.detached:
                self._end_instance(instance)  # of its group
        if run.action == "notify":
            self.notified[run.service, run.registration, run.node.number] = run.incarnation
        self._end(run)
        how = "succeeded" if run.succeeded else "timed out" if timed_out else f"status {status}"
        self._trace.tell(run.node.number, f"ended {run}: {how}")
        hears = self._ends.pop((run.owner, run.number), None)
        if hears is not None:
            hears(CommandEnded(run.number, status, timed_out, b""))

    def _end(self, run: Run) -> None:
        run.ended = True
        self.runs.remove(run)
        for hear in self.on_end:
            hear(run)

    def _end_instance(self, instance: Instance) -> None:
        self.instances.remove(instance)
        self._trace.tell(instance.node, f"runs no more: {instance}")
        for hear in self.on_instance_ended:
            hear(instance)
