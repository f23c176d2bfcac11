"""The interconnect, silently: nobody is told that datagrams are lost (spec S10.3).

On guests nftables drops frames in the bridge, in the simulator the network does. Whoever drops counts what it met.
"""

from __future__ import annotations

from typing import ClassVar

from hil.bench.links import SHARE_ALL
from hil.errors import UsageError
from hil.faults.fault import Fault
from hil.faults.parameters import Choice, Groups, Integer, Nodes, Optional, Parameters

DIRECTION = Choice(("both", "out", "in"), "both", "as the node sees it: what it sends (out), what it hears (in)")
OTHERS = Optional(Nodes("the nodes at the other end; default: all others"))
Pairs = list[tuple[int, int]]


class _Impaired(Fault):
    undone = "whoever drops them shows that nothing is dropped for this fault any more"

    def set_up(self) -> None:
        """A machine that is off sends nothing."""
        self.need_on()
        self.pairs()

    def pairs(self) -> Pairs:
        """From, to. Raises :class:`UsageError`."""
        numbers = range(len(self.cluster.nodes))
        others = self.values.get("others") or [node for node in numbers if node not in self.ids] or list(numbers)
        for other in others:
            self.cluster.node(other)
        direction = self.values["direction"]
        found = {(node, other) for node in self.ids for other in others if node != other and direction != "in"}
        found |= {(other, node) for node in self.ids for other in others if node != other and direction != "out"}
        if not found:
            raise UsageError(f"fault {self.kind}: nodes {self.ids} have no others at the other end of {others}")
        return sorted(found)

    @property
    def share(self) -> int:
        """Per mille."""
        return SHARE_ALL

    def inject(self) -> None:
        """Everywhere at the same instant."""
        about = {"number": self.number, "fault": self.kind, "nodes": self.ids}
        self.call("impair_link", **about, pairs=self.pairs(), share=self.share)

    def why_not_held(self) -> str | None:
        """It has met a datagram."""
        seen = self.call("link_frames", number=self.number)
        if not seen["in_force"]:
            return "it is not in force"
        return None if seen["met"] else "it has met no datagram yet"

    def recover(self) -> None:
        """What others have cut stays cut."""
        self.state["lost"] = self.call("mend_link", number=self.number)["lost"]

    def why_not_undone(self) -> str | None:
        """A look."""
        return "it is in force" if self.call("link_frames", number=self.number)["in_force"] else None


class LinkSilent(_Impaired):
    """Its card keeps its carrier."""

    kind = "link-silent"
    about = "all datagrams between the node and the others are lost, or those of one direction"
    held = "it has met a datagram, which was dropped"
    parameters: ClassVar[Parameters] = {"direction": DIRECTION, "others": OTHERS}


class LinkLoss(_Impaired):
    """Each frame by itself, whatever was lost before."""

    kind = "link-loss"
    about = "a share of the datagrams between the node and the others is lost"
    held = "it has met a datagram, of which was drawn whether it is lost"
    parameters: ClassVar[Parameters] = {
        "share": Integer(1, SHARE_ALL, None, "how many of a thousand"),
        "direction": DIRECTION,
        "others": OTHERS,
    }

    @property
    def share(self) -> int:
        """As given."""
        return int(self.values["share"])


class LinkSplit(_Impaired):
    """Everywhere at the same instant."""

    kind = "link-split"
    about = "the nodes and the rest do not hear each other, or nodes of different groups"
    held = "it has met a datagram, which was dropped"
    parameters: ClassVar[Parameters] = {
        "groups": Optional(Groups("instead of the nodes and the rest; who is in none hears everybody"))
    }

    def set_up(self) -> None:
        """Of groups it is enough that somebody sends."""
        self.pairs()
        if "groups" not in self.values:
            self.need_on()

    def pairs(self) -> Pairs:
        """Between the groups."""
        rest = [node.id for node in self.cluster.nodes if node.id not in self.ids]
        groups = self.values.get("groups") or [self.ids, rest]
        if not all(groups):
            raise UsageError(
                f"fault {self.kind}: nodes {self.ids} are all that there are: nobody is left to split from"
            )
        group_of = {self.cluster.node(node).id: index for index, group in enumerate(groups) for node in group}
        return [(one, other) for one in group_of for other in group_of if group_of[one] != group_of[other]]
