"""Registration and launch on one node (spec S9): what the database says of this node is carried out, and what happens
here is written into the database.

One transaction at a time; everything that has come in meanwhile is in the next one. Nothing is done, and nobody is told
of anything, before it is on the medium.
"""

from __future__ import annotations

from guestd.core.effects import Emit
from guestd.events.bell import Bell
from guestd.events.effects import Expel, Say
from guestd.services import facts
from guestd.services.administrators import Administrators
from guestd.services.choose import awaits
from guestd.services.database import Database
from guestd.services.decide import Decision
from guestd.services.launch import Launch
from guestd.services.states import InstanceState
from guestd.services.transactions import Transactions, Writer
from guestd.services.transitions import WORKING_MS, Transitions
from guestd.services.view import View

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from guestd.core.value import Value
    from guestd.events.inputs import CommandEnded, StoreDone
    from guestd.notification import Notification

RANK_MS = 500  # so much later than the one before does a node decide what any of them may decide
LOAD_MS = 10_000  # between two changes of this node's load in the database
LOAD_STEP = 50  # hundredths: a smaller change is none
GOING_MS = 5000  # beside the time of its start command
FORGIVE_MS = 600_000  # a node that has been up for so long was not forced out lately (A20)


class ServiceManager(Writer):
    """Of one node. Effects go into the list that is handed in."""

    def __init__(self, node: int, nodes: int, effects: list[Value], number: Callable[[], int], *, again: bool) -> None:
        """number: the next number for a command. again: this life of the node had an event manager before."""
        self.node = node
        self.view = View(nodes)
        self.database = Database()
        self.signed = False  # this event manager takes part
        self.leaving = False  # its node leaves
        self.on_applied: Callable[[], None] = lambda: None
        """The database, or the view, has changed."""
        self._again = again
        self._effects = effects
        self._bell = Bell()
        self._launch = Launch(node, effects, number)
        self._file = Transactions(self.database, effects, self)
        self._transitions = Transitions(node, self.view, self.database, effects)
        self._administrators = Administrators(node, self.view, self.database, self._launch, effects)
        self._facts: list[facts.Fact] = []
        self._given: list[facts.Fact] = []  # in the transaction that is under way
        self._steps: list[dict[str, Any]] = []  # of it
        self._now_ms = 0
        self._load_ms = 0
        self._load = 0
        self._dirty = True  # there may be something to decide
        self._decide_ms: int | None = None  # when this one decides, if nobody else has by then
        self._better: list[str] = []  # services that this node, having joined, may want
        self._awaited_ms: dict[str, int] = {}  # since when a service awaits maturity, as seen here
        self._going_ms: dict[str, int] = {}  # since when a service has gone from here, and is nowhere else
        self._failures_ms: dict[tuple[int, int, int], int] = {}  # node, incarnation, failures: since when seen here

    # -- inputs

    def notified(self, told: Notification) -> None:
        """The framework wants transitions processed."""
        self._transitions.notified(told)
        mine = [one for one in told.transitions if one.node == self.node]
        if any(one.transition == "leave" for one in mine):
            self.leaving = True
        if any(one.transition == "join" for one in mine) and not self.signed:
            self._facts.append(facts.SignedOn(self.node, self.view.seen[self.node].incarnation, self._load))
            self._bell.begin()
        self._dirty = True
        self.on_applied()

    def heard(self, message: dict[str, Any]) -> None:
        """guestd about the lock of the bell."""
        if self._bell.heard(message):
            self._file.stale = True

    def store_done(self, done: StoreDone) -> None:
        """An operation on the database has ended."""
        self._file.done(done)

    def command_ended(self, ended: CommandEnded) -> bool:
        """Whether it was one of a service."""
        run = self._launch.ended(ended)
        if run is None:
            return False
        if run.action == "stop" and not run.succeeded:
            # It may still run here: only this node's end makes sure that it does not (A21).
            self._effects.append(Expel(f"the stop command of {run.service} has failed: {run.outcome}"))
        elif run.state is not InstanceState.REGISTERED:
            self._facts.append(facts.Ended(run.service, run.registration, self.node, run.state, run.succeeded))
        return True

    def asked(self, connection: int, verb: str, message: object) -> None:
        """An administrator wants something of the services, or of event groups."""
        now_ms, signed, leaving = self._now_ms, self.signed, self.leaving
        self._administrators.asked(connection, verb, message, now_ms, signed=signed, leaving=leaving)

    def tick(self, load: int) -> None:
        """A period has passed."""
        self._load = load
        self._bell.begin()
        self._file.tick()
        if not self.signed:
            why = "the shared file system is not mounted" if self._file.unavailable else "it has not read the database"
            self._administrators.refuse_early(self._now_ms, why)
            return
        mine = self.database.members.get(self.node)
        due = self._now_ms - self._load_ms >= LOAD_MS
        if mine is not None and due and abs(load - mine.load) >= LOAD_STEP and not self.leaving:
            self._load_ms = self._now_ms
            self._facts.append(facts.Load(self.node, load))
        self._forgive()
        if any(self._has_expired(name) for name in self._awaited_ms):
            self._dirty = True

    def at(self, now_ms: int) -> None:
        """Before every input: its time."""
        self._now_ms = now_ms
        self._file.at(now_ms)

    def settle(self) -> None:
        """After every input: go on with what there is to do."""
        if self.signed:
            for connection, verb, message in self._administrators.take_early():
                self.asked(connection, verb, message)
            self._want_better()
            self._sign_off()
        elif self.leaving and self._file.unavailable and self._again:
            # What the earlier one has started may run here, and only the database tells what. The others wait for this
            # node to sign off.
            self._again = False  # said once
            self._effects.append(Expel("it leaves, and cannot read which services run here"))
        if self._file.may_begin:
            if self._must_write():
                self._decide_ms = None
                self._file.write()
            elif self._file.stale and self.signed:
                self._file.refresh()
        if self._transitions.acknowledge(signed=self.signed, unavailable=self._file.unavailable):
            self._dirty = True
        busy = self._file.is_kept_waiting(WORKING_MS) or self._launch.busy is not None
        self._transitions.say_working(self._now_ms, signed=self.signed, busy=busy)
        self._effects += [Say(message) for message in self._bell.take_said()]

    def notified_of(self, service: str) -> int | None:
        """The last registration of that service for which its notify command was run here."""
        return self._launch.notified(service)

    @property
    def busy(self) -> str | None:
        """Why this one is not done with what it knows; None if it is."""
        if self._file.under_way or self._facts or self._administrators.waiting:
            return "a transaction is under way"
        return self._launch.busy

    # -- transactions

    def _must_write(self) -> bool:
        """Whether a transaction is to be made now."""
        if not self.signed:
            return bool(self._facts)
        if self._facts or self._administrators.waiting:
            return True
        if self._dirty:
            self._dirty = False
            if not self._would_change():
                self._decide_ms = None
            elif self._decide_ms is None:  # else its time is not put off: something may be new at every tick
                self._decide_ms = self._now_ms + self._rank() * RANK_MS
        if self._decide_ms is not None and self._now_ms >= self._decide_ms:
            if self._would_change():
                return True
            self._decide_ms = None
        return False

    def _would_change(self) -> bool:
        decision = Decision(self.database, self.view, self._expired())
        decision.settle()
        return bool(decision.changes())

    def _rank(self) -> int:
        """How many nodes decide before this one."""
        return sum(self.view.up(node, self.database) for node in range(self.node))

    def writes_as(self) -> tuple[int, int]:
        """Node and incarnation."""
        return self.node, self.view.seen[self.node].incarnation

    def decide(self) -> dict[str, Any]:
        """All that has come in, and what follows from it."""
        self._given, self._facts = self._facts, []
        decision = Decision(self.database, self.view, self._expired())
        for fact in self._given:
            facts.put(fact, decision, self.view)
        self._administrators.carry_out(decision)
        decision.settle()
        self._steps = decision.steps
        return decision.changes()

    def written(self, changed: bool) -> None:
        """It is decided."""
        if changed:
            self._bell.ring()
            self._effects += [Emit("service", {**step, "number": self.database.number}) for step in self._steps]
        for fact in self._given:
            if isinstance(fact, facts.Ended):
                self._launch.over(fact.service, fact.registration, fact.state)
        self._administrators.written()
        self.signed = True

    def not_written(self, errno: int) -> None:
        """What happened here is put into the next one."""
        self._facts = self._given + self._facts
        self._administrators.refuse("written", errno)

    def not_begun(self, what: str, errno: int) -> None:
        """What happened here waits for the next one."""
        self._administrators.refuse(what, errno)

    # -- what the database says

    def applied(self) -> None:
        """Carry it out."""
        self._dirty = True
        self._decide_ms = None  # somebody does decide
        waits = [name for name, one in self.database.services.items() if awaits(one, self.database, self.view)]
        self._awaited_ms = {name: self._awaited_ms.get(name, self._now_ms) for name in waits}
        if self.signed and not self._launch.began:
            self._better = sorted(name for name, one in self.database.services.items() if one.definition.free_transfer)
        if self.signed:
            for service, registration, state in self._launch.carry_out(self.database, self.view):
                self._facts.append(facts.Ended(service, registration, self.node, state, succeeded=True))
        self.on_applied()

    def _expired(self) -> list[str]:
        return [name for name in self._awaited_ms if self._has_expired(name)]

    def _has_expired(self, name: str) -> bool:
        service = self.database.services.get(name)
        limit_ms = None if service is None else service.definition.maturity_ms
        return limit_ms is not None and self._now_ms - self._awaited_ms[name] >= limit_ms

    def _want_better(self) -> None:
        """What this node is preferred for comes here when it has joined, and was notified (spec S9.9 B, t9 to t10)."""
        if not self._better or self.leaving or self._launch.notifying:
            return
        incarnation = self.view.seen[self.node].incarnation
        for name in list(self._better):
            service = self.database.services.get(name)
            moves = service is not None and bool(service.instances) and service.enabled
            if service is None or not moves or (self.node, incarnation) in service.failed:
                self._better.remove(name)
            elif service.instances[0].state is InstanceState.REGISTERED and not service.transfer:
                self._better.remove(name)
                if facts.is_better(service, self.node, self.database, self.view):
                    self._facts.append(facts.Better(name, service.count, self.node))

    def _forgive(self) -> None:
        if self._rank() != 0:
            return
        seen: dict[tuple[int, int, int], int] = {}
        for node, member in self.database.members.items():
            if member.failures and self.view.up(node, self.database):
                key = (node, member.incarnation, member.failures)
                seen[key] = self._failures_ms.get(key, self._now_ms)
                if self._now_ms - seen[key] >= FORGIVE_MS:
                    self._facts.append(facts.Forgiven(*key))
                    seen[key] = self._now_ms
        self._failures_ms = seen

    def _sign_off(self) -> None:
        """This node leaves, and has nothing to do any more: from then on nobody gives it anything.

        It waits for what has gone from here until that is registered elsewhere (spec S9.9 A, t10 and t11), but not for
        longer than a start may take: where it is to start, the event manager may have died, and until this leave has
        passed its level the next one cannot register.
        """
        if not self.leaving or self._file.under_way or self._launch.busy:
            return
        going = [one for one in facts.on_the_way(self.database, self.node) if one.on(self.node) is None]
        self._going_ms = {one.name: self._going_ms.get(one.name, self._now_ms) for one in going}
        late = tuple(
            one.name
            for one in going
            if self._now_ms - self._going_ms[one.name] > one.definition.timeouts_ms["start"] + GOING_MS
        )
        member = self.database.members.get(self.node)
        incarnation = self.view.seen[self.node].incarnation
        here = member is not None and member.incarnation == incarnation and not member.left
        off = facts.SignedOff(self.node, incarnation, late)
        if here and off not in self._facts and facts.is_free(self.database, self.node, late):
            self._facts.append(off)
