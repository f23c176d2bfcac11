"""Which of the live nodes go on when some have lost touch (spec S5.2).

The largest group in which everybody hears everybody and whose heartbeats on the disk move; among equals the one with
the master, then the one with the lowest node id. Sets of nodes are bit masks. Exact: the search tries "with this node"
before "without it" and gives up a branch that cannot become as large as the best group so far. In practice nearly all
nodes hear each other, and the first branch is the answer.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def mask_of(nodes: list[int]) -> int:
    """The bit mask of a list of node ids."""
    mask = 0
    for node in nodes:
        mask |= 1 << node
    return mask


def nodes_of(mask: int) -> list[int]:
    """The node ids in a bit mask, ascending."""
    return [node for node in range(mask.bit_length()) if mask >> node & 1]


def mutual(candidates: int, hears: Mapping[int, int]) -> dict[int, int]:
    """For each candidate the mask of other candidates that it hears and that hear it."""
    return {
        node: mask_of(
            [
                other
                for other in nodes_of(candidates)
                if other != node and hears.get(node, 0) >> other & 1 and hears.get(other, 0) >> node & 1
            ]
        )
        for node in nodes_of(candidates)
    }


def best_group(candidates: int, hears: Mapping[int, int], master: int | None) -> int:
    """The mask of the group that survives.

    candidates: members whose heartbeats on the disk move; hears: whom each of them says it hears; master: its id, or
    None if nobody holds that office. The result is 0 only if there are no candidates.
    """
    links = mutual(candidates, hears)
    masters = 0 if master is None else 1 << master
    best: tuple[int, bool, int] = (0, False, 0)
    best_mask = 0

    def extend(group: int, open_: int) -> None:
        nonlocal best, best_mask
        size = group.bit_count()
        if size + open_.bit_count() < best[0]:
            return
        if not open_:
            lowest = (group & -group).bit_length() - 1
            # A lower lowest id is better; of two groups with the same lowest id the smaller mask, so that the
            # answer does not depend on the order of the search.
            rank = (size, bool(group & masters), -lowest)
            if rank > best or (rank == best and group < best_mask):
                best, best_mask = rank, group
            return
        node = _most_linked(open_, links)
        extend(group | 1 << node, open_ & links[node])
        # A node that hears everybody still open belongs to every best group: leaving it out gains nothing.
        without = open_ & ~(1 << node)
        if without & ~links[node]:
            extend(group, without)

    if candidates:
        extend(0, candidates)
    return best_mask


def _most_linked(open_: int, links: Mapping[int, int]) -> int:
    """The open node with the most links to other open ones; the lowest id among equals."""
    return max(nodes_of(open_), key=lambda node: ((links[node] & open_).bit_count(), -node))
