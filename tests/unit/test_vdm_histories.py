"""Random histories of virtual disks on three nodes (`vdm_users`), and faults put in on purpose that they find."""

from __future__ import annotations

import pytest

from tests.unit.vdm_users import Play, Theme

THEMES = {
    "everything": Theme(),
    "deaths at writes": Theme(crash=0.2, kill=0.0, freeze=0.0, leave=0.0, power=0.01),
    "nobody dies": Theme(crash=0.0, kill=0.0, freeze=0.0, leave=0.0, power=0.0, steps=300),
    "frozen nodes": Theme(crash=0.0, kill=0.0, freeze=0.08, leave=0.02, power=0.0),
    "power failures": Theme(crash=0.02, kill=0.0, freeze=0.0, leave=0.0, power=0.05),
}


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("seed", range(6))
def test_each_answer_is_explained_and_nothing_is_lost(theme: str, seed: int) -> None:
    Play(seed, THEMES[theme]).run()


@pytest.mark.parametrize("seed", [1107, 1957, 5340, 5507])
def test_what_was_wrong_once(seed: int) -> None:
    """A close in the way of a recovery; a node that leaves and puts an old number into the lock's value; a log that is
    emptied before the tables have the mirror."""
    Play(seed, THEMES["everything"]).run()


def test_histories_do_something() -> None:
    play = Play(1, THEMES["nobody dies"])
    play.run()
    assert play.ended > 300
    assert len(play.world.history.changes) > 10
    deaths = [Play(seed, THEMES["deaths at writes"]) for seed in range(4)]
    for one in deaths:
        one.run()
    assert sum(len(one.world.died_at) for one in deaths) > 5
