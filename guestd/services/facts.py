"""What a node knows that the database does not yet: what has ended there, what it was asked for, that it takes part.

Each is a value, put into a decision under the file lock; by then somebody else may have changed what it is about, so
each looks first whether it still holds.
"""

from __future__ import annotations

from guestd.core.value import Value
from guestd.services.choose import is_quarantined, preference, verdicts
from guestd.services.service import NOWHERE, Member, member
from guestd.services.states import InstanceState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from guestd.services.database import Database
    from guestd.services.decide import Decision
    from guestd.services.service import Service
    from guestd.services.view import View


class Fact(Value):
    """Base."""


class SignedOn(Fact):
    """The event manager of this node takes part."""

    node: int
    incarnation: int
    load: int


class SignedOff(Fact):
    """This node leaves, and has nothing to do any more: nobody is to give it anything."""

    node: int
    incarnation: int
    not_awaited: tuple[str, ...]  # services that have gone from here and are not registered elsewhere after a long time


class Ended(Fact):
    """A command of an instance has ended."""

    service: str
    registration: int
    node: int
    state: InstanceState  # in which it ran: starting, stopping or recovering
    succeeded: bool


class Better(Fact):
    """This node is preferred to where the service is, and it may be moved at no cost (spec S9.2, `transfer_cost`)."""

    service: str
    registration: int
    node: int


class Load(Fact):
    """Of this node."""

    node: int
    load: int


class Forgiven(Fact):
    """That node has been up for long enough since it was forced out (A20)."""

    node: int
    incarnation: int
    failures: int


def put(fact: Fact, decision: Decision, view: View) -> None:
    """Into the decision, if it still holds."""
    if isinstance(fact, SignedOn):
        _sign_on(fact, decision, view)
    elif isinstance(fact, SignedOff):
        signed = decision.database.members.get(fact.node)
        here = signed is not None and signed.incarnation == fact.incarnation
        if here and is_free(decision.database, fact.node, fact.not_awaited):
            decision.put_member(fact.node, member(signed, left=True))
    elif isinstance(fact, Ended):
        _end(fact, decision)
    elif isinstance(fact, Better):
        service = decision.database.services.get(fact.service)
        same = service is not None and service.count == fact.registration
        if service is not None and same and is_better(service, fact.node, decision.database, view):
            decision.put(service.but(transfer=True, target=fact.node, away=NOWHERE, reason="transfer"))
    elif isinstance(fact, Load):
        mine = decision.database.members.get(fact.node)
        if mine is not None:
            decision.put_member(fact.node, member(mine, load=fact.load))
    elif isinstance(fact, Forgiven):
        found = decision.database.members.get(fact.node)
        if found is not None and (found.incarnation, found.failures) == (fact.incarnation, fact.failures):
            decision.put_member(fact.node, member(found, failures=0))
    else:
        raise TypeError(f"{fact!r} is no fact")


def on_the_way(database: Database, node: int) -> list[Service]:
    """What was registered there and goes to another node."""
    return [service for service in database.services.values() if service.transfer and service.away == node]


def is_free(database: Database, node: int, not_awaited: Collection[str]) -> bool:
    """Whether nothing is registered there, and nothing that was is on its way to another node."""
    if any(one.node == node for service in database.services.values() for one in service.instances):
        return False
    return all(service.name in not_awaited for service in on_the_way(database, node))


def is_better(service: Service, node: int, database: Database, view: View) -> bool:
    """Whether a free transfer would move it there. A node that is not eligible, as one in quarantine, moves nothing."""
    definition = service.definition
    if not definition.free_transfer or definition.on_all or definition.parent or service.transfer:
        return False
    if not service.enabled or not definition.allows(node) or len(service.instances) != 1:
        return False
    (one,) = service.instances
    if one.state is not InstanceState.REGISTERED:
        return False
    if preference(definition, node) >= preference(definition, one.node):
        return False
    signed = database.members.get(node)
    if signed is None or is_quarantined(signed):
        return False
    return verdicts(service, database, view)[node].eligible


def _sign_on(fact: SignedOn, decision: Decision, view: View) -> None:
    database = decision.database
    before = database.members.get(fact.node)
    others = [node for node in sorted(database.members) if node != fact.node and view.up(node, database)]
    restarted = before is not None and before.incarnation == fact.incarnation
    if restarted and before is not None and before.left:
        return  # it leaves, and the others go on without it
    if not others and not restarted:
        _come_up(decision)
    failures = 0 if before is None else before.failures
    decision.put_member(fact.node, Member(fact.incarnation, fact.load, failures))
    if not restarted:
        return
    # Whether a command has ended that the one before had started, nobody knows: a start is taken for a failed one; a
    # stop and a recovery are run again.
    for service in list(database.services.values()):
        one = service.on(fact.node)
        if one is not None and one.state is InstanceState.STARTING:
            _end(Ended(service.name, one.registration, fact.node, one.state, False), decision)


def _come_up(decision: Decision) -> None:
    """The cluster comes up: nobody else takes part (spec S9.2, `auto_register`, and S9.3)."""
    decision.database.life += 1
    for service in list(decision.database.services.values()):
        auto = service.definition.auto_register
        enabled = {"auto": True, "manual": False, "previous": service.enabled}[auto] and not service.removing
        if service.definition.parent:
            enabled = service.enabled
        decision.put(
            service.but(
                enabled=enabled,
                mature=False,
                transfer=False,
                target=NOWHERE,
                away=NOWHERE,
                failed=(),
                reason="auto",
            )
        )


def _end(fact: Ended, decision: Decision) -> None:
    service = decision.database.services.get(fact.service)
    found = [] if service is None else [one for one in service.instances if one.registration == fact.registration]
    if service is None or not found or (found[0].node, found[0].state) != (fact.node, fact.state):
        return
    (one,) = found
    failed = (*service.failed, (one.node, one.incarnation))
    if fact.state is InstanceState.STARTING and fact.succeeded:
        done = {} if service.definition.parent else {"transfer": False, "target": NOWHERE, "away": NOWHERE}
        decision.step(service, one, "started", **done)
    elif fact.state is InstanceState.STARTING:
        trigger = "start-failed" if service.definition.has("stop") else "start-failed-without-stop"
        decision.step(service, one, trigger, failed=failed, reason="next")
    elif fact.state is InstanceState.STOPPING:
        assert fact.succeeded, "a stop that fails ends its node"
        decision.step(service, one, "stopped")
    elif fact.succeeded:
        decision.step(service, one, "recovered")
    else:
        decision.step(service, one, "recovery-failed", failed=failed)
