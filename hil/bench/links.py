"""The bench's verbs on the interconnect: cuts and their ends, told as events when they are verified."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

from hil.bench.disk import check_nodes
from hil.bench.log import EventLog
from hil.errors import UsageError

HOW = ("carrier", "silent")
DIRECTIONS = ("both", "in", "out")
"""As the node sees it."""
SHARE_ALL = 1000
"""Per mille."""


class Links(Protocol):
    """What a silent cut is made with (:mod:`hil.bench.interconnect`, and the simulator's)."""

    def cut_silently(self, node: int, direction: str) -> None:
        """The node's datagrams in ``direction`` are lost; doing it twice is fine."""

    def cut_pairs(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Datagrams from the first to the second node of each pair are lost; doing it twice is fine."""

    def heal_silent(self, node: int) -> set[int]:
        """Undo every silent cut that ``node`` has a part in; which nodes are cut no more."""

    def impair(self, number: int, pairs: Iterable[tuple[int, int]], share: int) -> None:
        """Datagrams from the first to the second node of each pair are lost, ``share`` per mille of them."""

    def mend(self, number: int) -> None:
        """End an impairment; fine if there is none of that number."""

    def impairment_frames(self, number: int) -> tuple[int, int] | None:
        """How many datagrams it has met, and how many of them it has dropped; None: it is not in force."""


class Impairment(NamedTuple):
    """Who is told of as struck, by which fault, and between whom."""

    fault: str
    nodes: list[int]
    pairs: list[tuple[int, int]]


class LinkVerbs(ABC):
    """Verbs are called from the clients' threads."""

    log: EventLog
    links: Links

    def __init__(self) -> None:
        self._impairments: dict[int, Impairment] = {}

    @abstractmethod
    def node_count(self) -> int:
        """How many nodes there are."""

    @abstractmethod
    def carrier(self, node: int) -> str:
        """ "up" or "down"."""

    @abstractmethod
    def seen_carrier(self, node: int) -> str:
        """ "up" or "down", as it is and not as it was asked for; "absent" of a machine that is off."""

    @abstractmethod
    def set_carrier(self, node: int, state: str) -> None:
        """ "up" or "down", also of a machine that is off; verified."""

    def cut_link(
        self, nodes: list[int], how: str, direction: str = "both", others: list[int] | None = None
    ) -> dict[str, Any]:
        """Cut the interconnect of ``nodes``: ``how`` is "carrier" or "silent" (see :mod:`hil.bench.interconnect`).

        With ``others`` a silent cut is between ``nodes`` and those alone.
        """
        if how not in HOW or direction not in DIRECTIONS:
            raise UsageError(
                f"link cut: how is carrier or silent, direction both, in or out; not {how!r}, {direction!r}"
            )
        if how == "carrier" and direction != "both":
            raise UsageError("link cut: a carrier has no direction; --silent has")
        if others is not None:
            return self._cut_between(nodes, how, direction, others)
        check_nodes(nodes, self.node_count())
        for node in nodes:
            if how == "silent":
                self.links.cut_silently(node, direction)
            else:
                self.set_carrier(node, "down")
            self.log.emit("fault-injected", fault=f"link-{how}", node=node, direction=direction, verified=True)
        return {"nodes": nodes}

    def split(self, groups: list[list[int]]) -> dict[str, Any]:
        """Cut the interconnect silently between nodes of different ``groups``, everywhere at the same instant.

        A node that is in no group goes on hearing everybody.
        """
        named = sorted(node for group in groups for node in group)
        check_nodes(named, self.node_count())
        if len(groups) < 2 or not all(groups) or len(set(named)) < len(named):
            raise UsageError(f"split: {groups}; legal are two groups or more, none empty, no node in two of them")
        apart = {node: [other for other in named if other not in group] for group in groups for node in group}
        self.links.cut_pairs((node, other) for node, others in apart.items() for other in others)
        for node, others in apart.items():
            self._report_cut(node, "both", others)
        return {"groups": groups}

    def _cut_between(self, nodes: list[int], how: str, direction: str, others: list[int]) -> dict[str, Any]:
        if how != "silent" or not others or set(nodes) & set(others):
            raise UsageError(
                f"link cut of {nodes} from {others}: only a silent cut has another end, and that is other nodes"
            )
        check_nodes([*others, *nodes], self.node_count())
        ways = {
            "out": [(node, other) for node in nodes for other in others],
            "in": [(other, node) for node in nodes for other in others],
        }
        self.links.cut_pairs(pair for way, pairs in ways.items() if direction in (way, "both") for pair in pairs)
        for node in nodes:
            self._report_cut(node, direction, others)
        return {"nodes": nodes}

    def _report_cut(self, node: int, direction: str, others: list[int]) -> None:
        self.log.emit(
            "fault-injected", fault="link-silent", node=node, direction=direction, others=others, verified=True
        )

    def impair_link(
        self, number: int, fault: str, nodes: list[int], pairs: list[list[int]], share: int
    ) -> dict[str, Any]:
        """Drop ``share`` per mille of what the first node of each pair sends to the second.

        ``number``: of the injection, by which it is mended; ``fault`` and ``nodes``: what the events call it, and whom
        it strikes.
        """
        ways = [(pair[0], pair[1]) for pair in pairs if len(pair) == 2 and pair[0] != pair[1]]
        if not ways or len(ways) < len(pairs) or not 1 <= share <= SHARE_ALL:
            raise UsageError(f"impair_link: pairs {pairs}, share {share}; legal: pairs of two nodes, 1 to {SHARE_ALL}")
        check_nodes([*nodes, *(node for pair in ways for node in pair)], self.node_count())
        if number in self._impairments:
            raise UsageError(f"impair_link: number {number} is taken")
        self._impairments[number] = Impairment(fault, nodes, ways)
        self.links.impair(number, ways, share)
        for node in nodes:
            self.log.emit("fault-injected", fault=fault, number=number, node=node, verified=True)
        return {}

    def mend_link(self, number: int) -> dict[str, Any]:
        """End an impairment; fine if there is none of that number. ``lost``: datagrams that it has dropped."""
        frames = self.links.impairment_frames(number)
        self.links.mend(number)
        known = self._impairments.pop(number, None)
        if known is not None:
            for node in known.nodes:
                self.log.emit("fault-healed", fault=known.fault, number=number, node=node, verified=True)
        return {"lost": 0 if frames is None else frames[1]}

    def link_frames(self, number: int) -> dict[str, Any]:
        """Of an impairment: whether it is in force, how many datagrams it has met, and how many of them dropped."""
        frames = self.links.impairment_frames(number)
        met, lost = frames or (0, 0)
        return {"in_force": frames is not None, "met": met, "lost": lost}

    def set_carriers(self, nodes: list[int], state: str) -> dict[str, Any]:
        """Set the carriers of ``nodes`` "up" or "down", and nothing else of their links."""
        if state not in ("up", "down"):
            raise UsageError(f"set_carriers: state is up or down, not {state!r}")
        check_nodes(nodes, self.node_count())
        for node in nodes:
            if self.carrier(node) != state:
                self.set_carrier(node, state)
                kind = "fault-injected" if state == "down" else "fault-healed"
                self.log.emit(kind, fault="link-carrier", node=node, verified=True)
        return {"nodes": nodes}

    def carriers(self, nodes: list[int]) -> dict[str, Any]:
        """The carriers of ``nodes`` as they are, "up", "down", or "absent" of a machine that is off."""
        check_nodes(nodes, self.node_count())
        return {"carriers": [self.seen_carrier(node) for node in nodes]}

    def heal_link(self, nodes: list[int]) -> dict[str, Any]:
        """Undo every cut of the interconnect of ``nodes``; fine if there is none."""
        check_nodes(nodes, self.node_count())
        healed = set()
        for number, impairment in list(self._impairments.items()):
            ends = {node for pair in impairment.pairs for node in pair}
            if ends & set(nodes):
                self.mend_link(number)
                healed.update(impairment.nodes)
        for each in nodes:
            for node in sorted(self.links.heal_silent(each)):
                self.log.emit("fault-healed", fault="link-silent", node=node, verified=True)
                healed.add(node)
            if self.carrier(each) == "down":
                self.set_carrier(each, "up")
                self.log.emit("fault-healed", fault="link-carrier", node=each, verified=True)
                healed.add(each)
        return {"nodes": nodes, "healed": sorted(healed)}
