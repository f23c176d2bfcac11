"""The commands of client services on this node (spec S9.5): what the database says of this node and this incarnation of
it is run, once each.
"""

from __future__ import annotations

from guestd.core.effects import Emit
from guestd.events.effects import RunCommand
from guestd.services.service import NOWHERE
from guestd.services.states import InstanceState
from guestd.transition.states import SubsystemState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from guestd.core.value import Value
    from guestd.events.inputs import CommandEnded
    from guestd.services.database import Database
    from guestd.services.service import Instance, Service
    from guestd.services.view import View

ACTIONS = {
    InstanceState.STARTING: "start",
    InstanceState.STOPPING: "stop",
    InstanceState.RECOVERING: "recovery",
}
OUTPUT_SIZE_MAX = 1000  # of a command, in an event: characters


class Run:
    """One command."""

    __slots__ = ("action", "began_ms", "outcome", "registration", "service", "state", "succeeded")

    def __init__(self, service: str, registration: int, action: str, state: InstanceState) -> None:
        self.service = service
        self.registration = registration
        self.action = action
        self.state = state
        self.succeeded = False
        self.outcome = "runs"


class Launch:
    """Of one node."""

    def __init__(self, node: int, effects: list[Value], number: Callable[[], int]) -> None:
        self.last: dict[str, dict[str, Any]] = {}
        """Of each service, the last command that has ended here."""
        self.began = False
        self._node = node
        self._effects = effects
        self._number = number
        self._runs: dict[int, Run] = {}  # by the command's number
        self._handled: set[tuple[str, int, InstanceState]] = set()
        self._notified: dict[str, int] = {}  # service -> registration of which this node was notified

    @property
    def busy(self) -> str | None:
        """A command that runs; None: there is none."""
        for run in self._runs.values():
            return f"the {run.action} command of {run.service} runs"
        return None

    @property
    def notifying(self) -> bool:
        """Whether a notify command runs."""
        return any(run.action == "notify" for run in self._runs.values())

    def notified(self, service: str) -> int | None:
        """Of which of its registrations this node was notified last."""
        return self._notified.get(service)

    def carry_out(self, database: Database, view: View) -> list[tuple[str, int, InstanceState]]:
        """Run what is to be run here and was not yet. Returns what has no command any more, and so has ended: service,
        registration, state."""
        self.began = True
        skipped: list[tuple[str, int, InstanceState]] = []
        incarnation = view.seen[self._node].incarnation
        # Another service of that name counts its registrations from 1 again.
        self._notified = {name: last for name, last in self._notified.items() if name in database.services}
        current: set[tuple[str, int, InstanceState]] = set()
        for service in database.services.values():
            for one in service.instances:
                if (one.node, one.incarnation) == (self._node, incarnation) and one.state in ACTIONS:
                    key = (service.name, one.registration, one.state)
                    current.add(key)
                    if key not in self._handled and service.definition.has(ACTIONS[one.state]):
                        self._run(service, one, ACTIONS[one.state])
                    elif key not in self._handled:
                        skipped.append(key)  # an administrator has taken it out since that was decided
            self._notify(service, database, view)
        self._handled = current
        return skipped

    def over(self, service: str, registration: int, state: InstanceState) -> None:
        """The database knows that this command has ended: if it says so of this node again, it is to be run again."""
        self._handled.discard((service, registration, state))

    def ended(self, given: CommandEnded) -> Run | None:
        """A command has ended; None: it is none of these."""
        run = self._runs.pop(given.number, None)
        if run is None:
            return None
        run.succeeded = given.status == 0 and not given.timed_out
        if given.timed_out:
            run.outcome = "it did not end in time"
        else:
            run.outcome = given.reason or (
                f"exit status {given.status}" if given.status >= 0 else f"ended by signal {-given.status}"
            )
        told = {
            "service": run.service,
            "registration": run.registration,
            "action": run.action,
            "status": given.status,
            "timed_out": given.timed_out,
            "reason": given.reason,
            "output": given.output.decode("utf-8", "replace")[-OUTPUT_SIZE_MAX:],
        }
        self.last[run.service] = told
        self._effects.append(Emit("service-command", {**told, "state": "ended"}))
        return run

    def _notify(self, service: Service, database: Database, view: View) -> None:
        """Where it may be registered and is not, its notify command is run once for each registration."""
        if not service.definition.has("notify"):
            return
        registered = [one for one in service.instances if one.state is InstanceState.REGISTERED]
        here = view.seen[self._node].state in (SubsystemState.JOINED, SubsystemState.JOINING)
        if not registered or not here or any(one.node == self._node for one in registered):
            return
        root = service
        while root.definition.parent:
            root = database.services[root.definition.parent]
        one = registered[-1]
        if root.definition.allows(self._node) and self._notified.get(service.name) != one.registration:
            self._notified[service.name] = one.registration
            self._run(service, one, "notify")

    def _run(self, service: Service, one: Instance, action: str) -> None:
        number = self._number()
        self._runs[number] = Run(service.name, one.registration, action, one.state)
        environment = {
            "HIL_SERVICE": service.name,
            "HIL_ACTION": action,
            "HIL_NODE": str(self._node),
            "HIL_INCARNATION": str(one.incarnation),
            "HIL_REGISTRATION": str(one.registration),
            "HIL_REASON": one.reason,
        }
        if action == "notify":
            environment["HIL_REGISTERED_NODE"] = str(one.node)
        if one.lost != NOWHERE:
            environment["HIL_LOST_NODE"] = str(one.lost)
        self._effects.append(
            Emit(
                "service-command",
                {"service": service.name, "registration": one.registration, "action": action, "state": "begun"},
            )
        )
        arguments = service.definition.commands[action]
        self._effects.append(RunCommand(number, arguments, environment, service.definition.timeouts_ms[action]))
