"""Mutants of the event manager: registration and launch of client services (S9)."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final

from guestd.core.value import replace
from guestd.events.effects import LockStore
from guestd.events.inputs import StoreDone
from guestd.services import choose, decide
from guestd.services.database import Database
from guestd.services.decide import Decision
from guestd.services.launch import Launch
from guestd.services.manager import ServiceManager
from guestd.services.service import Service
from guestd.services.states import INSTANCE_STATES, InstanceState
from guestd.services.transactions import Transactions
from guestd.services.transitions import Transitions
from guestd.services.view import View
from guestd.transition.programs import Programs
from guestd.transition.states import SubsystemState
from hil.sim.claims.grouped import Grouped
from hil.sim.claims.hung import Hung
from hil.sim.claims.notified import NotifiedOfIt
from hil.sim.claims.one_history import OneHistory
from hil.sim.claims.one_place import OnePlace
from hil.sim.claims.placed import Placed
from hil.sim.claims.recovered import Recovered
from hil.sim.claims.service_states import ServiceStates
from hil.sim.run import CONVERGES, NO_FAULT_OF_ITS_OWN, SETTLES
from tests.mutations.mutant import Mutant
from tests.mutations.patching import Patch

CALM: Final[dict[str, Any]] = {
    "weights": (("leave", 1),),
    "fault_every_ms": 8000,
    "services": 6,
    "command_share": 50,
    "manager_share": 0,
    "programs": 0,
}
FAILING: Final[dict[str, Any]] = {**CALM, "command_share": 400}
DEATHS: Final[dict[str, Any]] = {**CALM, "weights": (("crash", 4), ("leave", 1)), "fault_every_ms": 4000}
POWER: Final[dict[str, Any]] = {**CALM, "weights": (("power-failure", 1),), "fault_every_ms": 6000}
MANAGERS: Final[dict[str, Any]] = {**CALM, "manager_share": 50}
SLOW: Final[dict[str, Any]] = {
    **DEATHS,
    "filers": 2,
    "slow_share": 900,
    "slow_ms_max": 800,
    "converge_ms": 180_000,
}


def maturity_ignored(patch: Patch) -> None:
    """A service is registered as soon as one allowable node is up."""

    def at_once(service: Service, database: Database, view: View, *, expired: bool) -> bool:
        return any(service.definition.allows(node) and view.up(node, database) for node in range(len(view.seen)))

    patch.replace(decide, "is_mature", at_once)


def disallowed_node_chosen(patch: Patch) -> None:
    """Who decides looks at the nodes that are up, and not at those that are allowable."""
    verdict = choose._verdict

    def any_node(service: Service, *arguments: Any) -> choose.Verdict:
        anywhere = replace(service.definition, allowable=None, disallowable=())
        return verdict(service.but(definition=anywhere), *arguments)

    patch.replace(choose, "_verdict", any_node)


def children_started_first(patch: Patch) -> None:
    """A child is started as soon as its parent is to be started there."""
    stays = Decision._stays

    def soon(self: Decision, service: Service, node: int) -> bool:
        one = service.on(node)
        return stays(self, service, node) or (one is not None and one.state is InstanceState.STARTING)

    patch.replace(Decision, "_stays", soon)


def children_stopped_last(patch: Patch) -> None:
    """A parent is stopped without waiting for its children."""
    patch.replace(Decision, "children", lambda _self, _name: [])


def notified_before_the_start(patch: Patch) -> None:
    """The other nodes are notified when a service is to be started, not when its start has succeeded."""
    notify = Launch._notify

    def early(self: Launch, service: Service, database: Database, view: View) -> None:
        instances = tuple(
            replace(one, state=InstanceState.REGISTERED) if one.state is InstanceState.STARTING else one
            for one in service.instances
        )
        notify(self, service.but(instances=instances), database, view)

    patch.replace(Launch, "_notify", early)


def recovery_run_twice(patch: Patch) -> None:
    """A recovery is run again whenever the database has changed before it has ended."""
    carry_out = Launch.carry_out

    def forgetful(self: Launch, database: Database, view: View) -> list[tuple[str, int, InstanceState]]:
        skipped = carry_out(self, database, view)
        self._handled = {key for key in self._handled if key[2] is not InstanceState.RECOVERING}
        return skipped

    patch.replace(Launch, "carry_out", forgetful)


def recovery_left_out(patch: Patch) -> None:
    """A service whose node was lost is de-registered, and its recovery command is not run."""
    patch.row(INSTANCE_STATES, InstanceState.REGISTERED, "lost", InstanceState.DEREGISTERED)


def intent_not_cleared(patch: Patch) -> None:
    """The transfer intent stays when the service has been started where it was to go."""
    step = Decision.step

    def keeps(self: Decision, service: Service, one: Any, trigger: str, **changed: Any) -> Service:
        return step(self, service, one, trigger, **({} if trigger == "started" else changed))

    patch.replace(Decision, "step", keeps)


def stop_failure_ignored(patch: Patch) -> None:
    """A stop command that has failed is taken for one that has succeeded."""
    ended = Launch.ended

    def fine(self: Launch, given: Any) -> Any:
        run = ended(self, given)
        if run is not None and run.action == "stop":
            run.succeeded = True
        return run

    patch.replace(Launch, "ended", fine)


def failed_start_not_stopped(patch: Patch) -> None:
    """After a start that has failed the next node is tried at once, without a stop."""
    patch.row(INSTANCE_STATES, InstanceState.STARTING, "start-failed", InstanceState.DEREGISTERED)


def tail_not_cut_off(patch: Patch) -> None:
    """What a writer has left half written stays in the database, and the next one writes behind it."""
    take = Database.take

    def everything(self: Database, identity: int, data: bytes) -> int:
        size = 0 if identity != self.identity else self.size
        found = take(self, identity, data)
        self.size = size + len(data)
        return found

    patch.replace(Database, "take", everything)


def decided_without_the_lock(patch: Patch) -> None:
    """Who decides does not take the file lock."""
    transaction = Transactions._transaction

    def unlocked(self: Transactions) -> Generator[Any, Any, None]:
        task = transaction(self)
        assert next(task) is LockStore
        wanted = task.send(StoreDone(0, 0))
        while True:
            done = yield wanted
            try:
                wanted = task.send(done)
            except StopIteration:
                return

    patch.replace(Transactions, "_transaction", unlocked)


def steps_told_twice(patch: Patch) -> None:
    """The host is told each step of a service twice."""
    tell = Decision._tell

    def twice(self: Decision, *arguments: Any) -> None:
        tell(self, *arguments)
        tell(self, *arguments)

    patch.replace(Decision, "_tell", twice)


def former_life_taken_for_alive(patch: Patch) -> None:
    """What was registered in a former incarnation of a node is taken to run as long as the node is up."""
    gone = (SubsystemState.INACTIVE, SubsystemState.FORCED_LEAVING)
    patch.replace(View, "lives", lambda self, node, _incarnation: self.seen[node].state not in gone)


def run_before_it_is_written(patch: Patch) -> None:
    """What was decided is carried out before it is on the medium."""
    decide = ServiceManager.decide

    def eager(self: ServiceManager) -> dict[str, Any]:
        changes = decide(self)
        database = self.database
        imagined = Database()
        imagined.take(1, database.whole((self.node, 0)) if database.number else b"")
        imagined.take(1, imagined.line((self.node, 0), changes))
        self._launch.carry_out(imagined, self.view)
        return changes

    patch.replace(ServiceManager, "decide", eager)


def interrupted_leave_awaited(patch: Patch) -> None:
    """A leave is acknowledged when its node has signed off, though it was forced out meanwhile."""
    is_processed = Transitions._is_processed

    def waits(self: Transitions, node: int, incarnation: int, transition: str, signed: bool) -> bool:
        member = self._database.members.get(node)
        if transition == "leave" and signed and member is not None and member.incarnation == incarnation:
            return member.left
        return is_processed(self, node, incarnation, transition, signed)

    patch.replace(Transitions, "_is_processed", waits)


def sign_off_awaited_in_silence(patch: Patch) -> None:
    """Who waits for another node to sign off does not say that it works."""
    patch.replace(Transitions, "_awaits_another", lambda _self: False)


def registered_before_its_join(patch: Patch) -> None:
    """The event manager is told of its own node's join before those of the nodes that were there before."""
    patch.replace(Programs, "_waits", lambda _self, _level: False)


ANY: Final = (
    *(OnePlace.claim, Placed.claim, Grouped.claim, Recovered.claim, NotifiedOfIt.claim),
    *(OneHistory.claim, ServiceStates.claim, SETTLES),
)


def files_awaited_in_silence(patch: Patch) -> None:
    """An event manager that is kept waiting by the shared file system does not say that it works."""
    waits = Transactions.is_kept_waiting
    patch.replace(Transactions, "is_kept_waiting", lambda self, ms: self._locks and waits(self, ms))


MUTANTS: Final = (
    Mutant(maturity_ignored, (Placed.claim,), CALM),
    Mutant(disallowed_node_chosen, (Placed.claim,), CALM),
    Mutant(children_started_first, (Grouped.claim,), CALM),
    Mutant(children_stopped_last, (Grouped.claim,), CALM),
    Mutant(notified_before_the_start, (NotifiedOfIt.claim,), CALM),
    Mutant(recovery_run_twice, (Recovered.claim, OnePlace.claim), DEATHS),
    Mutant(recovery_left_out, (Recovered.claim,), DEATHS),
    Mutant(intent_not_cleared, (SETTLES,), CALM),
    Mutant(stop_failure_ignored, ANY, FAILING),
    Mutant(failed_start_not_stopped, (OnePlace.claim,), FAILING),
    Mutant(tail_not_cut_off, (*ANY, CONVERGES), {**MANAGERS, "store_share": 200}),
    Mutant(decided_without_the_lock, (*ANY, NO_FAULT_OF_ITS_OWN), CALM),
    Mutant(steps_told_twice, (ServiceStates.claim,), CALM),
    Mutant(former_life_taken_for_alive, ANY, POWER),
    Mutant(run_before_it_is_written, ANY, CALM),
    Mutant(interrupted_leave_awaited, (Hung.claim,), MANAGERS),
    Mutant(sign_off_awaited_in_silence, (Hung.claim,), MANAGERS),
    Mutant(files_awaited_in_silence, (Hung.claim,), SLOW),
    Mutant(registered_before_its_join, ANY, DEATHS),
)
