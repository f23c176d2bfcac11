"""What a node sends arrives later (spec S10.3).

On guests by netem, the kernel's own, in the guest: the host's kernel need not have it. So it is of one direction, out.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

from hil.errors import NothingToStrike
from hil.faults.fault import Fault
from hil.faults.parameters import Integer, Parameters

if TYPE_CHECKING:
    from hil.client import Node

CARD = "dev=$(grep -l 52:54:00:77: /sys/class/net/*/address | cut -d/ -f5)"
QUEUE_PACKETS_MAX = 10_000
"""Of netem: more than a node sends within the longest delay."""


class LinkDelay(Fault):
    """Datagrams keep their order."""

    kind = "link-delay"
    about = "what the node sends arrives so much later"
    held = (
        "the guest's kernel shows the queue with its delay, and that a packet has gone through it; in the simulator a"
    )
    held += " datagram has met the delay"
    undone = "the queue is gone"
    parameters: ClassVar[Parameters] = {"ms": Integer(1, 10_000, None, "milliseconds")}
    shown = True

    def set_up(self) -> None:
        """There is one queue for each card."""
        self.need_on(unfrozen=True)
        self.note_lives()
        for node in self.nodes if not self.simulated else []:
            if self._queue(node) is not None:
                raise NothingToStrike(f"{self.kind} of node {node.id}: what it sends is delayed already")

    def inject(self) -> None:
        """One after the other."""
        ms = self.values["ms"]
        if self.simulated:
            everybody = range(len(self.cluster.nodes))
            pairs = [(node, other) for node in self.ids for other in everybody if other != node]
            self.call("delay_link", number=self.number, pairs=pairs, ms=ms)
            return
        for node in self.nodes:
            netem = f"tc qdisc add dev $dev root netem delay {ms}ms limit {QUEUE_PACKETS_MAX}"
            self.shell(node, f"{CARD}; modprobe sch_netem && {netem}")

    def why_not_held(self) -> str | None:
        """By what went through it."""
        if self.simulated:
            return None if self.call("link_frames", number=self.number)["met"] else "it has met no datagram yet"
        for node in self.nodes:
            queue = self._queue(node)
            if queue is None:
                return f"node {node.id} shows no such queue"
            if round(queue["options"]["delay"]["delay"] * 1000) != self.values["ms"]:
                return f"node {node.id} shows a delay of {queue['options']['delay']['delay']} s"
            if not queue["packets"]:
                return f"no packet of node {node.id} has gone through the queue yet"
        return None

    def recover(self) -> None:
        """Of machines in whose memory it still is."""
        if self.simulated:
            self.call("mend_link", number=self.number)
            return
        for node in self.nodes:
            if self.lives(node) and self._queue(node) is not None:
                self.shell(node, f"{CARD}; tc qdisc del dev $dev root")

    def why_not_undone(self) -> str | None:
        """A look."""
        if self.simulated:
            return "it is in force" if self.call("link_frames", number=self.number)["in_force"] else None
        left = [node for node in self.nodes if self.lives(node) and self._queue(node) is not None]
        return f"node {left[0].id} still shows the queue" if left else None

    def _queue(self, node: Node) -> dict[str, Any] | None:
        shown = json.loads(self.shell(node, f"{CARD}; tc -s -j qdisc show dev $dev"))
        return next((one for one in shown if one["kind"] == "netem"), None)
