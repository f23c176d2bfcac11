"""The largest group in which everybody hears everybody, against a search through all subsets."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from guestd.membership import connectivity
from guestd.membership.connectivity import best_group, mask_of, nodes_of


def full(*groups: list[int]) -> dict[int, int]:
    hears: dict[int, int] = {}
    for group in groups:
        for node in group:
            hears[node] = hears.get(node, 0) | mask_of(group)
    return hears


def by_brute_force(candidates: int, hears: dict[int, int], master: int | None) -> list[int]:
    best: tuple[int, bool, list[int]] = (0, False, [])
    for mask in range(1, candidates + 1):
        group = nodes_of(mask)
        if mask & ~candidates or any(mask & ~(hears[node] | 1 << node) for node in group):
            continue
        rank = (len(group), master in group, [-node for node in group])
        best = max(best, rank)
    return [-node for node in best[2]]


@pytest.mark.parametrize("seed", range(200))
def test_the_group_is_the_one_that_a_search_through_all_subsets_finds(seed: int) -> None:
    randomness = random.Random(seed)
    nodes = randomness.randint(1, 8)
    hears = {node: sum(1 << other for other in range(nodes) if randomness.random() < 0.8) for node in range(nodes)}
    master = randomness.choice([None, *range(nodes)])
    candidates = (1 << nodes) - 1
    assert nodes_of(best_group(candidates, hears, master)) == by_brute_force(candidates, hears, master)


@pytest.mark.parametrize(
    ("hears", "candidates", "master", "group"),
    [
        pytest.param(full([0, 1, 2]), [0, 1, 2], 0, [0, 1, 2], id="all hear each other"),
        pytest.param(full([0], [1, 2]), [0, 1, 2], 0, [1, 2], id="the larger group wins over the master"),
        pytest.param(full([0, 1], [2, 3]), [0, 1, 2, 3], 3, [2, 3], id="a tie goes to the master's"),
        pytest.param(full([0, 1], [2, 3]), [0, 1, 2, 3], None, [0, 1], id="without master to the lowest id"),
        pytest.param(full([0, 1], [0, 2]), [0, 1, 2], 0, [0, 1], id="two links of one node: the lower one"),
        pytest.param(full([0, 1, 2]), [1, 2], 0, [1, 2], id="who does not see the disk is out"),
        pytest.param({0: 0b11, 1: 0b10}, [0, 1], 1, [1], id="hearing must be mutual"),
        pytest.param({}, [], None, [], id="nobody"),
    ],
)
def test_ties(hears: dict[int, int], candidates: list[int], master: int | None, group: list[int]) -> None:  # S5.2
    assert nodes_of(best_group(mask_of(candidates), hears, master)) == group


def test_64_nodes_with_random_links_are_no_trouble() -> None:
    randomness = random.Random(1)
    hears = {node: 1 << node for node in range(64)}
    for node in range(64):
        for other in range(node):
            if randomness.random() < 0.85:
                hears[node] |= 1 << other
                hears[other] |= 1 << node
    assert best_group((1 << 64) - 1, hears, 0).bit_count() > 15


def steps(monkeypatch: pytest.MonkeyPatch, hears: dict[int, int]) -> tuple[int, int]:
    """Taken for the group of 64 nodes, and its mask."""
    searches = []

    class Counted(connectivity.Search):
        def __init__(self, links: Mapping[int, int]) -> None:
            super().__init__(links)
            searches.append(self)

    monkeypatch.setattr(connectivity, "Search", Counted)
    group = best_group((1 << 64) - 1, hears, 0)
    return sum(search.steps for search in searches), group


def broken_links(randomness: random.Random, share: float) -> dict[int, int]:
    hears = {node: 1 << node for node in range(64)}
    for node in range(64):
        for other in range(node):
            if randomness.random() >= share:
                hears[node] |= 1 << other
                hears[other] |= 1 << node
    return hears


@pytest.mark.parametrize("seed", range(10))
def test_dozens_of_broken_links_among_64_nodes_are_far_from_the_end_of_the_search(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:  # S5.2
    randomness = random.Random(seed)
    hears = full(list(range(64)))
    for _ in range(24):
        node, other = randomness.sample(range(64), 2)
        hears[node] &= ~(1 << other)
    taken, group = steps(monkeypatch, hears)
    assert taken < connectivity.STEPS_MAX / 2
    assert group.bit_count() >= 64 - 24


@pytest.mark.parametrize("seed", range(10))
def test_the_search_ends_with_a_group_whatever_is_broken(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:  # S5.2
    hears = broken_links(random.Random(seed), 0.1)
    taken, group = steps(monkeypatch, hears)
    assert taken <= connectivity.STEPS_MAX
    assert all(group & ~hears[node] == 0 for node in nodes_of(group))
    assert group.bit_count() > 20
    connectivity._groups.clear()
    assert best_group((1 << 64) - 1, dict(hears), 0) == group


def test_some_questions_are_not_searched_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    assert steps(monkeypatch, broken_links(random.Random(2), 0.1))[0] == connectivity.STEPS_MAX
