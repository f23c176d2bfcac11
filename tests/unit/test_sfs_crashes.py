"""A power failure at any command of one node (spec S7.3): all or nothing of each operation, and all that was synced."""

from __future__ import annotations

import pytest

from guestd.sfs.journal import WRITE_BACK_MIN
from tests.unit.sfs_crashes import History


@pytest.mark.parametrize("write_back_min", [WRITE_BACK_MIN, 1])
def test_after_a_crash_at_any_write_the_file_system_is_that_after_some_operation(  # S7.3
    write_back_min: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("guestd.sfs.journal.WRITE_BACK_MIN", write_back_min)
    images, orphans = 0, 0
    for seed in range(4):
        history = History(seed)
        images += history.crash_everywhere(2)
        orphans += history.orphan_count
    assert images > 300
    assert orphans > 10
