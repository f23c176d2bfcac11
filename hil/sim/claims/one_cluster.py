"""Claim: a node that boots forms no second cluster beside one that lives (S5.4, A10).

Asked at the moment at which a node that is not a member bids for an epoch: then no member of the newest membership may
have shown, all through the time after which silence counts as death, that it lives: by heartbeats on the disk. Left out
are bidders that stood still or were slow a little before, who may go by what they read long ago, those to whom another
node has written the epoch over, and who bids for it once more (election.md).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, cast

from guestd.membership.roles import Role
from hil.checkers.checker import Checker
from hil.checkers.observation import Observation
from hil.checkers.records import is_heartbeat

if TYPE_CHECKING:
    from guestd.membership.records import Ballot
    from guestd.membership.view import View
    from hil.checkers.checker import Bench
    from hil.checkers.observation import Life
    from hil.sim.world import World

_PARTS: Final = 4
"""Of the time of a death, in each of which a member that lives has written a heartbeat."""


class OneCluster(Checker):
    """The newest membership, and when each life has last written its heartbeat."""

    claim = "a node that boots forms no second cluster beside one that lives (S5.4)"
    kinds = ("bid",)
    needs = (Observation.INSIDE,)

    def begin(self, bench: Bench) -> None:
        """Of a simulated cluster."""
        super().begin(bench)
        self.world = cast("World", bench)

    def __init__(self) -> None:
        self._view: View | None = None
        self._since: dict[tuple[int, int], int] = {}  # (node, incarnation) -> when it was committed as a member (µs)
        self._beats: dict[tuple[int, int], deque[int]] = {}  # (node, incarnation) -> times (µs)
        self._bids: set[tuple[int, int, int]] = set()  # (node, incarnation, epoch)
        self._given: set[tuple[int, int]] = set()  # (epoch, node): written over to it by another node

    def committed(self, node: Life, life: int, view: View) -> None:
        """Who is a member, and since when."""
        self._view = view
        for number in view.live():
            self._since.setdefault((number, view.entries[number].incarnation), self.world.queue.now_us)

    def voted(self, node: Life, life: int, ballot: Ballot) -> None:
        """Whom somebody has taken over as the owner of an epoch."""
        if ballot.bal and ballot.owner != node.number:
            self._given.add((ballot.epoch, ballot.owner))

    def landed(self, node: Life, life: int, lba: int, data: bytes) -> None:
        """Who shows life."""
        if is_heartbeat(lba) and node.life == life:
            life_of_it = (node.number, node.incarnation)
            beats = self._beats.get(life_of_it)
            if beats is None:
                beats = self._beats[life_of_it] = deque(maxlen=16)
            beats.append(self.world.queue.now_us)

    def ended(self, node: Life) -> None:
        """It may have told the others with its last gasp."""
        self._beats.pop((node.number, node.incarnation), None)

    def emitted(self, node: Life, kind: str, fields: dict[str, Any]) -> None:
        """Who bids."""
        machine = self.world.nodes[node.number]
        if self._view is None or machine.stack is None or machine.stack.member.role is not Role.OUTSIDE:
            return
        death_us = self.world.options.timing.death_ms * 1000
        bid = (node.number, node.incarnation, fields["epoch"])
        again = bid in self._bids  # what was begun goes on, and in mode `dekker` must
        self._bids.add(bid)
        again = again or fields["epoch"] <= self._view.epoch  # one that is over: it loses that bid
        if again or (fields["epoch"], node.number) in self._given or not machine.went_on_for(3 * death_us):
            return
        for other in self._view.live():
            if other != node.number and self._lives(other, self._view.entries[other].incarnation, death_us):
                self.fail(f"node {node.number} ({node.incarnation}) bids for {fields['epoch']}, and node {other} lives")

    def _lives(self, node: int, incarnation: int, death_us: int) -> bool:
        if self.world.queue.now_us - self._since[node, incarnation] < 2 * death_us:
            return False  # who bids may not have read that yet
        ages_us = [self.world.queue.now_us - at for at in self._beats.get((node, incarnation), ())]
        part_us = death_us // _PARTS
        return {part for age_us in ages_us if (part := age_us // part_us) < _PARTS} == set(range(_PARTS))
