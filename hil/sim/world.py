"""N nodes, one network, one disk, one clock: everything of one run, and the operator who switches machines on again."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache, partial
from mmap import mmap
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from guestd.core.config import Config
from guestd.dlm.names import PROGRAM as PROGRAMS
from guestd.events.bell import NAME as BELL
from guestd.membership import layout, persistent
from guestd.membership.records import Ballot, Commit, Match
from guestd.membership.roles import Role
from guestd.membership.states import NodeState
from hil.bench.volumes import MIB, make_volumes, shared_size
from hil.checkers.checker import by_kind, listening
from hil.checkers.observation import Observation
from hil.checkers.records import is_heartbeat, record_of
from hil.sim.administrator import Administrator
from hil.sim.commands import Commands
from hil.sim.disk import Disk
from hil.sim.disk_writers import DiskWriters
from hil.sim.event_managers import CONNECTIONS as EVENT_MANAGERS
from hil.sim.event_managers import EventManagers
from hil.sim.faults import Faults
from hil.sim.filers import Filers
from hil.sim.lockers import CONNECTIONS as LOCKERS
from hil.sim.lockers import Lockers
from hil.sim.mounts import Mounts
from hil.sim.network import Network
from hil.sim.nodes import Node
from hil.sim.options import Options
from hil.sim.plan import Plan
from hil.sim.planning import draw_plan
from hil.sim.programs import Programs
from hil.sim.queue import Queue
from hil.sim.randomness import child
from hil.sim.registry import Registry
from hil.sim.trace import Trace
from hil.sim.volume_users import CONNECTIONS as VOLUME_USERS
from hil.sim.volume_users import VolumeUsers

if TYPE_CHECKING:
    from guestd.membership.position import Position
    from hil.checkers.checker import Checker

CLUSTER_ID: Final = "00112233445566778899aabbccddeeff"
DISK_SIZE: Final = 16 << 20
"""Bytes."""
DATA_DISK_SIZE: Final = 4 << 20
"""Bytes of each further LUN."""
BOOT_US_MIN: Final = 300_000
"""No datagram is on its way for so long (:mod:`hil.sim.network`)."""

_BELL: Final = PROGRAMS + BELL[0].encode()
"""What event managers hold as long as they run."""

_EVERYTHING: Final = tuple(Observation)


class OfNode(NamedTuple):
    """The generators of one node, each for one thing: what one draws more or less does not change another."""

    boot: random.Random
    tick: random.Random
    end: random.Random


class World:
    """Everything is switched on at the beginning. ``checkers`` are told of all that happens.

    ``plan``: the faults; None: those of the seed. ``config``: of the cluster, where it is not the usual one with the
    options' size and times. Raises :class:`hil.errors.UsageError` for a plan of other nodes.
    """

    def __init__(
        self,
        options: Options,
        checkers: Sequence[Checker] = (),
        *,
        plan: Plan | None = None,
        recording: bool = False,
        config: Config | None = None,
    ) -> None:
        self.options = options
        self.config = config or Config(
            bytes.fromhex(CLUSTER_ID),
            "demo",
            options.nodes,
            options.timing,
            election=options.election,
            data_disks=options.data_disks,
        )
        self.queue = Queue()
        self.trace = Trace(self.queue, recording=recording)
        self.disk = self.make_disk(self._generator("disk"))
        self.network = self.make_network(self._generator("network"))
        self.disk_writers = DiskWriters(self.queue, self._generator("disk writers"), options)
        self.programs = Programs(self.queue, self._generator("programs"), options)
        self.lockers = Lockers(self.queue, self._generator("lockers"), options)
        self.mounts = Mounts(self.queue, options.nodes)
        self.filers = Filers(self.queue, self._generator("filers"), options, self.mounts)
        self.volume_users = VolumeUsers(self.queue, self._generator("volume users"), options)
        self.commands = Commands(self.queue, self._generator("commands"), options, self.trace)
        managers = self._generator("event managers")
        self.event_managers = EventManagers(self.queue, managers, options, self.trace, self.mounts, self.commands)
        randomness = self._generator("administrator")
        self.administrator = Administrator(self.queue, randomness, options, self.trace, self.event_managers)
        self.commands.goes_on = self.administrator.goes_on
        self.registry = Registry(lambda: self.queue.now_us)
        self.event_managers.on_store.append(self.registry.hear)
        drifts, of_nodes = self._generator("drift"), self._generator("nodes")
        self.nodes: list[Node] = []
        self.generators: list[OfNode] = []
        for number in range(options.nodes):
            drift_ppm = round(options.drift_ppm_max * (2 * drifts.random() - 1))
            self.nodes.append(Node(self, number, self.config, drift_ppm))
            self.generators.append(OfNode(child(of_nodes), child(of_nodes), child(of_nodes)))
        self._tick_draws = [one.tick.random for one in self.generators]
        self._late_tick_us = options.late_tick_us_max
        self.network.connect(self.nodes)
        self.faults = Faults(self, draw_plan(options) if plan is None else plan)
        self.events: list[tuple[int, int, str, dict[str, Any]]] = []  # (µs, node, kind, fields)
        self.operator_boots = True
        self.checkers = list(checkers)
        # Only who listens is told.
        self._of_writes = listening(self.checkers, "landed")
        self._of_data_writes = listening(self.checkers, "data_landed")
        self._of_failures = listening(self.checkers, "command_failed")
        self._of_what_is_told = listening(self.checkers, "told")
        self._of_events = by_kind(self.checkers)
        self.disk.on_landed = self._landed
        self.disk.on_keyed = self._keyed
        self.disk.on_removed = self._removed
        self._hear_of_data_disks()
        self.programs.on_told = self.event_managers.on_told = self._told
        for checker in self.checkers:
            checker.begin(self)

    def _generator(self, of_what: str) -> random.Random:
        return random.Random(f"{of_what} of {self.options.preset} {self.options.seed}")

    @property
    def shared(self) -> bool:
        """Whether there is a shared file system."""
        return bool(self.options.filers or self.options.services)

    def make_network(self, randomness: random.Random) -> Network:
        """The private interconnect."""
        return Network(self.queue, randomness, self.options, self.trace)

    def make_disk(self, randomness: random.Random) -> Disk:
        """The shared disk, with a new membership database on it."""
        config = self.config
        medium = mmap(-1, DISK_SIZE)  # of which most is never touched
        told = (config.cluster, config.nodes, config.election, config.data_disks)
        for offset, data in _on_a_new_disk(config.cluster_id, *told, shared=self.shared):
            medium[offset : offset + len(data)] = data
        disk = Disk(medium, self.queue, randomness, self.options, self.trace)
        for lun in range(1, 1 + config.data_disks):
            generator = self._generator(f"LUN {lun}")
            disk.add(Disk(bytearray(DATA_DISK_SIZE), self.queue, generator, self.options, self.trace, lun))
        return disk

    # -- the operator

    def begin(self) -> None:
        """All are switched on at about the same time."""
        self.administrator.begin()
        for node in self.nodes:
            self.queue.after(self.generators[node.number].boot.randint(0, 1_000_000), self._boot, node)

    def boot_later(self, node: Node) -> None:
        """Somebody sees that it is off, and switches it on."""
        if self.operator_boots:
            longest_us = max(BOOT_US_MIN + 1, self.options.boot_ms_max * 1000)
            delay_us = self.generators[node.number].boot.randint(BOOT_US_MIN, longest_us)
            self.queue.after(delay_us, self._boot, node)

    def _boot(self, node: Node) -> None:
        # It may have been switched on and have died since this was asked for: that death brings a boot of its own.
        soon = node.ended_us is not None and self.queue.now_us - node.ended_us < BOOT_US_MIN
        if node.stack is None and not soon:
            self.trace.tell(node.number, "power on")
            node.power_off()  # a machine that stands with a panic has had power until now
            node.power_on()

    # -- what nodes report

    def tick_late_us(self, number: int) -> int:
        """How late the next tick of that node is."""
        return int(self._tick_draws[number]() * self._late_tick_us)

    def stands_refused(self, node: Node) -> None:
        """A node has heard that the disk refuses its write, and runs on."""
        for checker in self.checkers:
            checker.unmoved(node)

    def command_failed(self, node: Node) -> None:
        """A node has heard that a write has failed."""
        for checker in self._of_failures:
            checker.command_failed(node)

    def booted(self, node: Node) -> None:
        """A new life has begun."""
        for checker in self.checkers:
            checker.booted(node)
        self.mounts.booted(node)
        self.programs.start(node)
        self.lockers.start(node)
        self.volume_users.start(node)
        self.disk_writers.start(node)
        self.event_managers.start(node)

    def doomed(self, node: Node) -> None:
        """Its hour has come."""
        self.trace.tell(node.number, "loses power")
        node.power_off()
        self.boot_later(node)

    def ended(self, node: Node) -> None:
        """It has panicked, or guestd has exited."""
        self.trace.tell(node.number, "stands")
        self.over(node)
        self.boot_later(node)

    def over(self, node: Node) -> None:
        """That life has ended, in whatever way."""
        self.event_managers.over(node)
        self.registry.over(node.number, node.incarnation)
        for checker in self.checkers:
            checker.ended(node)

    def emitted(self, node: Node, kind: str, fields: dict[str, Any]) -> None:
        """An event of a node."""
        self.events.append((self.queue.now_us, node.number, kind, fields))
        self.trace.tell(node.number, f"{kind} {_shown(fields)}")
        for checker in self._of_events.get(kind, ()):
            checker.emitted(node, kind, fields)

    def _landed(self, node: Node, life: int, command: Any) -> None:
        lba, data = command.lba, command.data
        for checker in self._of_writes:
            checker.landed(node, life, lba, data)
        if is_heartbeat(lba):
            return
        record = record_of(self.config.cluster_id, self.config.nodes, lba, data)
        for checker in self.checkers:
            if isinstance(record, Commit):
                checker.committed(node, life, record.view)
            elif isinstance(record, Ballot):
                checker.voted(node, life, record)
            elif isinstance(record, Match):
                checker.contended(node, life, record)

    @property
    def provides(self) -> Sequence[Observation]:
        """Everything."""
        return _EVERYTHING

    def acknowledged(self, node: int, incarnation: int) -> Sequence[Position] | None:
        """By its own stack; None: that life does not run any more."""
        stack = self.nodes[node].stack
        if stack is None or stack.member.incarnation != incarnation:
            return None
        return stack.member.participant.acknowledged()

    def _keyed(self, node: int, incarnation: int) -> None:
        for checker in self.checkers:
            checker.keyed(node, incarnation)

    def _removed(self, removal: Any) -> None:
        self.registry.over(removal.node, removal.incarnation)
        for checker in self.checkers:
            checker.removed(removal)

    def _hear_of_data_disks(self) -> None:
        for one in self.disk.further:
            one.on_landed = partial(self._landed_on_data, one.lun)
            one.on_keyed = partial(self._keyed_on_data, one.lun)
            one.on_removed = partial(self._removed_from_data, one.lun)
            one.on_raw = self.disk_writers.done

    def _landed_on_data(self, lun: int, node: Node, life: int, command: Any) -> None:
        for checker in self._of_data_writes:
            checker.data_landed(lun, node, life, command.lba, command.data)

    def _keyed_on_data(self, lun: int, node: int, incarnation: int) -> None:
        for checker in self.checkers:
            checker.data_keyed(lun, node, incarnation)

    def _removed_from_data(self, lun: int, removal: Any) -> None:
        for checker in self.checkers:
            checker.data_removed(lun, removal)

    def _told(self, program: Any, told: tuple[int, int, str, int]) -> None:
        for checker in self._of_what_is_told:
            checker.told(program, told)

    def answered(self, node: Node, connection: int, message: dict[str, Any]) -> None:
        """A node says something to one of its programs."""
        if connection >= EVENT_MANAGERS:
            self.event_managers.answer(node, connection, message)
        elif connection >= VOLUME_USERS:
            self.volume_users.answer(node, connection, message)
        elif connection >= LOCKERS:
            self.lockers.answer(node, connection, message)
        else:
            self.programs.answer(node, connection, message)

    # -- phases

    def heal(self) -> None:
        """Nothing is wrong any more from now on; what is off is switched on."""
        self.faults.heal()
        self.network.loss = 0.0
        for one in (self.disk, *self.disk.further):
            one.damage.enabled = False
        self.programs.enabled = self.lockers.enabled = False
        self.event_managers.enabled = self.commands.enabled = self.administrator.enabled = False
        self.trace.tell(None, "all is healed")
        for node in self.nodes:
            if node.stack is None:
                self.boot_later(node)

    def why_not_converged(self) -> str | None:
        """None if all nodes are joined and agree on it; else what is missing."""
        members = [None if node.stack is None else node.stack.member for node in self.nodes]
        for number, member in enumerate(members):
            if member is None:
                return f"node {number} is off"
            if not member.inside or member.state is not NodeState.JOINED:
                return f"node {number} is {member.role.value}, {member.state.value}"
            if member.intent != "none":
                return f"node {number} wants to {member.intent}"
        views = {member.view for member in members if member is not None}
        if len(views) != 1:
            return f"the nodes know {len(views)} different views"
        (view,) = views
        if any(entry.state is not NodeState.JOINED for entry in view.entries):
            return f"view {view.epoch}.{view.step} has nodes in transition"
        masters = [number for number, member in enumerate(members) if member and member.role is Role.MASTER]
        if masters != [view.master]:
            return f"masters are {masters}, and the view says {view.master}"
        return self.programs.behind([entry.incarnation for entry in view.entries]) or self.commands.may_fail()

    def remembered(self) -> str | None:
        """A lock of a program, or a resource, that some lock manager knows of; None if there is none."""
        for node in self.nodes:
            manager = None if node.stack is None else node.stack.kernel.locks.manager
            if manager is None:
                continue
            names = [lock.name for lock in manager.client.locks.values()]
            names += [name for tree in manager.mastery.trees.values() for name in tree]
            names = [name for name in names if name[0].startswith(PROGRAMS) and name[0] != _BELL]
            if names:
                return f"the lock manager of node {node.number} knows of {names[0]!r}, which nobody uses any more"
        return None

    def epoch(self) -> int:
        """The newest that any running node knows."""
        return max((node.stack.member.view.epoch for node in self.nodes if node.stack is not None), default=0)

    def pending(self) -> list[str]:
        """One line for each node: what it waits for (the answer to the order ``status``)."""
        lines = []
        for node in self.nodes:
            if node.stack is None:
                lines.append(f"n{node.number}: off; panics {node.panics[-1:]}, exits {node.exits[-1:]}")
                continue
            status = node.stack.status()
            keys = ("role", "state", "epoch", "step", "master", "hears", "moves", "suspects", "waiting_for")
            lines.append(f"n{node.number}: " + " ".join(f"{key}={status[key]}" for key in keys))
        return lines + self._pending_services()

    def _pending_services(self) -> list[str]:
        """One line for each client service, and for each node."""
        database = self.registry.database
        lines = [f"transaction {database.number}, life {database.life}"] if self.options.services else []
        for name, service in database.services.items():
            flags = [flag for flag in ("enabled", "mature", "transfer", "removing") if getattr(service, flag)]
            where = [(one.registration, one.node, one.incarnation, one.state.value) for one in service.instances]
            lines.append(f"{name}: {' '.join(flags)} failed={service.failed} {where} {service.table}")
        lines += [f"n{number}: signed on {member}" for number, member in sorted(database.members.items())]
        for manager in self.event_managers.all:
            if manager.runs:
                lines.append(f"n{manager.node.number}: event manager {manager.number} {manager.shown()}")
        return lines


@cache
def _on_a_new_disk(
    cluster_id: bytes, cluster: str, nodes: int, election: str, data_disks: int, *, shared: bool
) -> list[tuple[int, bytes]]:
    """At which byte what is; the same for all runs of such a cluster."""
    database = persistent.format_database(cluster_id.hex(), cluster, nodes, election, data_disks)
    size = shared_size(DISK_SIZE // MIB, nodes, None if shared else 0)
    return [(layout.DATABASE_OFFSET, database), *make_volumes(cluster_id.hex(), nodes, DISK_SIZE, size, 0)]


def _shown(fields: dict[str, Any]) -> str:
    # Added up: compiled, an f-string with a `!r` is a format that is looked through each time, and takes twice as long.
    return " ".join([key + "=" + repr(value) for key, value in fields.items() if key != "nodes"])
