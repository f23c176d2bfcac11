"""Registration and launch on one node (spec S9): what the database says of this node is carried out, and what happens
here is written into the database.

    transaction: lock the file - read what is new - decide - append, on the medium - unlock - ring

One transaction at a time; everything that has come in meanwhile is in the next one. Nothing is done, and nobody is told
of anything, before it is on the medium.
"""

from __future__ import annotations

import errno as _errno

from guestd.core.effects import Answer, Emit
from guestd.events import groups
from guestd.events.bell import Bell
from guestd.events.effects import (
    Acknowledge,
    AppendStore,
    Expel,
    LockStore,
    ReadStore,
    ReplaceStore,
    Say,
    UnlockStore,
    Working,
)
from guestd.events.inputs import StoreDone
from guestd.services import facts, requests, shown
from guestd.services.choose import awaits
from guestd.services.database import Database
from guestd.services.decide import Decision
from guestd.services.definition import DefinitionErrors
from guestd.services.launch import Launch
from guestd.services.service import NOWHERE
from guestd.services.states import InstanceState
from guestd.services.view import View

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

    from guestd.core.value import Value
    from guestd.events.effects import Effect
    from guestd.events.inputs import CommandEnded
    from guestd.notification import Notification

    Task = Generator[Callable[[int], "Effect"], StoreDone, None]

RANK_MS = 500  # so much later than the one before does a node decide what any of them may decide
RETRY_MS = 1000  # after an operation on the database that has failed
LOOK_MS = 5000  # between two looks at the database for which nobody has rung
WORKING_MS = 1000  # between two words that a notification is being worked on
LOAD_MS = 10_000  # between two changes of this node's load in the database
LOAD_STEP = 50  # hundredths: a smaller change is none
EARLY_MS = 10_000  # so long does a request wait for this event manager to take part
GOING_MS = 5000  # beside the time of its start command
FORGIVE_MS = 600_000  # a node that has been up for so long was not forced out lately (A20)
VERBS = {"service": (requests.CHANGING, requests.LOOKING), "event": (groups.CHANGING, ())}
NO_DATABASE = (_errno.ENODEV, _errno.ENOTCONN)  # the shared file system is not mounted


class ServiceManager:
    """Of one node. Effects go into the list that is handed in."""

    def __init__(self, node: int, nodes: int, effects: list[Value], number: Callable[[], int], *, again: bool) -> None:
        """number: the next number for a command. again: this life of the node had an event manager before."""
        self.node = node
        self._again = again
        self.view = View(nodes)
        self.database = Database()
        self.signed = False  # this event manager takes part
        self.leaving = False  # its node leaves
        self.on_applied: Callable[[], None] = lambda: None
        """The database, or the view, has changed."""
        self._effects = effects
        self._bell = Bell()
        self._launch = Launch(node, effects, number)
        self._facts: list[facts.Fact] = []
        self._early: list[tuple[int, int, str, dict[str, Any]]] = []  # until when, then as `_asked`
        self._asked: list[tuple[int, str, dict[str, Any]]] = []  # connection, verb, request
        self._told: list[Notification] = []
        self._task: Task | None = None
        self._tag = 0
        self._locking_ms: int | None = None  # since when the lock is asked for and not granted
        self._now_ms = 0
        self._retry_ms = 0
        self._looked_ms = 0
        self._working_ms = 0
        self._load_ms = 0
        self._load = 0
        self._stale = True  # somebody has rung
        self._dirty = True  # there may be something to decide
        self._decide_ms: int | None = None  # when this one decides, if nobody else has by then
        self._unavailable = False  # there is no database now
        self._errno = 0  # of the last operation on it
        self._better: list[str] = []  # services that this node, having joined, may want
        self._awaited_ms: dict[str, int] = {}  # since when a service awaits maturity, as seen here
        self._going_ms: dict[str, int] = {}  # since when a service has gone from here, and is nowhere else
        self._failures_ms: dict[tuple[int, int, int], int] = {}  # node, incarnation, failures: since when seen here

    # -- inputs

    def notified(self, told: Notification) -> None:
        """The framework wants transitions processed."""
        self.view.notified(told)
        self._told.append(told)
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
            self._stale = True

    def store_done(self, done: StoreDone) -> None:
        """An operation on the database has ended."""
        if done.tag == self._tag and self._task is not None:
            self._advance(done)

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
        do = message.get("do") if isinstance(message, dict) else None
        changing, looking = VERBS[verb]
        known = changing + looking
        if not isinstance(message, dict) or do not in known:
            legal = ", ".join(known)
            self._answer(connection, verb, {"error": f"{do!r} is nothing that can be done (legal: {legal})"})
        elif not self.signed:
            self._early.append((self._now_ms + EARLY_MS, connection, verb, message))
        elif do in looking:
            self._answer(connection, verb, self._look(message))
        elif self.leaving:
            self._answer(connection, verb, {"error": f"node {self.node} leaves the cluster (ask another node)"})
        else:
            self._asked.append((connection, verb, message))

    def tick(self, load: int) -> None:
        """A period has passed."""
        self._load = load
        self._bell.begin()
        if self._now_ms - self._looked_ms >= LOOK_MS:
            self._stale = True
        if not self.signed:
            self._refuse_early()
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

    def _refuse_early(self) -> None:
        """Requests that came before this one took part, and have waited for long."""
        why = "the shared file system is not mounted" if self._unavailable else "it has not read the database"
        for limit_ms, connection, verb, _ in self._early:
            if self._now_ms >= limit_ms:
                self._answer(connection, verb, {"error": f"this event manager does not take part yet: {why}"})
        self._early = [one for one in self._early if self._now_ms < one[0]]

    def settle(self) -> None:
        """After every input: go on with what there is to do."""
        if self.signed:
            early, self._early = self._early, []
            for _, connection, verb, message in early:
                self.asked(connection, verb, message)
            self._want_better()
            self._sign_off()
        elif self.leaving and self._unavailable and self._again:
            # What the earlier one has started may run here, and only the database tells what. The others wait for this
            # node to sign off.
            self._again = False  # said once
            self._effects.append(Expel("it leaves, and cannot read which services run here"))
        if self._task is None and self._now_ms >= self._retry_ms:
            if self._must_write():
                self._begin(self._transaction())
            elif self._stale and self.signed:
                self._begin(self._refresh())
        self._acknowledge()
        self._effects += [Say(message) for message in self._bell.take_said()]

    def notified_of(self, service: str) -> int | None:
        """The last registration of that service for which its notify command was run here."""
        return self._launch.notified(service)

    @property
    def busy(self) -> str | None:
        """Why this one is not done with what it knows; None if it is."""
        if self._task is not None or self._facts or self._asked:
            return "a transaction is under way"
        return self._launch.busy

    # -- transactions

    def _must_write(self) -> bool:
        """Whether a transaction is to be made now."""
        if not self.signed:
            return bool(self._facts)
        if self._facts or self._asked:
            return True
        if self._dirty:
            self._dirty = False
            self._decide_ms = self._now_ms + self._rank() * RANK_MS if self._would_change() else None
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

    def _transaction(self) -> Task:
        self._locking_ms = self._now_ms
        self._decide_ms = None
        done = yield LockStore
        self._locking_ms = None
        if self._has_failed(done):
            self._refuse_asked("locked", done.errno)
            return
        if (yield from self._read()):
            yield from self._write()
        else:
            self._refuse_asked("read", self._errno)
        yield UnlockStore
        self._apply()

    def _write(self) -> Task:
        given, asked = self._facts, self._asked
        self._facts, self._asked = [], []
        decision = Decision(self.database, self.view, self._expired())
        for fact in given:
            facts.put(fact, decision, self.view)
        answers = [(connection, verb, self._carry_out(verb, message, decision)) for connection, verb, message in asked]
        decision.settle()
        steps, changes = decision.steps, decision.changes()
        if changes:
            done = yield from self._put_down(changes)
            if self._has_failed(done):
                self._facts = given + self._facts
                self._asked = asked + self._asked
                self._refuse_asked("written", done.errno)
                return
            self._bell.ring()
            for step in steps:
                self._effects.append(Emit("service", {**step, "number": self.database.number}))
        for fact in given:
            if isinstance(fact, facts.Ended):
                self._launch.over(fact.service, fact.registration, fact.state)
        for connection, verb, answer in answers:
            self._answer(connection, verb, answer if "error" in answer else {"number": self.database.number})
        self.signed = True

    def _put_down(self, changes: dict[str, Any]) -> Generator[Callable[[int], Effect], StoreDone, StoreDone]:
        """Write them; the database is what it is then."""
        database = self.database
        by = (self.node, self.view.seen[self.node].incarnation)
        line = database.line(by, changes)
        replaces = database.identity == 0 or database.size > database.grown_size
        if not replaces:
            offset = database.size
            done = yield lambda tag: AppendStore(tag, offset, line)
            if done.errno == 0:
                database.take(database.identity, line)
            return done
        whole = database.whole(by) + line if database.number else line
        done = yield lambda tag: ReplaceStore(tag, whole)
        if done.errno == 0:
            database.take(done.identity, whole)
        return done

    def _carry_out(self, verb: str, message: dict[str, Any], decision: Decision) -> dict[str, Any]:
        try:
            if verb == "service":
                requests.carry_out(message, decision, self.view)
            else:
                groups.carry_out(message, decision, len(self.view.seen))
        except DefinitionErrors as wrong:  # a name of its own: the compiler gives each name one type
            problems = [
                {"index": one.index, "service": one.service, "field": one.field, "why": one.why}
                for one in wrong.problems
            ]
            return {"error": str(wrong), "problems": problems}
        except requests.Refused as why:
            return {"error": str(why)}
        return {}

    def _refresh(self) -> Task:
        if (yield from self._read()):
            self._apply()

    def _read(self) -> Generator[Callable[[int], Effect], StoreDone, bool]:
        """What is new in the database; whether it could be read."""
        self._stale = False
        self._looked_ms = self._now_ms
        offset = self.database.size
        done = yield lambda tag: ReadStore(tag, offset)
        if done.errno == 0 and done.identity != self.database.identity and offset:
            done = yield lambda tag: ReadStore(tag, 0)
        if self._has_failed(done):
            return False
        if done.identity:
            self.database.take(done.identity, done.data)
        return True

    def _refuse_asked(self, what: str, errno: int) -> None:
        """Nobody is to wait until the database is there again."""
        asked, self._asked = self._asked, []
        for connection, verb, _ in asked:
            name = _errno.errorcode.get(errno, errno)
            self._answer(connection, verb, {"error": f"the database cannot be {what}: {name}"})

    def _has_failed(self, done: StoreDone) -> bool:
        self._errno = done.errno
        self._unavailable = done.errno in NO_DATABASE
        if done.errno == 0:
            return False
        self._retry_ms = self._now_ms + RETRY_MS
        self._stale = True
        if not self._unavailable:
            name = _errno.errorcode.get(done.errno, str(done.errno))
            self._effects.append(Emit("database", {"failed": name}))
        return True

    def _begin(self, task: Task) -> None:
        self._task = task
        self._advance(None)

    def _advance(self, done: StoreDone | None) -> None:
        assert self._task is not None, "it goes on"
        try:
            effect = self._task.send(done) if done is not None else next(self._task)
        except StopIteration:
            self._task = None
            return
        self._tag += 1
        self._effects.append(effect(self._tag))

    # -- what the database says

    def _apply(self) -> None:
        self._dirty = True
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
        if not self.leaving or self._task is not None or self._launch.busy:
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

    # -- the framework

    def _acknowledge(self) -> None:
        for told in list(self._told):
            if all(self._is_processed(one.node, one.incarnation, one.transition) for one in told.transitions):
                self._told.remove(told)
                self.view.acknowledged(told)
                self._dirty = True
                self._effects.append(Acknowledge(told.number))
        if self._told and self._now_ms - self._working_ms >= WORKING_MS and self._is_working():
            self._working_ms = self._now_ms
            self._effects += [Working(told.number) for told in self._told]

    def _is_processed(self, node: int, incarnation: int, transition: str) -> bool:
        if self._unavailable and not self.signed:
            return True
        if transition == "join":
            return node != self.node or self.signed
        if not self.signed:
            return False
        member = self.database.members.get(node)
        here = member is not None and member.incarnation == incarnation
        if transition == "leave":
            if not self.view.lives(node, incarnation):
                return True  # a forced leave has interrupted it: it signs off no more
            # It signs itself off, when it has nothing any more; a stop or a start may take its time.
            return member is not None and (member.incarnation > incarnation or (here and member.left))
        lost = any(
            (one.node, one.incarnation) == (node, incarnation)
            for service in self.database.services.values()
            for one in service.instances
        )
        return not lost and (not here or (member is not None and member.forced_out))

    def _is_working(self) -> bool:
        """Whether it is others' work, or a command's, that a notification waits for."""
        # A lock that is refused at once, again and again, is no work.
        locking = self._locking_ms is not None and self._now_ms - self._locking_ms >= WORKING_MS
        moving = (InstanceState.STARTING, InstanceState.STOPPING, InstanceState.RECOVERING)
        return (
            locking
            or self._launch.busy is not None
            or any(
                one.state in moving and one.node != NOWHERE
                for service in self.database.services.values()
                for one in service.instances
            )
        )

    # -- administrators

    def _look(self, message: dict[str, Any]) -> dict[str, Any]:
        if message["do"] == "list":
            return shown.everything(self.database, self.view)
        try:
            service = requests.named(message, self.database.services)
        except requests.Refused as why:
            return {"error": str(why)}
        return {
            **shown.details(service, self.database, self.view),
            "last_command": self._launch.last.get(service.name),
        }

    def _answer(self, connection: int, verb: str, told: dict[str, Any]) -> None:
        self._effects.append(Answer(connection, {verb: told}))
