"""Random faults, healed again: the cluster always comes back, and the checks of `guestd_world` hold all the way.

Those are: no epoch has two owners, nobody writes another one's sectors, no step before all have acknowledged the last
one, every level in its order and once.
"""

from __future__ import annotations

import random

import pytest

from tests.unit.guestd_world import Program, World

POWER = ("off", "on", "leave", "all off")
PROGRAMS = (*POWER, "freeze", "thaw", *("register",) * 6, "close", "die")
BARRIERS = {5: {"join": 2}, 10: {"join": 2}, 15: {"leave": 3}, 40: {}, 50: {"join": 3, "forced-leave": 2}, 60: {}}
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


def act_on_programs(world: World, randomness: random.Random, action: str) -> None:
    node = randomness.randrange(world.config.nodes)
    slow_ms = randomness.choice([1, 10, 200, 1500])
    match action:
        case "register" if world.machines[node].running:
            order = randomness.choice(list(BARRIERS))
            asked = {"barriers": BARRIERS[order], "on_death": "gone"}
            world.program(node, f"p{len(world.programs)}", order, answers_ms=slow_ms, **asked)
        case "close" if world.programs:
            randomness.choice(world.programs).send(close=True)
        case "die" if world.programs:
            randomness.choice(world.programs).die()


def run(seed: int, actions: tuple[str, ...], election: str = "paxos") -> World:
    """Faults, then everything healed and powered on, then joined."""
    randomness = random.Random(seed)
    world = World(nodes=randomness.choice([2, 3, 3, 4, 5]), seed=seed, election=election)
    world.loss = randomness.choice([0, 0, 0.05, 0.2])
    world.power_on()
    for _ in range(randomness.randint(2, 10)):
        world.run(randomness.choice([20, 50, 300, 1000, 3000, 6000]))
        action = randomness.choice(actions)
        act(world, randomness, action)
        if actions is PROGRAMS:
            act_on_programs(world, randomness, action)
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


SEEDS = [(election, seed) for election, seeds in (("paxos", 150), ("dekker", 100)) for seed in range(seeds)]


@pytest.mark.parametrize(("election", "seed"), SEEDS)
def test_after_any_faults_are_healed_all_join(election: str, seed: int) -> None:  # S3.2
    run(seed, ALL, election)


@pytest.mark.parametrize(("election", "seed"), SEEDS)
def test_nobody_panics_for_a_loss_of_power_or_a_leave_or_lost_datagrams(election: str, seed: int) -> None:
    world = run(seed, POWER, election)
    assert [machine.panics for machine in world.machines] == [[]] * world.config.nodes


@pytest.mark.parametrize("seed", range(120))
def test_programs_that_come_and_go_are_told_each_transition_once_and_in_order(seed: int) -> None:  # S4.5, S4.7, S4.12
    world = run(seed, PROGRAMS)
    world.run(20_000)
    for program in world.programs:
        check_history(program)
        machine = world.machines[program.node]
        if (
            program.life != machine.life
            or not program.registered
            or program.all("closed")
            or program.answers_ms is None
        ):
            continue
        states = world.status(program.node)["levels"][str(program.order)]
        assert states == ["joined"] * world.config.nodes, world.story()
        assert told_last(program) == dict.fromkeys(range(world.config.nodes), "join"), world.story()
    assert all(sorted(told) == sorted(set(told)) for told in map(told_of, world.programs))


TAKES = {None: {"join"}, "join": {"leave", "forced-leave"}, "leave": {"join", "forced-leave"}, "forced-leave": {"join"}}


def told_of(program: Program) -> list[tuple[int, int, str, int]]:
    told = [one for given in program.all("notification") for one in given["transitions"]]
    return [(one["node"], one["incarnation"], one["transition"], one["barrier"]) for one in told]


def told_last(program: Program) -> dict[int, str]:
    return {node: transition for node, _, transition, _ in told_of(program)}


def check_history(program: Program) -> None:
    """Of each node: a join before everything else, one transition after the other, barriers from 0 on (spec S4.7)."""
    before: dict[int, tuple[int, str, int]] = {}
    for node, incarnation, transition, barrier in told_of(program):
        life, last, at = before.get(node, (0, None, 0))
        if (life, last) == (incarnation, transition):
            assert barrier == at + 1
        else:
            assert barrier == 0
            assert transition in TAKES[last]
            assert (incarnation > life) if transition == "join" else (incarnation == life)
        before[node] = (incarnation, transition, barrier)


def test_the_random_faults_do_force_nodes_out() -> None:
    worlds = [run(seed, ALL) for seed in range(20)]
    assert sum(len(machine.panics) for world in worlds for machine in world.machines) > 5
