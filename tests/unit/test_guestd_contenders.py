"""Two owners of one epoch never, in either mode: all interleavings of few commands, and many random ones of more."""

from __future__ import annotations

import random

import pytest

from guestd.core.config import ELECTIONS
from tests.unit.contenders import Contenders


@pytest.mark.parametrize(
    ("mode", "nodes", "crashes", "fences", "depth"),
    [
        ("paxos", 2, 0, 0, 26),
        ("paxos", 2, 1, 0, 18),
        ("paxos", 3, 0, 0, 13),
        ("dekker", 2, 0, 0, 1000),
        ("dekker", 2, 2, 1, 1000),
        ("dekker", 2, 1, 2, 1000),
        ("dekker", 3, 0, 1, 1000),
    ],
)
def test_no_interleaving_gives_an_epoch_two_owners(  # S3.2
    mode: str, nodes: int, crashes: int, fences: int, depth: int
) -> None:
    """A tournament never begins anew by itself, so all there is of it is gone through; ballots go on for ever."""
    first = Contenders(nodes, crashes, fences, mode=mode)
    reached, front = {first.key()}, [first]
    owners = set()
    for _ in range(depth):
        following = []
        for world in front:
            for after in world.following():
                if after.key() not in reached:
                    reached.add(after.key())
                    following.append(after)
                    owners |= after.winners
        front = following
    assert (mode == "paxos") == bool(front)
    assert {node for node, _ in owners} == set(range(nodes))
    assert len(reached) > 80


@pytest.mark.parametrize("mode", ELECTIONS)
@pytest.mark.parametrize("seed", range(300))
def test_random_interleavings_with_crashes_give_an_epoch_one_owner_at_most(mode: str, seed: int) -> None:  # S3.2
    randomness = random.Random(seed)
    world = Contenders(3 if mode == "paxos" else randomness.choice([2, 3, 4, 5, 8]), mode=mode)
    for _ in range(150):
        node = randomness.randrange(len(world.disk))
        chance = randomness.random()
        if chance < 0.03:
            world.crash(node)
        elif chance < 0.1 and world.may_fence(node):
            world.fence(node)
        else:
            world.step(node)


@pytest.mark.parametrize("seed", range(100))
def test_among_contenders_of_mode_dekker_that_do_not_stop_one_comes_to_own_the_epoch(seed: int) -> None:  # S3.2
    """Nobody is fenced for it, and nobody waits for ever."""
    randomness = random.Random(seed)
    world = Contenders(randomness.randint(2, 9), mode="dekker")
    contenders = randomness.sample(range(len(world.disk)), randomness.randint(1, len(world.disk)))
    for _ in range(1000):
        world.step(randomness.choice(contenders))
    assert len(world.winners) == 1
