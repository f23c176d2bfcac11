"""Claim: a service is started only where it is allowed, and when the cluster is mature for it (S9.2, S9.3).

Mature: at least one allowable node is up, and the first preferred one is, or as many as it takes, or its time has
passed. Who is up is taken generously here: whose event manager has signed on in its present life. And so is the time:
it may begin when the cluster came up, or when the service was defined.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from hil.checkers.checker import Checker
from hil.checkers.observation import Observation

if TYPE_CHECKING:
    from guestd.services.service import Service
    from hil.checkers.checker import Bench
    from hil.sim.commands import Run
    from hil.sim.world import World

_CLOCKS: Final = 0.85
"""A clock may run so much too fast that this of a time is over by it."""
_DEATHS: Final = 10
"""So many times what it takes to find a node dead may pass until all have heard of it."""


class Placed(Checker):
    """Asked when a start command begins, and when a service becomes mature."""

    claim = "a service is started only where it is allowed, when the cluster is mature for it (S9.2, S9.3)"
    needs = (Observation.INSIDE,)

    def begin(self, bench: Bench) -> None:
        """Of a simulated cluster."""
        super().begin(bench)
        self.world = cast("World", bench)
        self.world.commands.on_begin.append(self._begins)
        self.world.registry.on_change.append(self._changed)

    def _begins(self, run: Run) -> None:
        if run.action not in ("start", "recovery") or self.world.registry.is_over(run.node.number, run.incarnation):
            return
        if not self.world.administrator.root(run.service).allows(run.node.number):
            self.fail(f"there is {run}, where it is not allowed")

    def _changed(self, before: dict[str, Service], after: dict[str, Service]) -> None:
        for name, service in after.items():
            if service.definition.parent or before.get(name) is service:
                continue
            count = before[name].count if name in before else 0
            if service.count != count and not service.mature:
                self.fail(f"{name} is registered, and the cluster is not mature for it")
            if service.mature and not (name in before and before[name].mature):
                self._ripens(service)

    def _ripens(self, service: Service) -> None:
        definition, registry = service.definition, self.world.registry
        if registry.is_over(*registry.writer()):
            return  # it was written in a life that is over, nobody knows when, and is certain only since it was read
        # Who decides may not have heard yet that a node has died.
        unheard_us = self.world.queue.now_us - _DEATHS * self.world.options.timing.death_ms * 1000
        up = [
            number
            for number, member in registry.database.members.items()
            if definition.allows(number)
            and registry.over_us.get((number, member.incarnation), unheard_us + 1) > unheard_us
        ]
        if not up:
            self.fail(f"{service.name} is taken for mature, and no node is up that it may be on")
        if not definition.awaits_maturity or definition.primary in up:
            return
        if 0 < definition.maturity_count <= len(up):
            return
        since_us = max(registry.life_us, registry.added_us[service.name])
        waited_ms = (self.world.queue.now_us - since_us) / 1000
        if definition.maturity_ms is None or waited_ms < definition.maturity_ms * _CLOCKS:
            self.fail(
                f"{service.name} is taken for mature after {waited_ms:.0f} ms with {up} up: it takes"
                f" {definition.maturity_count} nodes, node {definition.primary}, or {definition.maturity_ms} ms"
            )
