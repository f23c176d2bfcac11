"""What only a simulated cluster has done to it: ``cluster.simulation``. On guests each of these is refused by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hil.client.cluster import Cluster
    from hil.client.node import Node


class Simulation:
    """Raises :class:`hil.errors.UsageError` on guests, and for values that are not legal."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def lose_datagrams(self, share: float) -> dict[str, Any]:
        """From now on the interconnect loses that share of all datagrams, each for each receiver; 0 heals it."""
        return self._call("lose_datagrams", share=share)

    def slow_down(self, nodes: Iterable[Node] | Node, cost_ms: float) -> dict[str, Any]:
        """From now on each input takes the processors of ``nodes`` so many milliseconds; 0 heals it."""
        chosen = nodes if isinstance(nodes, Iterable) else [nodes]
        return self._call("slow_down", nodes=[node.id for node in chosen], cost_ms=cost_ms)

    def drift(self, node: Node, ppm: int) -> dict[str, Any]:
        """From its next boot on the node's clock runs so many millionths too fast, or (negative) too slow."""
        return self._call("drift", nodes=[node.id], ppm=ppm)

    def _call(self, name: str, **arguments: Any) -> dict[str, Any]:
        self._cluster.backend.require(f"simulation.{name}")
        result = self._cluster.caller.call(name, **arguments)
        self._cluster.catch_up_to_answer()
        return result
