"""When nothing is wrong any more: whether every client service is where it should be, and everybody knows it (S9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guestd.services.choose import is_quarantined, preference
from guestd.services.service import NOWHERE
from guestd.services.states import InstanceState

if TYPE_CHECKING:
    from guestd.services.service import Service
    from hil.sim.world import World


def unsettled(world: World) -> str | None:
    """What is missing; None: nothing. All nodes are joined."""
    return (
        world.administrator.waits()
        or _managers(world)
        or _under_way(world)
        or next((why for name in world.registry.database.services if (why := _service(world, name))), None)
        or _processes(world)
        or _notified(world)
    )


def _managers(world: World) -> str | None:
    """All take part, and know the newest transaction."""
    database = world.registry.database
    for node in world.nodes:
        manager = world.event_managers.of_number(node.number)
        if manager is None:
            return f"no event manager is registered with node {node.number}"
        if manager.unacknowledged:
            return f"the event manager of node {node.number} works on {next(iter(manager.unacknowledged.values()))}"
        member = database.members.get(node.number)
        if member is None or member.incarnation != node.incarnation:
            return f"the event manager of node {node.number} ({node.incarnation}) has not signed on: {member}"
        if manager.database is None or manager.database.number != database.number:
            known = None if manager.database is None else manager.database.number
            return f"the event manager of node {node.number} knows transaction {known} of {database.number}"
        if manager.store is not None and not manager.store.looks:
            return f"the event manager of node {node.number} waits for {manager.store.doing}"
    return None


def _under_way(world: World) -> str | None:
    for run in world.commands.runs:
        return f"there is {run}"
    return None


def _root(world: World, service: Service) -> Service:
    while service.definition.parent:
        service = world.registry.database.services[service.definition.parent]
    return service


def _eligible(world: World, service: Service) -> list[int]:
    """Nodes where a service may be, but for its failures there."""
    definition = _root(world, service).definition
    return [node.number for node in world.nodes if definition.allows(node.number)]


def _good(world: World, service: Service) -> list[int]:
    """Those of them where nothing has failed lately."""
    members = world.registry.database.members
    root = _root(world, service)
    return [
        number
        for number in _eligible(world, service)
        if (number, members[number].incarnation) not in service.failed + root.failed
    ]


def _is_stuck(world: World, service: Service) -> bool:
    """Its recovery, or that of a child, which comes first, has failed wherever it may be tried: it waits for an
    administrator."""
    children = [one for one in world.registry.database.services.values() if one.definition.parent == service.name]
    waits = [one for one in children if any(at.state is InstanceState.RECOVERING for at in one.instances)]
    return not _good(world, service) or any(_is_stuck(world, child) for child in waits)


def _service(world: World, name: str) -> str | None:
    """One of them."""
    service = world.registry.database.services[name]
    for one in service.instances:
        if one.state is InstanceState.RECOVERING and one.node == NOWHERE and _is_stuck(world, service):
            return None
        if one.state is not InstanceState.REGISTERED:
            return f"{name} ({one.registration}) is {one.state.value} on node {one.node}"
    if service.transfer:
        return f"{name} is to be transferred"
    if service.removing:
        return f"{name} is to be removed"
    at = sorted(one.node for one in service.instances)
    if not service.enabled:
        return f"{name} is not enabled, and on {at}" if at else None
    return _child(world, service, at) if service.definition.parent else _where(world, service, at)


def _child(world: World, service: Service, at: list[int]) -> str | None:
    members = world.registry.database.members
    parent = world.registry.database.services[service.definition.parent]
    above = [one.node for one in parent.instances if one.state is InstanceState.REGISTERED]
    wanted = [number for number in above if (number, members[number].incarnation) not in service.failed]
    if any(one.state is InstanceState.RECOVERING for one in parent.instances):
        return None
    return None if at == sorted(wanted) else f"{service.name} is on {at}, its parent {parent.name} on {above}"


def _where(world: World, service: Service, at: list[int]) -> str | None:
    definition, good = service.definition, _good(world, service)
    if definition.on_all:
        return None if set(good) <= set(at) else f"{service.name} is on {at}, and should be on all of {good}"
    if _held_up(world, service):
        return None
    if len(at) != 1:
        return f"{service.name} is on {at}, and should be on one of {good}" if good or at else None
    better = _better(world, service, good) if definition.free_transfer else []
    return f"{service.name} is on {at}, and prefers {better}, which joined when it was there" if better else None


def _held_up(world: World, service: Service) -> bool:
    """A member of its group cannot be recovered anywhere: the group waits for an administrator."""
    database = world.registry.database
    for other in database.services.values():
        stuck = any(one.state is InstanceState.RECOVERING for one in other.instances)
        if stuck and other is not service and _root(world, other).name == service.name and not service.instances:
            return not _good(world, other)
    return False


def _better(world: World, service: Service, good: list[int]) -> list[int]:
    """Nodes that have joined since it was registered where it is, and are preferred (S9.2, `transfer_cost`)."""
    (one,) = service.instances
    registry, members = world.registry, world.registry.database.members
    since_us = registry.registered_us[service.name, one.registration]
    return [
        node
        for node in good
        if preference(service.definition, node) < preference(service.definition, one.node)
        and not is_quarantined(members[node])
        and registry.signed_us[node, members[node].incarnation] > since_us
    ]


def _processes(world: World) -> str | None:
    """What runs is what is registered."""
    runs = sorted((one.service, one.registration, one.node) for one in world.commands.instances)
    wanted = sorted(
        (service.name, registration, node)
        for service, registration, node, _ in world.registry.registered()
        if world.administrator.goes_on(service.name)
    )
    if runs == wanted:
        return None
    return (
        f"there run {[one for one in runs if one not in wanted]}, and not {[one for one in wanted if one not in runs]}"
    )


def _notified(world: World) -> str | None:
    for service, registration, where, _ in world.registry.registered():
        if not service.definition.has("notify") or _root(world, service).definition.on_all:
            continue
        for node in world.nodes:
            told = world.commands.notified.get((service.name, registration, node.number), 0)
            if node.number != where and node.number in _eligible(world, service) and told != node.incarnation:
                return f"node {node.number} was not notified that {service.name} ({registration}) is on node {where}"
    return None
