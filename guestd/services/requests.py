"""What an administrator asks of the client services (spec S9.6; docs/services.md): add, remove, start, stop, move."""

from __future__ import annotations

from guestd.events.definition import of_table
from guestd.services.choose import verdicts
from guestd.services.definition import checked
from guestd.services.service import NOWHERE, Service
from guestd.services.states import InstanceState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from guestd.events.group import Group
    from guestd.services.decide import Decision
    from guestd.services.view import View

CHANGING: tuple[str, ...] = ("add", "change", "remove", "start", "stop", "move")
LOOKING: tuple[str, ...] = ("list", "show")


class Refused(Exception):  # the name says it
    """What was asked for cannot be done; says what would be legal."""


def carry_out(asked: dict[str, Any], decision: Decision, view: View) -> None:
    """Put a request of CHANGING into the decision. Raises Refused; DefinitionErrors."""
    do = asked["do"]
    if do in ("add", "change"):
        tables = asked.get("services")
        if not isinstance(tables, list) or not tables:
            raise Refused(f"services = {tables!r} (legal: a list of tables, one for each service)")
        (_add if do == "add" else _change)(tables, decision, len(view.seen))
        return
    service = named(asked, decision.database.services)
    if do == "remove":
        for name in list(decision.group(service.name)):
            decision.put(decision.database.services[name].but(enabled=False, removing=True))
    elif do == "stop":
        decision.put(service.but(enabled=False))
    elif do == "start":
        _start(service, decision)
    elif do == "move":
        _move(service, asked.get("node"), decision, view)


def named(asked: dict[str, Any], services: dict[str, Service]) -> Service:
    """The service that is meant. Raises Refused."""
    name = asked.get("name")
    if not isinstance(name, str) or name not in services:
        legal = ", ".join(sorted(services)) or "none: there is no service"
        raise Refused(f"{name!r} is no service (legal: {legal})")
    return services[name]


def _add(tables: list[object], decision: Decision, nodes: int) -> None:
    services = {name: one.definition for name, one in decision.database.services.items()}
    found = checked(tables, services, nodes, _groups(decision))
    for definition, _ in found:
        parent = decision.database.services.get(definition.parent)
        if parent is not None and parent.removing:
            raise Refused(f"{definition.name}: its parent {parent.name} is being removed")
    for definition, table in found:
        manual = definition.auto_register == "manual" and not definition.parent
        decision.put(Service(definition, table, enabled=not manual, reason="auto"))


def _change(tables: list[object], decision: Decision, nodes: int) -> None:
    """Other parameters and commands of services that there are: what is registered stays where it is (spec S9.2)."""
    services = decision.database.services
    names = [table.get("name") for table in tables if isinstance(table, dict)]
    for name in names:
        named({"name": name}, services)
    others = {name: one.definition for name, one in services.items() if name not in names}
    found = checked(tables, others, nodes, _groups(decision))
    for definition, _ in found:
        before = services[definition.name]
        for what, was, wanted in (
            ("parent", before.definition.parent, definition.parent),
            ("placement_policy", before.definition.on_all, definition.on_all),
        ):
            if was != wanted:
                raise Refused(f"{definition.name}: {what} cannot be changed (remove the service and add it anew)")
    for definition, table in found:  # all of them, or none
        decision.put(services[definition.name].but(definition=definition, table=table))


def _groups(decision: Decision) -> dict[str, Group]:
    """The event groups that belong to no service."""
    return {name: of_table(one["table"]) for name, one in decision.database.groups.items()}


def _start(service: Service, decision: Decision) -> None:
    if service.removing:
        raise Refused(f"{service.name} is being removed")
    # Where it has failed it may be tried again: that is what the administrator wants.
    for name in list(decision.group(service.name)):
        one = decision.database.services[name]
        if name == service.name or one.failed:
            decision.put(one.but(enabled=one.enabled or name == service.name, failed=(), reason="request"))


def _move(service: Service, node: object, decision: Decision, view: View) -> None:
    definition = service.definition
    if definition.parent:
        raise Refused(f"{service.name} goes where its parent goes: move {decision.root(service).name}")
    if definition.on_all:
        raise Refused(f"{service.name} is registered on every allowable node: there is nowhere to move it")
    registered = [one for one in service.instances if one.state is InstanceState.REGISTERED]
    if not registered:
        raise Refused(f"{service.name} is not registered anywhere (legal: a service that is registered)")
    (one,) = registered
    found = {verdict.node: verdict for verdict in verdicts(service.but(failed=()), decision.database, view)}
    legal = [str(at) for at, verdict in found.items() if verdict.eligible and at != one.node]
    if not legal:
        why = "; ".join(f"node {at}: {verdict.why[-1]}" for at, verdict in found.items() if at != one.node)
        raise Refused(f"there is no other node for {service.name} ({why})")
    if node is not None and (type(node) is not int or str(node) not in legal):
        why = f": {found[node].why[-1]}" if type(node) is int and node in found and node != one.node else ""
        raise Refused(f"{service.name} cannot go to node {node!r}{why} (legal: {', '.join(legal)})")
    target = node if isinstance(node, int) else NOWHERE
    failed = tuple(pair for pair in service.failed if pair[0] != target)
    if node is None:
        elsewhere = verdicts(service, decision.database, view)
        if not any(verdict.eligible and verdict.node != one.node for verdict in elsewhere):
            failed = ()  # it would only be stopped, and started where it was
    decision.put(service.but(transfer=True, target=target, away=one.node, reason="transfer", failed=failed))
