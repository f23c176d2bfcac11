"""A file system in Python's dictionaries, and random operations on it: what the real one is compared with."""

from __future__ import annotations

import errno
import random
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from guestd.sfs.errors import FsError
from guestd.sfs.filesystem import FileSystem
from guestd.sfs.tree import RENAME_EXCHANGE, RENAME_NOREPLACE
from tests.unit.sfs_disk import CachedDisk
from tests.unit.sfs_node import SoloNode, check, formatted

if TYPE_CHECKING:
    from guestd.tasks.steps import Task

ROOT = 0
NAMES = [b"a", b"b", b"c", b"d", b"e" * 255, b"f" * 200, "grün".encode()]


@dataclass
class Thing:
    """A file, directory or symbolic link."""

    kind: str
    mode: int
    data: bytes = b""
    entries: dict[bytes, int] = field(default_factory=dict)
    parent: int = ROOT
    nlink: int = 1

    def copy(self) -> Thing:
        return Thing(self.kind, self.mode, self.data, dict(self.entries), self.parent, self.nlink)


class Model:
    """Things by their identity, which never comes again. Every operation answers or raises FsError."""

    def __init__(self, opens: dict[int, list[Any]] | None = None) -> None:
        """opens: by identity, the nodes that have it open. What has no name and is not open does not exist any more."""
        self.things = {ROOT: Thing("dir", 0o755, nlink=2)}
        self.opens = {} if opens is None else opens

    def copy(self) -> Model:
        other = Model(self.opens)
        other.things = {number: thing.copy() for number, thing in self.things.items()}
        return other

    def directory(self, number: int) -> Thing:
        thing = self.live(number)
        if thing.kind != "dir":
            raise FsError(errno.ENOTDIR)
        if not thing.nlink:
            raise FsError(errno.ENOENT)
        return thing

    def live(self, number: int) -> Thing:
        thing = self.things.get(number)
        if thing is None or (not thing.nlink and not self.opens.get(number)):
            raise FsError(errno.ESTALE)
        return thing

    def create(self, number: int, parent: int, name: bytes, kind: str, mode: int, data: bytes = b"") -> int:
        directory = self.directory(parent)
        if name in directory.entries:
            raise FsError(errno.EEXIST)
        mode |= directory.mode & stat.S_ISGID if kind == "dir" else 0
        self.things[number] = Thing(kind, mode, data, {}, parent, 2 if kind == "dir" else 1)
        directory.entries[name] = number
        directory.nlink += kind == "dir"
        return number

    def link(self, number: int, parent: int, name: bytes) -> int:
        directory = self.directory(parent)
        if name in directory.entries:
            raise FsError(errno.EEXIST)
        thing = self.live(number)
        if thing.kind == "dir":
            raise FsError(errno.EPERM)
        if not thing.nlink:
            raise FsError(errno.ENOENT)
        thing.nlink += 1
        directory.entries[name] = number
        return number

    def unlink(self, parent: int, name: bytes) -> None:
        directory = self.directory(parent)
        if name not in directory.entries:
            raise FsError(errno.ENOENT)
        if self.things[directory.entries[name]].kind == "dir":
            raise FsError(errno.EISDIR)
        self.drop(directory.entries.pop(name))

    def rmdir(self, parent: int, name: bytes) -> None:
        directory = self.directory(parent)
        if name not in directory.entries:
            raise FsError(errno.ENOENT)
        thing = self.things[directory.entries[name]]
        if thing.kind != "dir":
            raise FsError(errno.ENOTDIR)
        if thing.entries:
            raise FsError(errno.ENOTEMPTY)
        directory.nlink -= 1
        self.drop(directory.entries.pop(name))

    def drop(self, number: int) -> None:
        thing = self.things[number]
        thing.nlink = 0 if thing.kind == "dir" else thing.nlink - 1

    def rename(self, old_parent: int, old: bytes, new_parent: int, new: bytes, flags: int) -> None:
        source, goal = self.directory(old_parent), self.directory(new_parent)
        if old not in source.entries:
            raise FsError(errno.ENOENT)
        number, other = source.entries[old], goal.entries.get(new)
        if other is not None and flags == RENAME_NOREPLACE:
            raise FsError(errno.EEXIST)
        if other is None and flags == RENAME_EXCHANGE:
            raise FsError(errno.ENOENT)
        self._no_circle(number, new_parent)
        if flags == RENAME_EXCHANGE and other is not None:
            self._no_circle(other, old_parent)
        if other == number:
            return
        thing = self.things[number]
        if flags == RENAME_EXCHANGE and other is not None:
            source.entries[old], goal.entries[new] = other, number
            for moved, was, goes in ((thing, old_parent, new_parent), (self.things[other], new_parent, old_parent)):
                self._moved(moved, was, goes)
            return
        if other is not None:
            replaced = self.things[other]
            if replaced.kind == "dir" and thing.kind != "dir":
                raise FsError(errno.EISDIR)
            if replaced.kind != "dir" and thing.kind == "dir":
                raise FsError(errno.ENOTDIR)
            if replaced.entries:
                raise FsError(errno.ENOTEMPTY)
            goal.nlink -= replaced.kind == "dir"
            self.drop(other)
        del source.entries[old]
        goal.entries[new] = number
        self._moved(thing, old_parent, new_parent)

    def _moved(self, thing: Thing, was: int, goes: int) -> None:
        if thing.kind == "dir":
            self.things[was].nlink -= 1
            self.things[goes].nlink += 1
            thing.parent = goes

    def _no_circle(self, number: int, above: int) -> None:
        while self.things[number].kind == "dir":
            if above == number:
                raise FsError(errno.EINVAL)
            if above == ROOT:
                return
            above = self.things[above].parent

    def file(self, number: int) -> Thing:
        thing = self.live(number)
        if thing.kind != "file":
            raise FsError(errno.EISDIR if thing.kind == "dir" else errno.EINVAL)
        return thing

    def write(self, number: int, offset: int, data: bytes) -> None:
        thing = self.file(number)
        thing.data = thing.data.ljust(offset, b"\0")[:offset] + data + thing.data[offset + len(data) :]

    def truncate(self, number: int, size: int) -> None:
        thing = self.file(number)
        thing.data = thing.data[:size].ljust(size, b"\0")

    def chmod(self, number: int, mode: int) -> None:
        self.live(number).mode = mode

    def tree(self) -> dict[bytes, tuple[Any, ...]]:
        """By path: everything but the contents of files."""
        found: dict[bytes, tuple[Any, ...]] = {}
        waiting = [(b"/", ROOT)]
        while waiting:
            path, number = waiting.pop()
            thing = self.things[number]
            size = len(thing.data) if thing.kind == "file" else 0
            target = thing.data if thing.kind == "link" else b""
            found[path] = (thing.kind, thing.mode, thing.nlink, size, target)
            waiting += [(path + name + b"/", entry) for name, entry in thing.entries.items()]
        return found

    def files(self) -> dict[bytes, int]:
        """By path: the identity of each file."""
        found: dict[bytes, int] = {}
        waiting = [(b"/", ROOT)]
        while waiting:
            path, number = waiting.pop()
            thing = self.things[number]
            if thing.kind == "file":
                found[path] = number
            waiting += [(path + name + b"/", entry) for name, entry in thing.entries.items()]
        return found


KINDS = {stat.S_IFDIR: "dir", stat.S_IFREG: "file", stat.S_IFLNK: "link"}


def walk(
    run: Callable[[Task[Any]], Any], system: FileSystem
) -> tuple[dict[bytes, tuple[Any, ...]], dict[bytes, bytes]]:
    """The tree of a mounted file system as `Model.tree` has it, and the contents of its files."""
    found: dict[bytes, tuple[Any, ...]] = {}
    contents: dict[bytes, bytes] = {}
    waiting = [(b"/", system.root)]
    while waiting:
        path, number = waiting.pop()
        got = run(system.getattr(number))
        kind = KINDS[stat.S_IFMT(got.mode)]
        size = got.size if kind == "file" else 0
        target = run(system.readlink(number)) if kind == "link" else b""
        found[path] = (kind, got.mode & 0o7777, got.nlink, size, target)
        if kind == "file":
            contents[path] = run(system.read(number, 0, got.size))
            assert len(contents[path]) == got.size
        if kind == "dir":
            entries = run(system.readdir(number))
            waiting += [(path + name + b"/", inode) for name, inode, _ in entries if name not in (b".", b"..")]
    return found, contents


@dataclass
class Step:
    """One random operation: on the model, and as a task for the real one."""

    what: str
    on_model: Callable[[Model], Any]
    on_system: Callable[[], Task[Any]]
    makes: int = 0
    """The identity of what is new; the real one answers with its attributes."""
    writes: tuple[int, int, bytes] | None = None
    """Identity, offset, data."""
    opens: int | None = None


class Walker:
    """Draws operations; `inodes` leads from the model's identities to the real numbers."""

    def __init__(self, model: Model, randomness: random.Random, root: int, *, size_max: int = 30_000) -> None:
        self.model = model
        self.random = randomness
        self.inodes = {ROOT: root}
        self.size_max = size_max
        self.now = 1000
        self.weights = WEIGHTS
        self.last = 0

    def pick(self, *kinds: str) -> int:
        """Mostly of these kinds; something that has a name, or that only one node has open."""
        there = [number for number, thing in self.model.things.items() if thing.nlink and number in self.inodes]
        found = [number for number in there if self.model.things[number].kind in kinds]
        if not found or self.random.random() < 0.05:
            found = there
        return self.random.choice(found)

    def name(self, directory: int) -> bytes:
        entries = list(self.model.things[directory].entries)
        if entries and self.random.random() < 0.6:
            return self.random.choice(entries)
        return self.random.choice(NAMES)

    def step(self, system: FileSystem) -> Step:
        self.now += 1
        model, randomness, inodes, now = self.model, self.random, self.inodes, self.now
        parent, other = self.pick("dir"), self.pick("dir")
        name, new = self.name(parent), self.name(other)
        number = self.pick("file")
        mode = randomness.randrange(0o10000)
        what = randomness.choices(list(self.weights), list(self.weights.values()))[0]
        if what in ("create", "mkdir", "symlink"):
            target = randomness.randbytes(randomness.choice([1, 60, 3000])) if what == "symlink" else b""
            kind = {"create": "file", "mkdir": "dir", "symlink": "link"}[what]
            to = inodes[parent]
            self.last += 1
            fresh = self.last
            tasks: dict[str, Callable[[], Task[Any]]] = {
                "create": lambda: system.create(to, name, mode, 1, 2, now),
                "mkdir": lambda: system.mkdir(to, name, mode, 1, 2, now),
                "symlink": lambda: system.symlink(to, name, target, 1, 2, now),
            }
            return Step(
                f"{what} {name[:8]!r} in {parent}",
                lambda model: model.create(fresh, parent, name, kind, 0o777 if kind == "link" else mode, target),
                tasks[what],
                makes=fresh,
            )
        if what == "link":
            on_system = lambda: system.link(inodes[number], inodes[parent], name, now)  # noqa: E731
            return Step(f"link {number}", lambda model: model.link(number, parent, name), on_system)
        if what in ("unlink", "rmdir"):
            on_model = Model.unlink if what == "unlink" else Model.rmdir
            real = system.unlink if what == "unlink" else system.rmdir
            return Step(
                f"{what} {name[:8]!r} in {parent}",
                lambda model: on_model(model, parent, name),
                lambda: real(inodes[parent], name, now),
            )
        if what == "rename":
            flags = randomness.choice([0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE])
            return Step(
                f"rename {name[:8]!r} in {parent} to {new[:8]!r} in {other}, {flags}",
                lambda model: model.rename(parent, name, other, new, flags),
                lambda: system.rename(inodes[parent], name, inodes[other], new, flags, now),
            )
        if what == "write":
            offset = randomness.randrange(self.size_max)
            data = randomness.randbytes(1) * randomness.choice([1, 100, 4096, 5000, 12_000])
            return Step(
                f"write {len(data)} to {number} at {offset}",
                lambda model: model.write(number, offset, data),
                lambda: system.write(inodes[number], offset, data, now),
                writes=(number, offset, data),
            )
        if what == "truncate":
            size = randomness.choice([0, randomness.randrange(self.size_max), len(model.things[number].data) + 5000])
            return Step(
                f"truncate {number} to {size}",
                lambda model: model.truncate(number, size),
                lambda: system.setattr(inodes[number], now, size=size),
            )
        assert what == "chmod", what
        number = self.pick("file", "dir")
        if model.things[number].kind == "link":
            mode = 0o777
        return Step(
            f"chmod {number}",
            lambda model: model.chmod(number, mode),
            lambda: system.setattr(inodes[number], now, mode=mode),
        )

    def carry_out(self, step: Step, run: Callable[[Task[Any]], Any], system: FileSystem) -> int:
        """On both, which must agree; the errno, or 0."""
        expected = 0
        try:
            step.on_model(self.model)
        except FsError as why:
            expected = why.errno
        try:
            got = run(step.on_system())
        except FsError as why:
            if why.errno != expected:
                raise AssertionError(f"{step.what}: {why}, not {errno.errorcode.get(expected, 'success')}") from why
            return expected
        assert expected == 0, f"{step.what} succeeded, not {errno.errorcode[expected]}"
        if step.makes:
            self.inodes[step.makes] = got.inode
        return 0


def random_operations(seed: int, steps: int = 300) -> int:
    """On one node, compared with the model at each step, and as a whole now and then; how many succeeded."""
    blocks = 1500
    _, sectors = formatted(blocks)
    node = SoloNode(CachedDisk(sectors), blocks)
    system = node.mount()
    walker = Walker(Model(), random.Random(seed), system.root)
    done = 0
    for count in range(steps):
        done += walker.carry_out(walker.step(system), node.run, system) == 0
        if count % 50 == 49:
            tree, contents = walk(node.run, system)
            assert tree == walker.model.tree()
            files = walker.model.files()
            assert contents == {path: walker.model.things[number].data for path, number in files.items()}
        if count % 100 == 99:
            node.run(system.sync())
            assert check(node.disk.now, blocks).wrong == []
    node.run(system.unmount())
    report = check(node.disk.now, blocks)
    assert (report.wrong, report.notes) == ([], [])
    again = SoloNode(node.disk, blocks)
    tree, contents = walk(again.run, again.mount(2))
    assert tree == walker.model.tree()
    assert contents == {path: walker.model.things[number].data for path, number in walker.model.files().items()}
    return done


CHURN = {"create": 12, "unlink": 12, "write": 30, "truncate": 10}
"""Blocks are freed and used again all the time."""
WEIGHTS = {
    "create": 12,
    "mkdir": 7,
    "symlink": 3,
    "link": 4,
    "unlink": 8,
    "rmdir": 5,
    "rename": 14,
    "write": 20,
    "truncate": 8,
    "chmod": 3,
}
