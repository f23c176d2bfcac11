"""Seeds of the simulator at length, from a new one on each time, and the scenarios for more seeds.

``HIL_SIM_SEEDS`` of the preset ``swarm`` (1000), from ``HIL_SIM_SEED_BASE`` on, with the compiled modules, which are
built first.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hil.compiled import cache
from hil.sim.campaign import Seeds, Totals, campaign, processors
from tests.unit.test_sim_backend_long_scenarios import SEEDS_OF
from tests.unit.test_sim_backend_scenarios import LONG, SCENARIOS, check_passes, evidence
from tests.unit.test_sim_seeds import told

__all__ = ["evidence"]  # a fixture

COUNT = int(os.environ.get("HIL_SIM_SEEDS") or 1000)
EACH = 100  # progress, in seeds
SCENARIO_SEEDS = 20


@pytest.mark.timeout(3600 + 10 * COUNT)
def test_guestd_stands_many_seeds(capsys: pytest.CaptureFixture[str]) -> None:  # S3.2, S4.5, S5.2, S6.2, S10.9
    base = int(os.environ["HIL_SIM_SEED_BASE"])
    place, totals, failed = cache.built(), Totals(), []
    for result in campaign(Seeds(base, base + COUNT), "swarm", None, processors(), None, compiled=place):
        totals.add(result)
        failed += [] if result.passed else [told(result)]
        if totals.seeds % EACH == 0:
            with capsys.disabled():
                print(f"\nseeds from {base} on: {totals.speed()}", flush=True)
    assert totals.seeds == COUNT
    assert not failed, "\n\n".join([f"repeat all of them: HIL_SIM_SEED_BASE={base}", *failed[:5]])


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", [name for name in LONG if name in SCENARIOS])
def test_every_long_scenario_passes_for_many_seeds(tmp_path: Path, name: str) -> None:  # S10.9
    check_passes(name, SEEDS_OF.get(name, SCENARIO_SEEDS), tmp_path / "junit.xml")
