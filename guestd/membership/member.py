"""What one node knows of the cluster and of itself, and the one place where it takes in a newer view."""

from __future__ import annotations

from guestd.core.effects import Panic
from guestd.membership import datagram
from guestd.membership.causes import Cause
from guestd.membership.observer import Observer
from guestd.membership.registry import Registry
from guestd.membership.roles import ROLES, Role
from guestd.membership.states import NodeState
from guestd.membership.view import empty
from guestd.transition.programs import Programs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from guestd.core.context import Context
    from guestd.membership.position import Position
    from guestd.membership.view import Entry, View
    from guestd.transition.levels import Level, Levels
    from guestd.transition.participant import Participant, Progress


class Member:
    """The knowledge of one node. `changed` means that the others should hear from it at once."""

    def __init__(self, context: Context, levels: Levels, participant: Participant) -> None:
        config = context.config
        self.context = context
        self.node = context.node
        self.built_in = levels
        self._others: list[Level] = []  # of which these were made:
        self._levels = levels
        self.programs = Programs(context, participant, self._expelled_by)
        self.participant = participant
        self.observer = Observer(context.node, config.nodes, config.timing)
        self.view: View = empty(config.nodes)
        self.role = Role.STARTING
        self.incarnation = 0
        self.intent = "none"
        self.state = NodeState.INACTIVE
        self.changed = False
        self.registry = Registry(self, self.programs)
        self._waiting_for: str | None = None
        self.said = 0  # datagrams sent by this incarnation
        self._last_said: tuple[datagram.Say, bytes] | None = None

    @property
    def levels(self) -> Levels:
        """All levels that are registered with any live node, as far as this node has heard."""
        announced = [one.level for _, one in self.registry.announced() if one.active]
        agreed = self.registry.levels()
        if not announced and not agreed:
            return self.built_in
        others = [*announced, *agreed]
        if others != self._others:
            self._others, self._levels = others, self.built_in.with_others(others)
        return self._levels

    @property
    def inside(self) -> bool:
        """As of its role. Asked at every input, so it is said once more in comparisons."""
        role = self.role
        return role is Role.MEMBER or role is Role.MASTER

    @property
    def entry(self) -> Entry:
        """This node in the newest view; perhaps an earlier life of it."""
        return self.view.entries[self.node]

    @property
    def waiting_for(self) -> str | None:
        """Why the join does not proceed, if it does not."""
        return self._waiting_for

    def acknowledged(self) -> Mapping[int, AbstractSet[Position]]:
        """What every live node is known to have acknowledged."""
        known: dict[int, AbstractSet[Position]] = {}
        for node in self.view.live():
            peer = self.observer.peers[node]
            if node == self.node:
                known[node] = frozenset(self.participant.acknowledged())
            elif peer.heard_incarnation == self.view.entries[node].incarnation:
                known[node] = peer.acknowledged
        return known

    def wants_to_leave(self, node: int) -> bool:
        """Whether that live node has announced that it wants to leave."""
        if node == self.node:
            return self.intent == "leave"
        peer = self.observer.peers[node]
        incarnation = self.view.entries[node].incarnation
        said = peer.heard_incarnation == incarnation and peer.heard_intent == "leave"
        beat = peer.heartbeat
        return said or (beat is not None and beat.incarnation == incarnation and beat.intent == "leave")

    def replaced(self) -> list[int]:
        """Live members of which a later life was seen."""
        entries, peers = self.view.entries, self.observer.peers
        return [
            node
            for node in self.view.live()
            if peers[node].incarnation > entries[node].incarnation and node != self.node
        ]

    def wait_for(self, what: str | None) -> None:
        """Say why the join does not proceed, once per reason."""
        if what is not None and what != self._waiting_for:
            self.context.emit("waiting", **{"for": what})
        self._waiting_for = what

    def announced(self, incarnation: int) -> None:
        """The incarnation is on the disk."""
        self.incarnation = incarnation
        self._enter("announced")
        self.changed = True  # the others are told at once, not at the next tick
        self.context.emit("incarnation", incarnation=incarnation)

    def adopt(self, view: View) -> None:
        """Take in a view, from the disk or from the master; an older one than the known one says nothing new."""
        before, role = self.view, self.role
        if not view.is_after(before) or role is Role.GONE or role is Role.EXPELLED:
            return
        self.view = view
        if self.role is Role.STARTING or not self._concerned(view, before):
            return
        self._watch_new_members(before, came_in=self.state is NodeState.INACTIVE)
        self._set_state(self.entry.state)
        self.context.emit("membership", epoch=view.epoch, step=view.step, master=view.master, nodes=view.described())
        self.report(self.participant.see(view))
        self.changed = True
        if not self.entry.live:
            self.go()

    def elected(self, view: View) -> None:
        """The first view of an epoch that this node owns is on the disk."""
        if self.role is Role.OUTSIDE:
            self._come_in(view, "elected")
        elif self.role is Role.MEMBER:
            self._enter("elected")
        self.adopt(view)

    def say(self, *, gasp: bool = False) -> None:
        """One datagram: the whole say of this node. With `gasp` it is the last one of this life."""
        own_view = self.view.master == self.node and self.entry.incarnation == self.incarnation
        self.said += 1
        say = datagram.Say(
            node=self.node,
            incarnation=self.incarnation,
            sequence=self.said,
            hears=self.observer.hears(),
            intent=self.intent,
            acknowledged=self.participant.acknowledged(),
            # Only if this very life of this node wrote the newest view is it this node's to tell.
            view=self.view if own_view else None,
            epoch=self.view.epoch,
            programs=self.programs.announcements(),
            levels=self.registry.levels(),
            gasp=gasp,
        )
        payload = datagram.encode(self.context.config.cluster_id, say, self._last_said)
        self._last_said = say, payload
        self.context.broadcast(payload)

    def expel(self, cause: Cause, reason: str) -> None:
        """Panic. Nothing is done after this; the others are told first, so that they need not wait for the silence."""
        self._enter("expelled")
        self.context.emit("panic", cause=cause.value, reason=reason)
        if self.incarnation:
            self.say(gasp=True)
        self.context.effects.append(Panic(reason))

    def _expelled_by(self, program: str, reason: str) -> None:
        why = f"node {self.node} (incarnation {self.incarnation}): {program} says that it must not go on: {reason}"
        self.expel(Cause.EXPELLED_BY_PROGRAM, why)

    def lost_key(self, lun: int = 0) -> None:
        """Panic: somebody has fenced this life."""
        where = f"LUN {lun} of the disk" if lun else "the disk"
        self.expel(
            Cause.KEY_GONE,
            f"node {self.node} (incarnation {self.incarnation}) found itself forced out: its key is gone from {where}",
        )

    def go(self) -> None:
        """Leave: at the end of a graceful leave, or without having been a member. The manager ends the stack."""
        self._enter("left")
        self.context.emit("left", epoch=self.view.epoch)

    def _concerned(self, view: View, before: View) -> bool:
        """Whether this life of this node has a part in the view; finds out that it was forced out."""
        entry = view.entries[self.node]
        mine = entry.incarnation == self.incarnation
        if mine and (entry.live or (self.inside and not entry.forced)):
            if self.role is Role.OUTSIDE:
                self._come_in(view, "admitted")
            elif self.role is Role.MASTER and view.master != self.node:
                self._enter("deposed")
            return True
        if mine and entry.forced:
            self.expel(
                Cause.FORCED_OUT,
                f"node {self.node} (incarnation {self.incarnation}) found itself forced out "
                f"in epoch {view.epoch} by node {view.master}",
            )
        elif self.inside:
            self.expel(
                Cause.FORCED_OUT,
                f"node {self.node} (incarnation {self.incarnation}) found incarnation {entry.incarnation} "
                f"in its place in epoch {view.epoch} of node {view.master}",
            )
        return False

    def _come_in(self, view: View, trigger: str) -> None:
        self.participant.begin(view)
        self.wait_for(None)
        self.intent = "none"
        self._enter(trigger)

    def _watch_new_members(self, before: View, came_in: bool) -> None:
        for node in self.view.live():
            known = before.entries[node].is_life(self.view.entries[node].incarnation)
            if node != self.node and (came_in or not known):
                self.observer.start_watching(node)

    def report(self, progress: Progress) -> None:
        """Tell the host what happened at the subsystems; the others are told what is acknowledged."""
        for kind, steps in (("notified", progress.notified), ("acknowledged", progress.acknowledged)):
            for step in steps:
                if self.programs.stands_in(step.level):
                    continue  # the program in its place tells of what it is notified of
                position = step.position
                late = {"late": True} if step.late else {}
                self.context.emit(
                    kind,
                    subject=position.subject,
                    incarnation=position.incarnation,
                    level=step.level.order,
                    subsystem=step.level.name,
                    transition=position.transition,
                    barrier=position.barrier,
                    **late,
                )
        for level, subjects in progress.caught_up:
            if subjects:
                self.context.emit("caught-up", level=level.order, subsystem=level.name, subjects=list(subjects))
        if progress:
            self.changed = True

    def _set_state(self, state: NodeState) -> None:
        if state is not self.state:
            previous, self.state = self.state, state
            self.context.emit("state", state=state.value, previous=previous.value)

    def _enter(self, trigger: str) -> None:
        self.role = ROLES.next(self.role, trigger)
