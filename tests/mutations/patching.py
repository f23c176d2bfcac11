"""Breaks guestd in one place for as long as a block lasts, and puts everything back.

What is to be replaced must be there, and what replaces it must be something else: a mutant that changes nothing would
be one that nobody can find, and is an error here instead (:class:`MutationError`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Final

from guestd.core.enumeration import Enum
from guestd.core.machine import Table

_MISSING: Final = object()


class MutationError(Exception):
    """A mutant does not fit the code any more: what it replaces is gone, or it replaces nothing."""


class Patch:
    """What a mutant has replaced so far. ``restore`` undoes all of it."""

    def __init__(self) -> None:
        self._before: list[tuple[Any, str, Any]] = []

    def replace(self, where: Any, name: str, made: Any) -> None:
        """Put something else in the place of ``where.name``: a module's, a class's own, or an object's.

        Raises :class:`MutationError` if there is no such thing, or it is that already.
        """
        before = present(where, name)
        if before is _MISSING:
            raise MutationError(f"{_named(where)} has no {name} of its own any more")
        if before is made or before == made:
            raise MutationError(f"{_named(where)}.{name} is {made!r} already")
        self._before.append((where, name, before))
        setattr(where, name, made)

    def row(self, table: Table[Any], state: Enum, trigger: str, following: Enum | None) -> None:
        """Another next state for that pair; None: the state does not take the trigger any more."""
        rows = {one: dict(row) for one, row in table.rows.items()}
        if rows[state].get(trigger) is following:
            raise MutationError(f"{table.name}: {state.value} already takes {trigger!r} like that")
        if following is None:
            del rows[state][trigger]
        else:
            rows[state][trigger] = following
        self.replace(table, "rows", rows)

    @property
    def replaced(self) -> list[tuple[Any, str, Any]]:
        """(where, name, what was there before)."""
        return list(self._before)

    def restore(self) -> None:
        """Everything is as it was."""
        while self._before:
            where, name, before = self._before.pop()
            setattr(where, name, before)


@contextmanager
def applied(broken: Callable[[Patch], None]) -> Iterator[Patch]:
    """``broken`` within the block, in this process. Raises :class:`MutationError` if it replaces nothing."""
    patch = Patch()
    try:
        broken(patch)
        if not patch.replaced:
            raise MutationError(f"{broken.__name__} replaces nothing")
        yield patch
    finally:
        patch.restore()


def present(where: Any, name: str) -> Any:
    """What is there now: of a class or a module its own, for a class may have inherited it."""
    own = isinstance(where, (type, ModuleType))
    return vars(where).get(name, _MISSING) if own else getattr(where, name, _MISSING)


def _named(where: Any) -> str:
    return getattr(where, "__qualname__", None) or getattr(where, "__name__", None) or repr(where)
