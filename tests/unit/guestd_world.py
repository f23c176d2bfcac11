"""A cluster of guestd stacks in memory: one disk, one network, one clock, one queue of events. No threads, no waiting.

Deterministic: the same seed gives the same run. Faults are attributes that tests set: dead nodes, links that are cut, a
disk path that hangs, a share of datagrams that is lost.
"""

from __future__ import annotations

import heapq
import json
import random
from collections.abc import Callable
from typing import Any

from guestd.core.config import Config
from guestd.core.effects import (
    Answer,
    Broadcast,
    Effect,
    Emit,
    Exit,
    OfferFiles,
    Panic,
    ReadSectors,
    ScsiCommand,
    Send,
    Wake,
    WriteSectors,
)
from guestd.core.inputs import Datagram, Input, Order, ProgramGone, ProgramMessage, Start, Tick
from guestd.core.node import Stack
from guestd.core.timing import Timing
from guestd.fence.keys import key_of
from guestd.membership import layout, persistent
from guestd.membership.position import position_of
from guestd.membership.records import decode_commit
from guestd.membership.regions import newest_view, parse
from guestd.membership.view import View
from guestd.sfs.answers import FileAnswer, FileChanged, Reply
from guestd.sfs.requests import FileRequest, Request
from hil.bench.volumes import make_volumes
from tests.unit.reservable_disk import ReservableDisk

DISK_SIZE = 8 << 20
CLUSTER_ID = "00112233445566778899aabbccddeeff"


class Machine:
    """One node's machine: a stack while it runs, and what became of it."""

    def __init__(self) -> None:
        self.stack: Stack | None = None
        self.life = 0  # power cycles; what was sent to an earlier life is not delivered
        self.panics: list[str] = []
        self.exits: list[int] = []
        self.events: list[tuple[int, str, dict[str, Any]]] = []  # (ms, kind, fields), all lives
        self.orders = 0
        self.offered = False  # programs of this life may use the shared file system

    @property
    def running(self) -> bool:
        return self.stack is not None


class Program:
    """A program on one node: registers, and acknowledges after a while whatever it is told, if `answers_ms` is set."""

    def __init__(self, world: World, node: int, connection: int, answers_ms: int | None) -> None:
        self.world = world
        self.node = node
        self.life = world.machines[node].life
        self.connection = connection
        self.order = 0
        self.answers_ms = answers_ms
        self.said: list[tuple[int, dict[str, Any]]] = []  # (ms, message)

    def send(self, **message: Any) -> None:
        self.world._to(self.node, self.life, ProgramMessage(self.connection, json.dumps(message)))

    def die(self) -> None:
        self.answers_ms = None
        self.world._to(self.node, self.life, ProgramGone(self.connection))

    def hear(self, message: dict[str, Any]) -> None:
        message = json.loads(json.dumps(message))
        self.said.append((self.world.now_ms, message))
        if "notification" in message and self.answers_ms is not None:
            self.world.after(self.answers_ms, lambda: self.acknowledge(message["notification"]["number"]))

    def acknowledge(self, number: int) -> None:
        self.send(acknowledge=number)

    def all(self, key: str) -> list[Any]:
        return [message[key] for _, message in self.said if key in message]

    @property
    def registered(self) -> bool:
        return bool(self.all("registered"))

    def told(self, kind: str) -> list[tuple[int, int]]:
        """(node, barrier) of every transition of that kind that it was notified of, in order."""
        transitions = [one for given in self.all("notification") for one in given["transitions"]]
        return [(one["node"], one["barrier"]) for one in transitions if one["transition"] == kind]


class World:
    """The laboratory."""

    def __init__(
        self,
        nodes: int = 3,
        seed: int = 0,
        timing: Timing | None = None,
        *,
        election: str = "paxos",
        shared: int = 0,
        data_disks: int = 0,
    ) -> None:
        """shared: bytes of the virtual disk with the shared file system; 0: there is none."""
        identity, times = bytes.fromhex(CLUSTER_ID), timing or Timing()
        self.config = Config(identity, "demo", nodes, times, election=election, data_disks=data_disks)
        self.random = random.Random(seed)
        self.device = ReservableDisk(DISK_SIZE)
        self.data_disks = [ReservableDisk(DISK_SIZE, lun) for lun in range(1, 1 + data_disks)]
        database = persistent.format_database(CLUSTER_ID, "demo", nodes, election, data_disks)
        volumes = make_volumes(CLUSTER_ID, nodes, DISK_SIZE, shared, 0)
        for offset, data in ((layout.DATABASE_OFFSET, database), *volumes):
            self.device.data[offset : offset + len(data)] = data
        self.machines = [Machine() for _ in range(nodes)]
        self.ids = list(range(nodes))  # machine -> the node id that it was given
        self.now_ms = 0
        self.loss = 0.0
        self.cut: set[tuple[int, int]] = set()  # (from, to)
        self.unheard: set[tuple[int, int]] = set()  # the same, but only what is for all is lost
        self.disk_hung: set[int] = set()
        self.lun_hung: set[tuple[int, int]] = set()  # (node, LUN)
        self.frozen: dict[int, list[Callable[[], None]]] = {}  # node -> what happened to it meanwhile
        self.journal: list[tuple[int, str, dict[str, Any]]] = []  # (node, kind, fields), of all nodes in one order
        self.programs: list[Program] = []
        self.answers: dict[tuple[int, int, int], Reply] = {}  # (node, life, number of the request)
        self.on_files: Callable[[int, FileAnswer | FileChanged], None] = lambda node, effect: None  # told of each
        self.masters: dict[int, tuple[int, int]] = {}  # epoch -> (node, incarnation) that was elected
        self.commits: dict[int, tuple[int, int]] = {}  # epoch -> (node, incarnation) that has sent a commit record
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._asked = 0
        self._view: View | None = None  # the newest on the disk, while no commit record is written
        self._steps: dict[tuple[object, ...], tuple[int, int]] = {}

    # -- time

    def after(self, delay_ms: int, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._queue, (self.now_ms + delay_ms, self._count, action))

    def run(self, for_ms: int) -> None:
        end_ms = self.now_ms + for_ms
        while self._queue and self._queue[0][0] <= end_ms:
            self.now_ms, _, action = heapq.heappop(self._queue)
            action()
        self.now_ms = end_ms

    def run_until(self, reached: Callable[[], object], within_ms: int = 60_000) -> int:
        """Returns how long it took."""
        begin_ms = self.now_ms
        while not reached():
            assert self._queue, "nothing happens any more"
            assert self._queue[0][0] <= begin_ms + within_ms, f"not within {within_ms} ms: {self.story()}"
            self.now_ms, _, action = heapq.heappop(self._queue)
            action()
        return self.now_ms - begin_ms

    # -- machines

    def power_on(self, *nodes: int) -> None:
        for node in nodes or range(self.config.nodes):
            machine = self.machines[node]
            assert machine.stack is None, f"node {node} runs already"
            machine.stack = Stack(self.config, self.ids[node])
            machine.life += 1
            machine.orders = 0
            machine.offered = False
            self._to(node, machine.life, Start())
            self._tick(node, machine.life)

    def add_machine(self, node: int) -> int:
        """One more machine that was given a node id that another one has; its number, to be used as a node's."""
        self.machines.append(Machine())
        self.ids.append(node)
        return len(self.machines) - 1

    def power_off(self, *nodes: int) -> None:
        for node in nodes or range(self.config.nodes):
            stack = self.machines[node].stack
            if stack is not None:
                stack.stop()
            self.machines[node].stack = None
            self.frozen.pop(node, None)

    def order(self, node: int, order: str, reason: str = "") -> None:
        machine = self.machines[node]
        machine.orders += 1
        self._to(node, machine.life, Order(machine.orders, order, reason))

    def freeze(self, node: int) -> None:
        self.frozen[node] = []

    def thaw(self, node: int) -> None:
        for action in self.frozen.pop(node):
            action()

    def isolate(self, node: int) -> None:
        for other in range(len(self.machines)):
            self.cut |= {(node, other), (other, node)}

    def let_go(self, node: int) -> None:
        """The writes of that node that the disk holds land; a node that waits for one hears of it."""
        life = self.machines[node].life
        for _, done in self.device.let_go(node):
            self._to(node, life, done)  # of an earlier life: nobody waits for it any more
        self._view = None

    @property
    def luns(self) -> list[ReservableDisk]:
        """All disks, by LUN."""
        return [self.device, *self.data_disks]

    @property
    def disk(self) -> bytearray:
        """What is on the disk."""
        return self.device.data

    # -- programs

    def program(self, node: int, name: str, order: int, *, answers_ms: int | None = 5, **asked: Any) -> Program:
        """Start a program that registers at once."""
        made = Program(self, node, len(self.programs) + 1, answers_ms)
        made.order = order
        self.programs.append(made)
        made.send(register={"name": name, "order": order, **asked})
        return made

    def ask(self, node: int, request: Request) -> tuple[int, int, int]:
        """A program of that node asks for something of the shared file system; `answers` has what is answered."""
        self._asked += 1
        life = self.machines[node].life
        self._to(node, life, FileRequest(self._asked, self.now_ms * 1_000_000, request))
        return node, life, self._asked

    # -- what can be seen

    @property
    def view(self) -> View:
        """The newest view on the disk."""
        if self._view is None:
            regions = bytes(self.disk[layout.DATABASE_OFFSET + layout.REGIONS_OFFSET : layout.VOLUMES_OFFSET])
            self._view = newest_view(parse(self.config.cluster_id, self.config.nodes, regions))
        return self._view

    def states(self) -> list[str]:
        """The own state of each node, '-' if it does not run."""
        return [self.state(node) for node in range(self.config.nodes)]

    def state(self, node: int) -> str:
        stack = self.machines[node].stack
        return "-" if stack is None else stack._manager.member.state.value

    def status(self, node: int) -> dict[str, Any]:
        stack = self.machines[node].stack
        assert stack is not None
        return stack.status()

    def all_joined(self, *nodes: int) -> bool:
        """Whether these nodes are joined, agree on it, and nobody else is a member."""
        wanted = list(nodes) or list(range(self.config.nodes))
        view = self.view
        return (
            [node for node, entry in enumerate(view.entries) if entry.state.value != "inactive"] == wanted
            and all(view.entries[node].state.value == "joined" for node in wanted)
            and all(self._knows(node, view) for node in wanted)
        )

    def _knows(self, node: int, view: View) -> bool:
        stack = self.machines[node].stack
        if stack is None:
            return False
        member = stack._manager.member
        return member.state.value == "joined" and member.view == view

    def agreed_without(self, victim: int) -> bool:
        """Whether all other nodes know of a membership in which this one is forced out."""
        stacks = [machine.stack for node, machine in enumerate(self.machines) if node != victim]
        return all(stack is not None and stack._manager.member.view.entries[victim].forced for stack in stacks)

    def events(self, node: int, *kinds: str) -> list[dict[str, Any]]:
        return [fields for _, kind, fields in self.machines[node].events if kind in kinds]

    def story(self) -> str:
        lines = [f"at {self.now_ms} ms: {self.states()} disk: {self.view}"]
        for node, machine in enumerate(self.machines):
            lines += [f"  n{node} {at} {kind} {fields}" for at, kind, fields in machine.events[-25:]]
        return "\n".join(lines)

    # -- inner workings

    def _tick(self, node: int, life: int) -> None:
        machine = self.machines[node]
        if machine.stack is None or machine.life != life:
            return
        if node not in self.frozen:
            self._to(node, life, Tick())
        period_ms = self.config.timing.heartbeat_ms
        self.after(period_ms + self.random.randint(0, 5), lambda: self._tick(node, life))

    def _to(self, node: int, life: int, given: Input) -> None:
        machine = self.machines[node]
        if machine.stack is None or machine.life != life:
            return
        if node in self.frozen:
            self.frozen[node].append(lambda: self._to(node, life, given))
            return
        for effect in machine.stack.handle(given, self.now_ms):
            self._carry_out(node, life, effect)

    def _carry_out(self, node: int, life: int, effect: Effect) -> None:
        machine = self.machines[node]
        if isinstance(effect, Emit):
            machine.events.append((self.now_ms, effect.kind, effect.fields))
            self.journal.append((node, effect.kind, effect.fields))
            self._check(node, effect)
        elif isinstance(effect, (WriteSectors, ReadSectors, ScsiCommand)):
            self.after(self.random.randint(1, 8), lambda: self._disk(node, life, effect))
        elif isinstance(effect, Broadcast):
            self._send(node, effect.payload)
        elif isinstance(effect, Send):
            self._tell(node, effect.node, effect.payload)
        elif isinstance(effect, Wake):
            self.after(effect.after_ms, lambda: self._to(node, life, Tick()))
        elif isinstance(effect, Answer):
            program = self.programs[effect.connection - 1]
            if program.life == life:
                self.after(1, lambda: program.hear(effect.message))
        elif isinstance(effect, FileAnswer):
            self.answers[node, life, effect.number] = effect.reply
            self.on_files(node, effect)
        elif isinstance(effect, FileChanged):
            self.on_files(node, effect)
        elif isinstance(effect, OfferFiles):
            machine.offered = True
        elif isinstance(effect, Panic):
            machine.panics.append(effect.reason)
            machine.stack = None
        elif isinstance(effect, Exit):
            machine.exits.append(effect.status)
            machine.stack = None

    def _disk(self, node: int, life: int, effect: WriteSectors | ReadSectors | ScsiCommand) -> None:
        if self.machines[node].life != life or self.machines[node].stack is None:
            return  # a write that had not reached the disk when the power went is lost
        if node in self.disk_hung or (node, effect.lun) in self.lun_hung:
            self.after(100, lambda: self._disk(node, life, effect))
            return
        if isinstance(effect, WriteSectors) and not effect.lun:
            self._check_write(node, effect)
        done = self.luns[effect.lun].execute(node, effect)
        if done is not None:
            self._to(node, life, done)

    def _tell(self, node: int, to: int, payload: bytes) -> None:
        for other, machine in enumerate(self.machines):
            if self.ids[other] == to and (node, other) not in self.cut and self.random.random() >= self.loss:
                self.after(self.random.randint(0, 3), self._delivery(other, machine.life, payload))

    def _send(self, node: int, payload: bytes) -> None:
        for other, machine in enumerate(self.machines):
            heard = (node, other) not in self.cut and (node, other) not in self.unheard
            if heard and self.random.random() >= self.loss:
                self.after(self.random.randint(0, 3), self._delivery(other, machine.life, payload))

    def _delivery(self, node: int, life: int, payload: bytes) -> Callable[[], None]:
        return lambda: self._to(node, life, Datagram(payload))

    def _check_write(self, node: int, effect: WriteSectors) -> None:
        """One writer per sector; a step is on the disk only after all that take part have acknowledged the last."""
        if effect.lba >= layout.VOLUMES_LBA:
            return  # guarded by locks
        region, sector = divmod(effect.lba - layout.REGIONS_LBA, layout.REGION_SECTORS)
        machine, node = node, self.ids[node]
        assert region == node, f"node {node} writes in the region of node {region}"
        if sector != layout.COMMIT_SECTOR:
            return
        before = self.view
        commit = decode_commit(self.config.cluster_id, node, effect.data[:512], self.config.nodes)
        assert commit is not None
        assert commit.view.master == node
        owner = (node, commit.view.entries[node].incarnation)
        if self.device.may_write(machine) and machine not in self.device.holding:
            told = f"two lives commit epoch {commit.view.epoch}: {self.story()}"
            assert self.commits.setdefault(commit.view.epoch, owner) == owner, told
        self._view = None
        if (commit.view.epoch, commit.view.step) != (before.epoch, before.step + 1):
            return
        for subject, moved in enumerate(before.entries):
            position = position_of(subject, moved)
            if position is not None and commit.view.entries[subject] != moved:
                for live in before.live():
                    # A node that joins does not take part yet at the levels above the one that it has come to, and what
                    # an earlier life has acknowledged is not known any more.
                    entry = before.entries[live]
                    machines = [self.machines[index] for index, node_id in enumerate(self.ids) if node_id == live]
                    members = [machine.stack._manager.member for machine in machines if machine.stack is not None]
                    members = [member for member in members if member.incarnation == entry.incarnation]
                    if members and entry.reach >= position.level:
                        given = [member.participant.acknowledged() for member in members]
                        known = any(position in one for one in given)
                        assert known, f"node {live} has not acknowledged {position}: {self.story()}"

    def _check_order(self, node: int, life: int, fields: dict[str, Any]) -> None:
        """Levels in the order of spec S4.4 for each transition, each step once."""
        if "late" in fields:
            return  # of a join that had passed this level when the subsystem registered (spec S4.12)
        key = (node, life, fields["subject"], fields["incarnation"], fields["transition"], fields["subsystem"])
        sign = -1 if fields["transition"] == "leave" else 1
        step = (sign * fields["level"], fields["barrier"])
        assert step > self._steps.get(key, (-1000, 0)), f"{fields} out of order: {self.story()}"
        self._steps[key] = step

    def _check(self, node: int, effect: Emit) -> None:
        """No epoch ever has two owners."""
        if effect.kind == "notified":
            self._check_order(node, self.machines[node].life, effect.fields)
        if effect.kind == "elected":
            stack = self.machines[node].stack
            assert stack is not None
            owner = (self.ids[node], stack._manager.member.incarnation)
            epoch = effect.fields["epoch"]
            before = self.masters.setdefault(epoch, owner)
            # In mode `dekker` another one comes after an owner that was fenced before it had committed anything.
            succeeds = self.config.election == "dekker" and key_of(*before) not in list(self.device.keys())
            told = f"two owners of epoch {epoch}: {self.story()}"
            assert before == owner or (succeeds and epoch not in self.commits), told
            self.masters[epoch] = owner


def formed(seed: int, nodes: int = 3, election: str = "paxos") -> World:
    """A cluster some time after it has formed, at another phase of everybody's periods for each seed."""
    world = World(nodes, seed, election=election)
    world.power_on()
    world.run_until(world.all_joined)
    world.run(random.Random(seed).randint(0, 1000))
    return world
