"""Faults that were tried and left out, and why."""

from __future__ import annotations

from typing import Final

LEFT_OUT: Final[dict[str, str]] = {
    "a transition waits for a level of a node whose own join has not come to it, or whose leave has given it up": (
        "it costs time and nothing else: no node's own transition waits for another one's, so each comes to that "
        "level, or to its end, by itself"
    ),
    "the late joins of one node do not wait for those of another one at the same level": (
        "whether another one is behind is a race that nobody outside the nodes can decide: the other batch may have "
        "begun a moment ago. `tests/unit/test_guestd_programs.py` holds it step by step"
    ),
    "mode `dekker`: whoever has held the others up for too long is not fenced then": (
        "the winner fences those whose flags it has ignored before it commits, and reads once more behind that fence. "
        "Both left out is `rival-not-fenced`"
    ),
    "a new master does not read once more behind the fence of the old one": (
        "not found in 48 seeds, and open: the old master's last commit would have to land between two commands of the "
        "new one, and nothing in the simulator aims there. The model has it (election.md)"
    ),
}
