"""Faults of the libraries of single levels (`tests/unit/*_mutants.py`), put into whole clusters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.mutations.patching import Patch


class _Setter:
    """What the libraries' mutants are given: it replaces by ``setattr``."""

    def __init__(self, patch: Patch) -> None:
        self._patch = patch

    def setattr(self, where: Any, name: str, made: Any) -> None:
        self._patch.replace(where, name, made)


def in_a_cluster(level: str, broken: Callable[[Any], None]) -> Callable[[Patch], None]:
    """The same fault, put in by a :class:`Patch`. ``level``: what its name begins with."""

    def made(patch: Patch) -> None:
        broken(_Setter(patch))

    made.__name__, made.__doc__ = f"{level}_{broken.__name__}", broken.__doc__
    return made
