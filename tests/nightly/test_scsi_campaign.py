"""The campaigns that prove the ledger of the SCSI target, at length.

``HIL_CAMPAIGN_SEED`` (a new one each time), ``HIL_CAMPAIGN_SECONDS`` of load (60), ``HIL_CAMPAIGN_KILLS`` (100). The
seed decides what is sent and injected, not when the host's scheduler lets it happen.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path

import pytest

from hil.scsi.faults.kinds import KINDS
from tests.scsi_campaign import campaign
from tests.scsi_campaign.kills import Kills

SEED = int(os.environ.get("HIL_CAMPAIGN_SEED") or random.SystemRandom().randrange(10**6))
SECONDS = float(os.environ.get("HIL_CAMPAIGN_SECONDS") or 60)
KILLS = int(os.environ.get("HIL_CAMPAIGN_KILLS") or 100)

pytestmark = pytest.mark.timeout(1800 + 30 * SECONDS + 30 * KILLS)


def say(capsys: pytest.CaptureFixture[str], text: str) -> None:
    with capsys.disabled():
        print(f"\n{text}", flush=True)


def repeat(name: str) -> str:
    return (
        f"HIL_CAMPAIGN_SEED={SEED} HIL_CAMPAIGN_SECONDS={SECONDS:g} HIL_CAMPAIGN_KILLS={KILLS} "
        f"./run test tests/nightly/test_scsi_campaign.py -k {name}"
    )


def listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))


def test_under_random_faults_the_disk_is_block_by_block_what_the_ledger_says(  # S10.4, S10.7
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    say(capsys, repeat("random_faults"))
    result = campaign.run(tmp_path, SECONDS, SEED)
    counts = campaign.check(result)
    say(capsys, f"{len(result.entries)} commands, memory of the target {result.peak_kib} KiB at most; {listed(counts)}")
    if SECONDS >= 60:
        assert all(counts[f"fault {kind}"] for kind in KINDS)


@pytest.mark.parametrize("faults", [False, True], ids=["alone", "with faults about data"])
def test_after_every_kill_of_the_target_the_disk_is_what_the_ledger_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *, faults: bool
) -> None:
    say(capsys, repeat("every_kill"))
    counts = Kills(tmp_path, SEED, faults=faults).run(KILLS)
    say(capsys, listed(counts))
