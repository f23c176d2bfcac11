"""From "I miss somebody" to "this group goes on" (spec S5.1, S5.2).

T=0                       a link or a node falls silent
T=hears_ms                both ends publish on the disk that they do not hear each other any more
T=death_ms                who misses a member suspects it; others have seen the broken link on the disk as long
T=death_ms + settle_ms    everybody has published and read everything: the same group is computed everywhere

Each member that the group leaves out must have been missed for so long. One that was lost a little later than another
is still half in the picture: who lost it sooner would seem to be cut off, and be forced out for it.

A member that gasped is suspect at once, and in no group. If all the others are in one there is nothing to publish or to
read, and that group acts at once; if anybody else is missed it is as above. Who did not hear the gasp waits for the
silence.
"""

from __future__ import annotations

from guestd.membership.connectivity import best_group, mask_of, mutual, nodes_of
from guestd.membership.view import NO_MASTER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.core.context import Context
    from guestd.membership.observer import Observer
    from guestd.membership.view import View


class Suspicion:
    """What one node holds against the other members."""

    def __init__(self, context: Context, observer: Observer) -> None:
        self._context = context
        self._observer = observer
        self._silent: dict[int, int] = {}  # suspect member -> since when (ms)
        # Members that do not both hear each other -> since when it was seen on the disk (Observer.sighted_ms)
        self._broken: dict[tuple[int, int], int] = {}
        self._gasped: list[int] = []  # suspect members that have said that they end

    @property
    def pending(self) -> bool:
        """Somebody is suspect; heartbeats go to the disk faster while this lasts."""
        return bool(self._silent)

    @property
    def any(self) -> bool:
        """Something is held against somebody, or against a link between two."""
        return bool(self._silent or self._broken or self._gasped)

    @property
    def silent(self) -> list[int]:
        """The suspect members, ascending."""
        return sorted(self._silent)

    def update(self, view: View) -> None:
        """Look at all members again."""
        if not self._silent and self._observer.all_is_well(view.live(), view.live_mask):
            self._gasped, self._broken = [], {}  # as it nearly always is
            return
        now_ms = self._context.now_ms
        members = [node for node in view.live() if node != self._observer.node]
        self._gasped = []
        for node in members:
            silence = self._observer.silence(node)
            if self._observer.gasped(node, view.entries[node].incarnation):
                self._gasped.append(node)
                silence = ("gasp", 0)
            if silence is not None and node not in self._silent:
                self._silent[node] = now_ms
                self._context.emit("silent", subject=node, for_ms=silence[1], where=silence[0])
            elif silence is None and self._silent.pop(node, None) is not None:
                self._context.emit("heard", subject=node)
        for node in [node for node in self.silent if node not in members]:
            del self._silent[node]
        self._update_broken([node for node in members if node not in self._gasped])

    def group(self, view: View) -> int | None:
        """The mask of the members that go on, when it is time to act; None while there is nothing to act upon."""
        ripe = self._ripe()
        if not ripe:
            return None
        members = view.live()
        replaced = [node for node in members if self._observer.replaced(node, view.entries[node].incarnation)]
        ripe |= mask_of(replaced)
        going_on = [node for node in members if node not in self._gasped and node not in replaced]
        candidates = [node for node in going_on if self._observer.moves(node) and self._is_same_life(view, node)]
        master = None if view.master == NO_MASTER else view.master
        group = best_group(mask_of(candidates), self._published(members), master)
        left_out = mask_of(members) & ~group
        return group if left_out and not left_out & ~ripe else None

    def _ripe(self) -> int:
        """The mask of the members that may be put out of the group by now: what is held against them is old enough.

        The end of a broken link is one, of which the choice of the group says which.
        """
        if not (self._gasped or self._silent or self._broken):
            return 0
        now_ms, timing = self._context.now_ms, self._context.config.timing
        ripe = mask_of(self._gasped)
        for node, since_ms in self._silent.items():
            if now_ms >= since_ms + timing.settle_ms:
                ripe |= 1 << node | 1 << self._observer.node
        sighted_ms = self._observer.sighted_ms(now_ms)
        for (node, other), since_ms in self._broken.items():
            if sighted_ms >= since_ms + timing.broken_ms:
                ripe |= 1 << node | 1 << other
        return ripe

    def _published(self, members: list[int]) -> dict[int, int]:
        """Whom each member hears, by its heartbeat on the disk; by own knowledge for this node."""
        published = {self._observer.node: self._observer.hears()}
        for node in members:
            heartbeat = self._observer.peers[node].heartbeat
            if node != self._observer.node and heartbeat is not None:
                published[node] = heartbeat.hears
        return published

    def _is_same_life(self, view: View, node: int) -> bool:
        heartbeat = self._observer.peers[node].heartbeat
        incarnation = view.entries[node].incarnation
        return node == self._observer.node or (heartbeat is not None and heartbeat.incarnation == incarnation)

    def _update_broken(self, members: list[int]) -> None:
        own, hears = self._observer.node, self._observer.hears()
        moving = mask_of([node for node in members if self._observer.moves(node)]) | 1 << own
        links = mutual(moving, self._published(members))
        sighted_ms = self._observer.sighted_ms(self._context.now_ms)
        found = {}
        for node in nodes_of(moving):
            for other in nodes_of(moving & ~links[node]):
                # Whom this node does not hear is silent, which is counted from its last datagram.
                unheard = own in (node, other) and not (hears >> node & hears >> other & 1)
                if node < other and not unheard:
                    found[node, other] = self._broken.get((node, other), sighted_ms)
        self._broken = found
