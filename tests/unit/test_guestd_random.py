"""Random faults, healed again: the cluster always comes back, and the checks of `guestd_world` hold all the way.

Those are: no epoch has two owners, nobody writes another one's sectors, no step before all have acknowledged the last
one, every level in its order and once.
"""

from __future__ import annotations

import random

import pytest

from tests.unit.guestd_world import World

POWER = ("off", "on", "leave", "all off")
ALL = (*POWER, "isolate", "cut one way", "heal", "freeze", "thaw", "hang", "unhang")


def act(world: World, randomness: random.Random, action: str) -> None:
    node = randomness.randrange(world.config.nodes)
    running = world.machines[node].running
    match action:
        case "off" if running:
            world.power_off(node)
        case "on" if not running:
            world.power_on(node)
        case "leave" if running:
            world.order(node, "leave")
        case "all off":
            world.power_off()
        case "isolate":
            world.isolate(node)
        case "cut one way":
            world.cut.add((node, randomness.randrange(world.config.nodes)))
        case "heal":
            world.cut.clear()
        case "freeze" if running and node not in world.frozen:
            world.freeze(node)
        case "thaw" if node in world.frozen:
            world.thaw(node)
        case "hang":
            world.disk_hung.add(node)
        case "unhang":
            world.disk_hung.clear()


def run(seed: int, actions: tuple[str, ...]) -> World:
    """Faults, then everything healed and powered on, then joined."""
    randomness = random.Random(seed)
    world = World(nodes=randomness.choice([2, 3, 3, 4, 5]), seed=seed)
    world.loss = randomness.choice([0, 0, 0.05, 0.2])
    world.power_on()
    for _ in range(randomness.randint(2, 10)):
        world.run(randomness.choice([20, 50, 300, 1000, 3000, 6000]))
        act(world, randomness, randomness.choice(actions))
    world.loss = 0
    world.cut.clear()
    world.disk_hung.clear()
    for node in list(world.frozen):
        world.thaw(node)
    world.run(20_000)
    for node, machine in enumerate(world.machines):
        if not machine.running:
            world.power_on(node)
    world.run_until(world.all_joined)
    return world


@pytest.mark.parametrize("seed", range(150))
def test_after_any_faults_are_healed_all_join(seed: int) -> None:
    run(seed, ALL)


@pytest.mark.parametrize("seed", range(150))
def test_nobody_panics_for_a_loss_of_power_or_a_leave_or_lost_datagrams(seed: int) -> None:
    world = run(seed, POWER)
    assert [machine.panics for machine in world.machines] == [[]] * world.config.nodes


def test_the_random_faults_do_force_nodes_out() -> None:
    worlds = [run(seed, ALL) for seed in range(20)]
    assert sum(len(machine.panics) for world in worlds for machine in world.machines) > 5
