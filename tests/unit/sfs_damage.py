"""Damaged images of the file system, at random: looked over, mounted by three nodes, and used with every operation.

    python -m tests.unit.sfs_damage --seeds 0:2000 [--jobs 2]

The sample is a populated file system of three nodes that all died at once, node 2 when its last transaction was in its
journal and not yet in place; or, for blocks outside of the journals, the same after its replay. One block is damaged:
superblock, head, transaction or image of a journal, orphans, bitmap, inode, index, directory.
How (`Manner`): a field with the checksum left wrong; a field with the checksum made
right again, at random, extreme or plausible; torn, zeros, another block's contents, former contents.

What must hold:

* nothing but FsError with an errno that a system call may have, or a refusal to mount with the reason; every task ends;
* what the damage has not touched is as it was, or an error: before anything is changed, and afterwards what was not
  changed. Touched is what fsck names, and for a field with a right checksum, or former contents, the inode that the
  block belongs to (docs/sfs.md, "Damage");
* fsck names the damage, but for a field that may have such a value (`FREE`), what a replay writes anew, and former
  contents.

Exit status 1 if any failed; a failed seed is printed with the command that repeats it.
"""

from __future__ import annotations

import argparse
import errno
import functools
import multiprocessing
import random
import re
import signal
import stat
import sys
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from guestd.membership.states import NodeState
from guestd.sfs import fsck, journal_form
from guestd.sfs.block import BLOCK_SIZE, HEADER_SIZE, Kind, checksum, kind_of, unseal
from guestd.sfs.errors import Damaged, FsError
from guestd.sfs.filesystem import FileSystem
from guestd.sfs.inode import number_of
from guestd.sfs.tree import RENAME_EXCHANGE
from guestd.tasks.engine import Outcome
from tests.unit.dlm_net import Options
from tests.unit.sfs_disk import CachedDisk
from tests.unit.sfs_disk import Write as LoggedWrite
from tests.unit.sfs_net import SfsWorld
from tests.unit.sfs_node import UUID, check

if TYPE_CHECKING:
    from guestd.tasks.steps import Task

NODES = 3
DEAD = 2
BLOCKS = 1200
ENDS_MS = 60_000
"""Any operation has ended by then, in the world's time."""
JUDGED_S_MAX = 60
"""Processor time for one image; they take a quarter of a second."""
PROPER = {
    *(errno.EIO, errno.ENOSPC, errno.ESTALE, errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EINVAL),
    *(errno.ENOTEMPTY, errno.EFBIG, errno.EMLINK, errno.ESHUTDOWN, errno.EPERM),
}

Field = tuple[str, int, int]  # name, offset in the block, size

FRAME: tuple[Field, ...] = (
    ("magic", 0, 4),
    ("version", 4, 1),
    ("kind", 5, 1),
    ("zero", 6, 2),
    ("zero 2", 12, 4),
    ("own number", 16, 8),
    ("UUID", 24, 16),
)
_H = HEADER_SIZE
BODIES: dict[Kind, tuple[Field, ...]] = {
    Kind.SUPERBLOCK: (
        ("blocks", _H, 8),
        ("slots", _H + 8, 4),
        ("journal blocks", _H + 12, 4),
        ("group blocks", _H + 16, 4),
        ("root", _H + 20, 8),
    ),
    Kind.JOURNAL: (("cleared", _H, 8), ("in use", _H + 8, 1), ("zero 3", _H + 9, 3), ("incarnation", _H + 12, 4)),
    Kind.TRANSACTION: (("number", _H, 8), ("count", _H + 8, 4), ("zero 3", _H + 12, 4)),
    Kind.ORPHANS: (("count", _H, 4), ("zero 3", _H + 4, 4)),
    Kind.BITMAP: (("group", _H, 4), ("free", _H + 4, 4)),
    Kind.INODE: (
        ("mode", _H, 4),
        ("uid", _H + 4, 4),
        ("gid", _H + 8, 4),
        ("names", _H + 12, 4),
        ("size", _H + 16, 8),
        ("atime", _H + 24, 8),
        ("mtime", _H + 32, 8),
        ("ctime", _H + 40, 8),
        ("generation", _H + 48, 8),
        ("blocks", _H + 56, 8),
        ("parent", _H + 64, 8),
        ("rdev", _H + 72, 8),
        ("orphan of", _H + 80, 1),
        ("depth", _H + 81, 1),
        ("count", _H + 82, 2),
    ),
    Kind.EXTENTS: (("inode", _H, 8), ("count", _H + 8, 2), ("zero 3", _H + 10, 2)),
    Kind.DIRECTORY: (("inode", _H, 8), ("count", _H + 8, 2), ("size", _H + 10, 2)),
}
"""The fields at fixed places; those of entries are found in each block."""

FREE = {
    (Kind.JOURNAL, "cleared"): "anything up to the number of the transaction that stands there could be",
    (Kind.TRANSACTION, "number"): "anything above what the head says could be; the next one is above that",
    (Kind.TRANSACTION, "block"): "of one that is in place nothing but the number counts",
    (Kind.TRANSACTION, "CRC"): "the same",
    (Kind.JOURNAL, "in use"): "a journal that is in use and has nothing to replay is nothing special",
    (Kind.JOURNAL, "incarnation"): "nobody reads it: who claims the journal writes his own",
    (Kind.INODE, "generation"): "of an orphan, to which no entry leads",
    (Kind.INODE, "first"): "where a file has holes a block of it may lie anywhere between its neighbours",
    (Kind.EXTENTS, "first"): "the same",
    (Kind.INODE, "uid"): "any is legal",
    (Kind.INODE, "gid"): "any is legal",
    (Kind.INODE, "atime"): "any is legal",
    (Kind.INODE, "mtime"): "any is legal",
    (Kind.INODE, "ctime"): "any is legal",
    (Kind.INODE, "rdev"): "any is legal",
    (Kind.INODE, "mode"): "permissions: any are legal; the type has to be the entry's",
    (Kind.INODE, "size"): "within the last block, and behind it, where a file may have a hole",
    (Kind.INODE, "target"): "a symbolic link leads to whatever it says",
    (Kind.DIRECTORY, "name"): "a file may be called so",
    (Kind.SUPERBLOCK, "blocks"): "a few less, as long as nothing lies there",
}
"""What fsck cannot name for every value, and why."""


class Manner(StrEnum):
    """How a block is damaged."""

    FIELD = "a field, the checksum wrong"
    LYING = "a field, the checksum right"
    TORN = "torn"
    ZEROS = "zeros"
    OTHER = "another block's contents"
    FORMER = "former contents"


WEIGHTS = {
    Kind.SUPERBLOCK: 1,
    Kind.JOURNAL: 1,
    Kind.TRANSACTION: 2,
    Kind.ORPHANS: 1,
    Kind.BITMAP: 2,
    Kind.INODE: 5,
    Kind.EXTENTS: 2,
    Kind.DIRECTORY: 3,
}
"""How often a block of that kind is damaged."""
IMAGE = "image"
"""Of the dead node's transaction; the other kinds are called as in `Kind`."""


@functools.cache
def sample() -> Sample:
    """The same for all seeds of a process."""
    return Sample()


class Sample:
    """An image with everything in it, what is in it, and what is whose."""

    def __init__(self) -> None:
        self.world = SfsWorld(4711, Options(nodes=NODES, view_ms_max=30, delay_ms_max=3), blocks=BLOCKS)
        self.geometry = self.world.superblock
        self._populate()
        self.sectors, self.former = self._cut()
        self.kinds: dict[int, Kind] = {
            number: kind for number in range(BLOCKS) if (kind := self._kind(number)) is not None
        }
        at = self.geometry.transaction(DEAD)
        self.transaction = journal_form.decode_description(
            self.geometry, DEAD, unseal(UUID, Kind.TRANSACTION, at, self.block(at))
        )
        self.anew = [number for number, _ in self.transaction.images]
        self.right = self._facts(self.sectors)
        head = self.geometry.head(DEAD)
        cleared = journal_form.Head(self.transaction.number, True, 1).encode()
        self.before = self._facts(put(self.sectors, head, sealed(Kind.JOURNAL, head, cleared)))
        self.owners, self.replayed = self._owners()
        self.in_transactions = self._in_transactions()

    def block(self, number: int) -> bytes:
        return block_of(self.sectors, number)

    def is_part(self, number: int) -> bool:
        """Whether it is part of the file system: no image in a journal, nothing that was set free."""
        geometry = self.geometry
        if number < geometry.first_group:
            return not any(geometry.transaction(slot) < number < geometry.head(slot + 1) for slot in range(NODES))
        return self.kinds[number] is Kind.BITMAP or number in self.owners

    def _kind(self, number: int) -> Kind | None:
        try:
            return kind_of(UUID, number, self.block(number))
        except Damaged:
            return None

    def _populate(self) -> None:
        world = self.world
        for number in range(NODES):
            world.power_on(number)
        world.run_until(world.all_usable)

        def run(node: int, task: Task[Any]) -> Any:
            return world.run_task(node, task)

        zero, one, dead = (world.system(number) for number in range(NODES))
        root = zero.root
        witness = run(0, zero.mkdir(root, b"witness", 0o755, 1, 2, 3)).inode
        for count in range(6):
            made = run(0, zero.create(witness, b"w%d" % count, 0o644, 1, 2, 3)).inode
            run(0, zero.write(made, 0, b"witness %d " % count * 300 * (count + 1), 4))
        below = run(1, one.mkdir(root, b"below", 0o2755, 1, 2, 3)).inode
        for count in range(60):
            name = b"a file with a long name, so that there are several blocks of entries %d" % count
            run(1, one.create(below, name, 0o644, 1, 2, 3))
        deep = run(1, one.mkdir(below, b"deep", 0o755, 1, 2, 3)).inode
        run(1, one.symlink(root, b"link", b"below/deep", 1, 2, 3))
        run(1, one.mknod(root, b"fifo", stat.S_IFIFO | 0o600, 1, 2, 3))
        plain = run(0, zero.create(root, b"plain", 0o644, 1, 2, 3)).inode
        run(0, zero.write(plain, 0, b"plain contents " * 1000, 4))
        run(0, zero.link(plain, deep, b"second name", 5))
        pieces = run(0, zero.create(root, b"pieces", 0o644, 1, 2, 3)).inode
        for count in range(205):
            run(0, zero.write(pieces, count * 8192, b"%d" % count, 4))
        run(1, one.open(plain))
        lost = run(1, one.create(root, b"lost", 0o644, 1, 2, 3)).inode
        run(1, one.write(lost, 0, b"lost" * 5000, 3))
        run(1, one.open(lost))
        run(1, one.unlink(root, b"lost", 4))
        for number in range(NODES):
            run(number, world.system(number).sync())
        for count in range(3):  # others want what node 2 has changed, so that its journal has been cleared
            run(2, dead.setattr(below, 5 + count, mode=0o2755))
            run(2, dead.sync())
            run(count % 2, world.system(count % 2).getattr(below))
        run(2, dead.setattr(witness, 6, uid=1))
        run(2, dead.sync())
        # What node 2 has in its journal when it dies: blocks of several kinds, and of things that others have made.
        late = run(2, dead.create(below, b"late", 0o600, 1, 2, 6)).inode
        run(2, dead.write(late, 0, b"late" * 3000, 6))
        run(2, dead.rename(root, b"link", deep, b"link", 0, 6))
        run(2, dead.setattr(pieces, 6, size=205 * 8192 - 20_000))
        run(2, dead.sync())

    def _cut(self) -> tuple[dict[int, bytes], dict[int, list[bytes]]]:
        """The disk when the transaction had happened and was not in place; the former contents of each block."""
        world = self.world
        at = 8 * self.geometry.transaction(DEAD)
        log = world.disk.log
        last = max(
            place
            for place, entry in enumerate(log)
            if isinstance(entry, LoggedWrite) and entry.node == DEAD and entry.lba == at
        )
        disk = CachedDisk(world.disk.base)
        former: dict[int, list[bytes]] = {}
        for entry in log[: last + 1]:
            if not isinstance(entry, LoggedWrite):
                continue
            for number in range(entry.lba // 8, -(-(entry.lba + len(entry.data) // 512) // 8)):
                old = disk.read(8 * number, 8)
                if old not in former.setdefault(number, []):
                    former[number].append(old)
            disk.write(entry.lba, entry.data, durable=True)
        return disk.now, former

    def _facts(self, sectors: dict[int, bytes]) -> dict[bytes, Fact]:
        session = Session(sectors, 1)
        session.power_on()
        found = session.facts(0)
        assert session.errors == Counter(), session.errors
        session.stop()
        return found

    def _owners(self) -> tuple[dict[int, int], dict[int, bytes]]:
        """Of each block that belongs to an inode: the inode, as it is after the replay. And the image then."""
        session = Session(self.sectors, 1)
        session.power_on()
        session.stop()
        replayed = session.world.disk.now
        checked = fsck._Check(lambda number: block_of(replayed, number), self.geometry, fsck.Report())
        checked.run()
        return dict(checked._owners), replayed

    def _in_transactions(self) -> set[int]:
        """Inodes of which a block is in the transaction of any journal."""
        found = set()
        for slot in range(NODES):
            at = self.geometry.transaction(slot)
            body = unseal(UUID, Kind.TRANSACTION, at, self.block(at))
            for number, _ in journal_form.decode_description(self.geometry, slot, body).images:
                found.add(self.owners.get(number, number))
        return found

    def inode_of(self, number: int) -> int | None:
        """The inode that a block belongs to, or that it is."""
        return self.owners.get(number)


def block_of(sectors: dict[int, bytes], number: int) -> bytes:
    return b"".join(sectors.get(8 * number + place, bytes(512)) for place in range(8))


def put(sectors: dict[int, bytes], number: int, block: bytes) -> dict[int, bytes]:
    return {**sectors, **{8 * number + place: block[512 * place : 512 * (place + 1)] for place in range(8)}}


def sealed(kind: Kind, number: int, body: bytes) -> bytes:
    from guestd.sfs.block import seal

    return seal(UUID, kind, number, body)


def resealed(block: bytes) -> bytes:
    """With a right checksum, whatever it says."""
    return block[:8] + checksum(block).to_bytes(4, "little") + block[12:]


# -- the damage


@dataclass
class Damage:
    """What was done."""

    manner: Manner
    kind: str
    number: int
    field: str
    sectors: dict[int, bytes]
    replayed: bool = False
    """Of the image after the replay."""

    def __str__(self) -> str:
        return f"block {self.number} ({self.kind}): {self.manner}{f', {self.field}' if self.field else ''}"


def damage(seed: int) -> Damage:
    """The damage of that seed."""
    randomness = random.Random(seed)
    while True:
        found = _damage(randomness)
        if found is not None:
            return found


def _damage(randomness: random.Random) -> Damage | None:
    """None: the block is as before."""
    here = sample()
    manner = randomness.choices(list(Manner), [4, 8, 2, 2, 2, 1])[0]
    kind = randomness.choices([*WEIGHTS, None], [*WEIGHTS.values(), 2])[0]
    if kind is None:
        return _damage_image(here, manner, randomness)
    # The dead node's journal is the one that matters; there may be whole transactions in the others.
    numbers = [number for number, found in here.kinds.items() if found is kind and here.is_part(number)]
    if kind in (Kind.JOURNAL, Kind.TRANSACTION) and randomness.random() < 0.6:
        numbers = [here.geometry.head(DEAD) if kind is Kind.JOURNAL else here.geometry.transaction(DEAD)]
    if kind is Kind.INODE and randomness.random() < 0.8:  # most are of empty files
        numbers = [one for one in numbers if any(here.block(one)[_H + 16 : _H + 24])]
    number = randomness.choice(numbers)
    replayed = kind not in (Kind.SUPERBLOCK, Kind.JOURNAL, Kind.TRANSACTION) and randomness.random() < 0.8
    sectors = here.replayed if replayed else here.sectors
    old = block_of(sectors, number)
    new, name = changed(here, manner, kind, number, old, randomness)
    if new == old:
        return None
    return Damage(manner, kind.name.lower(), number, name, put(sectors, number, new), replayed)


def _damage_image(here: Sample, manner: Manner, randomness: random.Random) -> Damage | None:
    """An image in the dead node's journal. With a right checksum: also that in the description is."""
    place = randomness.randrange(len(here.anew))
    number, at = here.anew[place], here.geometry.transaction(DEAD) + 1 + place
    old = here.block(at)
    kind = Kind(old[5])
    new, name = changed(here, manner, kind, number, old, randomness)
    if new == old:
        return None
    sectors = put(here.sectors, at, new)
    if manner is Manner.LYING:
        images = list(here.transaction.images)
        images[place] = (number, zlib.crc32(new))
        description = here.geometry.transaction(DEAD)
        body = journal_form.Description(here.transaction.number, tuple(images)).encode()
        sectors = put(sectors, description, sealed(Kind.TRANSACTION, description, body))
    return Damage(manner, IMAGE, number, f"{kind.name.lower()}: {name}" if name else "", sectors)


def changed(
    here: Sample, manner: Manner, kind: Kind, number: int, old: bytes, randomness: random.Random
) -> tuple[bytes, str]:
    """The damaged block, and which field it is."""
    if manner in (Manner.FIELD, Manner.LYING):
        name, offset, size = randomness.choice(fields(kind, old, randomness))
        new = bytearray(old)
        new[offset : offset + size] = value(here, old[offset : offset + size], randomness)
        if kind is Kind.BITMAP and name == "bits" and randomness.random() < 0.8:
            used = int.from_bytes(new[_H + 8 :], "little")
            new[_H + 4 : _H + 8] = (8 * (BLOCK_SIZE - _H - 8) - used.bit_count()).to_bytes(4, "little")
        return (resealed(bytes(new)) if manner is Manner.LYING else bytes(new)), name
    if manner is Manner.TORN:
        former = here.former.get(number, [])
        other = randomness.choice([*former, randomness.randbytes(BLOCK_SIZE)])
        cut = 512 * randomness.randrange(1, 8) if randomness.random() < 0.7 else randomness.randrange(BLOCK_SIZE)
        torn = old[:cut] + other[cut:] if randomness.random() < 0.5 else other[:cut] + old[cut:]
        return (old if torn in former else torn), ""
    if manner is Manner.ZEROS:
        if randomness.random() < 0.5:
            return bytes(BLOCK_SIZE), ""
        start = 512 * randomness.randrange(8)
        return old[:start] + bytes(512) + old[start + 512 :], ""
    if manner is Manner.OTHER:
        return here.block(randomness.choice([one for one in here.kinds if one != number])), ""
    former = here.former.get(number, [])
    return (randomness.choice(former) if former else old), ""


def fields(kind: Kind, block: bytes, randomness: random.Random) -> list[Field]:
    """Those of the frame, of the body, and of one entry in it; and a byte behind all of them."""
    found = list(BODIES[kind])
    entries: list[Field] = []

    def of_entry(start: int, size: int, count: int, *parts: tuple[str, int, int]) -> None:
        if count:
            at = start + size * randomness.randrange(count)
            entries.extend((name, at + offset, length) for name, offset, length in parts)

    body = _H
    if kind is Kind.TRANSACTION:
        count = int.from_bytes(block[body + 8 : body + 12], "little")
        of_entry(body + 16, 16, count, ("block", 0, 8), ("CRC", 8, 4), ("zero 4", 12, 4))
    elif kind is Kind.ORPHANS:
        of_entry(body + 8, 8, max(1, int.from_bytes(block[body : body + 4], "little")), ("inode", 0, 8))
    elif kind is Kind.BITMAP:
        at = randomness.choice([body + 8, body + 8 + randomness.randrange(40), randomness.randrange(body + 8, 4000)])
        entries += [("bits", at, 1), ("bits", at, 1), ("bits", at, 8)]
    elif kind is Kind.INODE:
        mode, depth = int.from_bytes(block[body : body + 4], "little"), block[body + 81]
        count = int.from_bytes(block[body + 82 : body + 84], "little")
        if stat.S_ISLNK(mode):
            entries.append(("target", body + 84 + randomness.randrange(10), 1))
        elif depth:
            of_entry(body + 84, 16, count, ("first", 0, 8), ("leaf", 8, 8))
        else:
            of_entry(body + 84, 20, count, ("first", 0, 8), ("block", 8, 8), ("length", 16, 4))
    elif kind is Kind.EXTENTS:
        count = int.from_bytes(block[body + 8 : body + 10], "little")
        of_entry(body + 12, 20, count, ("first", 0, 8), ("block", 8, 8), ("length", 16, 4))
    elif kind is Kind.DIRECTORY:
        starts = [body + 12]
        for _ in range(int.from_bytes(block[body + 8 : body + 10], "little") - 1):
            starts.append(starts[-1] + 10 + block[starts[-1] + 9])
        at = randomness.choice(starts)
        entries += [("identity", at, 8), ("type", at + 8, 1), ("size of name", at + 9, 1), ("name", at + 10, 1)]
    choice = randomness.random()
    if choice < 0.15:
        return list(FRAME)
    if choice < 0.2:
        taken = _H + 12 + int.from_bytes(block[_H + 10 : _H + 12], "little") if kind is Kind.DIRECTORY else 3800
        return [("rest", randomness.randrange(min(taken, BLOCK_SIZE - 1), BLOCK_SIZE), 1)]
    return found + 3 * entries


def value(here: Sample, old: bytes, randomness: random.Random) -> bytes:
    """Another value for a field: random, extreme, a little off, or one that could be."""
    size = len(old)
    top = 1 << 8 * size
    number = int.from_bytes(old, "little")
    extremes = [
        0,
        1,
        2,
        top - 1,
        top // 2,
        top // 2 - 1,
        top >> 4,
        (1 << 31) % top,
        (1 << 32) % top,
        ((1 << 40) - 1) % top,
    ]
    plausible = [*here.kinds, *range(here.geometry.first_group, BLOCKS, 7)]
    choices: list[Callable[[], int]] = [
        lambda: randomness.choice(extremes),
        lambda: number + randomness.choice([-1, 1, 8, -8, 4096, -4096]),
        lambda: number ^ 1 << randomness.randrange(8 * size),
        lambda: randomness.choice(plausible),
        lambda: number & ~0xFFFFFFFFFF | randomness.choice(plausible),  # an identity of another number
        lambda: randomness.randrange(top),
    ]
    return (randomness.choice(choices)() % top).to_bytes(size, "little")


# -- the use


Call = Callable[[FileSystem], "Task[Any]"]


def on_file(root: int, file: int) -> list[Call]:
    """What can be done with a file."""
    return [
        lambda system: system.write(file, 3000, b"x" * 9000, 9),
        lambda system: system.write(file, 51 * 8192 + 4000, b"between", 9),
        lambda system: system.append(file, b"more" * 2000, 9),
        lambda system: system.setattr(file, 9, size=120_000, mode=0o600, uid=7),
        lambda system: system.setattr(file, 9, size=5000),
        lambda system: system.setattr(file, 9, size=3_000_000),
        lambda system: system.fsync(file),
        lambda system: system.read(file, 0, 1 << 20),
        lambda system: system.flock(file, 1, 1, wait=False),
        lambda system: system.flock(file, 1, 2, wait=False),
        lambda system: system.link(file, root, b"linked %d" % (file & 0xFFFF), 9),
    ]


def in_directory(root: int, at: int) -> list[Call]:
    """What can be done in a directory, and between it and the root."""
    return [
        lambda system: system.mkdir(at, b"made", 0o755, 0, 0, 9),
        lambda system: system.mkdir(at, b"made 2", 0o755, 0, 0, 9),
        lambda system: system.symlink(at, b"symlink", b"to", 0, 0, 9),
        lambda system: system.mknod(at, b"node", 0o020600, 0, 0, 9, 5),
        lambda system: system.create(at, b"n" * 250, 0o600, 0, 0, 9),
        lambda system: system.readdir(at),
        lambda system: system.lookup(at, b".."),
        lambda system: system.rename(root, b"new", at, b"moved", 0, 9),
        lambda system: system.rename(at, b"moved", root, b"new", 0, 9),
        lambda system: system.rename(at, b"made", root, b"made 3", 0, 9),
        lambda system: system.rename(root, b"made 3", at, b"made", 0, 9),
        lambda system: system.rename(at, b"made", at, b"made 2", 0, 9),
        lambda system: system.rename(root, b"plain", at, b"node", RENAME_EXCHANGE, 9),
        lambda system: system.rename(root, b"below", at, b"loop", 0, 9),
        lambda system: system.unlink(at, b"n" * 250, 9),
        lambda system: system.rmdir(at, b"made", 9),
        lambda system: system.rmdir(at, b"made 2", 9),
    ]


@dataclass(frozen=True)
class Fact:
    """What can be read of one path; None: an error."""

    inode: int
    about: tuple[Any, ...]
    contents: Any


@dataclass
class Session:
    """Three nodes on an image, each operation with its outcome."""

    sectors: dict[int, bytes]
    seed: int
    errors: Counter[int] = field(default_factory=Counter)
    refusals: list[str] = field(default_factory=list)
    operations: int = 0

    def __post_init__(self) -> None:
        options = Options(nodes=NODES, view_ms_max=5, delay_ms_max=1)
        self.world = SfsWorld(self.seed, options, blocks=BLOCKS, disk_ms=(0, 0))
        self.world.disk = CachedDisk(self.sectors)
        self.random = random.Random(self.seed)

    def power_on(self) -> None:
        """All that are off join, and mount or say why not."""
        world = self.world
        for node in world.nodes:
            if node.level is None:
                world.power_on(node.number)
        world.run_until(lambda: all(self._settled(node.number) for node in world.nodes), ENDS_MS)
        for number, stack in world.stacks.items():
            if self._settled(number) and stack.system is None:
                assert stack.level.refused, f"node {number} has not mounted, and does not say why"
                self.refusals.append(stack.level.refused)

    def _settled(self, number: int) -> bool:
        """It has joined; or it was forced out, for what it found."""
        node, entry = self.world.nodes[number], self.world.view.entries[number]
        if node.level is None:
            return entry.state is NodeState.INACTIVE
        return entry.is_life(node.incarnation) and entry.state is NodeState.JOINED

    def stop(self) -> None:
        for stack in self.world.all_stacks:
            stack.engine.stop()

    def attempt(self, number: int, call: Callable[[FileSystem], Task[Any]]) -> Any:
        """What comes of an operation on that node; None if it fails, as it may."""
        world = self.world
        if not world.usable(number):
            return None
        stack = world.stacks[number]
        outcomes: list[Outcome] = []
        self.operations += 1
        world.start(number, call(world.system(number)), outcomes.append)
        began = world.now_ms
        while not outcomes:
            if not stack.alive:
                return None
            assert world.now_ms - began < ENDS_MS, f"an operation does not end: {world.described()}"
            world.run(1)
        error = outcomes[0].error
        if not isinstance(error, FsError):
            return outcomes[0].get()
        assert error.errno in PROPER, f"{error} is no errno for that"
        self.errors[error.errno] += 1
        return None

    def facts(self, number: int, below: bytes = b"/") -> dict[bytes, Fact]:
        """All that node can read, by path. below: of this directory only."""
        found: dict[bytes, Fact] = {}
        if not self.world.usable(number):
            return found
        waiting = [(b"/", self.world.system(number).root)]
        while waiting and len(found) < 400:
            path, identity = waiting.pop()
            got = self.attempt(number, lambda system, identity=identity: system.getattr(identity))  # type: ignore[misc]
            if got is None:
                continue
            contents = self._contents(number, identity, got)
            if stat.S_ISDIR(got.mode) and contents is not None:
                entries = [(path + name + b"/", to) for name, to, _ in contents if name not in (b".", b"..")]
                waiting += [one for one in entries if one[0].startswith(below[: len(one[0])])]
                contents = tuple(sorted(entry[:2] for entry in contents))
            about = (got.mode, got.nlink, got.uid, got.gid, got.rdev, got.size, got.atime, got.mtime, got.ctime)
            found[path] = Fact(number_of(identity), about, contents)
        return found

    def _contents(self, number: int, identity: int, got: Any) -> Any:
        if stat.S_ISREG(got.mode) and got.size:
            return self.attempt(number, lambda system: system.read(identity, 0, min(got.size, 1 << 21)))
        if stat.S_ISLNK(got.mode):
            return self.attempt(number, lambda system: system.readlink(identity))
        if stat.S_ISDIR(got.mode):
            return self.attempt(number, lambda system: system.readdir(identity))
        return b""

    def use(self) -> None:
        """Every operation, from all nodes in turn; nothing of what lies in "witness"."""
        rng = self.random
        root = self.world.superblock.root

        def do(call: Callable[[FileSystem], Task[Any]]) -> Any:
            return self.attempt(rng.randrange(NODES), call)

        def find(parent: int | None, name: bytes) -> int | None:
            if parent is None:
                return None
            got = do(lambda system: system.lookup(parent, name))
            return None if got is None else int(got.inode)

        do(lambda system: system.statfs())
        below = find(root, b"below")
        deep = find(below, b"deep")
        plain, pieces, link = find(root, b"plain"), find(root, b"pieces"), find(deep, b"link")
        made = do(lambda system: system.create(root, b"new", 0o644, 0, 0, 9))
        new = made.inode if made else None
        calls = [call for file in (new, plain, pieces) if file for call in on_file(root, file)]
        calls += [call for at in (root, below, deep) if at for call in in_directory(root, at)]
        rng.shuffle(calls)
        for place, call in enumerate(calls):
            do(call)
            if place == len(calls) // 2:
                self._die()
        if below is not None:
            for name in (b"late", b"a file with a long name, so that there are several blocks of entries 7"):
                do(lambda system, name=name: system.unlink(below, name, 9))  # type: ignore[misc]
        if link is not None:
            do(lambda system: system.readlink(link))
        if plain is not None:
            do(lambda system: system.open(plain))
        for name in (b"pieces", b"plain", b"fifo", b"symlink"):
            do(lambda system, name=name: system.unlink(root, name, 9))  # type: ignore[misc]
        do(lambda system: system.rmdir(root, b"below", 9))
        for number in range(NODES):
            self.attempt(number, lambda system: system.reap())
            self.attempt(number, lambda system: system.sync())

    def _die(self) -> None:
        """One node dies with what it has in its journal; another one replays that."""
        number = self.random.randrange(NODES)
        world = self.world
        if world.usable(number) and sum(world.usable(node.number) for node in world.nodes) > 1:
            self.attempt(number, lambda system: system.sync())
            world.kill(number, 0)
        self.power_on()

    def leave_all(self) -> None:
        """Everybody unmounts, or is forced out if that cannot be done."""
        world = self.world
        for node in world.nodes:
            if node.level is not None and self._settled(node.number):
                world.leave(node.number)
        world.run_until(lambda: all(node.level is None for node in world.nodes), ENDS_MS)


# -- the judge


@dataclass(frozen=True)
class Verdict:
    """Of one seed."""

    seed: int
    what: str = ""
    kind: str = ""
    manner: str = ""
    failure: str = ""
    named: bool = False
    noted: bool = False
    refused: bool = False
    errors: int = 0
    operations: int = 0
    errnos: tuple[tuple[int, int], ...] = ()


def judge(seed: int) -> Verdict:
    """Whatever goes wrong is a verdict too."""
    what = ""
    try:
        done = damage(seed)
        what = str(done)
        return _judge(seed, done)
    except Exception:  # noqa: BLE001 - a failed assertion, or a bug found in whatever other way
        return Verdict(seed, what, failure=traceback.format_exc(limit=-8))


def _judge(seed: int, done: Damage) -> Verdict:
    here = sample()
    report = check(done.sectors, BLOCKS)
    silent = is_silent(here, done)
    notes = [note for note in report.notes if note not in clean_notes(done.replayed)]
    assert report.wrong or notes or silent, "fsck does not name it"
    session = Session(dict(done.sectors), seed)
    session.power_on()
    may = touched(here, done, report)
    for number in (seed % NODES, (seed + 1) % NODES):
        compare(here, done, may, session.facts(number), "before it is used")
    session.use()
    check(session.world.disk.now, BLOCKS)
    witnesses(here, done, may, session)
    session.leave_all()
    session.power_on()
    witnesses(here, done, may, session)
    session.leave_all()
    check(session.world.disk.now, BLOCKS)
    session.stop()
    return Verdict(
        seed,
        str(done),
        done.kind,
        done.manner.value,
        "",
        bool(report.wrong),
        bool(notes),
        bool(session.refusals),
        sum(session.errors.values()),
        session.operations,
        tuple(sorted(session.errors.items())),
    )


@functools.cache
def clean_notes(replayed: bool) -> tuple[str, ...]:
    report = check(sample().replayed if replayed else sample().sectors, BLOCKS)
    assert report.wrong == []
    return tuple(report.notes)


def is_silent(here: Sample, done: Damage) -> bool:
    """Whether fsck may say nothing of it."""
    if done.manner is Manner.FORMER:
        return True
    if done.kind != IMAGE and not done.replayed and done.number in here.anew:
        return True  # the replay writes it anew
    if done.manner is not Manner.LYING:
        return False
    if done.kind == "transaction" and done.field in ("block", "CRC") and done.number == here.geometry.transaction(DEAD):
        return False
    kind, name = done.kind, done.field
    if kind == IMAGE:
        kind, _, name = name.partition(": ")
    return any((one, name) in FREE for one in Kind if one.name.lower() == kind)


def touched(here: Sample, done: Damage, report: fsck.Report) -> set[int]:
    """Inodes of which nothing is promised: those that fsck names, and whose block says something else now."""
    found = {int(number) for line in report.wrong for number in re.findall(r"(?:inode|directory) (\d+)", line)}
    if done.manner in (Manner.LYING, Manner.FORMER):
        owner = here.inode_of(done.number)
        if owner is not None:
            found.add(owner)
        if done.kind in ("journal", "transaction"):  # one that is in place may be carried out again, or not that is not
            found |= here.in_transactions
    return found


def compare(here: Sample, done: Damage, may: set[int], found: dict[bytes, Fact], when: str) -> None:
    """Everything that can be read is as it was."""
    loose = done.manner in (Manner.LYING, Manner.FORMER)
    torn = done.kind in (IMAGE, "transaction")  # then the transaction may not have happened
    for path, fact in found.items():
        if fact.inode in may and loose:
            continue
        allowed = [one[path] for one in (here.right, here.before if torn else here.right) if path in one]
        if loose and not allowed and any(path.startswith(one) for one in loose_paths(here, may)):
            continue
        assert allowed, f"{when}: {path!r} is there"
        assert any(fact.about == one.about for one in allowed), (
            f"{when}: {path!r} is {fact.about}, not {allowed[0].about}"
        )
        right = [one.contents for one in allowed]
        assert fact.contents is None or fact.contents in right, f"{when}: {path!r} has other contents"


def loose_paths(here: Sample, may: set[int]) -> list[bytes]:
    """The directories of which nothing is promised."""
    return [path for path, fact in {**here.before, **here.right}.items() if fact.inode in may]


def witnesses(here: Sample, done: Damage, may: set[int], session: Session) -> None:
    """What nobody has changed is as it was."""
    for number in range(NODES):
        found = session.facts(number, b"/witness/")
        kept = {path: fact for path, fact in found.items() if path.startswith(b"/witness/w")}
        compare(here, done, may, kept, "after it was used")
        if session.world.usable(number):
            return


def timed(seed: int) -> Verdict:
    """The same, and a failure if it takes too long: something goes on for ever without a step."""

    def late(*_: object) -> None:
        raise TimeoutError(f"not within {JUDGED_S_MAX} s of processor time")

    signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, JUDGED_S_MAX)
    try:
        return judge(seed)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def verdicts(seeds: range, jobs: int) -> Iterator[Verdict]:
    """In the order of the seeds."""
    if jobs == 1:
        yield from map(timed, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap(timed, seeds, chunksize=10)


def summary(found: list[Verdict]) -> str:
    """Figures."""
    lines = [f"{'':42}images  named  noted refused  used with errors"]
    for manner in Manner:
        of = [one for one in found if one.manner == manner.value]
        lines.append(
            f"{manner.value:42}{len(of):6} {sum(one.named for one in of):6} {sum(one.noted for one in of):6}"
            f" {sum(one.refused for one in of):7} {sum(one.errors > 0 and not one.refused for one in of):7}"
        )
    operations = sum(one.operations for one in found)
    errors: Counter[int] = Counter()
    for one in found:
        errors.update(dict(one.errnos))
    told = ", ".join(f"{errno.errorcode[number]} {count}" for number, count in errors.most_common())
    lines.append(f"{operations} operations; errors: {told}")
    return "\n".join(lines)


def main() -> int:
    """Run the seeds that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.unit.sfs_damage", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0:2000", help="A:B, or one seed (0:2000)")
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    first, _, end = arguments.seeds.partition(":")
    seeds = range(int(first), int(end) if end else int(first) + 1)
    began = time.monotonic()
    found: list[Verdict] = []
    for count, verdict in enumerate(verdicts(seeds, arguments.jobs), 1):
        found.append(verdict)
        if verdict.failure:
            print(f"seed {verdict.seed} failed: {verdict.what}\n{verdict.failure}", flush=True)
            print(f"again: python -m tests.unit.sfs_damage --seeds {verdict.seed}", flush=True)
        if count % 100 == 0 or count == len(seeds):
            failed = sum(bool(one.failure) for one in found)
            print(f"{count} images, {failed} failed, {time.monotonic() - began:.0f} s", flush=True)
    print(summary(found))
    return 1 if any(one.failure for one in found) else 0


if __name__ == "__main__":
    sys.exit(main())
