"""Where a client service is to be registered (spec S9.2, S9.3), and why there: rule by rule, for people."""

from __future__ import annotations

from guestd.core.value import Value
from guestd.services.service import NOWHERE
from guestd.services.states import InstanceState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.services.database import Database
    from guestd.services.definition import Definition
    from guestd.services.service import Member, Service
    from guestd.services.view import View

QUARANTINE_FAILURES = 3
"""A node that was forced out so often lately gets services only where there is no other node, until it has been up for
a while (A20)."""
INSTANCE_LOAD = 10  # hundredths: what a service is taken to add to a node's load before that is seen


class Verdict(Value):
    """On one node."""

    node: int
    eligible: bool
    why: tuple[str, ...]
    rank: tuple[int, ...] = ()  # of an eligible one: the least is chosen


def preference(definition: Definition, node: int) -> int:
    """0 for the most preferred ones."""
    if node not in definition.preferences:
        return len(definition.preferences)
    return definition.preferences.index(node) if definition.ordered else 0


def is_quarantined(signed: Member) -> bool:
    """Whether it was forced out often lately (A20)."""
    return signed.failures >= QUARANTINE_FAILURES


def verdicts(service: Service, database: Database, view: View) -> list[Verdict]:
    """On every node, in their order."""
    busy = instances_of(database)
    return [_verdict(service, node, database, view, busy.get(node, 0)) for node in range(len(view.seen))]


def chosen(service: Service, database: Database, view: View, busy: dict[int, int]) -> int:
    """The best node; NOWHERE if there is none."""
    best: Verdict | None = None
    for node in range(len(view.seen)):
        if view.up(node, database):
            one = _verdict(service, node, database, view, busy.get(node, 0))
            if one.eligible and (best is None or one.rank < best.rank):
                best = one
    return NOWHERE if best is None else best.node


def instances_of(database: Database) -> dict[int, int]:
    """How many services each node has."""
    counts: dict[int, int] = {}
    for service in database.services.values():
        for one in service.instances:
            counts[one.node] = counts.get(one.node, 0) + 1
    return counts


def is_mature(service: Service, database: Database, view: View, *, expired: bool) -> bool:
    """Of the cluster with respect to a service (spec S9.3). expired: its maturity_time has passed."""
    definition = service.definition
    nodes = range(len(view.seen))
    up = [node for node in nodes if definition.allows(node) and view.up(node, database)]
    if not up:
        return False
    if service.mature or not definition.awaits_maturity or expired:
        return True
    return definition.primary in up or 0 < definition.maturity_count <= len(up)


def awaits(service: Service, database: Database, view: View) -> bool:
    """Whether it would be registered now but for the maturity of the cluster: flag M of spec S9.9."""
    if service.definition.parent or service.mature or not service.definition.awaits_maturity:
        return False
    if not service.enabled and not _recovers(service, database):
        return False
    if any(one.state is not InstanceState.RECOVERING for one in service.instances):
        return False
    definition = service.definition
    return any(definition.allows(node) and view.up(node, database) for node in range(len(view.seen)))


def _recovers(service: Service, database: Database) -> bool:
    """Whether anything of its group is to be recovered."""
    if any(one.state is InstanceState.RECOVERING for one in service.instances):
        return True
    children = [one for one in database.services.values() if one.definition.parent == service.name]
    return any(_recovers(child, database) for child in children)


def _verdict(service: Service, node: int, database: Database, view: View, busy: int) -> Verdict:
    definition, seen, signed = service.definition, view.seen[node], database.members.get(node)
    if definition.allowable is not None and node not in definition.allowable:
        return Verdict(node, False, ("not among allowable_nodes",))
    if node in definition.disallowable:
        return Verdict(node, False, ("among disallowable_nodes",))
    why = ["allowable"]
    if not view.up(node, database):
        if signed is None or signed.incarnation != seen.incarnation or seen.incarnation == 0:
            return Verdict(node, False, (*why, "down, or its event manager does not take part"))
        return Verdict(node, False, (*why, seen.state.value))
    assert signed is not None, "what is up has signed on"
    why.append("up")
    if (node, seen.incarnation) in service.failed:
        return Verdict(node, False, (*why, "a start or a recovery has failed there since it joined"))
    quarantined = is_quarantined(signed)
    if quarantined:
        why.append(f"in quarantine, forced out {signed.failures} times lately: taken only if there is no other")
    place = preference(definition, node)
    load = signed.load + INSTANCE_LOAD * busy
    if node == service.target:
        why.append("wanted there by the transfer")
    if node == service.away:
        why.append("the transfer comes from there: taken only if there is no other")
    if definition.preferences:
        kind = f"preferred node {place + 1}" if definition.ordered else "one of the preferred nodes"
        why.append(kind if node in definition.preferences else "not a preferred node")
    why.append(f"load {signed.load / 100:.2f}, {busy} services here")
    rank = (node != service.target, quarantined, node == service.away, place, load, node)
    return Verdict(node, True, tuple(why), rank)
