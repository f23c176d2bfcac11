"""Whom a fault strikes, by what a node is for the cluster and not by its number: pure functions of what is known.

Each answers node numbers, ascending, none if nobody is in that role. A role has a name, for plans and the command line:

    master            the master of the newest epoch
    any               a member
    any_other         a member that is not the master
    minority          as many members as may go without the others' losing the majority; the master is not among them
    majority          the other members
    all               every configured node, member or not
    holder_of(LOCK)   a node of which a program holds that lock in a mode above NL; parts of a name with / between them
    runs(SERVICE)     a node on which that client service is registered
    2                 that node

:meth:`Role.candidates` is who is in the role, :meth:`Role.chosen` who of them is struck: all of a group, else one.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from hil.errors import UsageError
from hil.view import View

Locks = Mapping[int, Mapping[str, Any]]
"""Node to what its lock manager knows: the answer to ``{"show": "locks"}`` (docs/programs.md)."""

NAMES: Final = ("master", "any", "any_other", "minority", "majority", "all", "holder_of(LOCK)", "runs(SERVICE)")
GROUPS: Final = frozenset({"minority", "majority", "all"})
"""Roles of several nodes, which are struck together."""

_WITH_ARGUMENT: Final = re.compile(r"(holder_of|runs)\((.+)\)")
_OF_PROGRAMS: Final = "program:"  # what the names of programs' locks begin with (guestd.dlm.names)


def members(view: View) -> list[int]:
    """The joined nodes whose machines run."""
    return [node.id for node in view.nodes if node.state == "joined" and node.power == "running"]


def master(view: View) -> list[int]:
    """Of the newest epoch, if its machine runs."""
    return [] if view.master is None else [view.master]


def any_other(view: View, *than: int) -> list[int]:
    """The members that are none of ``than``."""
    return [node for node in members(view) if node not in than]


def minority(view: View) -> list[int]:
    """The highest-numbered members, fewer than half of all, without the master: the others go on (spec S5.2)."""
    there = members(view)
    others = [node for node in there if node != view.master]
    return others[len(others) - (len(there) - 1) // 2 :]


def majority(view: View) -> list[int]:
    """The members that are not the minority."""
    return [node for node in members(view) if node not in minority(view)]


def runs(view: View, service: str) -> list[int]:
    """Where that client service is registered (spec S9.1)."""
    seen = view.services.get(service)
    return [] if seen is None else seen.registered_on


def holder_of(locks: Locks, lock: str) -> list[int]:
    """Where a program holds ``lock`` in a mode above NL (spec S7.1): by its own node's word, or its master's."""
    name = _OF_PROGRAMS + lock
    found = set()
    for node, known in locks.items():
        if any(one["name"] == name and one["mode"] not in (None, "NL") for one in known["own"]):
            found.add(node)
        for resource in known["resources"]:
            if resource["name"] == name:
                held = [one for one in resource["granted"] if one["mode"] != "NL" and not one["of_dead"]]
                found.update(one["node"] for one in held)
    return sorted(found)


@dataclass(frozen=True)
class Role:
    """``name`` as in :data:`NAMES`, without its argument, or a node's number."""

    name: str
    argument: str | None = None

    def __str__(self) -> str:
        return self.name if self.argument is None else f"{self.name}({self.argument})"

    @property
    def needs_locks(self) -> bool:
        """Whether the nodes have to be asked for their locks first."""
        return self.name == "holder_of"

    def candidates(self, view: View, locks: Locks | None = None) -> list[int]:
        """Who is in this role. ``locks``: of the nodes that could be asked, where :attr:`needs_locks`."""
        if self.argument is not None:
            return holder_of(locks or {}, self.argument) if self.needs_locks else runs(view, self.argument)
        if self.name.isdecimal():
            return [int(self.name)]
        return {
            "master": master,
            "any": members,
            "any_other": lambda view: any_other(view, *master(view)),
            "minority": minority,
            "majority": majority,
            "all": lambda view: [node.id for node in view.nodes],
        }[self.name](view)

    def chosen(self, view: View, locks: Locks | None = None, draw: random.Random | None = None) -> list[int]:
        """Who is struck: all of a group, else one: drawn, or the lowest-numbered; none if nobody is in this role."""
        there = self.candidates(view, locks)
        if self.name in GROUPS or not there:
            return there
        return [there[0] if draw is None else draw.choice(there)]


def parse(text: str | int, nodes: int | None = None) -> Role:
    """The role of that name. Raises :class:`UsageError` that says what is legal; ``nodes``: how many there are."""
    word = str(text).strip()
    if word.isascii() and word.isdecimal():
        if nodes is not None and int(word) >= nodes:
            raise UsageError(f"no node {word}; there are 0 to {nodes - 1}")
        return Role(str(int(word)))
    if (found := _WITH_ARGUMENT.fullmatch(word)) is not None:
        return Role(found[1], found[2].strip())
    if word in NAMES and "(" not in word:
        return Role(word)
    raise UsageError(f"no role {text!r}; there are: {', '.join(NAMES)}, and the number of a node")
