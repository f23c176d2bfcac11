"""Mounting: replay what has to be replayed, then claim this node's journal.

One node at a time mounts (the lock MOUNT). Each looks at all journals, so after a power failure of everybody the first
one replays them all before it uses anything. Whoever uses a journal holds its lock in PW, whoever replays one in EX. So
the one that mounts asks for CR, which waits for a replay but not for a user, and then for EX at once or not at all: it
is refused only if a living node uses the journal.

Only who mounts claims a journal. So the lock MOUNT has a value: the journals that were found cleared, and that nobody
has claimed since. The next ones do not look at them. Whoever is mounted holds that lock in NL: the value lives as long.

All these locks serve recovery: those that dead nodes held are no obstacle.
"""

from __future__ import annotations

from guestd.dlm.messages import VALUE_SIZE
from guestd.dlm.modes import Mode
from guestd.sfs import superblock as superblocks
from guestd.sfs.blocks import Blocks
from guestd.sfs.errors import Damaged
from guestd.sfs.filesystem import FileSystem
from guestd.sfs.journal import Journal
from guestd.sfs.keys import JOURNAL, MOUNT, name_of, owner_of
from guestd.sfs.replay import replay
from guestd.tasks.steps import Acquire, Convert, DiskError, Refused, Release, Together

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from guestd.sfs.journal_form import Head
    from guestd.sfs.keys import Key
    from guestd.sfs.superblock import Superblock
    from guestd.tasks.steps import Held, Task
    from guestd.vdm.volume import Volume

    _T = TypeVar("_T")

_VALUE = b"SFS1"  # a value without it says nothing: nobody has written one


class NotMounted(Exception):
    """This volume cannot be mounted; says why."""


def mount(volume: Volume, slot: int, incarnation: int, start: Callable[[Task[Any]], None]) -> Task[FileSystem]:
    """start: begins a task of its own. Raises NotMounted, DiskError."""
    blocks = Blocks(volume)
    if blocks.count == 0:
        raise NotMounted("the volume is smaller than a block")
    try:
        superblock = superblocks.decode((yield from blocks.read(0)), blocks.count)
        if slot >= superblock.slots:
            raise NotMounted(f"the file system has journals for {superblock.slots} nodes, this is node {slot}")
        mounting: Held = yield _lock(superblock, (MOUNT, 0), Mode.EX)
        head, own = yield from _claim(blocks, superblock, slot, incarnation, mounting)
    except Damaged as why:
        raise NotMounted(str(why)) from why
    journal = Journal(blocks, superblock, slot, head)
    return FileSystem(blocks, superblock, slot, journal, start, (own, mounting.number))


def recover(blocks: Blocks, superblock: Superblock, slot: int) -> Task[bool]:
    """Replay the journal of a dead node; whether anything stood in it. Raises Damaged, DiskError."""
    held: Held = yield _lock(superblock, (JOURNAL, slot), Mode.EX)
    _, replayed = yield from _then_release(replay(blocks, superblock, slot), held)
    return bool(replayed)


def _then_release(task: Task[_T], held: Held) -> Task[_T]:
    """Whatever comes of it, the lock is given up."""
    try:
        result = yield from task
    except Exception:
        yield Release(held.number)
        raise
    yield Release(held.number)
    return result


def _claim(
    blocks: Blocks, superblock: Superblock, own: int, incarnation: int, mounting: Held
) -> Task[tuple[Head, int]]:
    """The head of the own journal and the number of its lock, when all journals have been replayed that had to be."""
    cleared = _cleared_in(mounting)
    try:
        slots = [slot for slot in range(superblock.slots) if slot != own and slot not in cleared]
        found = yield Together(tuple(_replay_unless_used(blocks, superblock, slot) for slot in slots))
        cleared |= {slot for slot, is_cleared in zip(slots, found, strict=True) if is_cleared}
        held: Held = yield _lock(superblock, (JOURNAL, own), Mode.EX)
        try:
            head, _ = yield from replay(blocks, superblock, own, incarnation)
        except (Damaged, DiskError):
            yield Release(held.number)
            raise
        yield Convert(held.number, Mode.PW)
    except Exception:
        yield Release(mounting.number, _value(cleared - {own}))  # it may have been claimed
        raise
    yield Convert(mounting.number, Mode.NL, value=_value(cleared - {own}))
    return head, held.number


def _replay_unless_used(blocks: Blocks, superblock: Superblock, slot: int) -> Task[bool]:
    """Whether it is cleared now, and nobody uses it."""
    held: Held = yield _lock(superblock, (JOURNAL, slot), Mode.CR)
    found = yield from _then_release(_replay_at_once(blocks, superblock, slot, held), held)
    return found


def _replay_at_once(blocks: Blocks, superblock: Superblock, slot: int, held: Held) -> Task[bool]:
    try:
        yield Convert(held.number, Mode.EX, noqueue=True)
    except Refused:
        return False  # a living node uses it
    yield from replay(blocks, superblock, slot)
    return True


def _cleared_in(mounting: Held) -> set[int]:
    """The journals that its value names."""
    if not (mounting.valid and mounting.value.startswith(_VALUE)):
        return set()
    bits = int.from_bytes(mounting.value[8:16], "little")
    return {slot for slot in range(64) if bits >> slot & 1}


def _value(cleared: set[int]) -> bytes:
    bits = sum(1 << slot for slot in cleared)
    return (_VALUE.ljust(8, b"\0") + bits.to_bytes(8, "little")).ljust(VALUE_SIZE, b"\0")


def _lock(superblock: Superblock, key: Key, mode: Mode) -> Acquire:
    return Acquire(owner_of(key), (name_of(superblock.uuid, key),), mode, recovery=True)
