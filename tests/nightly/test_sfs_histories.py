"""Random histories of the shared file system at length.

``HIL_SFS_HISTORIES`` of them (3000), and a tenth of that with a power failure at every command, from the seed
``HIL_SFS_SEED`` on (a new one each time).
"""

from __future__ import annotations

import os
import random

import pytest

from tests.unit.sfs_campaign import outcomes

COUNT = int(os.environ.get("HIL_SFS_HISTORIES") or 3000)
SEED = int(os.environ.get("HIL_SFS_SEED") or random.SystemRandom().randrange(10**9))

pytestmark = pytest.mark.timeout(600 + 5 * COUNT)


@pytest.mark.parametrize("crashes", [False, True], ids=["nodes", "crashes"])
def test_no_history_differs_from_the_model(crashes: bool, capsys: pytest.CaptureFixture[str]) -> None:  # S7.3, A12, A13
    count = COUNT // 10 if crashes else COUNT
    with capsys.disabled():
        print(f"\n{count} histories of the shared file system from seed {SEED} on", flush=True)
    seeds = range(SEED, SEED + count)
    failed = [outcome for outcome in outcomes(seeds, os.cpu_count() or 1, crashes=crashes) if outcome.failure]
    option = "--crashes " if crashes else ""
    told = [f"python -m tests.unit.sfs_campaign {option}--seeds {one.seed}\n{one.failure}" for one in failed[:5]]
    assert not failed, f"{len(failed)} of {count} failed; the first of them:\n" + "\n".join(told)
