"""The shared file system's place in the tree of this node: requests out of it, answers into it (docs/mount.md).

The loop waits for `fileno` as for everything else. Only the libraries are loaded beside it, by a thread of their own:
on an emulated processor that takes about a second, in which heartbeats must go on.
"""

from __future__ import annotations

import _thread  # threading would do the same and take twice as long to import
import errno
import os
import sys

from guestd.sfs.requests import NO_ANSWER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.runtime.fuse.session import Session
    from guestd.sfs.answers import FileAnswer
    from guestd.sfs.requests import FileRequest

DEVICE = "/dev/fuse"
LIBRARIES = "/usr/lib/hil"  # where the image has the binding, which is no part of Python


class Mount:
    """One attempt: being made, mounted, then gone for good."""

    def __init__(self, point: str, name: str) -> None:
        """Begin to mount at the directory `point`. name: what `df` shows as the device."""
        self._point = point
        self._name = name
        self._session: Session | None = None
        self._made: Session | None = None
        self._over = False
        self.failure: str | None = None  # why there is no mount and will be none
        self._loaded = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        _thread.start_new_thread(self._make, ())

    @property
    def is_mounted(self) -> bool:
        """Whether programs can use it."""
        return self._session is not None and self._session.fileno() >= 0

    def fileno(self) -> int:
        """Readable when `take` has something to do; -1 when it never will again."""
        if self._loaded >= 0:
            return self._loaded
        return -1 if self._session is None else self._session.fileno()

    @property
    def has_more(self) -> bool:
        """Whether `take` has something to give, also if `fileno` is not readable."""
        return self._session is not None and self._session.has_more

    def take(self) -> list[FileRequest]:
        """The next requests, never many, maybe none; the last one ever of a mount is Unmounted. Does not wait."""
        if self._loaded >= 0:
            self._take_made()
        return [] if self._session is None else self._session.take()

    def answer(self, answer: FileAnswer) -> None:
        """Give an answer back to whoever waits for it. Nothing happens if the mount has gone."""
        assert answer.number != NO_ANSWER, answer
        if self._session is not None:
            self._session.answer(answer.number, answer.reply)

    def changed(self, inode: int) -> None:
        """Carry out FileChanged."""
        if self._session is not None:
            self._session.changed(inode)

    def forget_again(self) -> None:
        """What FileChanged could not bring about at once, since a program got no processor. Called at each tick."""
        if self._session is not None:
            self._session.forget_again()

    def close(self) -> None:
        """Unmount, if it is mounted or will be: at once, with errors for whoever has files open. `take` once more."""
        self._over = True
        if self._session is not None:
            self._session.close()

    def _take_made(self) -> None:
        try:
            os.eventfd_read(self._loaded)
        except BlockingIOError:
            return
        os.close(self._loaded)
        self._loaded = -1
        self._session = self._made
        if self._over and self._session is not None:
            self._session.close()

    def _make(self) -> None:
        try:
            self._made = _mount(self._point, self._name)
        except (ImportError, AttributeError, OSError) as why:  # AttributeError: a libfuse that is another one
            self.failure = str(why)
        os.eventfd_write(self._loaded, 1)


def _mount(point: str, name: str) -> Session:
    if not os.path.exists(DEVICE):
        raise OSError(errno.ENOENT, f"there is no {DEVICE}: the kernel's module fuse is not loaded")
    if os.path.isdir(LIBRARIES) and LIBRARIES not in sys.path:
        sys.path.append(LIBRARIES)
    from guestd.runtime.fuse import library
    from guestd.runtime.fuse.session import Session

    try:
        os.stat(point)
    except OSError as why:
        if why.errno != errno.ENOTCONN:
            raise
        library.detach(point)  # a guestd that was killed has left it
    return Session(point, name)
