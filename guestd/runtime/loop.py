"""The loop: waits for clock, disk, interconnect, host and programs, and hands each to the stack as an input."""

from __future__ import annotations

import gc
import select
import sys
import time

from guestd.core.disk import lane_of
from guestd.core.effects import (
    Answer,
    Broadcast,
    Emit,
    Exit,
    OfferFiles,
    Panic,
    ReadSectors,
    ScsiCommand,
    Send,
    Wake,
    WriteSectors,
)
from guestd.core.inputs import Datagram, Order, Start, Tick
from guestd.sfs.answers import FileAnswer, FileChanged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from guestd.core.effects import Effect
    from guestd.core.inputs import Input
    from guestd.core.node import Stack
    from guestd.runtime.disk_thread import DiskThread
    from guestd.runtime.interconnect import Interconnect
    from guestd.runtime.mount import Mount
    from guestd.runtime.port import Port
    from guestd.runtime.program_socket import ProgramSocket

SEARCH_PERIOD_MS = 100  # between two looks for the shared disk
MISSING_AFTER_MS = 2000  # a disk that is not there by then is worth an event: buses take their time to be scanned
LATER_MS = 1000  # after the start; emulated nodes that begin together join within that
DRAIN_MS_MAX = 1000  # for the last events, when the node has left
DATAGRAMS_AT_ONCE = 256  # then the others get their turn, whatever the flood


class Loop:
    """Runs one stack until it exits or panics."""

    def __init__(
        self,
        stack: Stack,
        tick_ms: int,
        port: Port,
        interconnect: Interconnect,
        disks: Mapping[int, DiskThread],
        programs: ProgramSocket,
        panic: Callable[[str], int],
        mount: Callable[[], Mount] | None = None,
    ) -> None:
        """disks: by lane. panic: stops the kernel; returns an exit status only if it could not. mount: begins
        to mount the shared file system; None: nobody is to use it through the kernel.
        """
        self._stack = stack
        self._tick_ms = tick_ms
        self._port = port
        self._interconnect = interconnect
        self._disks = disks
        self._programs = programs
        self._panic = panic
        self._begin_mount = mount
        self._mount: Mount | None = None
        self._poll = select.epoll()
        self._status: int | None = None
        self._registered: tuple[object, ...] = ()  # for what epoll, and the three below, are as they should be
        # But for programs and the mount, in this order: who serves it, and what he is given.
        self._sources: list[tuple[int, Callable[[Any], None], object]] = []
        self._mount_fd = -1
        self._fds: frozenset[int] = frozenset()  # all that are no program's
        self._wake_ms: int | None = None  # when the stack wants one tick more

    def emit(self, kind: str, **fields: Any) -> None:
        """An event of the runtime itself."""
        self._port.emit(kind, fields, time.monotonic())
        self._port.flush()

    def wait_for_disk(self, find: Callable[[], tuple[str | None, list[str]]], wanted: str) -> None:
        """Look for the shared disk until it is there. Orders wait meanwhile: there is nothing to leave yet."""
        begin_ms = _now_ms()
        told = False
        while True:
            self._port.open()
            self._port.flush()
            path, seen = find()
            if path is not None:
                self.emit("disk-found", device=path, wwid=wanted)
                return
            if not told and _now_ms() - begin_ms >= MISSING_AFTER_MS:
                told = True
                self.emit("disk-missing", wanted=wanted, seen=seen)
            self._poll.poll(SEARCH_PERIOD_MS / 1000)

    def run(self, later: Callable[[], None] | None = None) -> int:
        """Returns the exit status. `later` is called once, when the node has had time to join."""
        later_ms = _now_ms() + LATER_MS
        self._give(Start())
        self._obey(self._port.orders_back())
        due_ms = _now_ms()
        while self._status is None:
            self._register()
            next_ms = due_ms if self._wake_ms is None else min(due_ms, self._wake_ms)
            more = self._mount is not None and self._mount.has_more
            ready = {fd for fd, _ in self._poll.poll(0 if more else max(0, next_ms - _now_ms()) / 1000)}
            for fd, serve, source in self._sources:
                if fd in ready:
                    serve(source)
            if self._programs.has_more or not ready <= self._fds:
                for said in self._programs.take(ready):
                    self._give(said)
            if self._mount is not None and (more or self._mount_fd in ready):
                self._take_requests(self._mount)
            if self._wake_ms is not None and _now_ms() >= self._wake_ms:
                self._wake_ms = None
                self._give(Tick())
            if _now_ms() >= due_ms:
                self._port.open()
                self._interconnect.open()
                if self._mount is not None:
                    self._mount.forget_again()
                self._give(Tick())
                if later is not None and due_ms >= later_ms:
                    # What is there now stays: to look through it for garbage again and again is a pause each time.
                    gc.freeze()
                    later()
                    later = None
                due_ms = max(due_ms + self._tick_ms, _now_ms())  # late ticks are not made up for
            self._programs.flush()
        return self._status

    def _ended_on(self, disk: DiskThread) -> None:
        ended = disk.take()
        if ended is not None:
            self._give(ended)

    def _receive(self, fileno: int) -> None:
        for _ in range(DATAGRAMS_AT_ONCE):
            payload = self._interconnect.receive(fileno)
            if payload is None:
                return
            self._give(Datagram(payload))

    def _take_requests(self, mount: Mount) -> None:
        mounted = mount.is_mounted
        for request in mount.take():
            self._give(request)
        if mount.failure is not None:
            self.emit("mount", state="failed", reason=mount.failure)
            self._mount = None
        elif mount.is_mounted != mounted:
            self.emit("mount", state="gone" if mounted else "mounted")
            self._mount = None if mounted else mount

    def _take_orders(self, port: Port) -> None:
        port.flush()
        if port.fileno() >= 0:
            self._obey(port.orders())

    def _obey(self, orders: list[dict[str, Any] | str]) -> None:
        for order in orders:
            number = order.get("n") if isinstance(order, dict) else None
            name = order.get("order") if isinstance(order, dict) else None
            if isinstance(order, dict) and isinstance(number, int) and isinstance(name, str):
                self._give(Order(number, name, str(order.get("reason", ""))))
            else:
                why = f'{order!r} is no order (legal: {{"n": 1, "order": "leave"}})'
                self.emit("order-refused", order_n=number, order=name, reason=why)

    def _register(self) -> None:
        """Keep epoll in step with what is open, and ask for room only while something waits to be written."""
        port, programs, mount = self._port, self._programs, self._mount
        # What is open, and who has been opened or closed since: a number that is the same may be another file.
        fd = -1 if mount is None else mount.fileno()
        filenos = self._interconnect.filenos
        state = (port.changes, port.wants_to_write, programs.changes, len(filenos), fd, mount)
        if state == self._registered:
            return
        self._registered = state
        self._mount_fd = fd
        self._sources = [
            *[(disk.fileno(), self._ended_on, disk) for disk in self._disks.values()],
            *[(fileno, self._receive, fileno) for fileno in filenos],
            (port.fileno(), self._take_orders, port),
        ]
        wanted = {fileno: select.EPOLLIN for fileno, _, _ in self._sources}
        if port.wants_to_write:
            wanted[port.fileno()] |= select.EPOLLOUT
        if mount is not None:
            wanted[fd] = select.EPOLLIN
        wanted.pop(-1, None)
        self._fds = frozenset(wanted)
        wanted |= programs.wanted()
        for fd, events in wanted.items():
            # A descriptor that was closed is forgotten by the kernel, and its number may be in use again: the kernel
            # is asked, not a memory of our own.
            try:
                self._poll.modify(fd, events)
            except FileNotFoundError:
                self._poll.register(fd, events)

    def _give(self, given: Input) -> None:
        if self._status is None:
            for effect in self._stack.handle(given, _now_ms()):
                self._carry_out(effect)
            self._port.flush()

    def _carry_out(self, effect: Effect) -> None:
        if isinstance(effect, Emit):
            self._port.emit(effect.kind, effect.fields, time.monotonic())
            if effect.kind == "refused":
                print(f"hil: guestd: refused: {effect.fields['reason']}", file=sys.stderr, flush=True)
        elif isinstance(effect, Broadcast):
            self._interconnect.broadcast(effect.payload)
        elif isinstance(effect, Send):
            self._programs.flush()  # to send is an exit to the emulator; who waits here needs not wait for that too
            self._interconnect.send(effect.node, effect.payload)
        elif isinstance(effect, (WriteSectors, ReadSectors, ScsiCommand)):
            self._disks[lane_of(effect.tag)].submit(effect)
        elif isinstance(effect, Wake):
            self._wake_ms = _now_ms() + effect.after_ms
        elif isinstance(effect, Answer):
            self._programs.answer(effect.connection, effect.message)
        elif isinstance(effect, (FileAnswer, FileChanged, OfferFiles)):
            self._serve_files(effect)
        elif isinstance(effect, Panic):
            self._programs.flush()
            self._port.flush()  # the last words
            self._status = self._panic(effect.reason)
        elif isinstance(effect, Exit):
            self._drain()
            self._programs.flush()
            self._programs.close()
            if self._mount is not None:
                self._mount.close()
            self._status = effect.status

    def _serve_files(self, effect: FileAnswer | FileChanged | OfferFiles) -> None:
        if isinstance(effect, OfferFiles):
            if self._begin_mount is not None:
                self._mount = self._begin_mount()
        elif self._mount is None:
            return
        elif isinstance(effect, FileAnswer):
            self._mount.answer(effect)
        else:
            self._mount.changed(effect.inode)

    def _drain(self) -> None:
        """Give the host a moment to take the last events."""
        end_ms = _now_ms() + DRAIN_MS_MAX
        while self._port.wants_to_write and _now_ms() < end_ms:
            self._register()
            self._poll.poll((end_ms - _now_ms()) / 1000)
            self._port.flush()


def _now_ms() -> int:
    return int(time.monotonic() * 1000)
