"""Explicit-state model checking: every state that a model can reach, breadth first, and the shortest way to an error.

A model gives its initial state and, for each state, the steps from it. States are hashable values. Nothing is hashed
away: a state is left out only if an equal one was seen. There is no symmetry reduction, for node ids are not symmetric
(they decide between ballots, and are places in the bracket); what is reduced is reduced in the models, and said there.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Generic, NamedTuple, Protocol, TypeVar

S = TypeVar("S")


class Step(NamedTuple, Generic[S]):
    """What happens, the state after it, and the claim that it breaks, or None."""

    what: str
    after: S
    broken: str | None = None


class Model(Protocol[S]):
    """What the checker asks of a model."""

    def initial(self) -> S: ...

    def steps(self, state: S) -> Iterable[Step[S]]: ...


class Found(NamedTuple):
    """What a search has found. `trace` is the shortest way to a broken claim, or None: every state was seen."""

    states: int
    steps: int
    depth: int  # steps on the longest of all shortest ways
    traces: int = 0  # ways from the first state to one without a step from it, none of them left out
    broken: str | None = None
    trace: tuple[str, ...] | None = None

    def told(self) -> str:
        """The counter-example, one step a line."""
        if self.trace is None:
            return f"no counter-example in {self.states} states"
        lines = [f"{number:3}. {what}" for number, what in enumerate(self.trace, 1)]
        return "\n".join([f"{self.broken}:", *lines])


class Unbounded(AssertionError):
    """More states than the caller thought: the bounds of the model do not bound it."""


def explore(
    model: Model[S], most: int = 3_000_000, look: Callable[[S], str | None] | None = None, traces: bool = False
) -> Found:
    """Visit every reachable state, or stop at the first broken claim. Raises Unbounded after `most` states.

    look: a claim about a state by itself, which says how it is broken, or None. traces: count them.
    """
    first = model.initial()
    place = {first: 0}
    front = [first]
    parents = array("q", [-1])
    starts, targets = array("q"), array("q")  # the steps from state i lead to targets[starts[i]:starts[i + 1]]
    depth = 0
    while front:
        following = []
        for state in front:
            starts.append(len(targets))
            for step in model.steps(state):
                after = step.after
                if after not in place:
                    place[after] = len(place)
                    parents.append(place[state])
                    following.append(after)
                targets.append(place[after])
                broken = step.broken or (look(after) if look is not None else None)
                if broken is not None:
                    way = _way(model, _states_on_the_way(place, parents, place[state]))
                    return Found(len(place), len(targets), depth + 1, 0, broken, (*way, step.what))
        if len(place) > most:
            raise Unbounded(f"{len(place)} states after {depth + 1} steps (most: {most})")
        front = following
        depth += bool(front)
    starts.append(len(targets))
    return Found(len(place), len(targets), depth, _traces(starts, targets) if traces else 0)


def _traces(starts: array[int], targets: array[int]) -> int:
    """How many ways there are through all steps. Raises ValueError if a state can be reached from itself."""
    count = len(starts) - 1
    pending = array("q", [0]) * count
    for target in targets:
        pending[target] += 1
    ways = [0] * count
    ways[0] = 1
    ready, done, ended = [0] if not pending[0] else [], 0, 0
    while ready:
        state = ready.pop()
        done += 1
        own = ways[state]
        ways[state] = 0
        if starts[state] == starts[state + 1]:
            ended += own
        for target in targets[starts[state] : starts[state + 1]]:
            ways[target] += own
            pending[target] -= 1
            if not pending[target]:
                ready.append(target)
    if done < count:
        raise ValueError("there is a circle: its traces have no number")
    return ended


def _states_on_the_way(place: dict[S, int], parents: array[int], last: int) -> list[S]:
    """The states from the first to that one. A dictionary keeps its order, so a place is an index."""
    states = list(place)
    way = []
    while last >= 0:
        way.append(states[last])
        last = parents[last]
    return way[::-1]


def _way(model: Model[S], states: list[S]) -> list[str]:
    """What happened between each two states. Texts are not kept during the search: it would not fit."""
    return [next(step.what for step in model.steps(one) if step.after == other) for one, other in pairwise(states)]
