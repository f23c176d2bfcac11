"""The file system as the subsystem at level 30 (spec S7.3): mount, unmount, and recovery after other nodes.

| transition | barrier | |
|---|---|---|
| own join | 0 | nothing: when it is over, every member has heard of this node, so all will be told of its death |
| | 1 | mount: replay what has to be, claim the own journal |
| own leave | 0 | write everything back, give all locks up, mark the journal clean |
| forced leave of another | 0 | replay its journal; the lock manager holds back meanwhile what it guarded |

A node that has not begun to mount acknowledges a forced leave at once: nothing that it does touches the file system,
and its own mount replays whatever is to be replayed then. One that is mounting recovers when it has mounted.
"""

from __future__ import annotations

from guestd.membership.states import NodeState
from guestd.sfs.errors import Damaged, FsError
from guestd.sfs.mount import NotMounted, mount, recover
from guestd.tasks.steps import DiskError, Refused, Signal
from guestd.transition.subsystem import Subsystem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from guestd.membership.position import Position
    from guestd.sfs.filesystem import FileSystem
    from guestd.tasks.engine import Outcome
    from guestd.tasks.steps import Task
    from guestd.transition.subsystem import Notification
    from guestd.vdm.volume import Volume

    Start = Callable[[Task[Any], Callable[[Outcome], None]], None]

ORDER = 30
VIRTUAL_DISK = "shared"
"""On which the file system lies."""
MOUNT_BARRIER = 1
REPLAY_TRIES = 3
"""How often a replay is begun that ends with an error of the disk, before this node gives up itself."""


def _nowhere(_kind: str, **_fields: Any) -> None:
    return


class SfsLevel(Subsystem):
    """One life of one node. `file_system` is there while it is mounted; else `refused` may say why not."""

    __slots__ = (
        "_done",
        "_emit",
        "_incarnation",
        "_mounting",
        "_node",
        "_on_failure",
        "_one_is_over",
        "_recoveries",
        "_start",
        "_to_recover",
        "_volume",
        "file_system",
        "leaving",
        "refused",
        "replays",
    )

    def __init__(
        self,
        node: int,
        start: Start,
        volume: Callable[[], Volume | None],
        on_failure: Callable[[str], None],
        emit: Callable[..., None] = _nowhere,
    ) -> None:
        """start: as `Engine.start`. volume: what is to be mounted, asked once the levels below have joined; None: there
        is none. on_failure: told when this node can neither write its changes back nor give its locks up; it must be
        forced out then, and its journal replayed by another one. emit: takes events (docs/events.md).
        """
        super().__init__("SFS", order=ORDER, barriers={"join": 2}, real=True)
        self._node = node
        self._incarnation: int | None = None  # once it has come to mount
        self._start = start
        self._volume = volume
        self._on_failure = on_failure
        self._mounting = False
        self._recoveries = 0  # under way
        self._one_is_over = Signal()
        self._to_recover: list[Position] = []  # forced leaves that wait for the own mount
        self._done: list[Position] = []
        self._emit = emit
        self.file_system: FileSystem | None = None
        self.refused: str | None = None
        self.leaving = False
        self.replays = 0  # journals of others in which something stood

    def notify(self, notification: Notification) -> tuple[Position, ...]:
        """Transitions have come to this level; returns what is done already, the rest comes with `acknowledged`."""
        for position in notification.positions:
            if position.subject == self._node:
                self._own(position)
            elif position.state is NodeState.FORCED_LEAVING:
                self._recover(position)
            else:
                self._done.append(position)
        return self.acknowledged()

    def acknowledged(self) -> tuple[Position, ...]:
        """What has been done since it was last asked; to be asked after every input that a task may go on with."""
        done, self._done = self._done, []
        return tuple(done)

    def mount_again(self) -> None:
        """Try once more, after the own join: the volume, or the file system on it, may have been made since."""
        if self._incarnation is not None and self.file_system is None and not (self._mounting or self.leaving):
            self._mount(None)

    # -- inner workings

    def _own(self, position: Position) -> None:
        if (position.state, position.barrier) == (NodeState.JOINING, MOUNT_BARRIER):
            self._incarnation = position.incarnation
            self._mount(position)
        elif position.state is NodeState.LEAVING:
            self.leaving = True
            self._start(self._leave(), lambda outcome: self._unmounted(position, outcome))
        else:
            self._done.append(position)

    def _mount(self, position: Position | None) -> None:
        """position: what is acknowledged when it has ended."""
        if self.file_system is not None:  # told twice
            self._done += [] if position is None else [position]
            return
        volume = self._volume()
        if volume is None or self._incarnation is None:
            self._refuse(f"there is no virtual disk {VIRTUAL_DISK!r}")
            self._done += [] if position is None else [position]
            return
        self._mounting = True
        task = mount(volume, self._node, self._incarnation, self._begin)
        self._start(task, lambda outcome: self._mounted(position, outcome))

    def _begin(self, task: Task[Any]) -> None:
        """A task that the file system begins by itself, to give a lock up."""
        self._start(task, lambda outcome: outcome.get())

    def _mounted(self, position: Position | None, outcome: Outcome) -> None:
        self._mounting = False
        try:
            self.file_system = outcome.get()
        except (NotMounted, DiskError) as why:
            self._refuse(str(why))
        else:
            self.refused = None
            self._emit("file-system", state="mounted")
            assert self.file_system is not None, "that is what mount returns"
            self.file_system.journal.on_failure(self._on_failure)
            self._begin(self._reap(self.file_system))
        self._done += [] if position is None else [position]
        waiting, self._to_recover = self._to_recover, []
        for forced in waiting:
            self._recover(forced)
        self._one_is_over.fire()

    def _refuse(self, why: str) -> None:
        if self.refused != why:  # it may be tried often
            self._emit("file-system", state="refused", reason=why)
        self.refused = why

    def _leave(self) -> Task[None]:
        """Nothing may still be replayed here when the lock manager has forgotten this node: another one would, too."""
        yield from self._over()
        if self.file_system is not None:
            yield from self.file_system.unmount()
        yield from self._over()

    def _over(self) -> Task[None]:
        """Until neither a mount nor a replay is under way."""
        while self._recoveries or self._mounting:
            self._one_is_over = Signal()
            yield self._one_is_over

    def _unmounted(self, position: Position, outcome: Outcome) -> None:
        if isinstance(outcome.error, FsError):
            return  # told by `on_failure`; what is not written back only a replay can save
        outcome.get()
        if self.file_system is not None:
            self._emit("file-system", state="unmounted")
        self.file_system = None
        self._done.append(position)

    def _recover(self, position: Position) -> None:
        system = self.file_system
        if self._mounting:
            self._to_recover.append(position)
        elif system is None or position.subject >= system.superblock.slots:
            self._done.append(position)
        else:
            self._replay(system, position, REPLAY_TRIES)

    def _replay(self, system: FileSystem, position: Position, tries: int) -> None:
        self._recoveries += 1
        task = recover(system.blocks, system.superblock, position.subject)
        self._start(task, lambda outcome: self._recovered(system, position, outcome, tries))

    def _recovered(self, system: FileSystem, position: Position, outcome: Outcome, tries: int) -> None:
        self._recoveries -= 1
        try:
            replayed = bool(outcome.get())
        except DiskError as why:
            if tries > 1:
                self._replay(system, position, tries - 1)
            else:  # others may reach the disk; it is not acknowledged
                self._on_failure(f"the journal of node {position.subject} cannot be replayed here: {why}")
            return
        except Damaged as why:
            # What that node has changed is lost to everybody; nobody may go on as if it were not.
            system.fail(f"the journal of node {position.subject} cannot be replayed: {why}")
        else:
            self.replays += replayed
            self._emit("journal-replayed", subject=position.subject, incarnation=position.incarnation, found=replayed)
            system.reap_later()
        self._done.append(position)
        self._one_is_over.fire()

    def _reap(self, system: FileSystem) -> Task[None]:
        """Delete what the dead left open. It waits for locks until the lock manager lets them go."""
        try:
            yield from system.reap()
        except (FsError, Refused):
            return  # later ones will: the lists stay
