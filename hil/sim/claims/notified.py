"""Claim: a notify command runs for a service that is registered, on allowable nodes where it is not (S9.5).

A node that has not read yet that it was de-registered may begin one a moment too late; before it was registered, or for
a registration that never came about, nobody may.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from guestd.services.states import InstanceState
from hil.checkers.checker import Checker
from hil.checkers.observation import Observation

if TYPE_CHECKING:
    from guestd.services.service import Service
    from hil.checkers.checker import Bench
    from hil.sim.commands import Run
    from hil.sim.world import World


class NotifiedOfIt(Checker):
    """Which registrations there were, and which nodes were told of each."""

    claim = "a notify command runs for a service that is registered, on the other allowable nodes (S9.5)"
    needs = (Observation.INSIDE,)

    def __init__(self) -> None:
        self._registered: dict[tuple[str, int], int] = {}  # (service, registration) -> node

    def begin(self, bench: Bench) -> None:
        """Of a simulated cluster."""
        super().begin(bench)
        self.world = cast("World", bench)
        self.world.commands.on_begin.append(self._begins)
        self.world.registry.on_change.append(self._changed)

    def _begins(self, run: Run) -> None:
        if run.action != "notify" or self.world.registry.is_over(run.node.number, run.incarnation):
            return
        node = self._registered.get((run.service, run.registration))
        if node is None:
            self.fail(f"there is {run}, and it was never registered")
        if node == run.node.number or run.environment.get("HIL_REGISTERED_NODE") != str(node):
            told = run.environment.get("HIL_REGISTERED_NODE")
            self.fail(f"there is {run}, which is told that it is registered on node {told}; it is on node {node}")
        if not self.world.administrator.root(run.service).allows(run.node.number):
            self.fail(f"there is {run}, where it is not allowed")

    def _changed(self, before: dict[str, Service], after: dict[str, Service]) -> None:
        for name, service in after.items():
            if before.get(name) is not service:
                for one in service.instances:
                    if one.state is InstanceState.REGISTERED:
                        self._registered[name, one.registration] = one.node
