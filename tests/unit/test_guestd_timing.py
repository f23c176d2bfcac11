"""The cluster's times: what must hold between them, and what they come to in whole runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from guestd.core.config import Config
from guestd.core.effects import Effect, ReadSectors, WriteSectors
from guestd.core.node import Stack
from guestd.core.timing import RULES, Rule, Timing, check_timing, scaled
from guestd.core.value import replace
from tests.unit.guestd_world import World, formed

LOSS_MS_MAX = 2000  # from a silent loss until the new membership is agreed


@pytest.mark.parametrize(
    ("timing", "told"),
    [
        (
            Timing(death_ms=900, heartbeat_ms=250),
            "timing.death_ms = 900 must be at least 4 x heartbeat_ms = 1000: three lost datagrams are not a death",
        ),
        (
            Timing(death_ms=1001),
            "timing.hears_ms = 500 (half of death_ms = 1001) must be more than 2 x disk_heartbeat_ms = 500: one late",
        ),
        (Timing(heartbeat_ms=251), "timing.disk_heartbeat_ms = 250 must be at least heartbeat_ms = 251: "),
        (Timing(settle_ms=249), "timing.settle_ms = 249 must be at least disk_heartbeat_ms = 250: "),
        (Timing(settle_ms=2401), "timing.settle_ms = 2401 must be at most 2 x death_ms = 2400: "),
        (Timing(subsystem_ms=0), "timing.subsystem_ms = 0 must be at least 1 ms"),
        (Timing(0, 0, 0, 0), "timing.heartbeat_ms = 0 must be at least 1 ms"),
    ],
)
def test_times_that_contradict_each_other_are_refused_by_name(timing: Timing, told: str) -> None:
    with pytest.raises(ValueError, match="must be") as caught:
        check_timing(timing)
    assert str(caught.value).startswith(told)
    with pytest.raises(ValueError, match="must be"):
        Stack(Config(bytes(16), "demo", 3, timing), 0)


AT_THE_BOUND = (  # of each rule, and the change that is one step too far
    (Timing(heartbeat_ms=250), {"heartbeat_ms": 251}),
    (Timing(heartbeat_ms=200, death_ms=800), {"death_ms": 799}),
    (Timing(death_ms=1002), {"death_ms": 1001}),
    (Timing(settle_ms=250), {"settle_ms": 249}),
    (Timing(settle_ms=2400), {"settle_ms": 2401}),
)


@pytest.mark.parametrize(
    ("rule", "case"), list(zip(RULES, AT_THE_BOUND, strict=True)), ids=lambda one: getattr(one, "name", "")
)
def test_each_rule_holds_up_to_its_bound_and_not_beyond(rule: Rule, case: tuple[Timing, dict[str, int]]) -> None:
    at_the_bound, change = case
    assert rule.holds(at_the_bound)
    assert not rule.holds(replace(at_the_bound, **change))


@pytest.mark.parametrize("factor", [1, 1.1, 2.5, 3.33, 7.7, 10])
def test_the_defaults_keep_every_rule_at_every_factor(factor: float) -> None:
    timing = scaled(Timing(), factor)
    check_timing(timing)
    assert timing.death_ms == round(1200 * factor)
    assert all(isinstance(getattr(timing, name), int) for name in Timing.value_fields)


def test_a_machine_without_kvm_keeps_the_times_that_are_known_to_work_there() -> None:
    assert scaled(Timing(), 2.5) == Timing(
        heartbeat_ms=250, disk_heartbeat_ms=625, death_ms=3000, settle_ms=1000, subsystem_ms=25_000
    )


def test_the_worst_case_by_calculation_leaves_the_disk_its_time() -> None:
    commands, slow_ms = 7, 25
    assert Timing().agreed_ms_max + commands * slow_ms <= LOSS_MS_MAX


def test_a_silent_loss_of_any_node_is_agreed_upon_within_two_seconds() -> None:  # S5.1
    took = []
    for seed in range(200):
        world = formed(seed)
        victim = seed % 3  # 0 is the master
        world.power_off(victim)
        took.append(world.run_until(lambda world=world, victim=victim: world.agreed_without(victim)))  # type: ignore[misc]
    timing = Timing()
    assert max(took) <= LOSS_MS_MAX
    assert min(took) >= timing.death_ms - timing.heartbeat_ms + timing.settle_ms / 2  # it was the silence that told


@pytest.mark.parametrize("fault", [World.isolate, World.freeze])
def test_nor_does_it_take_longer_when_the_node_lives(fault: Callable[[World, int], None]) -> None:  # S5.1
    for seed in range(60):
        world = formed(seed)
        victim = seed % 3
        fault(world, victim)
        assert world.run_until(lambda world=world, victim=victim: world.agreed_without(victim)) <= LOSS_MS_MAX  # type: ignore[misc]


def test_when_only_the_disk_tells_it_takes_a_disk_period_longer_at_most() -> None:  # S5.1
    for seed in range(60):
        world = formed(seed)
        victim = seed % 3
        world.disk_hung.add(victim)
        took_ms = world.run_until(lambda world=world, victim=victim: world.agreed_without(victim))  # type: ignore[misc]
        assert took_ms <= LOSS_MS_MAX + world.config.timing.disk_heartbeat_ms


class CountingWorld(World):
    """Counts the disk commands of each node."""

    def __init__(self, nodes: int) -> None:
        super().__init__(nodes, seed=nodes)
        self.commands = [0] * nodes

    def _carry_out(self, node: int, life: int, effect: Effect) -> None:
        self.commands[node] += isinstance(effect, (ReadSectors, WriteSectors))
        super()._carry_out(node, life, effect)


@pytest.mark.parametrize("nodes", [2, 3, 9])
def test_watching_each_other_costs_two_disk_commands_per_node_and_period_whatever_n(nodes: int) -> None:
    world = CountingWorld(nodes)
    world.power_on()
    world.run_until(world.all_joined)
    world.commands = [0] * nodes
    periods = 100
    world.run(periods * world.config.timing.disk_heartbeat_ms)
    assert all(2 * periods - 4 <= count <= 2 * periods + 4 for count in world.commands), world.commands


def test_a_silence_is_found_with_at_most_eight_disk_commands_of_a_node() -> None:
    assert 2 * Timing().rounds_in_death <= 8
