"""The file system as the mount's programs use it: FileRequest in, FileAnswer out, one for one (docs/mount.md).

    server = FileServer(engine.start, lambda: level.file_system, emit, on_fault)
    server.handle(FileRequest(7, now_ns, Lookup(1, b"name")))     # sooner or later: emit(FileAnswer(7, Entry(…)))

| what | is answered with |
|---|---|
| an operation that fails (FsError) | its errno |
| there is no file system: not mounted yet, refused, or this node leaves | ENODEV |
| an exception that is no FsError: a fault of this software | EIO, and `on_fault` is told what and where |
| a lock that is waited for, and an Interrupt for it | EINTR, unless it has been granted just now |

Other requests are not interrupted: they end by themselves, and programs do not expect EINTR of a file.
"""

from __future__ import annotations

import errno

from guestd.sfs import requests as ask
from guestd.sfs.answers import Failed, FileAnswer, FileChanged
from guestd.sfs.errors import FsError
from guestd.sfs.filesystem import UNLOCK
from guestd.sfs.service import SERVICES, Desk
from guestd.sfs.visit import Visit
from guestd.tasks.steps import Signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from guestd.sfs.answers import Reply
    from guestd.sfs.filesystem import FileSystem
    from guestd.sfs.requests import FileRequest
    from guestd.tasks.engine import Outcome
    from guestd.tasks.steps import Task

    Start = Callable[[Task[Any], Callable[[Outcome], None]], None]


class FileServer:
    """Of one life of one node; mounts and file systems may come and go meanwhile."""

    __slots__ = ("_emit", "_file_system", "_heard", "_on_fault", "_start", "_synchronizing", "_visit", "served")

    def __init__(
        self,
        start: Start,
        file_system: Callable[[], FileSystem | None],
        emit: Callable[[FileAnswer | FileChanged], None],
        on_fault: Callable[[str], None],
    ) -> None:
        """start: as `Engine.start`. file_system: the one that is mounted now. emit: takes the effects; it may be called
        in `handle`, and in whatever lets tasks go on. on_fault: told what is a fault of this software, for people.
        """
        self._start = start
        self._file_system = file_system
        self._emit = emit
        self._on_fault = on_fault
        nothing_before = Signal()
        nothing_before.fire()
        self._visit = Visit(0, nothing_before)
        self._synchronizing = False
        self._heard: FileSystem | None = None  # the one that tells what the kernel is to forget
        self.served = 0  # requests that have been answered

    @property
    def running(self) -> int:
        """Requests of the present mount that have no answer yet."""
        return self._visit.running

    @property
    def open_count(self) -> int:
        """Handles of the present mount."""
        return len(self._visit.handles)

    def handle(self, given: FileRequest) -> None:
        """A program of this node asks for something. Its time of day is the one that goes into files."""
        request, visit = given.request, self._visit
        if isinstance(request, ask.Forget):
            return  # an inode without a name lives while it is open, not while a kernel remembers it: it gets ESTALE
        if isinstance(request, ask.Interrupt):
            call = visit.calls.get(request.number)
            if call is not None:
                self._begin(call.interrupt(), "Interrupt")
        elif isinstance(request, ask.Unmounted):
            self._visit = visit.following()
            self._begin(_end(visit, self._file_system), "Unmounted")
        else:
            visit.running += 1
            self._start(self._serve(visit, given), lambda outcome: self._served(visit, given, outcome))

    def synchronize(self) -> None:
        """Bring to the medium what programs have not asked to: to be called every few seconds (docs/sfs.md)."""
        system = self._file_system()
        if system is not None and not self._synchronizing:
            self._synchronizing = True
            self._start(system.sync(), self._synchronized)

    # -- inner workings

    def _serve(self, visit: Visit, given: FileRequest) -> Task[Reply]:
        system, request = self._file_system(), given.request
        if isinstance(request, (ask.Release, ask.ReleaseDirectory)):
            handle = visit.handles.get(request.handle)
            if handle is not None and handle.system is not system:
                del visit.handles[request.handle]  # it ended with its file system
        if system is None:
            raise FsError(errno.ENODEV, "there is no file system")
        if system is not self._heard:
            self._heard = system
            system.on_forget(lambda inode: self._emit(FileChanged(inode)))
        reply = yield from SERVICES[type(request)](Desk(visit, system), given.number, request, given.now_ns)
        return reply

    def _served(self, visit: Visit, given: FileRequest, outcome: Outcome) -> None:
        visit.running -= 1
        self.served += 1
        error, reply = outcome.error, outcome.result
        if isinstance(error, FsError):
            # Unmounting: to a program, the same as unmounted.
            reply = Failed(errno.ENODEV if error.errno == errno.ESHUTDOWN else error.errno)
        elif error is not None:
            reply = Failed(errno.EIO)
            self._fault(type(given.request).__name__, error)
        if not visit.is_over:  # a later mount counts its requests anew
            self._emit(FileAnswer(given.number, reply))
        elif not visit.running:
            visit.idle.fire()

    def _begin(self, task: Task[None], what: str) -> None:
        def ended(outcome: Outcome) -> None:
            if outcome.error is not None and not isinstance(outcome.error, FsError):
                self._fault(what, outcome.error)

        self._start(task, ended)

    def _synchronized(self, outcome: Outcome) -> None:
        """What cannot be written, the journal tells whoever has to know (`Journal.on_failure`)."""
        self._synchronizing = False
        if outcome.error is not None and not isinstance(outcome.error, FsError):
            self._fault("synchronize", outcome.error)

    def _fault(self, what: str, error: Exception) -> None:
        """With the place in the source where it arose."""
        trace, place = error.__traceback__, "nowhere"
        while trace is not None:
            place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
            trace = trace.tb_next
        self._on_fault(f"{what}: {type(error).__name__}: {error} ({place})")


def _end(visit: Visit, file_system: Callable[[], FileSystem | None]) -> Task[None]:
    """The mount has gone: what its programs had open or locked ends, when nothing of it is under way any more."""
    visit.is_over = True
    try:
        for call in list(visit.calls.values()):
            yield from call.interrupt()
        if visit.running:
            yield visit.idle
        for (inode, owner), (system, _) in visit.ranges.items():
            if system is file_system():
                yield from _try(system.lock(inode, owner, UNLOCK, 0, ask.LAST_BYTE, False))
        for (inode, owner), system in visit.wholes.items():
            if system is file_system():
                yield from _try(system.flock(inode, owner, UNLOCK, False))
        for handle in visit.handles.values():
            if handle.system is file_system():
                yield from _try(handle.system.release(handle.inode))
    finally:
        visit.ended.fire()


def _try(task: Task[None]) -> Task[None]:
    """Without a file system that works there is nothing to be given up: the level does it, or another node."""
    try:
        yield from task
    except FsError:
        return
