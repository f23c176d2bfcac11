"""The cluster that a scenario gets: a :class:`hil.client.Cluster` that also knows what was declared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from hil.checkers import fence
from hil.checkers.live import LiveClaims
from hil.client import Cluster, Node
from hil.client.backend import Backend
from hil.config import ClusterConfig
from hil.errors import ClaimFailed
from hil.expect import Declaration, PanicLedger, ServiceDeclaration
from hil.view import Event, View

if TYPE_CHECKING:
    from hil.beside import Beside

LOOK_S = 0.25
"""How often a wait in which nothing is told looks at the disk's ledger."""


class ScenarioCluster(Cluster):
    """Every event that a wait or a poll reads is also entered into :attr:`panics`, and held against the claims about
    every run (docs/checkers.md): what reads it raises :class:`ClaimFailed`, once, if one of them does not hold.
    """

    def __init__(self, name: str, backend: Backend | None = None) -> None:
        self.panics = PanicLedger()
        self.beside: Beside | None = None
        """The plan of faults that is played beside the scenario."""
        self.declared_services: dict[str, ServiceDeclaration] = {}
        self.claims: LiveClaims | None = None
        super().__init__(name, backend)
        if not self.backend.simulated:  # a simulation judges itself, with each event
            fence, election = self.config.fence, self.config.election
            self.claims = LiveClaims(self.run_dir, self.first_event, fence=fence, election=election)
        self.observe_for(None)

    @classmethod
    def up(
        cls,
        config: ClusterConfig,
        *,
        cold: bool = False,
        on_event: Callable[[Event, View], None] | None = None,
        on_image: Callable[[str, int, int], None] | None = None,
    ) -> Self:
        """As :meth:`hil.client.Cluster.up`."""
        cluster = super().up(config, cold=cold, on_image=on_image)
        cluster.observe_for(on_event)
        return cluster

    def observe_for(self, listener: Callable[[Event, View], None] | None) -> None:
        """Enter every event into :attr:`panics`, then tell ``listener``."""
        self._listener = listener
        self.on_event = self._observe

    def expect_panic(self, node: Node, because: str | None = None, within: float | None = None) -> Declaration:
        """Declare that ``node`` must panic from now on, with the text ``because`` in its reason (None: any).

        ``within`` so many seconds from now (None: before the scenario ends). The scenario fails if it has not, and if
        any node panics that was not declared (spec S10.8).
        """
        now = self.caller.call("status")["now"] if within is not None else 0.0
        self.catch_up_to_answer()
        return self.panics.expect(node.id, because, None if within is None else now + within)

    def allow_panic(self, node: Node) -> None:
        """``node`` may panic from now on, and need not; whether it should is for others to judge (:mod:`hil.play`)."""
        self.poll()
        self.panics.allow(node.id)

    @contextmanager
    def expecting_panic(
        self, node: Node, because: str | None = None, within: float | None = None
    ) -> Iterator[Declaration]:
        """As :meth:`expect_panic`; the end of the block waits until ``node`` has panicked and libvirt has said so.

        ``within`` seconds from the end of the block (None: by the measured speed of this machine). Raises
        :class:`ClaimFailed`, at once if the machine went off without a panic.
        """
        declaration = self.expect_panic(node, because)
        yield declaration

        def why_not(view: View) -> str | None:
            phrase = self.panics.why_not(declaration)
            if phrase is not None and view.nodes[node.id].power == "off":
                raise ClaimFailed(f"{declaration}, but its machine is off: {phrase}")
            return phrase

        self.wait(why_not, within, about=str(declaration))

    def wait_faults_over(self) -> None:
        """Wait until the plan of `hil run --faults` is over: all is healed then. At once if there is none.

        Raises :class:`hil.errors.InvalidRun` if one of its faults did not take hold, or was not undone.
        """
        if self.beside is not None:
            limit_s = self.beside.plan.until_ms / 1000 + 2 * self.default_timeout_s
            why_not = self.beside.why_not_over
            self.wait(lambda view: why_not(), limit_s, about="the plan of faults is over")

    def check_panics(self) -> None:
        """Raise :class:`ClaimFailed` if a panic was not declared, or a declared one did not come."""
        self.catch_up()
        self.panics.check()

    def expect_service(self, name: str, on: Node | None = None, within: float | None = None) -> ServiceDeclaration:
        """Declare that the service must be registered (on that node) when the scenario ends (spec S9.1).

        Of one service the last declaration counts. The scenario fails if it is not so. ``within``: it is waited for
        first, for so many seconds at most. Raises :class:`ClaimFailed`.
        """
        if within is not None:
            self.services.wait_registered(name, on, within)
        declaration = ServiceDeclaration(name, None if on is None else on.id)
        self.declared_services[name] = declaration
        return declaration

    @contextmanager
    def expecting_service(
        self, name: str, on: Node | None = None, within: float | None = None
    ) -> Iterator[ServiceDeclaration]:
        """The end of the block waits until the service was registered anew (on that node).

        ``within`` seconds from the end of the block (None: by the measured speed of this machine). Raises
        :class:`ClaimFailed`, at once if it has settled on another node, was removed, or cannot start anywhere.
        """
        seen = self.poll().services.get(name)
        declaration = ServiceDeclaration(name, None if on is None else on.id, 0 if seen is None else seen.newest_number)
        yield declaration

        def why_not(view: View) -> str | None:
            if (hopeless := declaration.why_hopeless(view)) is not None:
                raise ClaimFailed(f"{declaration}: {hopeless}")
            return declaration.why_not(view)

        self.services.wait_until(name, why_not, str(declaration), within, on=on)

    def check_services(self) -> None:
        """Raise :class:`ClaimFailed` if a service that was declared is not registered, or is elsewhere."""
        if not self.declared_services:
            return
        self.catch_up()
        wrong = [
            f"{one}: {why}" for one in self.declared_services.values() if (why := one.why_not(self.view)) is not None
        ]
        if wrong:
            raise ClaimFailed("; ".join(wrong))

    def expect_members(self, members: Iterable[Node | int], within: float | None = None) -> View:
        """Wait until exactly these nodes are joined, all others inactive, and all of them agree on it (spec S2.4).

        So every leave, and the recovery after every death, is over.
        ``within``: seconds (None: by the measured speed of this machine). Raises :class:`ClaimFailed`.
        """
        wanted = sorted(int(node) for node in members)

        def why_not(view: View) -> str | None:
            if (phrase := view.why_not_joined(wanted)) is not None:
                return phrase
            for node in wanted:
                for other, (state, _) in view.nodes[node].membership.nodes.items():
                    if other not in wanted and state != "inactive":
                        return f"node {node} sees node {other} as {state}"
            return None

        told = ", ".join(map(str, wanted))
        return self.wait(why_not, within, about=f"the members are nodes {told}", alive=map(self.node, wanted))

    def expect_no_stale_writes(self) -> int:
        """No node has changed the disk since it was fenced: by the disk's ledger, up to this moment (spec S6.2).

        The result: how many writes the disk has kept out. Raises :class:`ClaimFailed` with the first that it has not,
        and where no node has been fenced, for then nothing is shown.
        """
        self.catch_up()
        if not any(event["kind"] == "fenced" for event in self.events()):
            raise ClaimFailed("no node was fenced: that it has written nothing since shows nothing")
        return fence.check(self.disk.records())

    def down(self) -> None:
        """As :meth:`hil.client.Cluster.down`; what is read meanwhile is judged no more."""
        if self.claims is not None:
            self.claims.close()
        super().down()

    def close(self) -> None:
        """As :meth:`hil.client.Cluster.close`."""
        if self.claims is not None:
            self.claims.close()
        super().close()

    def _observe(self, event: Event, view: View) -> None:
        self.panics.apply(event)
        if self._listener is not None:
            self._listener(event, view)
        if self.claims is not None:
            self.claims.tell(event)

    def _take(self, timeout: float, stop: Callable[[], bool] | None = None) -> bool:
        if self.claims is None:
            return super()._take(timeout, stop)
        deadline = self.clock + timeout
        while True:
            left_s = deadline - self.clock
            taken = super()._take(max(0.0, min(left_s, LOOK_S)), stop)
            self.claims.look()
            if taken or self._reader.ended or left_s <= LOOK_S:
                return taken
