"""The checker itself, on models small enough to count by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.model.checker import Step, Unbounded, explore

Place = tuple[int, int]


class Grid:
    """From (0, 0) one to the right or one up, to (2, 2): 9 places, 12 steps, 6 ways."""

    def __init__(self, wrong: Place | None = None, size: int = 3) -> None:
        self.wrong = wrong
        self.size = size

    def initial(self) -> Place:
        return 0, 0

    def steps(self, state: Place) -> Iterator[Step[Place]]:
        x, y = state
        for what, after in (("up", (x, y + 1)), ("right", (x + 1, y))):
            if max(after) < self.size:
                yield Step(what, after, "wrong place" if after == self.wrong else None)


class Circle:
    """Round and round."""

    def initial(self) -> int:
        return 0

    def steps(self, state: int) -> Iterator[Step[int]]:
        yield Step("on", (state + 1) % 3)


def test_every_state_step_and_trace_is_counted() -> None:
    found = explore(Grid(), traces=True)
    assert (found.states, found.steps, found.depth, found.traces) == (9, 12, 4, 6)
    assert found.trace is None
    assert found.told() == "no counter-example in 9 states"


def test_the_counter_example_is_the_shortest_way_and_can_be_read() -> None:
    found = explore(Grid(wrong=(1, 0)))
    assert found.trace == ("right",)
    found = explore(Grid(wrong=(2, 0)))
    assert found.told() == "wrong place:\n  1. right\n  2. right"


def test_a_claim_about_states_gives_the_way_to_the_state() -> None:
    found = explore(Grid(), look=lambda state: "there" if state == (1, 2) else None)
    assert found.broken == "there"
    assert found.trace is not None
    assert sorted(found.trace) == ["right", "up", "up"]


def test_a_model_without_bounds_is_refused_and_a_circle_has_no_number_of_traces() -> None:
    with pytest.raises(Unbounded, match="most: 100"):
        explore(Grid(size=1000), most=100)
    assert explore(Circle()).states == 3
    with pytest.raises(ValueError, match="circle"):
        explore(Circle(), traces=True)
