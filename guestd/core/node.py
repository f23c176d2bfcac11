"""The stack of one node: all levels, with one way in and one way out.

    stack = Stack(config, node)
    effects = stack.handle(Start(), now_ms)          # then Tick, WriteDone, Datagram, Order … as they come

Deterministic: the same inputs at the same times give the same effects, whatever the hash seed.
"""

from __future__ import annotations

from guestd.core import json
from guestd.core.config import Config
from guestd.core.context import Context
from guestd.core.disk import DATA, lane_of
from guestd.core.effects import Emit, Exit, Panic
from guestd.core.inputs import Datagram, Order, ProgramGone, ProgramMessage, ReadDone, ScsiDone, Start, Tick, WriteDone
from guestd.core.kernel import Kernel
from guestd.events.subsystem import subsystem as event_manager
from guestd.interconnect import segment
from guestd.membership.causes import Cause
from guestd.membership.manager import Manager
from guestd.sfs.requests import FileRequest
from guestd.transition.levels import Levels
from guestd.transition.participant import Participant
from guestd.transition.subsystem import Subsystem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from guestd.core.effects import Effect
    from guestd.core.inputs import Input
    from guestd.membership.member import Member


def built_in_levels() -> Levels:
    """Those of spec S7, with the membership manager itself at level 0."""
    return Levels([subsystem.level for subsystem in _subsystems(Kernel(Context(_ANY, 0)))])


def _subsystems(kernel: Kernel) -> list[Subsystem]:
    """Bottom-up."""
    return [Subsystem("membership", order=0, real=True), *kernel.subsystems(), event_manager()]


_ANY = Config(bytes(16), "any", 2)


class Stack:
    """One life of one node."""

    def __init__(self, config: Config, node: int) -> None:
        """Raises ValueError for a configuration that cannot be; says what is legal."""
        self._context = Context(config, node)
        self.kernel = Kernel(self._context)
        subsystems = _subsystems(self.kernel)
        self.levels = Levels([subsystem.level for subsystem in subsystems])
        self._participant = Participant(node, config.nodes, self.levels, subsystems)
        self._manager = Manager(self._context, self.levels, self._participant)
        self._last_order = 0
        self.ended = False  # after Panic or Exit: nothing is done any more

    def handle(self, given: Input, now_ms: int) -> list[Effect]:
        """Take one input at a monotonic time in milliseconds; returns what is to be done, in this order."""
        if self.ended:
            return []
        context = self._context
        context.now_ms = now_ms
        concerns_membership = True
        if type(given) is not Datagram:
            concerns_membership = self._take(given)
        elif given.payload[:4] == segment.MAGIC:
            self.kernel.heard(given.payload)
            concerns_membership = False
        elif not self._manager.heard(given.payload):  # by far the most inputs
            return []
        self._settle(concerns_membership)
        if not context.effects:
            return []
        effects = context.take_effects()
        for index, effect in enumerate(effects):
            if isinstance(effect, (Panic, Exit)):
                self.stop()
                return effects[: index + 1]
        return effects

    def stop(self) -> None:
        """This life is over. Nothing goes on in it then, not even while its memory is given back."""
        self.ended = True
        self.kernel.end()

    def _settle(self, concerns_membership: bool) -> None:
        """The levels first: what they acknowledge goes out with the membership's next datagram."""
        manager, kernel = self._manager, self.kernel
        member = manager.member
        if member.inside:
            progress = kernel.settle(self._participant)
            if progress:
                manager.report(progress)
                concerns_membership = True
            if kernel.lost is not None:
                member.expel(Cause.FILES_LOST, f"node {member.node} has lost its files: {kernel.lost}")
                concerns_membership = True
        # Files and locks make by far the most inputs of a node that works.
        if concerns_membership or manager.has_more or self._context.data.conflict:
            manager.settle()

    def _take(self, given: Input) -> bool:
        """Whether it may concern the membership: not what is for the levels above it alone."""
        if isinstance(given, FileRequest):
            self.kernel.asked(given)
            return False
        if isinstance(given, (WriteDone, ReadDone, ScsiDone)):
            self._context.disk_done(given)
            return lane_of(given.tag) != DATA
        if isinstance(given, Tick):
            self._manager.tick()
            self.kernel.tick()
        elif isinstance(given, ProgramMessage):
            message = _parsed(given.line)
            if not self.kernel.said(given.connection, message):
                self._manager.program_said(given.connection, message, given.line)
        elif isinstance(given, ProgramGone):
            self._manager.program_gone(given.connection)
            self.kernel.gone(given.connection)
        elif isinstance(given, Order):
            self._order(given)
        elif isinstance(given, Start):
            self._start()
        else:
            raise TypeError(f"{given!r} is no input of a stack")
        return True

    def _start(self) -> None:
        shown = [{"level": level.order, "name": level.name, "real": level.real} for level in self.levels]
        self._context.emit("subsystems", levels=shown)
        self._manager.start()

    def _order(self, given: Order) -> None:
        """Numbers ascend: an order that was seen already is not carried out twice."""
        if given.number <= self._last_order:
            return
        self._last_order = given.number
        named = {"order_n": given.number, "order": given.order}
        if given.order == "leave":
            # The order's answer comes before what it brings about.
            mark = len(self._context.effects)
            refusal = self._manager.leave()
            answer = Emit("order-taken", named)
            if refusal is not None:
                answer = Emit("order-refused", {**named, "reason": refusal})
            self._context.effects.insert(mark, answer)
        elif given.order == "panic":
            self._context.emit("order-taken", **named)
            self._manager.member.expel(Cause.ORDERED, given.reason or "ordered by the host")
        elif given.order == "status":
            self._context.emit("order-taken", **named)
            self._context.emit("status", **self.status())
        else:
            legal = "leave, panic, status"
            self._context.emit("order-refused", **named, reason=f"unknown order (legal: {legal})")

    @property
    def member(self) -> Member:
        """What this node knows of the cluster and of itself; to look at only."""
        return self._manager.member

    def status(self) -> dict[str, Any]:
        """What the order "status" answers."""
        return {**self._manager.status(), **self.kernel.status()}


def _parsed(line: str) -> object:
    """What a program has said; None if it is no JSON."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
