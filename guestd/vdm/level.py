"""VDM as the subsystem at level 20 of one node: what it does when the members change (spec S7.2).

* Its own join: it says by a lock that it lives, reads the tables, completes what a power failure has left,
  resynchronises what it finds in its own log and in those of nodes that do not live, and opens the virtual disk that
  the level above wants. This is a recovery too, and passes
  what is held back: a forced leave that nobody is left for at a level above waits there for the first join to come.
* A forced leave: it completes or undoes what the dead node was changing, and resynchronises what that was writing.
* Its own leave: it closes what is open.
* Anything else: nothing.

After a death each node does the work, or finds that it is done: so it is done when any of them has acknowledged, also
if one that was at it has died (A12). Where there are mirrors they do it one at a time under a lock; else the tables are
all there is, and only who finds them in need of repair waits for their lock. Each then looks at the disks that it has
open again.

Acknowledged is what has been done. A disk command that fails is tried again at the next `tick`. Tables that are refused
are acknowledged and `refused` says why: whatever needs them is refused with the same reason, and nothing is written.
They may have been misread, or be repaired, or the disk that is wanted may be created yet: `open_again` looks again.
"""

from __future__ import annotations

from guestd.dlm.modes import Mode
from guestd.tasks.steps import DiskError
from guestd.transition.subsystem import Subsystem
from guestd.vdm import locks
from guestd.vdm.errors import NodeLeaves, TablesRefused, UnknownDisk
from guestd.vdm.manager import VirtualDisks
from guestd.vdm.resync import recover_log, recover_logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from guestd.membership.position import Position
    from guestd.tasks.engine import Engine, Outcome
    from guestd.tasks.steps import Task
    from guestd.transition.subsystem import Notification
    from guestd.vdm.virtual_disk import VirtualDisk

    Work = Callable[[], Task[None]]

ORDER = 20


class VdmLevel(Subsystem):
    """One life of one node."""

    __slots__ = (
        "_again",
        "_done",
        "_engine",
        "_life",
        "_lives",
        "_node",
        "_opening",
        "_wanted",
        "disks",
        "joined",
        "refused",
        "wanted",
    )

    def __init__(self, cluster_id: bytes, node: int, nodes: int, engine: Engine, wanted: str | None = None) -> None:
        """engine: with the disk's data lane and the lock manager's desk. wanted: by the level above."""
        super().__init__("VDM", order=ORDER, real=True)
        self._node = node
        self._engine = engine
        self._done: list[Position] = []
        self._again: list[tuple[Work, tuple[Position, ...]]] = []  # what a disk error has stopped
        self.disks = VirtualDisks(cluster_id, node, nodes, engine.start)
        self._life = locks.Locks(self.disks.owners)
        self._lives = False
        self._wanted = wanted
        self._opening = False
        self.wanted: VirtualDisk | None = None  # that one, from the own join on; None: there is none
        self.joined = False  # its own join has come through here, and its own leave has not come
        self.refused: str | None = None  # why the tables are

    def notify(self, notification: Notification) -> tuple[Position, ...]:
        """Changes have come to this level; they are acknowledged at once, or with `acknowledged` later."""
        at_once = []
        dead = []
        for position in notification.positions:
            own = position.subject == self._node
            if position.transition == "forced-leave":
                dead.append(position)
            elif own and position.transition == "join":
                self._begin(self._join, (position,))
            elif own and position.transition == "leave":
                self._begin(self._leave, (position,))
            else:
                at_once.append(position)
        if dead:
            self._begin(self._recover, tuple(dead))
        return (*at_once, *self.acknowledged())

    def acknowledged(self) -> tuple[Position, ...]:
        """What has been done since it was last asked. To be asked after every input of disk and lock manager."""
        done, self._done = self._done, []
        return tuple(done)

    def tick(self) -> None:
        """A heartbeat period has passed."""
        again, self._again = self._again, []
        for work, positions in again:
            self._begin(work, positions)

    def open_again(self) -> None:
        """Try once more, after the own join, if the level above wants a virtual disk and has none."""
        if self.joined and self._wanted is not None and self.wanted is None and not self._opening:
            self._opening = True
            self._begin(self._open_again, ())

    # -- inner workings

    def _begin(self, work: Work, positions: tuple[Position, ...]) -> None:
        def ended(outcome: Outcome) -> None:
            if isinstance(outcome.error, DiskError):
                self._again.append((work, positions))
                return
            if isinstance(outcome.error, NodeLeaves):
                return  # others recover; what this node has not acknowledged ends with its leave
            if isinstance(outcome.error, TablesRefused):
                self.refused = str(outcome.error)
            else:
                outcome.get()
                self.refused = None
            self.joined = self.joined or any(self._is_own_join(position) for position in positions)
            self._done += positions

        self._engine.start(work(), ended)

    def _join(self) -> Task[None]:
        if not self._lives:
            # So that their value block lives as long as anybody does.
            yield from self._life.take(locks.TABLES, Mode.NL, recovery=True)
            yield from self._life.take(locks.of_node(self._node), Mode.EX, recovery=True)
            self._lives = True
        if (yield from self._has_mirrors()):
            yield from recover_log(self.disks, self._node)
            yield from recover_logs(self.disks)
        yield from self._open(recovery=True)

    def _open(self, *, recovery: bool) -> Task[None]:
        if self._wanted is not None and self.wanted is None:
            try:
                self.wanted = yield from self.disks.open(self._wanted, recovery=recovery)
            except UnknownDisk:
                return

    def _open_again(self) -> Task[None]:
        try:
            yield from self._open(recovery=False)
        except DiskError:
            return  # at the next call
        finally:
            self._opening = False

    def _has_mirrors(self) -> Task[bool]:
        """Repair the tables if they need it; whether logs matter. Where not, all nodes are done at the same time."""
        now = yield from self.disks.view(recovery=True)
        return any(disk is not None and len(disk.copies) > 1 for disk in now.disks)

    def _recover(self) -> Task[None]:
        if not (yield from self._has_mirrors()):
            for volume in list(self.disks.volumes):
                yield from self._look_again(volume.look_again)
            return
        held = locks.Locks(self.disks.owners)
        yield from held.take(locks.RECOVERY, Mode.EX, recovery=True)
        try:
            yield from self.disks.repair(recovery=True)
            yield from recover_logs(self.disks)
            for volume in list(self.disks.volumes):
                yield from self._look_again(volume.look_again)
        except Exception:
            yield from held.drop_all()
            raise
        yield from held.drop_all()

    @staticmethod
    def _look_again(look: Work) -> Task[None]:
        try:
            yield from look()
        except UnknownDisk:
            return  # closed in between, and deleted

    def _is_own_join(self, position: Position) -> bool:
        return position.subject == self._node and position.transition == "join"

    def _leave(self) -> Task[None]:
        self.joined = False
        yield from self.disks.close_all()
        yield from self._life.drop_all()
