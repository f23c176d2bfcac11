"""Which levels there are in the cluster, agreed between all nodes (spec S4.1, S4.12).

Every node announces in its datagrams what is registered with it. The master agrees to the first number of barriers that
it is asked for at a level, and tells that in its datagrams; a node that hears it in the epoch that it knows itself lets
its program in. Nothing is taken back within an epoch, so it does no harm to hear of an agreement late.

A new master knows of no agreement. It makes none before it has heard every live node in its own epoch: from then on no
node lets in a program because of what an earlier master has said, and what was let in before is announced as active.

For the transitions themselves no agreement is needed: an acknowledgement comes in one datagram with the announcements,
so a master that moves a transition on knows every level that was registered when the nodes acknowledged where it is.
"""

from __future__ import annotations

from guestd.membership.announcement import LEVELS_MAX
from guestd.membership.roles import Role

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from guestd.membership.announcement import Announcement
    from guestd.membership.datagram import Say
    from guestd.membership.member import Member
    from guestd.transition.levels import Level
    from guestd.transition.programs import Programs


class Registry:
    """One node's part in that agreement."""

    def __init__(self, member: Member, programs: Programs) -> None:
        self._member = member
        self._programs = programs
        self._epoch = 0  # in which this was agreed:
        self._agreed: dict[int, Level] = {}

    def heard(self, say: Say) -> None:
        """The master's datagram: what it has agreed to in its epoch."""
        if say.view is not None and say.view.epoch >= self._epoch:
            self._epoch = say.view.epoch
            self._agreed = {level.order: level for level in say.levels}

    @property
    def settled(self) -> bool:
        """Whether nothing is agreed to any more in this epoch but what programs ask for that register only now."""
        return self._epoch == self._member.view.epoch and self._has_heard_all()

    def levels(self) -> tuple[Level, ...]:
        """For the master's datagrams."""
        view = self._member.view
        if view.master != self._member.node or self._epoch != view.epoch:
            return ()
        return tuple(self._agreed[order] for order in sorted(self._agreed))

    def settle(self) -> None:
        """After every input: agree, let programs in, take late ones through the joins that they have not processed."""
        member = self._member
        if not member.inside:
            return
        if member.role is Role.MASTER:
            self._agree()
        if not self._programs:
            return
        if self._epoch == member.view.epoch:
            self._programs.seat(self._level, self._named)
        while member.participant.is_behind() and (progress := member.participant.catch_up(self._active_elsewhere())):
            member.report(progress)

    def announced(self) -> Iterator[tuple[int, Announcement]]:
        """What the live nodes have registered at run time, this one included: (node, what)."""
        member = self._member
        for node in member.view.live():
            peer = member.observer.peers[node]
            known: tuple[Announcement, ...] = ()
            if node == member.node:
                known = self._programs.announcements()
            elif peer.heard_incarnation == member.view.entries[node].incarnation:
                known = peer.programs
            for one in known:
                yield node, one

    def _agree(self) -> None:
        """The master's part."""
        member = self._member
        before = self._agreed if self._epoch == member.view.epoch else {}
        announced = list(self.announced())
        if not announced:
            self._epoch, self._agreed = member.view.epoch, before
            return
        agreed = dict(before)
        for _, one in announced:
            if one.active:
                agreed.setdefault(one.level.order, one.level)
        if self._has_heard_all():
            for _, one in announced:
                if one.level.order not in member.built_in and len(agreed) < LEVELS_MAX:
                    agreed.setdefault(one.level.order, one.level)
        if agreed != before:
            member.changed = True
        self._epoch, self._agreed = member.view.epoch, agreed

    def _has_heard_all(self) -> bool:
        member = self._member
        return all(
            node == member.node
            or (peer.heard_incarnation, peer.heard_epoch) == (member.view.entries[node].incarnation, member.view.epoch)
            for node in member.view.live()
            for peer in (member.observer.peers[node],)
        )

    def _level(self, order: int) -> Level | None:
        return self._member.built_in[order] if order in self._member.built_in else self._agreed.get(order)

    def _named(self, order: int) -> list[tuple[str, Level]]:
        found = [
            (f"node {node}", one.level)
            for active in (True, False)
            for node, one in self.announced()
            if one.level.order == order and one.active is active
        ]
        built_in = self._member.built_in
        return [("every node", built_in[order]), *found] if order in built_in else found

    def _active_elsewhere(self) -> list[Announcement]:
        return [one for node, one in self.announced() if node != self._member.node and one.active]
