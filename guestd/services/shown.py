"""What an administrator is shown of the client services (docs/services.md)."""

from __future__ import annotations

from guestd.services.choose import awaits, is_quarantined, verdicts
from guestd.services.service import NOWHERE
from guestd.services.states import InstanceState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from guestd.services.database import Database
    from guestd.services.service import Service
    from guestd.services.view import View

# Of several instances, the state that is shown for the whole service.
_RANK = (
    InstanceState.RECOVERING,
    InstanceState.STOPPING,
    InstanceState.STARTING,
    InstanceState.REGISTERED,
)


def summary(service: Service, database: Database, view: View) -> dict[str, Any]:
    """One service, as spec S9.9 has it in one line."""
    waits = awaits(service, database, view)
    states = [one.state for one in service.instances]
    shown = next((state.value for state in _RANK if state in states), "awaiting maturity" if waits else "-")
    letters = (("T", service.transfer), ("M", waits), ("N", service.definition.has("notify")))
    return {
        "name": service.name,
        "state": shown,
        "flags": "".join(letter for letter, there in letters if there),
        "parent": service.definition.parent or None,
        "enabled": service.enabled,
        "removing": service.removing,
        "nodes": {str(one.node): one.state.value for one in service.instances if one.node != NOWHERE},
        "registration": service.count,
    }


def everything(database: Database, view: View) -> dict[str, Any]:
    """All services, parents before their children, and all nodes that take part."""
    children: dict[str, list[str]] = {}
    for name in sorted(database.services):
        children.setdefault(database.services[name].definition.parent, []).append(name)
    names: list[str] = []
    waiting = list(reversed(children.get("", [])))
    while waiting:
        names.append(waiting.pop())
        waiting += reversed(children.get(names[-1], []))
    return {
        "number": database.number,
        "life": database.life,
        "services": [summary(database.services[name], database, view) for name in names],
        "nodes": [_node(node, database, view) for node in range(len(view.seen))],
    }


def details(service: Service, database: Database, view: View) -> dict[str, Any]:
    """One service with everything that is known of it, and why it is where it is."""
    root = service
    while root.definition.parent:
        root = database.services[root.definition.parent]
    found = verdicts(root, database, view)
    ranked = sorted((one for one in found if one.eligible), key=lambda one: one.rank)
    here = {one.node for one in service.instances}
    return {
        **summary(service, database, view),
        "definition": service.table,
        "target": None if service.target == NOWHERE else service.target,
        "failed": [node for node, _ in service.failed],
        "children": sorted(name for name, one in database.services.items() if one.definition.parent == service.name),
        "instances": [
            {
                "registration": one.registration,
                "node": None if one.node == NOWHERE else one.node,
                "state": one.state.value,
                "reason": one.reason,
                "lost": None if one.lost == NOWHERE else one.lost,
            }
            for one in service.instances
        ],
        "why": _why(service, root, database, view),
        "explain": [
            {"node": one.node, "chosen": one.node in here, "eligible": one.eligible, "why": list(one.why)}
            for one in found
        ],
        "order": [one.node for one in ranked],
    }


def _node(node: int, database: Database, view: View) -> dict[str, Any]:
    seen, signed = view.seen[node], database.members.get(node)
    return {
        "node": node,
        "state": seen.state.value,
        "incarnation": seen.incarnation,
        "up": view.up(node, database),
        "load": None if signed is None else signed.load / 100,
        "failures": 0 if signed is None else signed.failures,
        "quarantined": signed is not None and is_quarantined(signed),
    }


def _why(service: Service, root: Service, database: Database, view: View) -> str:
    """One sentence."""
    if service.instances:
        one = service.instances[-1]
        if one.node == NOWHERE:
            return f"it was lost with node {one.lost}; no node is chosen for its recovery command yet"
        because = f", because of its parent {root.name}" if service is not root else ""
        return f"{one.state.value} on node {one.node}{because}: {one.reason}"
    if service.removing:
        return "it is being removed"
    if not service.enabled:
        return "it is not to be registered (start it)"
    if service is not root:
        return f"its parent {service.definition.parent} is not registered, or its own start has failed there"
    if awaits(service, database, view):
        definition = service.definition
        wants = [f"{definition.maturity_count} allowable nodes"] if definition.maturity_count else []
        wants += [f"node {definition.primary}"] if definition.primary is not None else []
        wants += [f"{definition.maturity_ms / 1000:g} s"] if definition.maturity_ms is not None else []
        return f"the cluster is not mature for it (it waits for {' or '.join(wants)})"
    if any(one.eligible for one in verdicts(service, database, view)):
        return "it is about to be registered"
    return "no node is eligible"
