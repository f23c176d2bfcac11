"""What a lock manager knows, for people (`guestctl locks`, the order "status")."""

from __future__ import annotations

from guestd.dlm import names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from guestd.dlm.locks import Lock
    from guestd.dlm.manager import LockManager
    from guestd.dlm.modes import Mode
    from guestd.dlm.resource import Entry, Resource

SHOWN_MAX = 500
"""Locks, and resources, that are shown one by one."""


def summary(manager: LockManager | None) -> dict[str, Any]:
    """A few numbers."""
    if manager is None:
        return {"members": [], "stopped": True, "locks": 0, "waiting": 0, "mastered": 0, "withheld": 0}
    resources = _resources(manager)
    return {
        "members": sorted(manager.members),
        "stopped": manager.stopped,
        "locks": len(manager.client.locks),  # of this node's users
        "waiting": sum(lock.waits for lock in manager.client.locks.values()),
        "mastered": len(resources),  # resources of which this node is the master
        "withheld": sum(bool(resource.withheld) for resource in resources),  # until a recovery is over
    }


def everything(manager: LockManager | None) -> dict[str, Any]:
    """The locks of this node's users, and the resources that this node masters with all that is held and waited for."""
    if manager is None:
        return {**summary(None), "own": [], "resources": []}
    locks = sorted(manager.client.locks.values(), key=lambda lock: (lock.name, lock.number))
    return {
        **summary(manager),
        "own": [_lock(manager, lock) for lock in locks[:SHOWN_MAX]],
        "resources": [_resource(resource) for resource in _resources(manager)[:SHOWN_MAX]],
    }


def _resources(manager: LockManager) -> list[Resource]:
    found = [resource for tree in manager.mastery.trees.values() for resource in tree.values()]
    return sorted(found, key=lambda resource: resource.name)


def _lock(manager: LockManager, lock: Lock) -> dict[str, Any]:
    return {
        "lock": lock.number,
        "owner": lock.owner,
        "name": names.shown(lock.name),
        "state": lock.state.value,
        "mode": _mode(lock.mode),
        "wanted": _mode(lock.wanted),
        "valid": lock.valid,
        "master": manager.client.masters.get(lock.name[0]),
    }


def _resource(resource: Resource) -> dict[str, Any]:
    return {
        "name": names.shown(resource.name),
        "granted": [_entry(entry) for entry in resource.granted],
        "converting": [_entry(entry) for entry in resource.converting],
        "waiting": [_entry(entry) for entry in resource.waiting],
        "valid": resource.valid,
        "sequence": resource.sequence,
        "withheld": [list(life) for life in resource.withheld],
    }


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "node": entry.node,
        "lock": entry.lock,
        "mode": _mode(entry.granted),
        "wanted": _mode(entry.wanted),
        "of_dead": entry.orphan_of is not None,
    }


def _mode(mode: Mode | None) -> str | None:
    return None if mode is None else mode.name
