"""Damaged images of the shared file system, each looked over, mounted and used with every operation.

``HIL_SFS_IMAGES`` of them (2000), from the seed ``HIL_SFS_SEED`` on (a new one each time).
"""

from __future__ import annotations

import os
import random

import pytest

from tests.unit.sfs_damage import summary, verdicts

COUNT = int(os.environ.get("HIL_SFS_IMAGES") or 2000)
SEED = int(os.environ.get("HIL_SFS_SEED") or random.SystemRandom().randrange(10**9))

pytestmark = pytest.mark.timeout(600 + 5 * COUNT)


def test_no_damaged_image_does_other_harm_than_an_error_and_fsck_names_it(
    capsys: pytest.CaptureFixture[str],
) -> None:  # S7.3
    found = list(verdicts(range(SEED, SEED + COUNT), os.cpu_count() or 1))
    with capsys.disabled():
        print(f"\n{COUNT} damaged images from seed {SEED} on\n{summary(found)}", flush=True)
    failed = [one for one in found if one.failure]
    told = [f"python -m tests.unit.sfs_damage --seeds {one.seed}: {one.what}\n{one.failure}" for one in failed[:5]]
    assert not failed, f"{len(failed)} of {COUNT} failed; the first of them:\n" + "\n".join(told)
