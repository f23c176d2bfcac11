"""Explicit-state model checking: every state that a model can reach, breadth first, and the shortest way to a wrong one.

A model gives its initial state and, for each state, the steps from it. States are hashable values. Nothing is hashed
away: a state is left out only if an equal one was seen. There is no symmetry reduction, for node ids are not symmetric
(they decide between ballots, and are places in the bracket); what is reduced is reduced in the models, and said there.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
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
    ends: int  # states without a step from them
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


def explore(model: Model[S], most: int = 3_000_000) -> Found:
    """Visit every reachable state, or stop at the first broken claim. Raises Unbounded after `most` states."""
    first = model.initial()
    place = {first: 0}
    front = [first]
    parents = array("q", [-1])
    steps = depth = ends = 0
    while front:
        following = []
        for state in front:
            before = steps
            for step in model.steps(state):
                steps += 1
                if step.broken is not None:
                    way = _way(model, _states_on_the_way(place, parents, place[state]))
                    return Found(len(place), steps, depth + 1, ends, step.broken, (*way, step.what))
                if step.after not in place:
                    parents.append(place[state])
                    place[step.after] = len(place)
                    following.append(step.after)
            ends += steps == before
        if len(place) > most:
            raise Unbounded(f"{len(place)} states after {depth + 1} steps (most: {most})")
        front = following
        depth += bool(front)
    return Found(len(place), steps, depth, ends)


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
    pairs = zip(states, states[1:], strict=False)
    return [next(step.what for step in model.steps(one) if step.after == other) for one, other in pairs]
