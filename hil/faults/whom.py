"""Who is struck: nodes, their numbers, roles, resolved at the moment of the injection (:mod:`hil.roles`)."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from hil import roles
from hil.errors import UsageError

if TYPE_CHECKING:
    from hil.client import Cluster, Node


def written(whom: int | str | Node | Iterable[int | str | Node]) -> str:
    """As it is typed: ``master``, ``0,2``."""
    if isinstance(whom, str):
        return whom
    parts = list(whom) if isinstance(whom, Iterable) else [whom]
    return ",".join(part if isinstance(part, str) else str(int(part)) for part in parts)


def parsed(whom: int | str | Node | Iterable[int | str | Node], nodes: int) -> list[roles.Role]:
    """The roles. Raises :class:`UsageError` that says what is legal."""
    text = written(whom)
    parts = re.findall(r"(?:\([^)]*\)|[^,(])+", text)  # commas within brackets are of a name
    if not parts:
        raise UsageError(f"whom = {text!r} (legal: {', '.join(roles.NAMES)}, and numbers of nodes)")
    return [roles.parse(re.sub(r"^\s*n(\d+)\s*$", r"\1", part), nodes) for part in parts]


def chosen(cluster: Cluster, whom: list[roles.Role], draw: random.Random | None) -> list[Node]:
    """Who that is now, ascending; none if nobody is in these roles."""
    view = cluster.catch_up()
    locks = cluster.locks() if any(role.needs_locks for role in whom) else None
    found = {node for role in whom for node in role.chosen(view, locks, draw)}
    return [cluster.nodes[node] for node in sorted(found)]
