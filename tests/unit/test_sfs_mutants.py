"""The histories of the file system find faults that are put into it."""

from __future__ import annotations

import pytest

from guestd.sfs.errors import Damaged, FsError
from tests.unit.sfs_mutants import MUTANTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_a_fault_is_found(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant.broken(monkeypatch)
    for seed in range(mutant.seeds):
        try:
            mutant.shown_by(seed)
        except (AssertionError, FsError, Damaged):
            return
    pytest.fail(f"not found in {mutant.seeds} histories")
