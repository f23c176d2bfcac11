"""Silent cuts of the simulated interconnect, as :mod:`hil.bench.interconnect` makes them: sets, not counts."""

from __future__ import annotations

import random
from collections.abc import Iterable

from hil.bench.links import SHARE_ALL
from hil.sim.network import Impairment, Network


class SimulatedLinks:
    """Of ``hil.bench.links.Links``; a carrier that is down is one more reason why nothing gets through."""

    def __init__(self, network: Network, nodes: int) -> None:
        self._network = network
        self._numbers = range(nodes)
        self._out: dict[int, None] = {}
        self._in: dict[int, None] = {}
        self._pairs: dict[tuple[int, int], None] = {}
        self._down: dict[int, None] = {}
        self._cut: set[tuple[int, int]] = set()
        self._impairments: dict[int, Impairment] = {}

    def cut_silently(self, node: int, direction: str) -> None:
        """Both ways, what it hears ("in"), or what the others hear of it ("out")."""
        if direction in ("both", "out"):
            self._out[node] = None
        if direction in ("both", "in"):
            self._in[node] = None
        self._apply()

    def cut_pairs(self, pairs: Iterable[tuple[int, int]]) -> None:
        """From the first to the second of each."""
        self._pairs.update(dict.fromkeys(pairs))
        self._apply()

    def heal_silent(self, node: int) -> set[int]:
        """Every silent cut that ``node`` has a part in; which nodes are cut no more."""
        before = self._nodes()
        self._out.pop(node, None)
        self._in.pop(node, None)
        self._pairs = {pair: None for pair in self._pairs if node not in pair}
        self._apply()
        return before - self._nodes()

    def impair(self, number: int, pairs: Iterable[tuple[int, int]], share: int, delay_us: int = 0) -> None:
        """A share per mille is lost, and the rest is late. Whom it strikes follows from the number."""
        draw = random.Random(f"impairment {number}").random
        made = self._impairments[number] = Impairment(tuple(pairs), share / SHARE_ALL, delay_us, draw)
        self._network.impair(made)

    def mend(self, number: int) -> None:
        """Fine if there is none."""
        made = self._impairments.pop(number, None)
        if made is not None:
            self._network.mend(made)

    def impairment_frames(self, number: int) -> tuple[int, int] | None:
        """How many datagrams it has met, and how many of them it dropped; None: it is not in force."""
        made = self._impairments.get(number)
        return None if made is None else (made.met, made.lost)

    def set_carrier(self, node: int, state: str) -> None:
        """ "up" or "down"."""
        if state == "down":
            self._down[node] = None
        else:
            self._down.pop(node, None)
        self._apply()

    def carrier(self, node: int) -> str:
        """ "up" or "down"."""
        return "down" if node in self._down else "up"

    def _nodes(self) -> set[int]:
        return {*self._out, *self._in, *(node for pair in self._pairs for node in pair)}

    def _apply(self) -> None:
        wanted = {
            (one, other)
            for one in self._numbers
            for other in self._numbers
            if one != other
            and (
                one in self._out
                or other in self._in
                or one in self._down
                or other in self._down
                or (one, other) in self._pairs
            )
        }
        self._network.cut(sorted(wanted - self._cut))
        self._network.heal(sorted(self._cut - wanted))
        self._cut = wanted
