"""A history of operations on one node, and what a power failure at any command of it may leave.

After the journal has been replayed: `fsck` finds nothing wrong; the tree is exactly that after some operation, none
older than the last `sync`; a file that was fsynced is not older than that either; and each byte of each file is one
that the file had at that place since it was last synced.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from guestd.sfs.filesystem import FileSystem
from tests.unit.sfs_disk import CachedDisk, Cut
from tests.unit.sfs_model import WEIGHTS, Model, Walker, walk
from tests.unit.sfs_node import SoloNode, check, formatted


@dataclass
class History:
    """What was done, and where in the disk's log."""

    seed: int
    blocks: int = 700
    steps: int = 60
    sync: float = 0.25
    journal_blocks: int = 40
    weights: dict[str, int] = field(default_factory=lambda: WEIGHTS)

    base: dict[int, bytes] = field(default_factory=dict)
    snapshots: list[Model] = field(default_factory=list)
    """After so many operations."""
    begun: list[int] = field(default_factory=list)
    """Where in the log each operation began."""
    synced: list[tuple[int, int]] = field(default_factory=list)
    """Where in the log it was known that so many operations are on the medium."""
    fsynced: list[tuple[int, int, int]] = field(default_factory=list)
    """The same of one file: place in the log, operations, identity."""

    def __post_init__(self) -> None:
        _, self.base = formatted(self.blocks, journal_blocks=self.journal_blocks)
        self.random = random.Random(self.seed)
        self.orphan_count = 0
        self.disk = CachedDisk(self.base)
        node = SoloNode(self.disk, self.blocks)
        system = node.mount()
        walker = Walker(Model(), self.random, system.root)
        walker.weights = self.weights
        self.snapshots.append(walker.model.copy())
        self.begun.append(0)
        for count in range(1, self.steps + 1):
            self.begun.append(len(self.disk.log))
            walker.carry_out(walker.step(system), node.run, system)
            self.snapshots.append(walker.model.copy())
            self._sync(node, system, walker, count)
            self._open_or_close(node, system, walker)

    def _sync(self, node: SoloNode, system: FileSystem, walker: Walker, count: int) -> None:
        what = self.random.random()
        if what < self.sync:
            node.run(system.sync())
            self.synced.append((len(self.disk.log), count))
        elif what < 2 * self.sync:
            files = [number for number, thing in walker.model.things.items() if thing.kind == "file" and thing.nlink]
            if files:
                number = self.random.choice(files)
                node.run(system.fsync(walker.inodes[number]))
                self.fsynced.append((len(self.disk.log), count, number))

    def _open_or_close(self, node: SoloNode, system: FileSystem, walker: Walker) -> None:
        """So that what is unlinked becomes an orphan now and then."""
        model = walker.model
        files = [number for number, thing in model.things.items() if thing.kind == "file" and thing.nlink]
        opened = [number for number, nodes in model.opens.items() if nodes]
        if opened and self.random.random() < 0.1:
            number = self.random.choice(opened)
            model.opens[number].pop()
            node.run(system.release(walker.inodes[number]))
        elif files and self.random.random() < 0.3:
            number = self.random.choice(files)
            node.run(system.open(walker.inodes[number]))
            model.opens.setdefault(number, []).append(0)

    def judge(self, image: dict[int, bytes], at: int, *, again: bool) -> None:
        """`at`: so many commands were carried out, perhaps a part of the next one. again: once more in the replay."""
        node = SoloNode(CachedDisk(image), self.blocks)
        report = check(image, self.blocks)
        assert report.wrong == [], f"before the replay: {report.wrong}"
        system = node.mount(2)
        if again:
            cut = Cut(image, node.disk.log)
            cut.move_to(self.random.randint(0, len(node.disk.log)))
            node = SoloNode(CachedDisk(cut.left(self.random, 0.5, torn=True)), self.blocks)
            system = node.mount(3)
        report = check(node.disk.now, self.blocks)
        assert report.wrong == []
        assert not any("replayed" in note for note in report.notes), report.notes
        self.orphan_count += sum("orphan" in note for note in report.notes)
        assert node.run(system.reap()) == 0
        tree, contents = walk(node.run, system)
        self._compare(tree, contents, at)
        node.run(system.create(system.root, b"afterwards", 0o644, 0, 0, 5))  # and it can be used
        node.run(system.unmount())
        report = check(node.disk.now, self.blocks)
        assert (report.wrong, report.notes) == ([], [])

    def _compare(self, tree: dict[bytes, tuple[Any, ...]], contents: dict[bytes, bytes], at: int) -> None:
        newest = max(count for count, begun in enumerate(self.begun) if begun <= at)
        oldest = max((count for place, count in self.synced if place <= at), default=0)
        per_file = {number: count for place, count, number in self.fsynced if place <= at}
        found = [count for count in range(oldest, newest + 1) if self.snapshots[count].tree() == tree]
        assert found, f"no state from {oldest} to {newest} is what was found: {sorted(tree)}"
        for count in reversed(found):
            for path, number in self.snapshots[count].files().items():
                since = max(oldest, per_file.get(number, 0))
                self._compare_bytes(number, contents[path], since, newest)
                size = len(self.snapshots[count].things[number].data)
                sizes = {len(self.snapshots[one].things[number].data) for one in self._versions(number, since, newest)}
                assert size in sizes, f"{path!r} has {size} bytes, and had {sizes} since it was synced"
            break

    def _versions(self, number: int, since: int, newest: int) -> list[int]:
        return [count for count in range(since, newest + 1) if number in self.snapshots[count].things]

    def _compare_bytes(self, number: int, found: bytes, since: int, newest: int) -> None:
        versions = {self.snapshots[count].things[number].data for count in self._versions(number, since, newest)}
        if found in versions:
            return
        padded = [one.ljust(len(found), b"\0") for one in versions]
        for place, byte in enumerate(found):
            assert any(one[place] == byte for one in padded), f"file {number}, byte {place}: {byte}"

    def crash_everywhere(self, images: int, every: int = 1) -> int:
        """How many images were judged."""
        cut = Cut(self.base, self.disk.log)
        count = 0
        for at in range(0, len(self.disk.log) + 1, every):
            cut.move_to(at)
            for number in range(images):
                keep = self.random.choice([0.0, 0.5, 0.9, 1.0])
                image = cut.left(self.random, keep, torn=self.random.random() < 0.8)
                try:
                    self.judge(image, at, again=number % 2 == 1)
                except AssertionError as why:
                    raise AssertionError(f"seed {self.seed}, at command {at} of {len(self.disk.log)}: {why}") from why
                count += 1
        return count
