"""Silent cuts of a recorded run that were no injections: whom they cut from whom, until nobody is cut any more.

The bench keeps them as sets, not as counts (:mod:`hil.bench.links`): who heals a node's link undoes every cut that it
has a part in, and who is cut from nobody any more is told of.
"""

from __future__ import annotations

from hil.evidence.found import Found


class Cuts:
    """``found``: all faults of the run, in their order; what is made of cuts later is put in their place."""

    def __init__(self, found: list[Found]) -> None:
        self._found = found
        self._open: dict[int, list[Found]] = {}
        self._made: list[Found] = []
        self._split: list[Found] = []
        """Consecutive ones of one instant, both ways and each with its others."""

    def cut(self, fault: Found) -> None:
        """One node is cut, from all or from ``others``."""
        self._open.setdefault(fault.nodes[0], []).append(fault)
        self._made.append(fault)
        if "others" in fault.parameters and "direction" not in fault.parameters and fault.held:
            self._split.append(fault)
        else:
            self.end_split()

    def over(self, node: int, at_s: float) -> None:
        """``node`` is cut from nobody any more: neither by its own cuts nor by those of others from it."""
        for fault in self._open.pop(node, []):
            if fault.kind == "link-split":  # over with the last of its nodes
                fault.end_s = at_s
            fault.over(at_s, node)
        for faults in self._open.values():
            for place, fault in enumerate(faults):
                if node in fault.parameters.get("others", []) and fault.end_s is None and fault.held:
                    faults[place] = self._go_on_without(node, fault)
                    fault.over(at_s)

    def _go_on_without(self, node: int, fault: Found) -> Found:
        """A cut from several is two: one from ``node``, which is over, and the rest."""
        left = [one for one in fault.parameters["others"] if one != node]
        if not left:
            return fault
        rest = Found(fault.kind, fault.nodes, fault.at_s, {**fault.parameters, "others": left})
        fault.parameters = {**fault.parameters, "others": [node]}
        self._found.insert(self._found.index(fault) + 1, rest)
        self._made.append(rest)
        return rest

    def finish(self, nodes: int) -> None:
        """There are no more events. That the others are all that there are need not be said."""
        self.end_split()
        for fault in self._made:
            if len(fault.parameters.get("others", [])) == nodes - 1:
                fault.parameters = {name: value for name, value in fault.parameters.items() if name != "others"}

    def end_split(self) -> None:
        """Cuts of one verb that are between groups are one fault, at one instant."""
        cuts, self._split = self._split, []
        groups: dict[tuple[int, ...], list[int]] = {}
        for fault in cuts:
            groups.setdefault(tuple(fault.parameters["others"]), []).append(fault.nodes[0])
        named = sorted(fault.nodes[0] for fault in cuts)
        whole = all(sorted([*group, *others]) == named for others, group in groups.items())
        if len(groups) < 2 or not whole:
            return
        split = Found("link-split", tuple(named), cuts[0].at_s, {"groups": sorted(map(sorted, groups.values()))})
        self._found[self._found.index(cuts[0])] = split
        for fault in cuts:
            if fault in self._found:
                self._found.remove(fault)
            known = self._open[fault.nodes[0]]
            known[known.index(fault)] = split
