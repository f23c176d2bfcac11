"""The tests of virtual disks find faults that are put in on purpose (`vdm_mutants`)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit import test_vdm_operations as operations
from tests.unit.test_vdm_crashes import CASES, die, up
from tests.unit.test_vdm_histories import THEMES
from tests.unit.vdm_mutants import MUTANTS, Mutant
from tests.unit.vdm_net import Crash, check
from tests.unit.vdm_users import Play


def histories() -> None:
    for seed in range(30):
        for theme in THEMES.values():
            Play(seed, theme).run()


def a_death() -> None:
    """At the write after the intent; nobody asks for anything afterwards."""
    world = up()
    die(world, next(case for case in CASES if case.name == "delete"), Crash(2), lose=False)
    check(world)


def a_mirror_that_grows_while_it_is_closed() -> None:
    """On one node; at every moment between the first write of the growth and its last."""
    for later_ms in range(0, 60, 2):
        world = operations.up()
        world.do(0, lambda disks: disks.create("m", 100, mirrored=True))
        volume = operations.opened(world, 0, "m")
        growth = world.begin(0, lambda disks: disks.grow("m", 2000))
        world.run(later_ms)
        world.do(0, lambda _, volume=volume: volume.close())  # type: ignore[misc]
        world.run_until(lambda growth=growth: growth.done)  # type: ignore[misc]
        check(world)


FOUND_BY: dict[str, Callable[[], None]] = {
    "nothing_recovered": a_death,
    "new_regions_have_failed_before_they_are_there": a_mirror_that_grows_while_it_is_closed,
    "sync_waits_for_the_recovery": operations.test_a_disk_that_is_open_serves_the_recovery_in_the_levels_above,
    "join_waits_for_the_recovery": (
        operations.test_a_disk_is_opened_in_a_join_that_a_recovery_in_the_levels_above_waits_for
    ),
    "opening_waits_for_the_recovery": (
        operations.test_a_disk_is_opened_in_a_join_that_a_recovery_in_the_levels_above_waits_for
    ),
    "map_given_up_before_sync": (
        operations.test_a_mirror_that_is_closed_while_a_growth_waits_for_a_dead_node_is_not_in_the_way_of_its_recovery
    ),
    "no_gate": operations.test_many_who_have_a_mirror_open_let_who_resynchronises_it_through,
    "growth_untold": operations.test_a_disk_grows_while_it_is_used_and_everybody_can_use_it_when_that_has_ended,
    "log_forgets_the_cache": operations.test_a_power_failure_that_takes_a_cached_write_from_one_copy_leaves_both_equal,
}


def test_without_a_fault_nothing_is_found() -> None:
    for hunt in FOUND_BY.values():
        hunt()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_each_fault_is_found(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    with pytest.raises(Exception, match=r"(?s).*"):
        FOUND_BY.get(mutant.__name__, histories)()
