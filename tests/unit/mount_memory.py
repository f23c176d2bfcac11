"""A small file system in memory that answers the requests of the mount, one after the other, as the real one will."""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable
from typing import Any

from guestd.sfs import answers as say
from guestd.sfs import requests as ask
from guestd.sfs.answers import Done, Failed, FileAnswer, Reply
from guestd.sfs.requests import FileRequest, LockKind, Request
from tests.unit.mount_locks import Hold, LockTable

NEVER = b"never"  # a file of this name is read for ever
BROKEN = b"broken"  # one of this name makes the file system fail


class Refusal(Exception):
    """The errno that a request is answered with."""


class Inode:
    """A file, directory, link or node."""

    def __init__(self, number: int, generation: int, mode: int, uid: int, gid: int, now_ns: int) -> None:
        self.number, self.generation, self.mode, self.uid, self.gid = number, generation, mode, uid, gid
        self.access_ns = self.modify_ns = self.change_ns = now_ns
        self.links = 0
        self.open_count = 0
        self.device = 0
        self.data = bytearray()
        self.names: dict[bytes, int] = {}
        self.positions: dict[bytes, int] = {}
        self.parent = number
        self.ranges = LockTable()
        self.whole = LockTable()

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    def attributes(self, *, keep: bool = False) -> say.Attributes:
        links = 2 + self.links if self.is_directory else self.links
        size = 4096 if self.is_directory else len(self.data)
        return say.Attributes(
            self.number,
            self.mode,
            links,
            self.uid,
            self.gid,
            size,
            (size + 511) // 512,
            self.access_ns,
            self.modify_ns,
            self.change_ns,
            self.device,
            keep=keep,
        )

    def entry(self, *, keep: bool = False) -> say.Entry:
        return say.Entry(self.generation, self.attributes(keep=keep))


class Inodes(dict[int, Inode]):
    """A kernel may know an inode that is gone: it is the working directory of a program, say."""

    def __missing__(self, number: int) -> Inode:
        raise Refusal(errno.ESTALE)


class MemoryFiles:
    """Give it requests, get answers: those that are due, sometimes to requests of long ago."""

    def __init__(self, *, keep: bool = False) -> None:
        """keep: kernels may keep attributes; whoever runs this tells them of what is in `changed`."""
        self.keep = keep
        self.changed: set[int] = set()
        self.inodes = Inodes()
        self.free_numbers: list[int] = []
        self.made = 0
        self.positions = 0
        self.now_ns = 0
        self.handles: dict[int, Inode] = {}
        self.opened = 0
        self.references: dict[int, int] = {}
        self.stuck: set[int] = set()
        self.names: dict[int, bytes] = {}
        self.wrote_at: list[int] = []  # offsets as the kernel saw them, of appending writes
        self.renames: list[tuple[bool, bool]] = []  # their flags: the kernel alone refuses most that they forbid
        self.unmounted = False
        self._new(stat.S_IFDIR | 0o755, 0, 0)

    def handle(self, given: FileRequest) -> list[FileAnswer]:
        """The answers that are due now."""
        self.now_ns = given.now_ns
        request = given.request
        if isinstance(request, ask.Forget):
            self.references[request.inode] -= request.count
            return []
        if isinstance(request, ask.Interrupt):
            return self._interrupt(request.number)
        if isinstance(request, ask.Unmounted):
            self.unmounted = True
            return []
        try:
            reply = METHODS[type(request)](self, given.number, request)
        except Refusal as why:
            reply = Failed(why.args[0])
        found = [] if reply is None else [FileAnswer(given.number, reply)]
        if isinstance(reply, (say.Entry, say.Created)):
            entry = reply if isinstance(reply, say.Entry) else reply.entry
            number = entry.attributes.inode
            self.references[number] = self.references.get(number, 0) + 1
        if isinstance(request, (ask.LockRange, ask.LockWhole, ask.Flush, ask.Release)):
            found += self._served(request.inode)
        return found

    # -- inner workings

    def _new(self, mode: int, uid: int, gid: int) -> Inode:
        """Numbers are used anew, so generations are what tells inodes apart."""
        self.made += 1
        number = self.free_numbers.pop() if self.free_numbers else len(self.inodes) + 1
        inode = self.inodes[number] = Inode(number, self.made, mode, uid, gid, self.now_ns)
        return inode

    def _add(self, directory: int, name: bytes, inode: Inode) -> None:
        home = self.inodes[directory]
        if name in home.names:
            raise Refusal(errno.EEXIST)
        self._put(home, name, inode)

    def _put(self, home: Inode, name: bytes, inode: Inode) -> None:
        self.positions += 1
        home.names[name] = inode.number
        home.positions[name] = self.positions
        home.modify_ns = home.change_ns = inode.change_ns = self.now_ns
        self.changed |= {home.number, inode.number}
        if inode.is_directory:
            home.links += 1
            inode.parent = home.number
        else:
            inode.links += 1
        self.names[inode.number] = name

    def _take(self, home: Inode, name: bytes) -> Inode:
        inode = self.inodes[home.names.pop(name)]
        del home.positions[name]
        home.modify_ns = home.change_ns = inode.change_ns = self.now_ns
        self.changed |= {home.number, inode.number}
        if inode.is_directory:
            home.links -= 1
        else:
            inode.links -= 1
        return inode

    def _find(self, directory: int, name: bytes) -> Inode:
        number = self.inodes[directory].names.get(name)
        if number is None:
            raise Refusal(errno.ENOENT)
        return self.inodes[number]

    def _free(self, inode: Inode, *, gone: bool = False) -> None:
        if inode.open_count == 0 and (gone or (not inode.is_directory and inode.links == 0)):
            del self.inodes[inode.number]
            self.free_numbers.append(inode.number)

    def _open(self, inode: Inode) -> int:
        self.opened += 1
        inode.open_count += 1
        self.handles[self.opened] = inode
        return self.opened

    def _served(self, number: int) -> list[FileAnswer]:
        inode = self.inodes.get(number)
        tables = () if inode is None else (inode.ranges, inode.whole)
        return [FileAnswer(waited, Done()) for table in tables for waited in table.granted()]

    def _interrupt(self, number: int) -> list[FileAnswer]:
        tables = [table for inode in self.inodes.values() for table in (inode.ranges, inode.whole)]
        waited = [table.give_up(number) for table in tables]
        if any(waited) or number in self.stuck:
            self.stuck.discard(number)
            return [FileAnswer(number, Failed(errno.EINTR))]
        return []

    # -- names

    def lookup(self, _: int, request: ask.Lookup) -> Reply:
        return self._find(request.directory, request.name).entry(keep=self.keep)

    def create(self, _: int, request: ask.Create) -> Reply:
        home = self.inodes[request.directory]
        if request.name in home.names:
            inode = self._find(request.directory, request.name)
            if request.exclusive:
                raise Refusal(errno.EEXIST)
            if request.truncate:
                inode.data.clear()
                self.changed.add(inode.number)
        else:
            inode = self._new(stat.S_IFREG | request.mode, request.uid, request.gid)
            self._add(request.directory, request.name, inode)
        return say.Created(inode.entry(keep=self.keep), self._open(inode))

    def make_node(self, _: int, request: ask.MakeNode) -> Reply:
        inode = self._new(request.mode, request.uid, request.gid)
        inode.device = request.device
        self._add(request.directory, request.name, inode)
        return inode.entry(keep=self.keep)

    def make_directory(self, _: int, request: ask.MakeDirectory) -> Reply:
        inode = self._new(stat.S_IFDIR | request.mode, request.uid, request.gid)
        self._add(request.directory, request.name, inode)
        return inode.entry(keep=self.keep)

    def symbolic_link(self, _: int, request: ask.SymbolicLink) -> Reply:
        inode = self._new(stat.S_IFLNK | 0o777, request.uid, request.gid)
        inode.data += request.target
        self._add(request.directory, request.name, inode)
        return inode.entry(keep=self.keep)

    def read_link(self, _: int, request: ask.ReadLink) -> Reply:
        return say.Data(bytes(self.inodes[request.inode].data))

    def link(self, _: int, request: ask.Link) -> Reply:
        inode = self.inodes[request.inode]
        self._add(request.directory, request.name, inode)
        return inode.entry(keep=self.keep)

    def unlink(self, _: int, request: ask.Unlink) -> Reply:
        self._find(request.directory, request.name)
        self._free(self._take(self.inodes[request.directory], request.name))
        return Done()

    def remove_directory(self, _: int, request: ask.RemoveDirectory) -> Reply:
        inode = self._find(request.directory, request.name)
        if inode.names:
            raise Refusal(errno.ENOTEMPTY)
        self._free(self._take(self.inodes[request.directory], request.name), gone=True)
        return Done()

    def rename(self, _: int, request: ask.Rename) -> Reply:
        home, new_home = self.inodes[request.directory], self.inodes[request.new_directory]
        self._find(request.directory, request.name)
        self.renames.append((request.no_replace, request.exchange))
        taken = request.new_name in new_home.names
        if request.exchange:
            other = self._find(request.new_directory, request.new_name)
            inode = self._take(home, request.name)
            self._take(new_home, request.new_name)
            self._put(home, request.name, other)
            self._put(new_home, request.new_name, inode)
            return Done()
        if taken and request.no_replace:
            raise Refusal(errno.EEXIST)
        if taken:
            replaced = self._find(request.new_directory, request.new_name)
            if replaced.names:
                raise Refusal(errno.ENOTEMPTY)
            self._take(new_home, request.new_name)
            self._free(replaced, gone=replaced.is_directory)
        self._put(new_home, request.new_name, self._take(home, request.name))
        return Done()

    # -- inodes and open files

    def get_attributes(self, _: int, request: ask.GetAttributes) -> Reply:
        return self.inodes[request.inode].attributes(keep=self.keep)

    def set_attributes(self, _: int, request: ask.SetAttributes) -> Reply:
        inode = self.inodes[request.inode]
        if request.mode is not None:
            inode.mode = stat.S_IFMT(inode.mode) | request.mode
        if request.size is not None:
            del inode.data[request.size :]
            inode.data.extend(bytes(request.size - len(inode.data)))
            inode.modify_ns = self.now_ns
        inode.uid = inode.uid if request.uid is None else request.uid
        inode.gid = inode.gid if request.gid is None else request.gid
        inode.access_ns = inode.access_ns if request.access_ns is None else request.access_ns
        inode.modify_ns = inode.modify_ns if request.modify_ns is None else request.modify_ns
        inode.change_ns = self.now_ns
        self.changed.add(inode.number)
        return inode.attributes(keep=self.keep)

    def statistics(self, _: int, _request: ask.FileSystemStatistics) -> Reply:
        return say.Statistics(4096, 1 << 20, 1 << 19, 1 << 16, (1 << 16) - len(self.inodes))

    def open(self, _: int, request: ask.Open | ask.OpenDirectory) -> Reply:
        return say.Opened(self._open(self.inodes[request.inode]))

    def read(self, number: int, request: ask.Read) -> Reply | None:
        inode = self.handles[request.handle]
        if self.names.get(inode.number) == NEVER:
            self.stuck.add(number)
            return None
        if self.names.get(inode.number) == BROKEN:
            raise Refusal(errno.EIO)
        return say.Data(bytes(inode.data[request.offset : request.offset + request.size]))

    def write(self, _: int, request: ask.Write) -> Reply:
        inode = self.handles[request.handle]
        start = request.offset
        if request.append:
            self.wrote_at.append(start)
            start = len(inode.data)
        if start > len(inode.data):
            inode.data.extend(bytes(start - len(inode.data)))
        inode.data[start : start + len(request.data)] = request.data
        inode.modify_ns = inode.change_ns = self.now_ns
        self.changed.add(inode.number)
        return say.Written(len(request.data))

    def flush(self, _: int, request: ask.Flush) -> Reply:
        self.handles[request.handle].ranges.drop(request.owner)
        return Done()

    def release(self, _: int, request: ask.Release) -> Reply:
        inode = self.handles.pop(request.handle)
        inode.open_count -= 1
        if request.flock_owner is not None:
            inode.whole.drop(request.flock_owner)
        self._free(inode)
        return Done()

    def release_directory(self, _: int, request: ask.ReleaseDirectory) -> Reply:
        self.handles.pop(request.handle).open_count -= 1
        return Done()

    def done(self, _: int, _request: Request) -> Reply:
        return Done()

    def read_directory(self, _: int, request: ask.ReadDirectory) -> Reply:
        inode = self.handles[request.handle]
        here = [(1, b".", inode.number), (2, b"..", inode.parent)]
        # Positions 1 and 2 are taken, and those of the names only grow.
        here += sorted((inode.positions[name] + 2, name, number) for name, number in inode.names.items())
        return say.Entries(
            tuple(
                say.DirectoryEntry(name, number, self.inodes[number].mode, position)
                for position, name, number in here
                if position > request.position
            )
        )

    # -- locks

    def lock_range(self, number: int, request: ask.LockRange) -> Reply | None:
        wanted = Hold(request.owner, request.process, request.first, request.last, request.kind)
        return _answer(self.handles[request.handle].ranges.ask(number, wanted, wait=request.wait))

    def query_range(self, _: int, request: ask.QueryRange) -> Reply:
        wanted = Hold(request.owner, request.process, request.first, request.last, request.kind)
        hold = self.handles[request.handle].ranges.in_the_way_of(wanted)
        if hold is None:
            return say.RangeHeld(LockKind.NONE)
        return say.RangeHeld(hold.kind, hold.first, hold.last, hold.process)

    def lock_whole(self, number: int, request: ask.LockWhole) -> Reply | None:
        wanted = Hold(request.owner, 0, 0, ask.LAST_BYTE, request.kind)
        table = self.handles[request.handle].whole
        if wanted.kind is not LockKind.NONE and table.in_the_way_of(wanted) is not None:
            table.drop(request.owner)  # a conversion is not atomic, says flock(2)
        return _answer(table.ask(number, wanted, wait=request.wait))


def _answer(outcome: bool | None) -> Reply | None:
    return None if outcome is None else Done() if outcome else Failed(errno.EAGAIN)


METHODS: dict[type[Request], Callable[[MemoryFiles, int, Any], Reply | None]] = {
    ask.Lookup: MemoryFiles.lookup,
    ask.Create: MemoryFiles.create,
    ask.MakeNode: MemoryFiles.make_node,
    ask.MakeDirectory: MemoryFiles.make_directory,
    ask.SymbolicLink: MemoryFiles.symbolic_link,
    ask.ReadLink: MemoryFiles.read_link,
    ask.Link: MemoryFiles.link,
    ask.Unlink: MemoryFiles.unlink,
    ask.RemoveDirectory: MemoryFiles.remove_directory,
    ask.Rename: MemoryFiles.rename,
    ask.GetAttributes: MemoryFiles.get_attributes,
    ask.SetAttributes: MemoryFiles.set_attributes,
    ask.FileSystemStatistics: MemoryFiles.statistics,
    ask.Open: MemoryFiles.open,
    ask.OpenDirectory: MemoryFiles.open,
    ask.Read: MemoryFiles.read,
    ask.Write: MemoryFiles.write,
    ask.Flush: MemoryFiles.flush,
    ask.Release: MemoryFiles.release,
    ask.ReleaseDirectory: MemoryFiles.release_directory,
    ask.Synchronize: MemoryFiles.done,
    ask.SynchronizeDirectory: MemoryFiles.done,
    ask.ReadDirectory: MemoryFiles.read_directory,
    ask.LockRange: MemoryFiles.lock_range,
    ask.QueryRange: MemoryFiles.query_range,
    ask.LockWhole: MemoryFiles.lock_whole,
}
