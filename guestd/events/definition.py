"""Events and event groups as an administrator writes them (spec S8.2, S8.4; docs/event-manager.md): checked once.

    groups = checked(tables, known={}, nodes=3)            # tables of [[group]], as TOML or JSON makes them
    group = of_service("web", tables, known={}, nodes=3)   # [[service.events]] tables: the group of a client service

Both raise DefinitionErrors with all problems at once. What is stored is such a table; `of_table` reads it again.
"""

from __future__ import annotations

from guestd.events.definition_check import Check, Problem, fit_problems
from guestd.events.group import Event, Group

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

__all__ = ["DefinitionErrors", "Event", "Group", "Problem", "checked", "fit_problems", "of_service", "of_table"]


class DefinitionErrors(ValueError):
    """Nothing of what was given is taken."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = tuple(problems)


def checked(tables: Sequence[object], known: Mapping[str, Group], nodes: int) -> list[Group]:
    """The groups that belong to no service. known: all that there are, of services too. nodes: configured.

    Raises DefinitionErrors.
    """
    problems: list[Problem] = []
    taken = _taken(known)
    names = {
        group.name: "there is such a group already (remove it first)" for group in known.values() if not group.service
    }
    found = []
    for index, table in enumerate(tables):
        check = Check(index, table, "", nodes, problems, taken)
        group = check.group()
        if group.name in names:
            check.wrong("", "name", names[group.name])
        elif group.name:
            names[group.name] = f"is the name of group number {index + 1} too"
        found.append(group)
    if problems:
        raise DefinitionErrors(problems)
    return found


def of_service(service: str, tables: Sequence[object], known: Mapping[str, Group], nodes: int) -> Group:
    """The group of a client service: its events, watched where it is registered (spec S8.4).

    Raises DefinitionErrors.
    """
    problems: list[Problem] = []
    given = {"name": service, "where": "registered", "events": list(tables)}
    group = Check(0, given, service, nodes, problems, _taken(known)).group()
    if problems:
        raise DefinitionErrors(problems)
    return group


def of_table(table: Mapping[str, Any], service: str = "") -> Group:
    """The group of a table that was checked when it was stored."""
    return Check(0, table, service, 1 << 16, [], {}).group()


def _taken(known: Mapping[str, Group]) -> dict[str, str]:
    """The names of the events that there are -> what has them."""
    return {
        event.name: f"service {group.service!r}" if group.service else f"event group {group.name!r}"
        for group in known.values()
        for event in group.events
    }
