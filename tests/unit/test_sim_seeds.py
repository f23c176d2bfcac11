"""500 fixed seeds and 200 random ones: guestd stands every fault that they have, and comes together again.

Of the preset `quick`, so that all of them are done in a few minutes. A seed that fails is told with its claim, what led
to it and the command that repeats it; the random ones begin where `HIL_SIM_SEED_BASE` says: see pytest's header. The
compiled modules run where they were built from these sources (`./run bench sim` builds them).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor

import pytest

from hil import workers
from hil.compiled import cache
from hil.compiled.use import start
from hil.sim.campaign import processors
from hil.sim.options import draw
from hil.sim.run import Result, run, run_and_tell
from tests.mutations.catalogue import BY_NAME

PRESET = "quick"
FIXED, RANDOM, TOGETHER = 500, 200, 50


def told(result: Result) -> str:
    """Everything about one that failed."""
    return "\n".join(
        [
            f"seed {result.options.seed}: {result.claim}",
            f"  {result.violation}",
            *(f"    {line}" for line in result.details),
            "  what led to it:",
            *(f"    {line}" for line in result.story),
            f"  repeat: {result.command}",
        ]
    )


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    """A process for each processor."""
    with workers.pool(processors(), start, cache.found()) as executor:
        yield executor


def passes(seed: int) -> bool:
    """In a process of the pool."""
    return run(draw(seed, PRESET)).passed


def one(seed: int) -> str | None:
    """What is told if it fails."""
    result = run_and_tell(draw(seed, PRESET))
    return None if result.passed else told(result)


def failures(pool: Executor, seeds: range) -> list[str]:
    """Of those that fail, what is told."""
    failed = [seed for seed, passed in zip(seeds, pool.map(passes, seeds), strict=True) if not passed]
    return [one(seed) or f"seed {seed} fails with the compiled modules only" for seed in failed]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(0, FIXED, TOGETHER))
def test_guestd_stands_the_fixed_seeds(first: int, pool: Executor) -> None:  # S3.2, S4.5, S5.2, S6.2, S10.9, A17, A23
    found = failures(pool, range(first, first + TOGETHER))
    assert not found, "\n\n".join(found)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(0, RANDOM, TOGETHER))
def test_guestd_stands_random_seeds(first: int, pool: Executor) -> None:  # S3.2, S4.5, S5.2, S6.2, S10.9
    base = int(os.environ["HIL_SIM_SEED_BASE"])
    found = failures(pool, range(base + first, base + first + TOGETHER))
    assert not found, "\n\n".join([f"repeat all of them: HIL_SIM_SEED_BASE={base}", *found])


def test_one_that_fails_is_told_with_what_led_to_it_and_what_repeats_it() -> None:
    with BY_NAME["barrier-skipped"].applied():
        found = [failed for failed in map(one, range(20)) if failed is not None]
    assert found
    lines = found[0].splitlines()
    assert lines[0].startswith("seed ")
    assert "no level and no barrier" in found[0] or "each level sees each transition once" in found[0] or len(found) > 1
    assert lines.index("  what led to it:") < len(lines) - 10
    seed = int(lines[0].split()[1].rstrip(":"))
    assert lines[-1].startswith(f"  repeat: hil sim --seeds {seed}:{seed + 1} --preset quick --nodes ")
