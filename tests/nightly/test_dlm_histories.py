"""Random histories of the lock manager at length.

``HIL_DLM_HISTORIES`` of them (10000), from the seed ``HIL_DLM_SEED`` on (a new one each time).
"""

from __future__ import annotations

import os
import random

import pytest

from tests.unit.dlm_campaign import outcomes

COUNT = int(os.environ.get("HIL_DLM_HISTORIES") or 10_000)
SEED = int(os.environ.get("HIL_DLM_SEED") or random.SystemRandom().randrange(10**9))

pytestmark = pytest.mark.timeout(600 + 2 * COUNT)


def test_no_history_differs_from_the_sequential_model(capsys: pytest.CaptureFixture[str]) -> None:  # S7.1, A12, A24
    with capsys.disabled():
        print(f"\n{COUNT} histories of the lock manager from seed {SEED} on", flush=True)
    failed = [outcome for outcome in outcomes(range(SEED, SEED + COUNT), os.cpu_count() or 1) if outcome.failure]
    told = [f"python -m tests.unit.dlm_campaign --seeds {one.seed}\n{one.failure}" for one in failed[:5]]
    assert not failed, f"{len(failed)} of {COUNT} failed; the first of them:\n" + "\n".join(told)
