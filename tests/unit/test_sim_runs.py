"""The simulator in full: every fault that it has does happen, and guestd stands them.

More seeds, and shorter: test_sim_seeds.py; many more of these: tests/nightly/test_sim_seeds.py.
"""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest

from hil.sim.claims.survivors import only_cuts
from hil.sim.options import FAULTS, draw
from hil.sim.planning import draw_plan
from hil.sim.run import Result, run

SEEDS = range(50)


@cache
def result(seed: int) -> Result:
    return run(draw(seed))


@pytest.mark.parametrize("seed", SEEDS)
def test_guestd_stands_every_fault_and_comes_together_again(seed: int) -> None:  # S3.2, S4.5, S5.2, S6.2, A17, A23
    found = result(seed)
    assert found.violation is None, "\n".join([f"repeat: {found.command}", *found.details])


def test_every_fault_does_happen() -> None:
    struck: Counter[str] = Counter()
    for seed in SEEDS:
        struck.update(result(seed).faults)
    wanted = set(FAULTS) | {f"datagram-{kind}" for kind in ("cut", "duplicated", "late", "lost")}
    wanted |= {f"sector-{kind}" for kind in ("cache-lost", "flipped", "lost", "stale", "torn")}
    assert {kind for kind in wanted if struck[kind] < 20} == set()
    rare = {"sector-both-flipped"} | {f"program-{kind}" for kind in ("closed", "died", "hung", "refused")}
    assert {kind for kind in rare if struck[kind] < 5} == set()
    assert sum(result(seed).panics for seed in SEEDS) > 100  # they do hurt


def test_both_ways_to_an_owner_are_simulated_and_cuts_alone_and_contention() -> None:  # S3.2, S5.2
    options = [draw(seed) for seed in SEEDS]
    dekker = sum(one.election == "dekker" for one in options)
    assert 10 <= dekker <= 20
    assert sum(only_cuts(one, draw_plan(one)) for one in options) >= 2
    assert sum(one.slow_share == 800 for one in options) >= 4
    assert {draw(1, preset).election for preset in ("lite", "performance")} == {"paxos"}


def test_another_seed_is_another_run() -> None:
    assert len({result(seed).digest for seed in SEEDS}) == len(SEEDS)
