"""The bench's verbs on the interconnect: cuts and their ends, told as events when they are verified."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Protocol

from hil.bench.disk import check_nodes
from hil.bench.log import EventLog
from hil.errors import UsageError

HOW = ("carrier", "silent")
DIRECTIONS = ("both", "in", "out")
"""As the node sees it."""


class Links(Protocol):
    """What a silent cut is made with (:mod:`hil.faults.link`, and the simulator's)."""

    def cut_silently(self, node: int, direction: str) -> None:
        """The node's datagrams in ``direction`` are lost; doing it twice is fine."""

    def cut_pairs(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Datagrams from the first to the second node of each pair are lost; doing it twice is fine."""

    def heal_silent(self, node: int) -> set[int]:
        """Undo every silent cut that ``node`` has a part in; which nodes are cut no more."""


class LinkVerbs(ABC):
    """Verbs are called from the clients' threads."""

    log: EventLog
    links: Links

    @abstractmethod
    def node_count(self) -> int:
        """How many nodes there are."""

    @abstractmethod
    def carrier(self, node: int) -> str:
        """ "up" or "down"."""

    @abstractmethod
    def set_carrier(self, node: int, state: str) -> None:
        """ "up" or "down", also of a machine that is off; verified."""

    def cut_link(
        self, nodes: list[int], how: str, direction: str = "both", others: list[int] | None = None
    ) -> dict[str, Any]:
        """Cut the interconnect of ``nodes``: ``how`` is "carrier" or "silent" (see :mod:`hil.faults.link`).

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

    def heal_link(self, nodes: list[int]) -> dict[str, Any]:
        """Undo every cut of the interconnect of ``nodes``; fine if there is none."""
        check_nodes(nodes, self.node_count())
        healed = set()
        for each in nodes:
            for node in sorted(self.links.heal_silent(each)):
                self.log.emit("fault-healed", fault="link-silent", node=node, verified=True)
                healed.add(node)
            if self.carrier(each) == "down":
                self.set_carrier(each, "up")
                self.log.emit("fault-healed", fault="link-carrier", node=each, verified=True)
                healed.add(each)
        return {"nodes": nodes, "healed": sorted(healed)}
