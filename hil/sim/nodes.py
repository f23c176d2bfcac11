"""A node's machine: runs one stack at a time, on a clock of its own, and can lose power, stand still or be slow.

Faults that a correct cluster must survive, and no others:

* power failure, at any moment: between two effects of the same input, too. All memory is gone; the next life is a new
  stack. A machine that has panicked or has left stands until somebody switches it on
* freeze of the process: the guest sees its clock jump when it goes on; of the processors: it does not (S10.5). What
  arrives meanwhile is kept, up to what a socket holds, or dropped
* a slow processor: each input takes its time, they queue
* a clock that runs up to 10 % fast or slow (A19), ticks that come late
* an operator who asks it to leave, or to panic

Steps of the wall clock do not exist for guestd: it uses the monotonic clock only (``guestd/runtime/loop.py``), so there
is nothing to inject.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from guestd.core.config import Config
from guestd.core.effects import (
    Answer,
    Broadcast,
    Effect,
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
from guestd.core.inputs import Datagram, Input, Order, ScsiDone, Start, Tick, WriteDone
from guestd.core.node import Stack
from guestd.sfs.answers import FileAnswer, FileChanged
from hil.sim.trace import DISK

if TYPE_CHECKING:
    from hil.sim.world import World

_INPUT: Final = 3  # in the digest
_KILLED: Final = 128 + 9  # what a shell says of SIGKILL
_SOCKET_DATAGRAMS: Final = 200  # what a socket's buffer holds
_CODES: Final = {kind: code for code, kind in enumerate(sorted(Input.__subclasses__(), key=lambda kind: kind.__name__))}
_TICK: Final = Tick()
_MOMENTS: Final = (Broadcast, Send, WriteSectors, ScsiCommand)
"""Effects that others see: what a node does is visible between these only, so they are all the moments of its end."""


class Freeze(StrEnum):
    """How a machine stands still."""

    PROCESS = "process"  # the emulator is stopped: on waking the clock has jumped
    VCPU = "vcpu"  # the processors are: no time has passed


class Node:
    """One node; ``number`` is its id. ``stack`` is None while the machine is off, has panicked or has left."""

    def __init__(self, world: World, number: int, config: Config, drift_ppm: int) -> None:
        self.world = world
        self._queue = world.queue
        self._trace = world.trace
        self.number = number
        self.stack: Stack | None = None
        self.life = 0
        self.incarnation = 0
        """Of this life, once its key is registered."""
        self.ended_us: int | None = None
        """When its last life was over."""
        self.frozen: list[tuple[Callable[..., None], tuple[Any, ...]]] | None = None
        """What happened to it since it stands still."""
        self.panics: list[str] = []
        self.exits: list[int] = []
        self.doom: int | None = None
        """So many more effects that others see, then it loses power."""
        self._hindered_us = 0  # when it last stood or was slow
        self._how = Freeze.PROCESS
        self._drops = False
        self._frozen_us = 0
        self._config = config
        self._zero_us = 0
        self._rate = 0.001
        self.drift(drift_ppm)
        self._orders = 0
        self._cost_us = 0
        self._inbox: deque[Input] = deque()
        self._kept = 0
        self._carry: dict[type[Effect], Callable[[Any], None]] = {
            Emit: self._emit,
            Broadcast: self._broadcast,
            Send: self._send,
            WriteSectors: self._command,
            ReadSectors: self._command,
            ScsiCommand: self._command,
            Wake: self._wake,
            Answer: self._answer,
            OfferFiles: self._offer_files,
            FileAnswer: self._answer_file,
            FileChanged: lambda _: None,  # its programs keep no attributes
            Panic: self._panic,
            Exit: self._exit,
        }

    def went_on_for(self, duration_us: int) -> bool:
        """Whether it has neither stood still nor been slow for so long."""
        if self.frozen is not None or self._cost_us or self._inbox:
            return False
        return self.world.queue.now_us - self._hindered_us >= duration_us

    # -- power

    def power_on(self) -> None:
        """A new life, with nothing in memory."""
        assert self.stack is None, f"node {self.number} runs already"
        self.life += 1
        self.incarnation = self._orders = 0
        self._zero_us = self.world.queue.now_us
        self.stack = Stack(self._config, self.number)
        self.give(self.life, Start())
        self._tick(self.life)
        self.world.booted(self)

    def power_off(self) -> None:
        """At once; also of a machine that has panicked, and of one that is off."""
        if self.stack is not None:
            self.world.over(self)
        self._end()
        self.world.disk.power_lost(self.number)

    def _end(self) -> None:
        if self.stack is not None:
            self.stack.stop()
            self.ended_us = self.world.queue.now_us
        self.stack = None
        self.frozen = self.doom = None
        self._inbox.clear()
        self._cost_us = 0

    # -- faults

    def drift(self, ppm: int) -> None:
        """From now on its clock runs so much too fast; where it is, it stays."""
        rate = (1_000_000 + ppm) / 1_000_000_000  # milliseconds of its clock in a microsecond
        if self.stack is not None:
            ran_us = self.world.queue.now_us - self._zero_us
            self._zero_us = self.world.queue.now_us - math.ceil(ran_us * self._rate / rate)
        self.ppm = ppm
        self._rate = rate
        self._period_us = int(self._config.timing.heartbeat_ms / self._rate)

    def freeze(self, how: Freeze, *, drops: bool) -> None:
        """It stands still. drops: datagrams that come meanwhile are lost."""
        assert self.frozen is None, f"node {self.number} is frozen already"
        self.frozen, self._how, self._drops, self._kept = [], how, drops, 0
        self._frozen_us = self.world.queue.now_us

    def thaw(self) -> None:
        """It goes on, with what was kept, in its order, and then a tick."""
        if self.frozen is None:
            return
        kept, self.frozen = self.frozen, None
        self._hindered_us = self.world.queue.now_us
        if self._how is Freeze.VCPU:
            self._zero_us += self.world.queue.now_us - self._frozen_us
        for action, arguments in kept:
            action(*arguments)
        self.give(self.life, Tick())

    def keep(self, action: Callable[..., None], *arguments: Any) -> None:
        """To be done when it goes on."""
        assert self.frozen is not None, f"node {self.number} is not frozen"
        self.frozen.append((action, arguments))

    @property
    def cost_us(self) -> int:
        """What each input takes."""
        return self._cost_us

    def slow(self, cost_us: int) -> None:
        """Each input takes that long; 0: none. What waits at the end is done at once."""
        self._cost_us = cost_us
        self._hindered_us = self.world.queue.now_us
        if not cost_us:
            while self._inbox and self.stack is not None:
                self._handle(self._inbox.popleft())

    def kill(self) -> None:
        """Its guestd ends as a process that was killed does; its kernel stays."""
        self._exit(Exit(_KILLED))

    def order(self, order: str, reason: str = "") -> int:
        """Of an operator: leave, panic, status; its number."""
        self._orders += 1
        if order == "panic":
            reason = reason or "the simulator's operator"
        self.give(self.life, Order(self._orders, order, reason))
        return self._orders

    @property
    def clock_ms(self) -> int:
        """The clock of the guest, since its guestd began."""
        return int((self.world.queue.now_us - self._zero_us) * self._rate)

    def lasts_us(self, duration_ms: int) -> int:
        """What that time of its clock is."""
        return int(duration_ms / self._rate)

    # -- what comes in

    def give(self, life: int, given: Input) -> None:
        """An input for that life of it; nothing if that is over."""
        if self.stack is None or life != self.life:
            return
        if self.frozen is not None:
            self._keep_input(life, given)
        elif self._cost_us:
            self._queue_up(given)
        else:
            self._handle(given)

    def _keep_input(self, life: int, given: Input) -> None:
        if isinstance(given, Datagram):
            self._kept += 1
            if self._drops or self._kept > _SOCKET_DATAGRAMS:
                return
        if not isinstance(given, Tick):  # late ticks are not made up for
            self.keep(self.give, life, given)

    def _queue_up(self, given: Input) -> None:
        waiting = len(self._inbox)
        if waiting >= _SOCKET_DATAGRAMS and isinstance(given, (Datagram, Tick)):
            return
        self._inbox.append(given)
        if not waiting:
            self.world.queue.after(self._cost_us, self._serve, self.life)

    def _serve(self, life: int) -> None:
        if self.life != life or not self._inbox:
            return
        if self.frozen is not None:
            self.keep(self._serve, life)
            return
        given = self._inbox.popleft()
        if self._inbox:
            self.world.queue.after(self._cost_us, self._serve, life)
        self._handle(given)

    def _handle(self, given: Input) -> None:
        stack = self.stack
        assert stack is not None, f"node {self.number} is off"
        now_ms = int((self._queue.now_us - self._zero_us) * self._rate)
        trace = self._trace
        trace.note(_INPUT, self.number, _CODES[type(given)] << 32 | now_ms)
        if trace.recording:
            trace.touch(self.number)
        if (type(given) is WriteDone and not given.ok) or (type(given) is ScsiDone and given.status < 0):
            self.world.command_failed(self)
        for effect in stack.handle(given, now_ms):
            if self.doom is not None and self._dies_at(effect):
                return
            self._carry[type(effect)](effect)
        if type(given) is WriteDone and given.conflict and self.stack is not None:
            self.world.stands_refused(self)

    def _tick(self, life: int) -> None:
        if self.stack is None or self.life != life:
            return
        self.give(life, _TICK)
        self._queue.after(self._period_us + self.world.tick_late_us(self.number), self._tick, life)

    # -- what it does

    def _dies_at(self, effect: Effect) -> bool:
        """The end of a life that is doomed: before, or in the middle of, an effect that others see."""
        if not isinstance(effect, _MOMENTS):
            return False
        assert self.doom is not None, f"node {self.number} is not doomed"
        self.doom -= 1
        if self.doom >= 0:
            return False
        if isinstance(effect, Broadcast):
            only = self.world.generators[self.number].end.getrandbits(64)
            self.world.network.send(self.number, effect.payload, only=only)
        elif not isinstance(effect, Send):
            self._command(effect)  # on its way to the disk when the power goes
        self.world.doomed(self)
        return True

    def _broadcast(self, effect: Broadcast) -> None:
        self.world.network.send(self.number, effect.payload)

    def _send(self, effect: Send) -> None:
        self.world.network.tell(self.number, effect.node, effect.payload)

    def _command(self, effect: WriteSectors | ReadSectors | ScsiCommand) -> None:
        self.world.disk.submit(self, effect)

    def _wake(self, effect: Wake) -> None:
        self.world.queue.after(int(effect.after_ms / self._rate), self.give, self.life, Tick())

    def _emit(self, effect: Emit) -> None:
        if effect.kind == "registered":
            self.incarnation = int(effect.fields["key"], 16) & 0xFFFFFFFF
        self.world.emitted(self, effect.kind, effect.fields)

    def _answer(self, effect: Answer) -> None:
        self.world.answered(self, effect.connection, effect.message)

    def _offer_files(self, _effect: OfferFiles) -> None:
        self.world.mounts.offered(self)
        self.world.filers.start(self)

    def _answer_file(self, effect: FileAnswer) -> None:
        self.world.mounts.answered(self, effect)

    def _panic(self, effect: Panic) -> None:
        self.panics.append(effect.reason)
        self._end()
        self.world.ended(self)

    def _exit(self, effect: Exit) -> None:
        self.exits.append(effect.status)
        self._end()
        self.world.ended(self)


__all__ = ["DISK", "Freeze", "Node"]
