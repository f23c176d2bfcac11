"""The event groups that there are, of the database: those of services, and those of none (spec S8.4).

{"event": {"do": "add", "groups": [TABLE, ...]}}     remove, enable, disable with "name"; list
"""

from __future__ import annotations

from guestd.events.conditions import Circumstances
from guestd.events.definition import DefinitionErrors, checked, of_table
from guestd.services.definition import event_group
from guestd.services.requests import Refused
from guestd.services.states import InstanceState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from guestd.events.group import Group
    from guestd.services.database import Database
    from guestd.services.decide import Decision
    from guestd.services.definition import Definition
    from guestd.services.view import View

CHANGING: tuple[str, ...] = ("add", "remove", "enable", "disable")


class Groups:
    """As values; a table that has not changed is not read again."""

    def __init__(self) -> None:
        self._read: dict[str, tuple[object, Group]] = {}

    def of(self, database: Database) -> dict[str, tuple[Group, bool]]:
        """By a key of their own; and whether each is to be enabled."""
        found: dict[str, tuple[Group, bool]] = {}
        for name, service in database.services.items():
            if service.definition.events:
                table = service.table
                found[f"service/{name}"] = (self._group(f"service/{name}", table, service.definition), True)
        for name, stored in database.groups.items():
            found[f"group/{name}"] = (self._group(f"group/{name}", stored["table"], None), stored["enabled"])
        self._read = {key: self._read[key] for key in found}
        return found

    def _group(self, key: str, table: dict[str, Any], service: Definition | None) -> Group:
        if key in self._read and self._read[key][0] is table:
            return self._read[key][1]
        group = of_table(table) if service is None else of_table(event_group(service), service.name)
        self._read[key] = (table, group)
        return group


def circumstances(database: Database, view: View) -> Circumstances:
    """For the conditions of groups."""
    return Circumstances(
        members=tuple(node for node in range(len(view.seen)) if view.up(node, database)),
        registered={
            name: tuple(one.node for one in service.instances if one.state is InstanceState.REGISTERED)
            for name, service in database.services.items()
        },
    )


def carry_out(asked: dict[str, Any], decision: Decision, nodes: int) -> None:
    """Put a request of CHANGING into the decision. Raises Refused."""
    groups = decision.database.groups
    if asked["do"] == "add":
        tables = asked.get("groups")
        if not isinstance(tables, list) or not tables:
            raise Refused(f"groups = {tables!r} (legal: a list of tables, one for each event group)")
        known = {key: group for key, (group, _) in Groups().of(decision.database).items()}
        try:
            for group, table in zip(checked(tables, known, nodes), tables, strict=True):
                groups[group.name] = {"table": table, "enabled": True}
        except DefinitionErrors as why:
            raise Refused(str(why)) from why
        return
    name = asked.get("name")
    if not isinstance(name, str) or name not in groups:
        legal = ", ".join(sorted(groups)) or "none: there is no event group but those of services"
        raise Refused(f"{name!r} is no event group (legal: {legal})")
    if asked["do"] == "remove":
        del groups[name]
    else:
        groups[name] = {**groups[name], "enabled": asked["do"] == "enable"}
