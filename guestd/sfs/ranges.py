"""Ranges of bytes as nodes of a tree, so that locks in the six modes exclude each other where ranges overlap.

The 2^64 bytes that a file may have are the root; each node of the tree has 16 below it. A range is covered by the
fewest nodes. Whoever locks a range shared or exclusively takes its nodes in PR or EX, and every node above one of them
in CR or CW: these let all others in but those who want the whole node (Gray, Lorie, Putzolu and Traiger 1976: intention
locks, for which the modes were made).

A node is named by its depth and its place in that depth: (0, 0) is the root.
"""

from __future__ import annotations

from guestd.dlm.modes import Mode

TYPE_CHECKING = False
if TYPE_CHECKING:
    Node = tuple[int, int]
    Segment = tuple[int, int, bool]  # first byte, the one after the last, whether exclusive

BITS = 64
END = 1 << BITS
_STEP = 4  # bits of a level
DEPTH = BITS // _STEP


def cover(start: int, end: int) -> list[Node]:
    """The fewest nodes that are these bytes, `end` not among them."""
    nodes: list[Node] = []
    while start < end:
        shift = 0
        while shift < BITS:
            size = 1 << (shift + _STEP)
            if start % size or start + size > end:
                break
            shift += _STEP
        nodes.append((DEPTH - shift // _STEP, start >> shift))
        start += 1 << shift
    return nodes


def needed(segments: list[Segment]) -> dict[Node, Mode]:
    """In which mode each node is to be held by who has locked these segments, which do not overlap."""
    modes: dict[Node, Mode] = {}
    for start, end, exclusive in segments:
        intention = Mode.CW if exclusive else Mode.CR
        for depth, place in cover(start, end):
            modes[depth, place] = Mode.EX if exclusive else Mode.PR
            for up in range(1, depth + 1):
                above = (depth - up, place >> _STEP * up)
                modes[above] = max(modes.get(above, Mode.NL), intention, key=lambda mode: mode.value)
    return modes


def change(segments: list[Segment], start: int, end: int, exclusive: bool | None) -> list[Segment]:
    """The segments after locking these bytes, or unlocking them (None): as fcntl, the last one counts."""
    changed: list[Segment] = []
    for first, last, kind in segments:
        if first < start:
            changed.append((first, min(last, start), kind))
        if last > end:
            changed.append((max(first, end), last, kind))
    if exclusive is not None:
        changed.append((start, end, exclusive))
    changed.sort()
    joined: list[Segment] = []
    for first, last, kind in changed:
        if joined and joined[-1][1] == first and joined[-1][2] == kind:
            joined[-1] = (joined[-1][0], last, kind)
        else:
            joined.append((first, last, kind))
    return joined


def both(one: Mode, other: Mode) -> Mode:
    """The weakest mode that is as strong as each of the two."""
    if {one, other} == {Mode.CW, Mode.PR}:
        return Mode.PW
    return max(one, other, key=lambda mode: mode.value)
