"""Claim: what event managers tell of services is the table of their states, step by step (S9.7, docs/services.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from guestd.services.states import INSTANCE_STATES, InstanceState
from hil.checkers.checker import Checker
from hil.checkers.observation import Observation

if TYPE_CHECKING:
    from guestd.services.service import Service
    from hil.checkers.checker import Bench
    from hil.sim.event_managers import Manager
    from hil.sim.world import World


class ServiceStates(Checker):
    """The states as they were before the last transaction, and what was told since."""

    claim = "what is told of services are steps of the table of their states (S9.7)"
    needs = (Observation.INSIDE,)

    def __init__(self) -> None:
        self._states: dict[tuple[str, int], InstanceState] = {}

    def begin(self, bench: Bench) -> None:
        """Of a simulated cluster."""
        super().begin(bench)
        self.world = cast("World", bench)
        self.world.event_managers.on_emit.append(self._told)
        self.world.registry.on_change.append(self._changed)

    def _changed(self, before: dict[str, Service], after: dict[str, Service]) -> None:
        """What is told next goes on from there."""
        self._states = {(name, one.registration): one.state for name, had in before.items() for one in had.instances}

    def _told(self, manager: Manager, kind: str, fields: dict[str, Any]) -> None:
        over = self.world.registry.is_over(manager.node.number, manager.node.incarnation)
        if kind != "service" or fields["state"] == "removed" or over:
            return
        which = (fields["service"], fields["registration"])
        before, after = self._states.get(which, InstanceState.DEREGISTERED), InstanceState(fields["state"])
        self._states[which] = after
        if fields["why"] == "chosen" and before is after is InstanceState.RECOVERING:
            return
        if INSTANCE_STATES.rows[before].get(fields["why"]) is not after:
            self.fail(f"{which[0]} ({which[1]}) goes from {before.value} to {after.value} by {fields['why']!r}")
