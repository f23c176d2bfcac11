"""``./run bench sim``: what it makes of its figures, and that it measures what it says. Nothing is about speed."""

from __future__ import annotations

import json

import pytest

from benchmarks import sim
from benchmarks.simulated import sizes, speed
from benchmarks.simulated.speed import Speed

FAST = Speed(seeds=120, failed=0, simulated_s=14_400.0, wall_s=12.0, cpu_s=24.0)


def test_speeds_are_told_by_the_wall_clock_and_by_processor_time() -> None:
    assert (FAST.per_wall_s, FAST.per_cpu_s, FAST.seeds_per_minute) == (1200.0, 600.0, 600.0)


@pytest.mark.parametrize(
    ("one", "two", "met"),
    [(12.0, 12.0, True), (14.4, 12.0, True), (14.5, 12.0, False), (12.0, 12.1, False)],
)
def test_both_bounds_of_the_speed_must_hold(one: float, two: float, met: bool) -> None:  # S10.9
    rows = sim.speed_rows(FAST._replace(wall_s=one), FAST._replace(wall_s=two))
    assert all(row.met for row in rows) is met
    assert ("MISS" in sim.table(rows, "")) is not met
    assert json.loads(json.dumps([row._asdict() for row in rows]))[0]["least"] == 1000


def test_a_seed_of_the_bench_is_as_long_as_it_says_and_has_three_to_five_nodes() -> None:
    for seed in range(6):
        options = speed.several(seed)
        assert options.nodes == 3 + seed % 3
        rest_ms = options.timing.death_ms + options.timing.agreed_ms_max + options.quiet_ms
        assert options.faults_ms + rest_ms == speed.SIMULATED_MS
        assert options.faults_ms > 30_000
    done = speed.on_one(range(1, 2))
    assert (done.seeds, done.failed) == (1, 0)
    assert done.simulated_s > 60
    assert done.cpu_s > 0


def test_joins_of_a_mass_reboot_overlap() -> None:  # S4.6
    cost, reboot = sizes.measure(6)
    assert (cost.nodes, reboot.nodes) == (6, 6)
    assert cost.cpu_ms > 0
    assert 1 < reboot.joined_s < 30
    assert reboot.overlap
    assert reboot.views >= reboot.epochs >= 1
    rows = {row.name.strip(): row for row in sim.size_rows([(cost, reboot)])}
    assert rows["nodes that joined at once"].met
    alone = reboot._replace(joins_together=1)
    assert not all(row.met for row in sim.size_rows([(cost, alone)]))
