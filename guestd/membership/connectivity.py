"""Which of the live nodes go on when some have lost touch (spec S5.2).

The largest group in which everybody hears everybody and whose heartbeats on the disk move; among equals the one with
the master, then the one with the lowest node id, then with the next lowest, so that all nodes find the same one. Sets
of nodes are bit masks.

Branch and bound with a colouring bound (Tomita and Seki 2003), first for the size, then, node by node in the order of
preference, for whether a group of that size has this node in it. The problem is NP-hard, and a node that thinks for a
second is as dead as one that is: so it ends after ``STEPS_MAX`` steps, with the best group so far. Cuts of nodes and
groups and dozens of broken links take far fewer; what takes more is every tenth link of sixty nodes broken at random.
Safety does not rest on the group, all find the same one in the same records, and the next period asks again.
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
    links = {node: candidates & hears.get(node, 0) & ~(1 << node) for node in nodes_of(candidates)}
    for node in links:
        for unheard in nodes_of(candidates & ~hears.get(node, 0)):  # few, mostly
            links[unheard] &= ~(1 << node)
    return links


STEPS_MAX = 2000  # of one question: some tens of milliseconds
_groups: dict[tuple[object, ...], int] = {}  # the last ones: who waits for something asks for the same again
_GROUPS_KEPT = 128


def best_group(candidates: int, hears: Mapping[int, int], master: int | None) -> int:
    """The mask of the group that survives.

    candidates: members whose heartbeats on the disk move; hears: whom each of them says it hears; master: its id, or
    None if nobody holds that office. The result is 0 only if there are no candidates.
    """
    asked = (candidates, master, *hears.items())
    group = _groups.get(asked)
    if group is None:
        group = _best_group(candidates, hears, master)
        if len(_groups) >= _GROUPS_KEPT:
            _groups.clear()
        _groups[asked] = group
    return group


def _best_group(candidates: int, hears: Mapping[int, int], master: int | None) -> int:
    links = mutual(candidates, hears)
    if all(links[node] | 1 << node == candidates for node in links):
        return candidates
    search = Search(links)
    best = search.largest(candidates, candidates.bit_count())
    size = best.bit_count()
    preferred = nodes_of(candidates)
    if master in preferred:
        preferred.insert(0, master)
    group, open_ = 0, candidates
    for node in preferred:
        if not open_ >> node & 1:
            continue
        if not best >> node & 1:  # else it is in one of that size
            missing = size - group.bit_count() - 1
            found = search.largest(open_ & links[node], missing)
            if found.bit_count() < missing:
                continue
            best = group | 1 << node | found
        group |= 1 << node
        open_ &= links[node]
    return best


class Search:
    """For groups among nodes with these mutual links. ``steps``: taken so far, at most ``STEPS_MAX``."""

    def __init__(self, links: Mapping[int, int]) -> None:
        self.steps = 0
        self._links = links
        self._best = 0
        self._enough = 0

    def largest(self, open_: int, enough: int) -> int:
        """The largest group among the open nodes, or one of `enough` nodes; with no steps left, one of them."""
        self._best, self._enough = 0, enough
        self._extend(0, open_)
        return self._best

    def _extend(self, group: int, open_: int) -> None:
        size = group.bit_count()
        if size > self._best.bit_count():
            self._best = group
        if not open_ or self.steps >= STEPS_MAX:
            return
        self.steps += 1
        # Colours are ascending: once the bound of a node is too low, so is that of all that come before it.
        for node, bound in reversed(_bounds(open_, self._links)):
            best = self._best.bit_count()
            if best >= self._enough or size + bound <= best:
                return
            self._extend(group | 1 << node, open_ & self._links[node])
            open_ &= ~(1 << node)


def _bounds(open_: int, links: Mapping[int, int]) -> list[tuple[int, int]]:
    """Each open node with its colour: nodes of one colour do not hear each other, so a group has one of each at most.

    The colour of a node is an upper bound for the groups among it and the nodes before it.
    """
    bounds = []
    colour = 0
    while open_:
        colour += 1
        apart = open_
        while apart:
            node = apart.bit_length() - 1  # from the highest: so the lowest are tried first, which are preferred
            bounds.append((node, colour))
            open_ &= ~(1 << node)
            apart &= ~(1 << node) & ~links[node]
    return bounds
