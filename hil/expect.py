"""Which panics a scenario declared and which came: a pure function of the event stream (spec S10.8).

A scenario says which node must panic, and why; any other panic fails it, and so does a declared one that never came.
One panic shows up as several events (guestd's last word, then libvirt's crash, or only the crash when the last word
was lost): they are one :class:`Panic`, because they fall into one life of the machine. A life begins when the machine
starts or is reset.

An order to panic (``hil panic``, ``cluster.panic``) declares the panic that it asks for.

A scenario may also say where a client service must be (:class:`ServiceDeclaration`, spec S9.1).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hil.errors import ClaimFailed

if TYPE_CHECKING:
    from hil.view import View

Event = dict[str, Any]

NO_LAST_WORD = "(its guestd said nothing)"
_NEW_LIFE = frozenset({"machine-starting", "machine-started", "machine-reset"})


@dataclass
class Panic:
    """One panic of one life of a machine."""

    node: int
    n: int
    """The number of the first event that told of it."""
    t: float
    reason: str | None = None
    """guestd's last word; None when only the crash was seen."""
    crashed: bool = False
    """libvirt has reported the crash."""
    declared: bool = False

    def __str__(self) -> str:
        return f"node {self.node} panicked at {self.t:.3f} s: {self.reason or NO_LAST_WORD}"


@dataclass
class Declaration:
    """One panic that must come."""

    node: int
    because: str | None
    """Text that the reason must contain; None for any reason."""
    since: int
    """Events up to this number were known when it was declared; a panic among them is not the declared one."""
    by_t: float | None = None
    """Of the event clock; a later panic is not the declared one. None: whenever."""
    fulfilled_by: Panic | None = None

    def __str__(self) -> str:
        by = "" if self.by_t is None else f" by {self.by_t:.3f} s"
        return f"node {self.node} was to panic{by}" + (f" because of {self.because!r}" if self.because else "")


class PanicLedger:
    """Feed it every event in order (``apply``), declare (``expect``), ask what is wrong (``problems``, ``check``)."""

    def __init__(self) -> None:
        self.panics: list[Panic] = []
        self.declarations: list[Declaration] = []
        self._n = 0
        self._allowed: dict[int, int] = {}  # node -> the number of the last event before it was allowed
        self._of_this_life: dict[int, Panic] = {}
        self._life_began: dict[int, int] = {}

    @property
    def seen(self) -> int:
        """The number of the last event applied."""
        return self._n

    def expect(self, node: int, because: str | None = None, by_t: float | None = None) -> Declaration:
        """Declare that ``node`` must panic from now on, with ``because`` in its reason (None: whatever the reason).

        ``by_t``: at the latest then, by the clock of the events.
        """
        declaration = Declaration(node, because, self._n, by_t)
        self.declarations.append(declaration)
        return declaration

    def allow(self, node: int) -> None:
        """``node`` may panic from now on, as often as it will, and need not."""
        self._allowed.setdefault(node, self._n)

    def apply(self, event: Event) -> None:
        """Take one event; an event that was applied before (by its number) is ignored, so streams may overlap."""
        n = event.get("n", self._n + 1)
        if n <= self._n:
            return
        self._n = n
        kind, node = event["kind"], event.get("node")
        if kind == "checkpoint-restored":  # what came before was another run's
            self.panics.clear()
            self.declarations.clear()
            self._allowed.clear()
            self._of_this_life.clear()
        if not isinstance(node, int):
            return
        if kind in _NEW_LIFE:
            self._of_this_life.pop(node, None)
            self._life_began[node] = n
        elif kind == "order-sent" and event.get("order") == "panic":
            # The bench writes it down after it has sent it: the panic may stand before its own order.
            self.declarations.append(Declaration(node, None, self._life_began.get(node, 0)))
            self._match()
        elif kind in {"panic", "machine-crashed"}:
            self._panicked(node, event, crashed=kind == "machine-crashed")
            self._match()

    def apply_all(self, events: Iterable[Event]) -> None:
        """Take several events in order."""
        for event in events:
            self.apply(event)

    def _panicked(self, node: int, event: Event, *, crashed: bool) -> None:
        panic = self._of_this_life.get(node)
        if panic is None:
            panic = self._of_this_life[node] = Panic(node, self._n, event.get("t", 0.0))
            self.panics.append(panic)
        panic.crashed |= crashed
        panic.reason = panic.reason or (None if crashed else event.get("reason"))

    def _match(self) -> None:
        """Give every panic at most one declaration: the oldest open one that it fulfils."""
        for panic in self.panics:
            # One that was only allowed is still there for its order, which may be told after it.
            if any(declaration.fulfilled_by is panic for declaration in self.declarations):
                continue
            for declaration in self.declarations:
                if declaration.fulfilled_by is None and self._fulfils(panic, declaration):
                    declaration.fulfilled_by, panic.declared = panic, True
                    break
            else:
                panic.declared = panic.n > self._allowed.get(panic.node, panic.n)

    @staticmethod
    def _fulfils(panic: Panic, declaration: Declaration) -> bool:
        if panic.node != declaration.node or panic.n <= declaration.since:
            return False
        if declaration.by_t is not None and panic.t > declaration.by_t:
            return False
        return declaration.because is None or declaration.because in (panic.reason or "")

    def undeclared(self) -> list[Panic]:
        """The panics that nobody declared, oldest first."""
        return [panic for panic in self.panics if not panic.declared]

    def missing(self) -> list[Declaration]:
        """The declared panics that have not come, oldest first."""
        return [declaration for declaration in self.declarations if declaration.fulfilled_by is None]

    def why_not(self, declaration: Declaration) -> str | None:
        """None once ``declaration`` came true and libvirt has seen the crash, else why not yet (for a wait)."""
        panic = declaration.fulfilled_by
        if panic is None:
            others = [other for other in self.panics if other.node == declaration.node and other.n > declaration.since]
            return f"node {declaration.node} has not panicked" + (f" so ({others[-1]})" if others else "")
        return None if panic.crashed else f"{panic}, but libvirt has not reported the crash"

    def problems(self) -> list[str]:
        """One sentence for each undeclared panic and each declared one that never came."""
        sentences = [f"{panic}; nobody declared that it would" for panic in self.undeclared()]
        return sentences + [f"{declaration}, but it did not" for declaration in self.missing()]

    def check(self) -> None:
        """Raise :class:`ClaimFailed` with all problems, if there are any."""
        if problems := self.problems():
            raise ClaimFailed("; ".join(problems))


@dataclass(frozen=True)
class ServiceDeclaration:
    """A client service that must be registered."""

    name: str
    on: int | None = None
    """Node; None: wherever."""
    after: int = 0
    """Only a registration with a higher number counts: those before were known."""

    def __str__(self) -> str:
        where = "" if self.on is None else f" on node {self.on}"
        anew = " anew" if self.after else ""
        return f"service {self.name} was to be registered{where}{anew}"

    def why_not(self, view: View) -> str | None:
        """None if it is so, else why not yet."""
        seen = view.services.get(self.name)
        if seen is None:
            return "nothing was told of it"
        newer = [one for one in seen.running if one.state == "registered" and one.number > self.after]
        if any(self.on in (None, one.node) for one in newer):
            return None
        return f"it is {seen}"

    def why_hopeless(self, view: View) -> str | None:
        """Why it will not come by itself any more: it has settled on another node. None if it may."""
        seen = view.services.get(self.name)
        if seen is None or self.on is None or self.why_not(view) is None:
            return None
        newest = seen.newest
        settled = newest is not None and newest.number > self.after and newest.state == "registered" and not newest.lost
        return f"it is {seen} instead" if settled else None
