"""Damaged images: an errno or a refusal that says why, never another exception, and never a wrong answer."""

from __future__ import annotations

import errno
import random
import stat
from typing import TYPE_CHECKING, Any

import pytest

from guestd.sfs.block import BLOCK_SIZE, Kind, checksum, kind_of
from guestd.sfs.errors import Damaged, FsError
from guestd.sfs.filesystem import FileSystem
from guestd.sfs.mount import NotMounted
from tests.unit import sfs_damage
from tests.unit.sfs_damage import Manner, clean_notes, damage, is_silent, judge
from tests.unit.sfs_disk import CachedDisk
from tests.unit.sfs_node import UUID, SoloNode, check, formatted

if TYPE_CHECKING:
    from guestd.tasks.steps import Task

BLOCKS = 700


class Sample:
    """An image with everything in it, and what is in it."""

    def __init__(self) -> None:
        _, sectors = formatted(BLOCKS, journal_blocks=40)
        node = SoloNode(CachedDisk(sectors), BLOCKS)
        system = node.mount()
        root = system.root
        below = node.run(system.mkdir(root, b"below", 0o755, 1, 2, 3)).inode
        for count in range(150):
            name = b"a file with a long name, so that there are blocks of entries %d" % count
            node.run(system.create(below, name, 0o644, 1, 2, 3))
        node.run(system.symlink(root, b"link", b"below", 1, 2, 3))
        pieces = node.run(system.create(root, b"pieces", 0o644, 1, 2, 3)).inode
        for count in range(210):
            node.run(system.write(pieces, count * 8192, b"%d" % count, 4))
        node.run(system.open(pieces))
        lost = node.run(system.create(root, b"lost", 0o644, 1, 2, 3)).inode
        node.run(system.open(lost))
        node.run(system.unlink(root, b"lost", 4))
        node.run(system.sync())  # and now the node dies, with a transaction in its journal
        self.sectors = dict(node.disk.now)
        self.facts = facts(node, system)
        self.blocks: dict[int, Kind] = {}
        for number in range(BLOCKS):
            try:
                self.blocks[number] = kind_of(UUID, number, self.read(number))
            except Damaged:
                continue

    def read(self, number: int) -> bytes:
        return b"".join(self.sectors[8 * number + place] for place in range(8))

    def with_block(self, number: int, block: bytes) -> dict[int, bytes]:
        changed = {8 * number + place: block[512 * place : 512 * (place + 1)] for place in range(8)}
        return {**self.sectors, **changed}


def facts(node: SoloNode, system: FileSystem) -> dict[bytes, tuple[Any, ...]]:
    """What can be read, by path. Only FsError may come up."""
    found: dict[bytes, tuple[Any, ...]] = {}
    waiting = [(b"/", system.root)]

    def attempt(task: Task[Any]) -> Any:
        try:
            return node.run(task)
        except FsError:
            return None

    while waiting and len(found) < 1000:
        path, inode = waiting.pop()
        got = attempt(system.getattr(inode))
        if got is None:
            continue
        contents = None
        if stat.S_ISREG(got.mode):
            contents = attempt(system.read(inode, 0, min(got.size, 1 << 22)))
        elif stat.S_ISLNK(got.mode):
            contents = attempt(system.readlink(inode))
        elif stat.S_ISDIR(got.mode):
            entries = attempt(system.readdir(inode))
            contents = entries and sorted(name for name, _, _ in entries)
            waiting += [(path + name + b"/", number) for name, number, _ in (entries or [])[2:]]
        found[path] = (got.mode, got.size, got.nlink, contents)
    return found


def use(node: SoloNode, system: FileSystem) -> None:
    """Everything that changes something; only FsError may come up."""
    root = system.root
    file = system.root

    def attempt(task: Task[Any]) -> Any:
        try:
            return node.run(task)
        except FsError:
            return None

    made = attempt(system.create(root, b"new", 0o644, 0, 0, 9))
    file = made.inode if made else root
    attempt(system.write(file, 100_000, bytes(20_000), 9))
    pieces = attempt(system.lookup(root, b"pieces"))
    if pieces:
        attempt(system.write(pieces.inode, 50 * 8192 + 4096, b"between", 9))
        attempt(system.setattr(pieces.inode, 9, size=100_000))
    below = attempt(system.lookup(root, b"below"))
    if below:
        attempt(system.create(below.inode, b"one more", 0o644, 0, 0, 9))
        attempt(system.rename(root, b"new", below.inode, b"moved", 0, 9))
    attempt(system.unlink(root, b"pieces", 9))
    attempt(system.rmdir(root, b"below", 9))
    attempt(system.statfs())
    attempt(system.reap())
    attempt(system.sync())
    attempt(system.unmount())


@pytest.fixture(scope="module")
def sample() -> Sample:
    return Sample()


def test_the_sample_has_every_kind_of_block_and_is_sound(sample: Sample) -> None:
    assert set(sample.blocks.values()) == set(Kind)
    assert check(sample.sectors, BLOCKS).wrong == []


def damaged(block: bytes, randomness: random.Random) -> bytes:
    """Some bytes of it are others, mostly where fields are."""
    changed = bytearray(block)
    for _ in range(randomness.choice([1, 1, 2, 8])):
        end = randomness.choice([40, 130, 600, BLOCK_SIZE])
        changed[randomness.randrange(end)] = randomness.choice([0, 1, 255, randomness.randrange(256)])
    if randomness.random() < 0.1:
        start = 512 * randomness.randrange(8)
        changed[start : start + 512] = bytes(512)
    return bytes(changed)


@pytest.mark.parametrize("kind", list(Kind), ids=[kind.name.lower() for kind in Kind])
def test_a_damaged_block_is_found_by_its_checksum(sample: Sample, kind: Kind) -> None:
    randomness = random.Random(kind.value)
    numbers = [number for number, found in sample.blocks.items() if found is kind]
    refused: list[Kind] = []
    for _ in range(15):
        number = randomness.choice(numbers)
        block = damaged(sample.read(number), randomness)
        if block == sample.read(number):
            continue
        image = sample.with_block(number, block)
        overwritten = any("replayed" in note for note in check(image, BLOCKS).notes)
        if kind is not Kind.TRANSACTION and not (overwritten and number in transaction_of(sample)):
            assert any(str(number) in line or "journal" in line for line in check(image, BLOCKS).wrong), (
                f"block {number}"
            )
        node = SoloNode(CachedDisk(image), BLOCKS)
        try:
            system = node.mount(2)
        except NotMounted:
            refused.append(kind)
            continue
        for path, fact in facts(node, system).items():
            right = sample.facts[path]
            assert fact[:3] == right[:3]
            assert fact[3] in (None, right[3])
        use(node, system)
    assert bool(refused) == (kind in (Kind.SUPERBLOCK, Kind.JOURNAL))


def transaction_of(sample: Sample) -> list[int]:
    """The blocks that the replay writes anew."""
    from guestd.sfs import journal_form, superblock
    from guestd.sfs.block import unseal

    geometry = superblock.decode(sample.read(0), BLOCKS)
    at = geometry.transaction(0)
    found = journal_form.decode_description(geometry, 0, unseal(UUID, Kind.TRANSACTION, at, sample.read(at)))
    return [number for number, _ in found.images]


@pytest.mark.parametrize("kind", list(Kind), ids=[kind.name.lower() for kind in Kind])
def test_a_block_with_wrong_contents_and_a_right_checksum_does_no_other_harm(sample: Sample, kind: Kind) -> None:
    """Whatever it says: errors are errors, nothing runs for ever, and fsck goes through it."""
    randomness = random.Random(kind.value + 100)
    numbers = [number for number, found in sample.blocks.items() if found is kind]
    for _ in range(25):
        number = randomness.choice(numbers)
        block = damaged(sample.read(number), randomness)
        block = sample.read(number)[:24] + block[24:]
        block = block[:8] + checksum(block).to_bytes(4, "little") + block[12:]
        image = sample.with_block(number, block)
        check(image, BLOCKS)
        node = SoloNode(CachedDisk(image), BLOCKS)
        try:
            system = node.mount(2)
        except NotMounted:
            continue
        facts(node, system)
        use(node, system)


def test_a_volume_that_is_no_file_system_is_refused_with_the_reason() -> None:
    for sectors in ({}, dict.fromkeys(range(8 * BLOCKS), b"\xff" * 512)):
        node = SoloNode(CachedDisk(sectors), BLOCKS)
        with pytest.raises(NotMounted, match="begins with"):
            node.mount()
    _, sectors = formatted(BLOCKS)
    with pytest.raises(NotMounted, match="the volume only 600"):
        SoloNode(CachedDisk(sectors), 600).mount()


def test_damaged_images_that_three_nodes_use_do_no_other_harm_than_errors_and_fsck_names_them() -> None:  # S7.3
    """A share of the campaign of `sfs_damage.py`; all of it is in tests/nightly."""
    found = [judge(seed) for seed in range(30)]
    assert [f"{one.seed}, {one.what}: {one.failure}" for one in found if one.failure] == []
    assert {one.manner for one in found} == {manner.value for manner in Manner}
    assert any(one.refused for one in found)


def test_fsck_names_each_damage_that_can_be_known() -> None:  # S7.3
    named = 0
    for seed in range(300):
        done = damage(seed)
        report = check(done.sectors, sfs_damage.BLOCKS)
        told = report.wrong or [note for note in report.notes if note not in clean_notes(done.replayed)]
        assert told or is_silent(sfs_damage.sample(), done), f"seed {seed}: {done}"
        named += bool(told)
    assert named > 200


def test_a_volume_that_is_wiped_out_under_a_mounted_file_system_is_an_error_and_is_not_mounted_again() -> None:  # S7.3
    session = sfs_damage.Session(dict(sfs_damage.sample().replayed), 5)
    session.power_on()
    system = session.world.system(0)
    assert session.attempt(0, lambda system: system.getattr(system.root)) is not None
    for lba in range(8 * sfs_damage.BLOCKS):
        session.world.disk.now[lba] = bytes(512)
    session.use()
    assert system.root == session.world.superblock.root
    assert session.errors[errno.EIO] > 10
    session.leave_all()
    for lba in range(8 * sfs_damage.BLOCKS):
        session.world.disk.now[lba] = bytes(512)
    session.refusals.clear()
    session.power_on()
    assert len(session.refusals) == sfs_damage.NODES
    assert all("block 0 begins with" in why for why in session.refusals)
    session.leave_all()
    session.stop()
