"""Each checker finds what it is there for, when guestd is broken on purpose, and nothing when it is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hil.sim.options import Options, draw
from hil.sim.run import run
from tests.unit.sim_mutants import MUTANTS, Mutant

SEEDS_MAX = 8


def options(mutant: Mutant, seed: int) -> Options:
    """Small, quick, and with the faults that show it."""
    drawn = draw(seed, "swarm", 3)
    return replace(
        drawn,
        weights=mutant.weights,
        programs=mutant.programs,
        timing_factor=1.0,
        fault_every_ms=mutant.fault_every_ms,
        faults_ms=60_000,
        converge_ms=20_000,
        boot_ms_max=mutant.boot_ms_max,
    )


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_fault_put_into_guestd_is_found(
    mutant: Mutant, monkeypatch: pytest.MonkeyPatch
) -> None:  # S6.2, S6.3, A3, A4
    mutant.broken(monkeypatch)
    claims = []
    for seed in range(SEEDS_MAX):
        claims.append(run(options(mutant, seed), checkers=[mutant.checker()]).claim)
        if claims[-1] == mutant.wanted:
            return
    pytest.fail(f"not found in {SEEDS_MAX} seeds, which broke: {claims}")


@pytest.mark.parametrize("mutant", MUTANTS[::3], ids=lambda mutant: mutant.name)
def test_without_it_the_same_runs_pass(mutant: Mutant) -> None:
    result = run(replace(options(mutant, 0), converge_ms=60_000))
    assert result.violation is None, "\n".join(result.details)
