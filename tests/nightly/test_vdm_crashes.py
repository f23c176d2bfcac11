"""Virtual disks: a death at every single write of every operation (S7.2, A12)."""

from __future__ import annotations

import pytest

from tests.unit import test_vdm_crashes as crashes


@pytest.mark.parametrize("case", crashes.CASES, ids=lambda case: case.name)
def test_a_death_at_every_write(case: crashes.Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crashes, "EVERY", 1)
    crashes.test_a_death_at_any_write_is_recovered_by_a_survivor(case)
    crashes.test_a_power_failure_of_all_at_any_write_is_recovered_by_who_comes_back_first(case)
    crashes.test_a_second_death_in_the_recovery_is_recovered_by_the_third(case)
