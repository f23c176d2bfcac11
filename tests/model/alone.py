"""Whatever has happened, a node that runs alone from then on comes to own an epoch (spec S3.1, S3.3).

The claims about bad writes hold for a node that does nothing. This is the other half: from every state that a search
reaches, each node in turn is the only one that goes on, booted again if it has panicked, and must commit one epoch
more, by steps that it would take anyhow: it looks when there is news, else it bids; it suspects all others.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.model.protocol import Protocol, State

STEPS_MAX = 150  # a bid of three nodes is some twenty steps, and few can be in vain


def claim(protocol: Protocol) -> Callable[[State], str | None]:
    """For `explore(look=...)`. The lone node is not held to the bounds of the search."""
    more = 2
    bounds = protocol.bounds
    wider = bounds._replace(epochs=bounds.epochs + more, rounds=bounds.rounds + STEPS_MAX, restarts=0, lost=0)
    free = type(protocol)(protocol.rules, wider, frozenset())
    known: list[set[State]] = [set() for _ in range(bounds.nodes)]  # from these it was seen to come to an end

    def look(state: State) -> str | None:
        spare = (None,) * more
        state = state._replace(
            restarts=0, lost=0, committed=(*state.committed, *spare), decided=(*state.decided, *spare), fenced=()
        )
        for n in range(bounds.nodes):
            if not _commits(free, state, n, known[n]):
                return f"n{n} alone never comes to own an epoch"
        return None

    return look


def _commits(protocol: Protocol, state: State, n: int, known: set[State]) -> bool:
    way: set[State] = set()
    before = state.committed
    for _ in range(STEPS_MAX):
        own = (n, state.nodes[n].life)
        news = (
            commit for old, commit in zip(before, state.committed, strict=True) if commit is not None and old is None
        )
        if state in known or any((commit.owner, commit.life) == own for commit in news):
            known |= way
            return True
        way.add(state)
        following = _next(protocol, state, n)
        if following is None:
            return False
        state = following
    return False


def _next(protocol: Protocol, state: State, n: int) -> State | None:
    node = state.nodes[n]
    if node.at == "dead":
        again = protocol._blank(protocol.rules.boot[0], node.life + 1)
        return state._replace(nodes=(*state.nodes[:n], again, *state.nodes[n + 1 :]))
    for write in state.disk.queue:
        if (write.node, write.life) == (n, node.life):
            return protocol._land(state, write).after
    steps = list(protocol._steps_of(state, n, node))
    if not steps:
        return None
    return steps[0 if node.at in ("up", "wait") else -1].after
