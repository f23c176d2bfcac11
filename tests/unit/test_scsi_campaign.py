"""Short runs of the campaigns that prove the ledger of the SCSI target; the long ones are in tests/nightly."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scsi_campaign import campaign
from tests.scsi_campaign.kills import Kills


def test_under_random_faults_the_disk_is_block_by_block_what_the_ledger_says(tmp_path: Path) -> None:  # S10.4, S10.7
    counts = campaign.check(campaign.run(tmp_path, seconds=4, seed=1))
    assert counts["struck commands"] > 0


@pytest.mark.parametrize("faults", [False, True], ids=["alone", "with faults about data"])
def test_after_every_kill_of_the_target_the_disk_is_what_the_ledger_says(tmp_path: Path, *, faults: bool) -> None:
    counts = Kills(tmp_path, seed=1, faults=faults).run(5)
    assert counts["kills"] == 5
