"""One injection of a fault, from who is struck to the proof that it is undone.

::

    with cluster.inject("link-silent", "master", direction="out") as fault:
        ...                        # it has taken hold; at the end of the block it is healed, and that is verified
    fault = cluster.inject("disk-hang", 2)
    fault.heal()

Every step is an event ``injection`` (docs/events.md). A fault that does not take hold, or is not undone, makes the run
invalid: :class:`hil.errors.InvalidRun` (spec S10.7).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Self

from hil.errors import HilError, InvalidRun, NothingToStrike, UsageError
from hil.faults import library
from hil.faults.fault import backend_of
from hil.faults.whom import chosen, parsed, written

if TYPE_CHECKING:
    import random

    from hil.client import Cluster, Node
    from hil.faults.fault import Fault

HOLD_S: Final = 20.0
"""Until a fault has taken hold or is undone, times the factor of the machine: some disk periods, some SSH logins.

A leave takes longest: each level hands over what it has.
"""
LOOK_S: Final = 0.1
"""Between two looks at what tells nobody of itself."""


class Injection:
    """``number``: in the bench's book; ``nodes``: whom it struck; ``whom``: in which role."""

    def __init__(self, cluster: Cluster, fault: Fault, number: int, whom: str, step: str = "begun") -> None:
        self.number = number
        self.whom = whom
        self.fault = fault
        self.step = step
        self._cluster = cluster
        self._begun_s = cluster.clock
        fault.number = number

    def __repr__(self) -> str:
        return f"<injection {self.number}: {self}, {self.step}>"

    def __str__(self) -> str:
        return f"{self.fault.kind} of {_named(self.fault.nodes)}"

    @property
    def kind(self) -> str:
        """Of the fault."""
        return self.fault.kind

    @property
    def nodes(self) -> list[Node]:
        """Whom it struck."""
        return self.fault.nodes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Healed in any case; what went wrong in the block counts more than what goes wrong here."""
        try:
            self.heal()
        except HilError as why:
            if error is None:
                raise
            error.add_note(f"and {self} was not healed: {why}")

    # -- as a whole

    def wait_held(self) -> None:
        """Until it has taken hold. Raises :class:`InvalidRun`; then it is undone as far as that is possible."""
        try:
            self._await(self.looks_held, self.hold_s, "did not take hold")
        except BaseException as error:
            self.give_up(error)
            raise

    def heal(self) -> None:
        """End it, and wait until that is so; fine if it has been healed. Raises :class:`InvalidRun`."""
        if self.step == "undone":
            return
        if self.step != "recovering":
            self.begin_to_heal()
        try:
            self._await(self.looks_undone, self.undo_s, "was not undone")
        except HilError as error:
            self._note("failed", why=str(error))
            raise

    # -- step by step, for who has other things to do meanwhile (:mod:`hil.play`)

    @property
    def hold_s(self) -> float:
        """How long it may take to take hold."""
        return HOLD_S * self._cluster.speed_factor

    @property
    def undo_s(self) -> float:
        """How long it may take to be undone."""
        return self._cluster.default_timeout_s if self.fault.boots else self.hold_s

    def looks_held(self) -> str | None:
        """None when it has taken hold, which is noted then; else why not yet. Raises :class:`InvalidRun`."""
        if self.step != "begun":
            return None
        why = _seen(self.fault.why_not_held)
        if why is None:
            self._note("holds")
        return why

    def begin_to_heal(self) -> None:
        """It ends; see :meth:`looks_undone`. Raises :class:`InvalidRun`."""
        self._cluster.poll()
        self._note("recovering")
        try:
            self.fault.recover()
        except UsageError as error:
            raise InvalidRun(f"{self} was not undone: {error}") from None
        self._keep()

    def looks_undone(self) -> str | None:
        """None when it is over, which is noted then; else why not yet. Raises :class:`InvalidRun`."""
        if self.step == "undone":
            return None
        why = _seen(self.fault.why_not_undone)
        if why is None:
            self.fault.clean_up()
            self._note("undone")
        return why

    def take_over(self) -> None:
        """Another fault has its machines: with that one's end this one is over, too."""
        self._note("undone", why="another fault keeps its machines off")

    def begin(self) -> None:
        """Set up and inject. Raises :class:`NothingToStrike`, :class:`InvalidRun`."""
        try:
            if not self.fault.nodes:
                raise NothingToStrike(f"{self.kind}: nobody is {self.whom}")
            self.fault.set_up()
            self._keep()
        except (NothingToStrike, UsageError) as error:
            self._note("nothing", why=str(error))
            raise
        try:
            self.fault.inject()
            self._keep()
        except BaseException as error:
            self.give_up(error)
            raise

    def give_up(self, error: BaseException) -> None:
        """It is over before it took hold: what it did is undone, if that is possible."""
        with contextlib.suppress(HilError):
            self._note("failed", why=str(error) or type(error).__name__)
            self.fault.recover()
            self._await(lambda: _seen(self.fault.why_not_undone), self.undo_s, "was not undone")
            self.fault.clean_up()
            self._note("undone")

    # -- inside

    def _await(self, why_not: Callable[[], str | None], limit_s: float, failed: str) -> None:
        deadline = self._cluster.clock + limit_s
        self._cluster.poll()
        while (why := why_not()) is not None:
            left_s = deadline - self._cluster.clock
            if left_s <= 0:
                raise InvalidRun(f"{self} {failed} within {limit_s:.0f} s: {why}")
            self._cluster.listen(min(left_s, LOOK_S), about=str(self))

    def _note(self, step: str, **more: Any) -> None:
        if self.step != step:
            self.step = step
            seconds = self._cluster.clock - self._begun_s
            if step == "recovering":
                self._begun_s = self._cluster.clock
            self.fault.call("note_injection", number=self.number, step=step, seconds=seconds, **more)

    def _keep(self) -> None:
        self.fault.call("note_injection", number=self.number, state=self.fault.state)


def _seen(why_not: Callable[[], str | None]) -> str | None:
    """A machine that cannot be asked at this moment, since it is frozen, is one more reason why not yet."""
    try:
        return why_not()
    except UsageError as error:
        return str(error)


def begin(
    cluster: Cluster, kind: str, whom: Any, parameters: Mapping[str, Any], draw: random.Random | None = None
) -> Injection:
    """Inject a fault, and do not wait until it has taken hold. Raises as :meth:`hil.client.Cluster.inject`.

    ``draw``: decides between nodes that are in the same role; None: the lowest-numbered is struck.
    """
    found = parsed(whom, len(cluster.nodes))
    values = library.check(kind, parameters, backend_of(cluster))
    fault = library.make(cluster, kind, chosen(cluster, found, draw), values)
    about = {"fault": kind, "whom": written(whom), "nodes": fault.ids, "parameters": values}
    number = cluster.caller.call("begin_injection", **about, shown=fault.shown)["number"]
    injection = Injection(cluster, fault, number, written(whom))
    injection.begin()
    return injection


def inject(
    cluster: Cluster, kind: str, whom: Any, parameters: Mapping[str, Any], draw: random.Random | None = None
) -> Injection:
    """As :func:`begin`, and it has taken hold."""
    injection = begin(cluster, kind, whom, parameters, draw)
    injection.wait_held()
    return injection


def in_force(cluster: Cluster) -> list[Injection]:
    """Those in the bench's book, whoever has injected them."""
    found = []
    for known in cluster.caller.call("injections")["injections"]:
        nodes = [cluster.nodes[node] for node in known["nodes"]]
        fault = library.make(cluster, known["fault"], nodes, known["parameters"])
        fault.state = known["state"]
        found.append(Injection(cluster, fault, known["number"], known["whom"], known["step"]))
    return found


def _named(nodes: list[Node]) -> str:
    return ("node " if len(nodes) == 1 else "nodes ") + (", ".join(str(node.id) for node in nodes) or "none")
