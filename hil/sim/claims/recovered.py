"""Claim: after each ungraceful loss of a node, a service that was registered there is recovered, once, before it is
started again (S9.5, S9.7).

Ungraceful: no stop command of that registration has ended well, and its node is dead or fenced. Once: a recovery that
has ended well is run again only if its node or its event manager has died since, before that was written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from guestd.services.states import InstanceState
from hil.checkers.checker import Checker
from hil.checkers.observation import Observation

if TYPE_CHECKING:
    from guestd.services.service import Instance, Service
    from hil.checkers.checker import Bench
    from hil.sim.commands import Run
    from hil.sim.world import World

Registration = tuple[str, int, int]
"""Which service, when it was added (µs), and which of its registrations."""


class Recovered(Checker):
    """What has become of each registration."""

    claim = "a service whose node was lost is recovered, once, before it is started again (S9.5, S9.7)"
    needs = (Observation.INSIDE,)

    def __init__(self) -> None:
        self._stopped: set[Registration] = set()
        self._recovered: dict[Registration, Run] = {}  # by whom

    def begin(self, bench: Bench) -> None:
        """Of a simulated cluster."""
        super().begin(bench)
        self.world = cast("World", bench)
        self.world.commands.on_begin.append(self._begins)
        self.world.commands.on_end.append(self._ended)
        self.world.registry.on_change.append(self._changed)

    def _begins(self, run: Run) -> None:
        if self.world.registry.is_over(run.node.number, run.incarnation):
            return
        service = self.world.registry.database.services.get(run.service)
        if run.action == "recovery":
            before = self._recovered.get(self._of(run.service, run.registration))
            if before is not None and self._is_there(before):
                self.fail(f"there is {run}, and there was {before}, which has ended well")
        elif run.action == "start" and service is not None and not self.world.administrator.on_all(run.service):
            lost = [one for one in service.instances if one.state is InstanceState.RECOVERING]
            if lost:
                self.fail(f"there is {run}, and registration {lost[0].registration} is not recovered yet")

    def _ended(self, run: Run) -> None:
        registration = self._of(run.service, run.registration)
        if run.succeeded and run.action == "stop":
            self._stopped.add(registration)
        elif run.succeeded and run.action == "recovery":
            self._recovered[registration] = run

    def _changed(self, before: dict[str, Service], after: dict[str, Service]) -> None:
        for name, service in before.items():
            if after.get(name) is service:
                continue
            now = {} if name not in after else {one.registration: one for one in after[name].instances}
            for one in service.instances:
                self._went_on(service, one, now.get(one.registration))

    def _went_on(self, service: Service, one: Instance, now: Instance | None) -> None:
        name, registration = service.name, self._of(service.name, one.registration)
        if one.state is InstanceState.RECOVERING:
            if now is None and registration not in self._recovered:
                self.fail(f"registration {one.registration} of {name} is over, and its recovery has not ended well")
            return
        if one.state is InstanceState.STARTING:
            return
        lost = self.world.registry.is_over(one.node, one.incarnation)
        stopped = registration in self._stopped or not service.definition.has("stop")
        where = f"{name} ({one.registration}) on node {one.node} ({one.incarnation})"
        how = ", not recovered" if lost else ""
        if now is None and not stopped and (service.definition.has("recovery") or not lost):
            self.fail(f"{where} is de-registered from {one.state.value}: not stopped{how}")
        if now is not None and now.state is InstanceState.RECOVERING and not lost:
            self.fail(f"{where} is to be recovered, and its node is neither dead nor fenced")

    def _is_there(self, run: Run) -> bool:
        """Whether its node, and the event manager that ran it, are the same as then."""
        manager = self.world.event_managers.all[run.owner]
        return manager.runs and not self.world.registry.is_over(run.node.number, run.incarnation)

    def _of(self, name: str, registration: int) -> Registration:
        return name, self.world.registry.added_us.get(name, 0), registration
