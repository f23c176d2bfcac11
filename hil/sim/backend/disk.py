"""The shared disk of a simulated cluster: the real target of the bench (:mod:`hil.scsi`), on the virtual clock.

Its units, reservations, faults and ledger are the ones that guests have; only the network in front of it is left out.
So a scenario injects the same faults here as there and reads the same ledger; the evidence has the same files.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guestd.core.effects import WriteSectors
from guestd.fence.keys import life_of
from guestd.membership.sector import SECTOR_SIZE
from hil.bench import target as names
from hil.checkers.observation import Removal
from hil.scsi import identity
from hil.scsi.faults.selection import Selection
from hil.scsi.kept_data import KeptData
from hil.scsi.medium import Medium
from hil.scsi.operation import Direction
from hil.scsi.operations import OPERATIONS
from hil.scsi.reservation_file import ReservationFile
from hil.scsi.reservations import State
from hil.scsi.target import Portal, Target
from hil.scsi.unit import LogicalUnit
from hil.sim.backend.ledger import WatchedLedger
from hil.sim.backend.path import Path as DiskPath
from hil.sim.backend.path import Sent, failed
from hil.sim.backend.timers import QueueTimers
from hil.sim.disk import Disk

if TYPE_CHECKING:
    from guestd.core.inputs import ReadDone, ScsiDone, WriteDone
    from hil.scsi.command import Command, Nexus
    from hil.sim.disk import Command as Effect
    from hil.sim.nodes import Node
    from hil.sim.world import World


class _Unsaved(ReservationFile):
    """The target does not end before the cluster does: there is nothing to survive."""

    def load(self) -> State:
        return State()

    def save(self, state: State) -> None:
        pass


class TargetDisk(Disk):
    """``target`` is the real one. Of :class:`hil.sim.disk.Disk` it has the way in, and faults without a selection."""

    def __init__(
        self,
        world: World,
        randomness: random.Random,
        run_dir: Path,
        size_mib: int,
        shared_mib: int | None,
        *,
        keep_data: bool,
    ) -> None:
        """Its files are made in ``run_dir``: an empty membership database and file system on it."""
        super().__init__(bytearray(), world.queue, randomness, world.options, world.trace)
        config = world.config
        images = [run_dir / names.image_name(lun) for lun in range(1 + config.data_disks)]
        names.make_disk(
            images[0],
            size_mib,
            config.cluster_id.hex(),
            config.cluster,
            config.nodes,
            config.election,
            data_disks=config.data_disks,
            shared_mib=shared_mib,
        )
        for lun, image in enumerate(images[1:], 1):
            names.make_data_disk(image, size_mib, config.cluster_id.hex(), lun)
        self._media = [Medium(str(image)) for image in images]
        data = None
        if keep_data:
            data = KeptData(run_dir / names.KEPT_DATA)
            for lun, medium in enumerate(self._media):
                data.keep_base(lun, medium.path)
        self.ledger_file = WatchedLedger(run_dir / names.LEDGER, data, self.now_ns)
        self.ledger_file.on_end = self._ended
        self.ledger_file.on_removed = self._removed
        self.target = Target(ledger=self.ledger_file)
        self.target.faults.timers = QueueTimers(world.queue)
        for lun, medium in enumerate(self._media):
            unit = LogicalUnit(
                lun,
                medium,
                identity.following(names.serial_number(size_mib), lun),
                self.target.units.keys(),
                peers=self.target,
                faults=self.target.faults,
                file=_Unsaved(""),
            )
            if keep_data:
                unit.keep_data()
            self.target.units[lun] = unit
        self._image = images[0]
        self.on_data_landed: Callable[[int, Node, int, WriteSectors], None] = lambda _lun, _node, _life, _command: None
        self.on_data_removed: Callable[[int, Removal], None] = lambda _lun, _removal: None
        self.senders: dict[Command, tuple[Node, int]] = {}
        """Who sent what has not ended, and in which life."""
        self._standing: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
        self.paths: list[DiskPath] = []
        for node in range(config.nodes):
            portal = Portal("127.0.0.1", names.portal_port(node), names.initiator_name(node))
            self.target.add_portal(portal)
            self.paths.append(DiskPath(self, node, portal, names.initiator_name(node)))
        self.flush()

    def contents(self) -> bytes:
        """LUN 0, as it stands in the image."""
        return self._image.read_bytes()

    def close(self) -> None:
        """All sessions end; the files are whole."""
        self.target.stop()
        self.ledger_file.close()
        for medium in self._media:
            medium.close()

    def flush(self) -> None:
        """What has happened so far is in the ledger's file."""
        self.ledger_file.flush()

    def now_ns(self) -> int:
        """The virtual clock."""
        return self._queue.now_us * 1000

    # -- of ``Disk``

    def submit(self, node: Node, command: Effect) -> None:
        """On its way to the target."""
        draw = self._draws[node.number]
        delay_us = 20 + int(draw.latency() * self._latency_us)
        if self._slow and draw.slow() < self._slow:
            delay_us += int(draw.slow() * self._options.slow_ms_max * 1000)
        self._queue.after(delay_us, self._comes, Sent(node, node.life, command), self.paths[node.number].power)

    def power_lost(self, number: int) -> None:
        """The machine of that node has no power any more."""
        self.paths[number].power_off()

    def _comes(self, sent: Sent, power: int) -> None:
        node, path = sent.node, self.paths[sent.node.number]
        if power != path.power:
            return  # its machine was gone before it had sent that
        if node.frozen is not None and node.life == sent.life and self._draws[node.number].frozen() < 0.5:
            node.keep(self._comes, sent, power)  # its machine stood before it had sent that
        elif self.error_share[node.number] and self._draws[node.number].error() < self.error_share[node.number]:
            self.answer(sent, failed(sent.effect))  # it never got there
        else:
            path.send(sent)

    def answer(self, sent: Sent, done: WriteDone | ReadDone | ScsiDone) -> None:
        """On its way back."""
        self._answer(sent.node, sent.life, done)

    def again_later(self, delay_us: int, sent: Sent) -> None:
        """The node's kernel sends it once more, if there still is one."""
        self.later(delay_us, self._again_now, sent, self.paths[sent.node.number].power)

    def _again_now(self, sent: Sent, power: int) -> None:
        if sent.node.stack is not None and sent.node.life == sent.life:
            self._comes(sent, power)

    def later(self, delay_us: int, action: Callable[..., None], *arguments: Any) -> None:
        """On the world's queue."""
        self._queue.after(delay_us, action, *arguments)

    # -- faults without a selection, as of ``Disk``

    def hang(self, number: int) -> None:
        """By the target's fault of that name."""
        self._standing["hang", number].append(self._inject("hang", number))

    def unhang(self, number: int) -> None:
        """Of as many faults one."""
        self.target.faults.heal(self._standing["hang", number].pop())

    def hold(self, number: int) -> None:
        """By the target's delay-writes."""
        self._standing["delay-writes", number].append(self._inject("delay-writes", number))

    def let_go(self, number: int) -> None:
        """Of as many faults one."""
        self.target.faults.heal(self._standing["delay-writes", number].pop())

    @property
    def whole(self) -> bool:
        """Whether there is no fault."""
        return not self.target.faults.faults and not any(self.error_share)

    def _inject(self, kind: str, number: int) -> int:
        return self.target.faults.inject(kind, Selection(portal=names.portal_address(number))).number

    # -- what the ledger sees

    def _ended(self, command: Command) -> None:
        """Its data, as far as it reached the medium where it was to go; what a fault put elsewhere is the fault's."""
        node, life = self.senders.pop(command)
        if not command.changed or OPERATIONS[command.cdb[0]].direction is not Direction.WRITE:
            return
        placed = [(command.lba, bytes(command.data))]
        if command.placed is not None:
            end = command.lba + command.blocks
            pieces = [piece for piece in command.placed if command.lba <= piece.lba < end]
            placed = [(piece.lba, bytes(piece.content())) for piece in pieces]
        for lba, data in placed:
            whole = len(data) // SECTOR_SIZE
            where = f"LUN {command.lun}" if command.lun else "disk"
            self._trace.tell(node.number, f"{where}: LBA {lba}+{whole}")
            if whole:
                landed = WriteSectors(0, lba, data[: whole * SECTOR_SIZE], lun=command.lun)
                if command.lun:
                    self.on_data_landed(command.lun, node, life, landed)
                else:
                    self.on_landed(node, life, landed)

    def _removed(self, lun: int, key: int, by: Nexus) -> None:
        life = life_of(key)
        if life is None:
            return
        if lun:
            self.on_data_removed(lun, Removal(*life, by=by.index))
        else:
            self.on_removed(Removal(*life, by=by.index))
