"""A power failure at any command of one node (spec S7.3): all or nothing of each operation, and all that was synced."""

from __future__ import annotations

import pytest

from tests.unit.sfs_crashes import History


@pytest.mark.parametrize("seed", range(3))
def test_after_a_crash_at_any_write_the_file_system_is_that_after_some_operation(seed: int) -> None:  # S7.3
    history = History(seed)
    assert history.crash_everywhere(2) > 100
