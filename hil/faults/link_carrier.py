"""The carrier of a node's interconnect goes down: its driver sees it (spec S10.3)."""

from __future__ import annotations

from hil.errors import NothingToStrike
from hil.faults.fault import Fault


class LinkCarrier(Fault):
    """As a cable that is pulled.

    The guest is not asked: a login takes longer than a node may be cut off on a host that has other work.
    """

    kind = "link-carrier"
    about = "the carrier goes down: the node's driver sees it"
    held = "libvirt shows the card without a carrier"
    undone = "libvirt shows the card with its carrier"

    def set_up(self) -> None:
        """A machine that is off has no driver that could see it."""
        self.need_on(unfrozen=not self.simulated)
        for node, seen in zip(self.nodes, self.call("carriers", nodes=self.ids)["carriers"], strict=True):
            if seen != "up":
                raise NothingToStrike(f"{self.kind} of node {node.id}: its carrier is {seen} already")

    def inject(self) -> None:
        """One after the other."""
        self.call("set_carriers", nodes=self.ids, state="down")

    def why_not_held(self) -> str | None:
        """libvirt's word."""
        return self._why_not("down")

    def recover(self) -> None:
        """What others have cut stays cut. Also of a machine that is off: it is to start with it."""
        self.call("set_carriers", nodes=self.ids, state="up")

    def why_not_undone(self) -> str | None:
        """libvirt's word."""
        return self._why_not("up")

    def _why_not(self, wanted: str) -> str | None:
        for node, seen in zip(self.nodes, self.call("carriers", nodes=self.ids)["carriers"], strict=True):
            if seen not in (wanted, "absent"):
                return f"libvirt shows node {node.id}'s carrier {seen}"
        return None
