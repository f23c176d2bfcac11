"""What the database holds of one client service, and of one node, as values and as JSON."""

from __future__ import annotations

from guestd.core.value import Value
from guestd.services.definition import Definition, of_table
from guestd.services.states import InstanceState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NOWHERE = -1  # stands for a node that is not chosen yet


class Instance(Value):
    """One registration of a service; what is de-registered has none."""

    registration: int  # counted up for each service, for as long as there is that service
    node: int  # where its command runs; NOWHERE: a recovery for which no node is chosen
    incarnation: int  # of that node
    state: InstanceState
    reason: str  # why it was registered: auto, request, transfer, failover, next
    lost: int = NOWHERE  # of a recovery: the node on which it was registered


class Service(Value):
    """One client service."""

    definition: Definition
    table: dict[str, Any]  # the same, as it was given
    enabled: bool  # it is to be registered
    mature: bool = False  # the cluster was mature for it once, in this life of the cluster (spec S9.3)
    transfer: bool = False  # the transfer intent (spec S9.6)
    target: int = NOWHERE  # where the administrator, or the preferred node, wants it
    away: int = NOWHERE  # where it comes from: taken again only if there is no other
    removing: bool = False  # it will be forgotten when it is de-registered
    count: int = 0  # registrations so far
    reason: str = "auto"  # of the next registration
    failed: tuple[tuple[int, int], ...] = ()  # (node, incarnation) where a start, or a recovery, has failed
    instances: tuple[Instance, ...] = ()

    @property
    def name(self) -> str:
        """Unique in the cluster."""
        return self.definition.name

    def on(self, node: int) -> Instance | None:
        """Its instance there, recoveries aside."""
        for one in self.instances:
            if one.node == node and one.state is not InstanceState.RECOVERING:
                return one
        return None

    def but(self, **changed: Any) -> Service:
        """The same with other fields."""
        fields = {field: getattr(self, field) for field in _FIELDS}
        return Service(**{**fields, **changed})

    def with_instance(self, registration: int, changed: Instance | None) -> Service:
        """The same with that registration's instance changed, or without it."""
        rest = [one for one in self.instances if one.registration != registration]
        if changed is not None:
            rest.append(changed)
        return self.but(instances=tuple(sorted(rest, key=lambda one: one.registration)))


_FIELDS = (
    *("definition", "table", "enabled", "mature", "transfer", "target", "away", "removing"),
    *("count", "reason", "failed", "instances"),
)


def member(before: Member | None, **changed: Any) -> Member:
    """The same with other fields."""
    fields = {} if before is None else {field: getattr(before, field) for field in _OF_MEMBER}
    return Member(**{**fields, **changed})


class Member(Value):
    """One node, as its own event manager has signed on."""

    incarnation: int
    load: int  # the load average of a minute, times 100, not long ago
    failures: int = 0  # how often it was forced out lately
    forced_out: bool = False  # in that incarnation, and counted
    left: bool = False  # in that incarnation it is given nothing any more, and does not take part again


_OF_MEMBER = ("incarnation", "load", "failures", "forced_out", "left")


def service_json(one: Service) -> dict[str, Any]:
    """As it is stored; `table` first, defaults left out."""
    flags = [flag for flag in ("enabled", "mature", "transfer", "removing") if getattr(one, flag)]
    made: dict[str, Any] = {"table": one.table, "flags": flags, "count": one.count, "reason": one.reason}
    if one.target != NOWHERE:
        made["target"] = one.target
    if one.away != NOWHERE:
        made["away"] = one.away
    if one.failed:
        made["failed"] = [list(pair) for pair in one.failed]
    made["instances"] = [
        [at.registration, at.node, at.incarnation, at.state.value, at.reason, at.lost] for at in one.instances
    ]
    return made


def service_of(stored: dict[str, Any], before: Service | None) -> Service:
    """Of what `service_json` has made. before: the same service as it was, for its definition."""
    table, flags = stored["table"], stored["flags"]
    return Service(
        definition=before.definition if before is not None and before.table == table else of_table(table),
        table=table,
        enabled="enabled" in flags,
        mature="mature" in flags,
        transfer="transfer" in flags,
        target=stored.get("target", NOWHERE),
        away=stored.get("away", NOWHERE),
        removing="removing" in flags,
        count=stored["count"],
        reason=stored["reason"],
        failed=tuple((node, incarnation) for node, incarnation in stored.get("failed", [])),
        instances=tuple(
            Instance(registration, node, incarnation, InstanceState(state), reason, lost)
            for registration, node, incarnation, state, reason, lost in stored["instances"]
        ),
    )


def member_json(one: Member) -> list[Any]:
    """As it is stored."""
    return [one.incarnation, one.load, one.failures, one.forced_out, one.left]


def member_of(stored: list[Any]) -> Member:
    """Of what `member_json` has made."""
    return Member(*stored)
