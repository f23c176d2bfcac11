"""Claim: for each transition of each node the levels come in order (spec S4.4, S4.6).

Join and forced leave go bottom-up, graceful leave top-down. Two orders can be trusted in the stream, for each comes
from one node's own line: the levels that one node was notified of, and the levels that the master completed. What two
different nodes did cannot be compared by its place in the stream; the bench reads their lines independently.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

from hil.errors import ClaimFailed
from hil.view import Event

TOP_DOWN = "leave"
"""The transition type whose levels descend; those of the others ascend."""


def completed_levels(events: Iterable[Event], subject: int, transition: str) -> list[int]:
    """The levels that a master completed of ``subject``'s ``transition``, in order, each once in a row."""
    levels: list[int] = []
    for event in events:
        if event["kind"] != "level-complete" or event["subject"] != subject or event["transition"] != transition:
            continue
        if levels[-1:] != [event["level"]]:  # a new master may complete anew what it took over
            levels.append(event["level"])
    return levels


def violations(events: Iterable[Event]) -> list[str]:
    """One sentence per level out of order; empty if the claim holds."""
    sequences: dict[tuple[str, int | None, int, int, str], list[int]] = {}
    for event in events:
        # Late joins come when a subsystem registers, whatever the higher levels have processed by then (spec S4.12).
        if event["kind"] in {"notified", "level-complete"} and not event.get("late"):
            key = (event["kind"], event.get("node"), event["subject"], event["incarnation"], event["transition"])
            sequences.setdefault(key, []).append(event["level"])
    return [sentence for key, levels in sequences.items() for sentence in _out_of_order(key, levels)]


def _out_of_order(key: tuple[str, int | None, int, int, str], levels: list[int]) -> Iterator[str]:
    kind, node, subject, incarnation, transition = key
    for before, after in pairwise(levels):
        if (after > before) if transition == TOP_DOWN else (after < before):
            yield (
                f"{transition} of node {subject} (incarnation {incarnation}): on node {node} {kind} at level {after}"
                f" after level {before}"
            )


def check(events: Iterable[Event]) -> None:
    """Raise :class:`ClaimFailed` naming every violation, if there is one."""
    if found := violations(events):
        raise ClaimFailed("; ".join(found))
