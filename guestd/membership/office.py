"""Who acts for the cluster, and what it does: bid for an epoch, change the membership, move the transitions on.

Runs on every node; at most one of those that hear each other finds that it is its turn. All changes of membership that
are due go into one epoch. Who is forced out is fenced before that epoch begins (spec S6.2). A view is adopted, and told
to others, only after its commit record is on the disk.
"""

from __future__ import annotations

from guestd.core.value import Value, replace
from guestd.fence.fence import Outcome
from guestd.membership import view as views
from guestd.membership.admission import joiners
from guestd.membership.connectivity import mask_of, nodes_of
from guestd.membership.formation import decide
from guestd.membership.regions import newest_view
from guestd.membership.roles import Role
from guestd.membership.states import NodeState
from guestd.membership.suspicion import Suspicion
from guestd.transition.coordinator import advance, level_is_complete

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

    from guestd.fence.data_disks import DataDisks
    from guestd.fence.fence import Fence, Life
    from guestd.membership.database import Database
    from guestd.membership.election import Election
    from guestd.membership.member import Member
    from guestd.membership.view import View
    from guestd.transition.coordinator import Advance


class Changes(Value):
    """What a new epoch is to change."""

    victims: tuple[int, ...] = ()
    joiners: tuple[tuple[int, int], ...] = ()  # (node, incarnation)
    leavers: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.victims or self.joiners or self.leavers)


class Won(Value):
    """An epoch that this node owns."""

    epoch: int
    ballot: int
    slow: tuple[Life, ...]  # who may have committed, or commit yet, what this node has not seen


class Office:
    """The deciding part of one node."""

    def __init__(
        self, member: Member, database: Database, election: Election, fence: Fence, data_disks: DataDisks
    ) -> None:
        self._member = member
        self._database = database
        self._election = election
        self._fence = fence
        self._data_disks = data_disks
        self._context = member.context
        # No step before: with fence = "panic", since victims may not have noticed yet (spec S6.5); after a failed one.
        self._hold_until_ms = 0
        self.holds = False  # that time has not come: until then time alone may let a step be taken
        self._busy = False  # fencing, or a commit record is on its way to the disk
        self._together_until_ms: int | None = None  # then what is ready goes on without what stands beside it
        self._step: Advance | None = None  # the last one that was written, or perhaps was
        self._begun: View | None = None  # with which an epoch perhaps has begun: its commit has failed
        self.wants = False  # to bid, when it was looked last: a bid may be lost, fail, or have to wait
        self.suspicion = Suspicion(member.context, member.observer)

    def decide(self, *, news: bool) -> None:
        """Look whether the membership is to change. Called at every tick, and after everything new.

        news: anything but time has passed. Time alone makes this node bid only if it wants to already, or suspects
        somebody.
        """
        member = self._member
        if member.role is Role.OUTSIDE:
            decision = decide(member.view, member.observer, self._context.config.timing)
            given = self._election.given(member.incarnation, member.view.epoch)
            member.wait_for(None if given else decision.waiting_for)
            if decision.form or given:
                self._bid(tuple(node for node in member.view.live() if node != member.node))
        elif member.inside:
            suspected = self.suspicion.any
            self.suspicion.update(member.view)
            unsure = self._is_unsure()
            if not (news or suspected or self.suspicion.any or self.wants or unsure):
                return
            self.wants = False
            survivors = self._survivors()
            given = unsure or self._election.given(member.incarnation, member.view.epoch)
            able = self._able(survivors)
            if able is None:
                self._data_disks.trust()
            elif not self._is_able(able):
                return  # not even what is given: who goes past it fences this node
            if given or self._is_my_turn(survivors if able is None else able):
                self._act(survivors, given=given)

    def _act(self, survivors: int, *, given: bool) -> None:
        """given: the epoch is this node's to begin, whether anything is due or not: others may wait for that."""
        member = self._member
        lost = member.view.live_mask & ~survivors
        # Who is lost itself is not among those who are to decide who goes.
        victims = tuple(nodes_of(lost)) if lost and not lost >> member.node & 1 else ()
        if given or member.role is not Role.MASTER or self._changes(member.view, victims):
            self._bid(victims)

    def _is_unsure(self) -> bool:
        """Whether an epoch of this node may have begun that it does not know of. A bid finds out, or begins it.

        Others may have read it: of the epoch before nothing is written any more.
        """
        return self._begun is not None and self._begun.is_after(self._member.view)

    def _survivors(self) -> int:
        """The mask of members that are to go on."""
        member = self._member
        group = self.suspicion.group(member.view)
        if group is None:
            group = member.view.live_mask
        return group & ~mask_of(member.replaced())

    def _able(self, survivors: int) -> int | None:
        """Where somebody is to be fenced, and some have lost a data disk: the mask of those who have not.

        None: all or nobody can do what is due. If nobody sees all disks, the fence waits until somebody does.
        """
        member = self._member
        if not self._data_disks or not member.view.live_mask & ~survivors:
            return None
        able = mask_of([node for node in nodes_of(survivors) if not self._has_lost_a_disk(node)])
        return able if able and able != survivors else None

    def _has_lost_a_disk(self, node: int) -> bool:
        if node == self._member.node:
            return self._data_disks.any_lost
        heartbeat = self._member.observer.peers[node].heartbeat
        return heartbeat is not None and heartbeat.lost_disk

    def _is_able(self, able: int) -> bool:
        """Whether this node is one of them, and has just seen that it is the others' paths that are lost."""
        member = self._member
        mine = able >> member.node & 1 == 1
        return mine and self._data_disks.prove((member.node, member.incarnation))

    def _is_my_turn(self, group: int) -> bool:
        """The master acts if it is in the group; else its lowest joined node, else its lowest."""
        view = self._member.view
        if group >> view.master & 1:
            return view.master == self._member.node
        survivors = nodes_of(group)
        # A node that is leaving comes last: it would have to hand the office on at once.
        turns = (NodeState.JOINED, NodeState.JOINING, NodeState.LEAVING)
        ordered = sorted(survivors, key=lambda node: (turns.index(view.entries[node].state), node))
        return ordered[:1] == [self._member.node]

    def _bid(self, victims: tuple[int, ...]) -> None:
        self.wants = True
        if self._election.running or self._busy or self._context.now_ms < self._election.not_before_ms:
            return
        member = self._member
        self._election.start(member.incarnation, member.view.epoch, lambda won: self._bid_ended(won, victims))

    def _bid_ended(self, won: bool, victims: tuple[int, ...]) -> None:
        member = self._member
        if not won or member.role in (Role.GONE, Role.EXPELLED):
            return
        slow = self._election.may_have_begun(member.view.epoch)
        won_epoch = Won(self._election.epoch, self._election.ballot, slow)
        members = {(node, entry.incarnation) for node, entry in enumerate(member.view.entries)}
        replaced = {*victims, *self._replaced_master(), *(node for node, _ in {*slow} & members)}
        out = self._forced_out(member.view, tuple(sorted(replaced)))
        self._busy = True
        if self._context.config.fence == "scsi":
            own = (member.node, member.incarnation)
            lives = tuple(sorted({*out, *slow}))
            self._fence.keep_out(own, lives, lambda outcome: self._fenced(outcome, won_epoch, out))
        else:
            self._fenced(Outcome.FENCED, won_epoch, out)

    def _replaced_master(self) -> tuple[int, ...]:
        """The master of the present epoch, if this member takes its office; nothing may be held against it.

        It goes on with its epoch until it has seen the next one, and what it committed meanwhile would be lost: so it
        is fenced first, as any master whose office is taken over (spec S3.2).
        """
        member = self._member
        # Whose own commit failed and landed has read it back as a member: it is the master itself, and replaces nobody.
        replaces = member.role is Role.MEMBER and member.view.master != member.node
        return (member.view.master,) if replaces else ()

    def _forced_out(self, view: View, victims: tuple[int, ...]) -> tuple[Life, ...]:
        """The lives that the next epoch forces out; of a cluster formed anew, all former members."""
        member = self._member
        if member.role is Role.OUTSIDE:
            victims = tuple(node for node in view.live() if node != member.node)
        return tuple((node, view.entries[node].incarnation) for node in victims if view.entries[node].live)

    def _fenced(self, outcome: Outcome, won: Won, out: tuple[Life, ...]) -> None:
        """The victims can write no more."""
        member = self._member
        if outcome is Outcome.OUT:
            self._busy = False
            member.lost_key(self._fence.ended_at)
        elif outcome is Outcome.OPEN:
            lun = self._fence.ended_at
            self._give_up(won, "the fence could not be verified" + (f" on LUN {lun}" if lun else ""))
        elif won.slow or member.view.master in (node for node, _ in out):
            # The last commit record of a master that is fenced now may have come after the last read; so may the first
            # one of a slow owner.
            self._database.read(lambda found: self._begin_epoch(won, out, newest_view(found) if found else None))
        else:
            self._begin_epoch(won, out, member.view)

    def _give_up(self, won: Won, why: str) -> None:
        """Nothing is on the disk of it but the ballot; the next bid for this epoch takes that over."""
        self._busy = False
        self._election.not_before_ms = self._context.now_ms + self._context.config.timing.disk_heartbeat_ms
        self._context.emit("epoch-not-begun", epoch=won.epoch, why=why)

    def _begin_epoch(self, won: Won, out: tuple[Life, ...], base: View | None) -> None:
        """The first commit record of the epoch, from the newest view there is."""
        member = self._member
        if member.role in (Role.GONE, Role.EXPELLED):
            return
        if base is None:
            self._give_up(won, "the disk could not be read after the fence")
            return
        if member.view.is_after(base):
            base = member.view
        if base.epoch >= won.epoch or self._forced_out(base, tuple(node for node, _ in out)) != out:
            self._give_up(won, "the membership has changed meanwhile")
            return
        self._busy = False
        if member.role is Role.OUTSIDE:
            base = self._formed(base)
        else:
            for node, _ in out:
                base = views.force_out(base, node)
        changes = self._changes(base, ())
        for node, incarnation in changes.joiners:
            base = views.admit(base, node, incarnation)
        for node in changes.leavers:
            base = views.begin_leave(base, node)
        self._context.emit("elected", epoch=won.epoch, ballot=won.ballot, victims=[node for node, _ in out])
        self._commit(replace(base, epoch=won.epoch, step=0, master=member.node), self._epoch_begun)

    def _epoch_begun(self, view: View) -> None:
        if self._context.config.fence == "panic" and any(e.state is NodeState.FORCED_LEAVING for e in view.entries):
            self._hold_until_ms = self._context.now_ms + self._context.config.timing.hold_ms
        self._member.elected(view)

    def _formed(self, base: View) -> View:
        """The membership of a cluster formed anew: the former members are recovered after, all of them from the bottom.

        The own former life needs no forced leave: its recovery is part of this node's own join.
        """
        member = self._member
        for node, entry in enumerate(base.entries):
            if node == member.node:
                base = views.admit(views.with_entry(base, node, views.Entry()), node, member.incarnation)
            elif entry.live:
                base = views.force_out(base, node)
            elif entry.state is NodeState.FORCED_LEAVING:
                base = views.restart_forced_leave(base, node)
        return base

    def _changes(self, view: View, victims: tuple[int, ...]) -> Changes:
        """What there is to change in that view."""
        member = self._member
        admitted = () if self.suspicion.pending else tuple(joiners(view, member.observer).items())
        leavers = []
        for node in view.live():
            entry = view.entries[node]
            if not member.wants_to_leave(node) or entry.state is NodeState.LEAVING:
                continue
            if entry.state is NodeState.JOINED or self._is_between_levels(view, node):
                leavers.append(node)
        return Changes(victims, admitted, tuple(leavers))

    def _is_between_levels(self, view: View, node: int) -> bool:
        """Of a join that is to turn round. Not before the levels are agreed to: it would look so for a moment in every
        new epoch, and each time be the reason for the next one."""
        member = self._member
        settled = member.registry.settled
        return settled and level_is_complete(view, node, member.levels, member.acknowledged())

    def advance(self, *, news: bool) -> None:
        """Take the transitions one step further, if all have acknowledged the last one. Called after every input that
        may concern them.

        news: anything but time has passed. Time alone ends nothing but a hold.
        """
        member = self._member
        if not (news or self.holds) or member.role is not Role.MASTER or self._busy or self._election.running:
            return
        if self._is_unsure():
            return
        self.holds = self._context.now_ms < self._hold_until_ms
        if self.holds:
            return
        step = self._step
        if step is None or not step.view.is_after(member.view):
            if not member.view.in_transition():
                return
            held = {node for node in member.view.live() if member.wants_to_leave(node)}
            step = self._advance_together(held)
        # else it failed, and others may have read it: under its number nothing else is ever written.
        if step.view is not member.view:
            self._step = step
            self._commit(step.view, lambda view: self._advanced(step, view))

    def _advance_together(self, held: AbstractSet[int]) -> Advance:
        """What takes each node about as long stays one step: for a heartbeat nobody goes ahead of who stands beside."""
        member, now_ms = self._member, self._context.now_ms
        view, levels, acknowledged = member.view, member.levels, member.acknowledged()
        each = advance(view, levels, acknowledged, held)
        moves = each.view is not view
        together = advance(view, levels, acknowledged, held, together=True) if moves else each
        if each.view == together.view:
            self._together_until_ms = None
            return each
        if self._together_until_ms is None:
            self._together_until_ms = now_ms + self._context.config.timing.heartbeat_ms
        if now_ms >= self._together_until_ms:
            self._together_until_ms = None
            return each
        self.holds = True
        return together

    def _advanced(self, step: Advance, view: View) -> None:
        for position in step.completed:
            level = self._member.levels[position.level]
            self._context.emit(
                "level-complete",
                subject=position.subject,
                incarnation=position.incarnation,
                level=level.order,
                subsystem=level.name,
                transition=position.transition,
                epoch=view.epoch,
            )
        self._member.adopt(view)

    def _commit(self, view: View, committed: Callable[[View], None]) -> None:
        """Write the commit record; only when it is on the disk is it true."""
        self._busy = True

        def written(ok: bool) -> None:
            self._busy = False
            newer = self._member.view.is_after(view)
            if self._member.role in (Role.GONE, Role.EXPELLED) or newer:
                return
            if ok:
                committed(view)
            else:
                # It may be on the disk all the same. The next attempt starts from the view as read back, or writes the
                # same view again; not at once, for a disk that fails does so quickly.
                if view.epoch > self._member.view.epoch:
                    self._begun = view
                again_ms = self._context.now_ms + self._context.config.timing.heartbeat_ms
                self._hold_until_ms = max(self._hold_until_ms, again_ms)

        self._database.write_commit(view, written)
