"""All mutants, in the order of the table."""

from __future__ import annotations

from collections.abc import Sequence

from hil.errors import UsageError
from tests.mutations import (
    contact,
    elections,
    fences,
    files,
    locks,
    matches,
    programs,
    sectors,
    services,
    transitions,
    volumes,
)
from tests.mutations.mutant import Mutant

MUTANTS: tuple[Mutant, ...] = (
    *fences.MUTANTS,
    *elections.MUTANTS,
    *matches.MUTANTS,
    *sectors.MUTANTS,
    *contact.MUTANTS,
    *transitions.MUTANTS,
    *programs.MUTANTS,
    *locks.MUTANTS,
    *files.MUTANTS,
    *volumes.MUTANTS,
    *services.MUTANTS,
)
BY_NAME = {mutant.name: mutant for mutant in MUTANTS}


def named(names: Sequence[str]) -> list[Mutant]:
    """Those, in the order of the table; without names all. Raises :class:`UsageError`, with what there is."""
    unknown = [name for name in names if name not in BY_NAME]
    if unknown:
        raise UsageError(f"no mutant is called {', '.join(unknown)}. What exists: {', '.join(BY_NAME)}")
    return [mutant for mutant in MUTANTS if not names or mutant.name in names]
