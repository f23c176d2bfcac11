"""The membership manager of one node: ties the database, the interconnect and the deciding part together (level 0).

Order of a life: read the persistent part and all regions; register the key of a new incarnation, which ends what the
earlier one has left queued; read all regions again, and believe them now; write the new incarnation; then, every disk
period, write the own heartbeat and read all regions; every heartbeat and on every change, one datagram. A node that is
not a member yet looks at the disk every heartbeat, and publishes at once whom it hears: others wait for it.
"""

from __future__ import annotations

from guestd.core.effects import Exit
from guestd.fence.data_disks import DataDisks
from guestd.fence.fence import Fence, Outcome
from guestd.fence.registration import Registration
from guestd.fence.reservations import Reservations
from guestd.membership import datagram
from guestd.membership.causes import Cause
from guestd.membership.database import Database
from guestd.membership.duplicate import DuplicateWatch
from guestd.membership.election import Election
from guestd.membership.member import Member
from guestd.membership.office import Office
from guestd.membership.records import Heartbeat
from guestd.membership.regions import newest_view, next_incarnation, other_version
from guestd.membership.roles import Role
from guestd.membership.states import NodeState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from guestd.core.context import Context
    from guestd.fence.fence import Life
    from guestd.membership.datagram import Say
    from guestd.membership.regions import Region
    from guestd.membership.view import View
    from guestd.transition.levels import Levels
    from guestd.transition.participant import Participant, Progress

REFUSED_STATUS = 2  # exit status when the database is not this cluster's


class Manager:
    """One per stack. `settle` must be called at the end of every input, but for a datagram that said nothing new."""

    def __init__(self, context: Context, levels: Levels, participant: Participant) -> None:
        self._context = context
        self._database = Database(context)
        self.member = Member(context, levels, participant)
        reservations = [Reservations(disk) for disk in context.disks]
        self._fence = Fence(context, reservations)
        observer = self.member.observer
        self._election = Election(context, self._database, self._read_regions, observer, self._keep_out)
        self._registration = Registration(context, reservations)
        self._data_disks = DataDisks(context, reservations[1:], self._data_key_gone)
        self._office = Office(self.member, self._database, self._election, self._fence, self._data_disks)
        self._duplicate = DuplicateWatch(context)
        self._begins = False  # the start-up sequence is under way
        self._in_round = False
        self._round_began_ms = 0
        self._round_wrote = False  # its heartbeat is on the disk
        self._confirmed_ms = 0  # when the last round of the disk began that wrote and read: a member then
        self._round_due_ms = 0
        self._hears_published = 0
        self._look = False  # outside: somebody else has something new on the disk
        self._bad_datagrams = 0
        self._news = False  # something that a decision may depend on, beside the time
        self._ticked = False  # a period has passed: look what is due, and say that this node is alive
        self._undecided = True  # something else has happened since the last decision
        self._unsettled = True  # something happened that levels and programs may depend on, beside what follows:
        self._settled_view: View | None = None  # those of when they were settled last
        self._settled_role = Role.STARTING
        self.over = False

    def start(self) -> None:
        """The disk is there."""
        self._begins = True
        self._database.check_persistent(self._persistent_checked)

    def tick(self) -> None:
        """One heartbeat period has passed."""
        member = self.member
        if member.role is Role.STARTING:
            if not self._begins:
                self.start()
            elif self._duplicate.due():
                self._database.read(self._examine)
            return
        timing = self._context.config.timing
        # A node that was frozen has not waited: only as much of a gap counts as it does for the silence of others.
        counted_ms = member.observer.tick(self._context.now_ms)
        if member.inside:
            self._check_subsystems(counted_ms)
            if self._context.config.fence == "panic":
                self._check_lease()
            elif self._data_disks:
                self._data_disks.tick(counted_ms, (member.node, member.incarnation))
            if member.role is Role.EXPELLED:
                return
        self._fence.tick(counted_ms)
        self._election.tick(counted_ms)
        self._ticked = True
        # Half a heartbeat early is better than a whole one late.
        due = not member.inside or self._context.now_ms + timing.heartbeat_ms // 2 >= self._round_due_ms
        if not self._in_round and (due or self._office.suspicion.pending):
            self._round()

    def heard(self, payload: bytes) -> bool:
        """A datagram has come in; whether anything may have to be done. What is due by the time waits for a tick."""
        config = self._context.config
        try:
            say = datagram.decode(config.cluster_id, config.nodes, payload)
        except datagram.BadDatagram as why:
            self._bad_datagrams += 1
            if self._bad_datagrams == 1:
                self._context.emit("bad-datagram", why=str(why))
            return True
        member = self.member
        role, view = member.role, member.view
        inside = role is Role.MEMBER or role is Role.MASTER
        if not inside:
            self._duplicate.heard(say, member.incarnation, member.said)
            self._refuse(self._duplicate.reason)
        if say.node == self._context.node or role is Role.STARTING:
            return True
        if inside:
            new = member.observer.heard(say)
            if say.gasp:
                self._news = True
        else:
            new = self._heard_outside(say)
        if say.view is not None and say.view.master == say.node:
            member.registry.heard(say)
            self._adopt(say.view)
        if new or view is not member.view or self._news:
            self._unsettled = True
            return True
        return member.changed

    def _heard_outside(self, say: Say) -> bool:
        """A datagram, by a node that is not a member; whether it can change anything."""
        member, observer = self.member, self.member.observer
        heard, hears_there = observer.hears(), observer.peers[say.node].heard_hears
        new = observer.heard(say)
        if observer.hears() != heard:
            new = member.changed = True  # it may not know of this node yet: it is told at once
        if say.hears != hears_there:
            self._look = True  # it publishes that now
        self._news = self._news or new or self._look or self._office.wants
        return self._news

    def program_said(self, connection: int, message: object, line: str) -> None:
        """A line from a program of this node; message: as JSON, None if it is none."""
        self.member.report(self.member.programs.message(connection, message, line))
        self._unsettled = True

    def program_gone(self, connection: int) -> None:
        """A program's connection has ended."""
        self.member.programs.gone(connection)
        self._unsettled = True

    def report(self, progress: Progress) -> None:
        """What has happened at the levels of this node."""
        self.member.report(progress)
        self._unsettled = True

    def leave(self) -> str | None:
        """Begin a graceful leave; why it is refused, or None (spec S4.8, S4.9)."""
        member = self.member
        if not member.inside:
            member.go()
        elif member.intent == "leave" or member.state is NodeState.LEAVING:
            return "this node is leaving already"
        else:
            member.intent = "leave"
            member.changed = True
        return None

    @property
    def has_more(self) -> bool:
        """Whether `settle` may have something to do, also if nothing comes in that concerns the membership."""
        return self._unsettled or self._office.holds

    def settle(self) -> None:
        """After every input that may concern the membership, and while it `has_more`: decide what is due, tell the
        others what has changed, and end if it is over.
        """
        member = self.member
        if (self._context.disk.conflict or self._context.data.conflict) and member.role not in (
            Role.GONE,
            Role.EXPELLED,
        ):
            member.expel(
                Cause.RESERVATION_CONFLICT,
                f"node {member.node} (incarnation {member.incarnation}) found itself forced out: "
                "the disk refused its write (reservation conflict)",
            )
        if member.role not in (Role.STARTING, Role.EXPELLED):
            if (
                self._unsettled
                or self._settled_view is not member.view  # an equal one is no reason to have another one
                or self._settled_role is not member.role
            ):
                member.registry.settle()
                # Who was let in is from now on one of those that levels are agreed with.
                self._unsettled = member.programs.changed
                self._settled_view, self._settled_role = member.view, member.role
            if member.programs.changed:
                member.programs.changed = False
                member.changed = True
            something = not self._ticked or member.changed  # has happened, beside that time has passed
            self._undecided = self._undecided or something
            if self._news or self._ticked or member.changed:
                news, self._news, self._undecided = self._undecided, False, False
                self._office.decide(news=news)
            self._office.advance(news=something)
            if member.changed or self._ticked:
                member.changed = self._ticked = False
                member.say()
            if member.role is Role.OUTSIDE and not self._in_round and self._news_on_the_disk():
                self._look = False
                self._round()
        if member.role is Role.GONE and not self.over:
            self.over = True
            if member.incarnation:
                member.say(gasp=True)
            self._context.effects.append(Exit(0))

    def status(self) -> dict[str, Any]:
        """Everything, for people and for the order "status"."""
        member = self.member
        view = member.view
        return {
            "node": member.node,
            "incarnation": member.incarnation,
            "role": member.role.value,
            "state": member.state.value,
            "intent": member.intent,
            "epoch": view.epoch,
            "step": view.step,
            "master": view.master,
            "nodes": view.described(),
            "hears": [node for node in range(len(view.entries)) if member.observer.hears() >> node & 1],
            "moves": [node for node in range(len(view.entries)) if member.observer.moves(node)],
            "suspects": self._office.suspicion.silent,
            "waiting_for": member.waiting_for,
            "election": self._context.config.election,
            "bidding_for_epoch": self._election.epoch,
            "levels": {
                str(level.order): [state.value for state in member.participant.states(level.order)]
                for level in member.participant.subsystems()
            },
            "programs": member.programs.described(),
            "disk_failed_count": self._context.disk.failed_count + self._context.data.failed_count,
            "damaged_count": self._database.damaged_count,
            "bad_datagram_count": self._bad_datagrams,
            **({"data_disks": self._data_disks.states()} if self._data_disks else {}),
        }

    def _persistent_checked(self, refusal: str | None, readable: bool) -> None:
        if refusal is not None:
            self._refuse(refusal)
        elif readable:
            self._database.read(self._first_read)
        else:
            self._begins = False

    def _refuse(self, reason: str | None) -> None:
        """This machine must not go on, if there is a reason; nothing that comes after this is carried out."""
        if reason is not None and not self.over:
            self._context.emit("refused", reason=reason)
            self._context.effects.append(Exit(REFUSED_STATUS))
            self.over = True

    def _first_read(self, found: list[Region] | None) -> None:
        """Nothing of this is believed but what forbids to go on: a write of the earlier life may still land."""
        if found is None:
            self._begins = False
            return
        written = other_version(found)
        if written is not None:
            self._refuse(f"membership database: {written}")
        elif self._context.config.fence == "scsi":
            self._registration.end_earlier(lambda elsewhere: self._earlier_ended(found, elsewhere))
        else:
            self._examine(found)

    def _earlier_ended(self, found: list[Region], elsewhere: list[int] | None) -> None:
        """elsewhere: keys of this node that are another path's. Only then may another machine have this node's id."""
        if elsewhere is None:
            self._try_again()
        elif elsewhere:
            self._examine(found)
        else:
            self._register(next_incarnation(self.member.node, found))

    def _examine(self, found: list[Region] | None) -> None:
        """Look whether another machine runs as this node, and go on when that cannot be."""
        if found is None:
            self._begins = False
            return
        member = self.member
        observer = member.observer
        observer.read([region.heartbeat for region in found], self._context.now_ms)
        member.adopt(newest_view(found))
        others_move = any(observer.moves(node) for node in range(len(found)) if node != member.node)
        only_disk = others_move or member.view.live() == [member.node]
        beat, fenced = found[member.node].heartbeat, self._context.config.fence == "scsi"
        if self._duplicate.look(beat, member.entry, only_disk=only_disk, registered=fenced):
            return
        if self._duplicate.reason is not None:
            self._refuse(self._duplicate.reason)
        elif fenced:
            self._register(next_incarnation(member.node, found))
        else:
            self._second_read(next_incarnation(member.node, found), found)

    def _register(self, incarnation: int) -> None:
        def registered(done: bool, refusal: str | None) -> None:
            if refusal is not None:
                self._refuse(f'{refusal}; a disk without reservations needs fence = "panic" in the cluster file')
            elif done:
                self._database.read(lambda found: self._second_read(incarnation, found))
            else:
                self._try_again()

        # A life whose records are damaged has a key all the same.
        incarnation = max(incarnation, self._registration.earlier + 1)
        self._registration.take(incarnation, registered)

    def _try_again(self) -> None:
        """A disk has not answered, or not as it should: begin anew at the next tick."""
        self._begins = False
        if self._registration.lun:  # of LUN 0 nothing is told: what waits for that is everything
            self.member.wait_for(f"LUN {self._registration.lun} of the shared disk")

    def _second_read(self, incarnation: int, found: list[Region] | None) -> None:
        """This is believed: nothing of an earlier life of this node can land any more."""
        if found is None:
            self._begins = False
            return
        member = self.member
        if next_incarnation(member.node, found) > incarnation:  # the earlier life wrote something after the first read
            self._register(next_incarnation(member.node, found))
            return
        self._database.resume(found)
        member.observer.read([region.heartbeat for region in found], self._context.now_ms)
        member.adopt(newest_view(found))
        # What a heartbeat tells of was committed, whether the commit record can be read or not.
        self._election.burn(max((region.heartbeat.epoch for region in found if region.heartbeat), default=0))
        self._election.burn(self._database.lost_epoch(found))
        member.intent = "join"

        def announced(ok: bool) -> None:
            self._begins = ok
            if ok and member.role is Role.STARTING:
                member.announced(incarnation)

        def announce(ok: bool) -> None:
            if ok:
                self._database.write_heartbeat(self._heartbeat(incarnation), announced, durable=True)
            else:
                self._begins = False

        if self._database.repair_block(found, announce):
            self._election.burn_next(member.view.epoch)
        else:
            announce(True)

    def _round(self) -> None:
        """One disk period: write the own heartbeat, then read everything."""
        self._in_round = True
        now_ms, timing = self._context.now_ms, self._context.config.timing
        # Ticks are coarse: one round is early and the next one late, and it is the mean that must be the period.
        planned_ms = self._round_due_ms if abs(self._round_due_ms - now_ms) <= timing.heartbeat_ms else now_ms
        self._round_due_ms = planned_ms + timing.disk_heartbeat_ms

        self._round_began_ms = now_ms
        self._database.write_heartbeat(self._heartbeat(self.member.incarnation), self._round_has_written)

    def _round_has_written(self, ok: bool) -> None:
        self._round_wrote = ok
        self._database.read(self._round_has_read)

    def _round_has_read(self, found: list[Region] | None) -> None:
        if not self._take_in(found):
            return
        self._in_round = False
        if self._round_wrote and found is not None:
            self._confirmed_ms = self._round_began_ms

    def _check_subsystems(self, counted_ms: int) -> None:
        """A subsystem that does not answer costs its node, not the cluster (spec S4.13)."""
        limit_ms, member = self._context.config.timing.subsystem_ms, self.member
        overdue = member.participant.overdue(counted_ms, limit_ms)
        if overdue is not None:
            member.expel(
                Cause.SUBSYSTEM_HUNG,
                f"node {member.node} (incarnation {member.incarnation}): "
                f"subsystem {overdue} did not acknowledge within {limit_ms} ms",
            )

    def _check_lease(self) -> None:
        """Without a fence at the disk a node must end before the others do anything in its place (spec S6.5)."""
        lease_ms, member = self._context.config.timing.lease_ms, self.member
        if member.role is not Role.EXPELLED and self._context.now_ms - self._confirmed_ms > lease_ms:
            member.expel(
                Cause.LEASE_RAN_OUT,
                f"node {member.node} (incarnation {member.incarnation}) has not seen for more than {lease_ms} ms on "
                "the disk that it is a member: its lease ran out",
            )

    def _heartbeat(self, incarnation: int) -> Heartbeat:
        member = self.member
        self._hears_published = member.observer.hears()
        return Heartbeat(
            incarnation=incarnation,
            sequence=0,  # numbered when it is written
            state=member.state,
            intent=member.intent,
            epoch=member.view.epoch,
            step=member.view.step,
            hears=self._hears_published,
            lost_disk=self._data_disks.any_lost,
        )

    def _data_key_gone(self, lun: int) -> None:
        if self.member.role not in (Role.GONE, Role.EXPELLED):
            self.member.lost_key(lun)

    def _keep_out(self, life: Life, then: Callable[[bool], None]) -> None:
        """Fence a contender that holds up the others; then(whether it is verified that nothing of it can land)."""

        def ended(outcome: Outcome) -> None:
            if self.member.role in (Role.GONE, Role.EXPELLED):
                return
            if outcome is Outcome.OUT:
                self.member.lost_key(self._fence.ended_at)
            else:
                then(outcome is Outcome.FENCED)

        self._fence.keep_out((self.member.node, self.member.incarnation), (life,), ended)

    def _read_regions(self, then: Callable[[list[Region] | None], None]) -> None:
        """Read everything and take it in, then go on with `then`."""

        def ended(found: list[Region] | None) -> None:
            if self._take_in(found):
                then(found)

        self._database.read(ended)

    def _take_in(self, found: list[Region] | None) -> bool:
        """A read of everything, None if it failed; whether this life goes on."""
        role = self.member.role
        if role is Role.GONE or role is Role.EXPELLED:
            return False
        if found is not None:
            if not self.member.inside:
                own, written = found[self.member.node].heartbeat, self._database.heartbeat_sequence
                self._duplicate.read_back(own, self.member.incarnation, written)
                self._refuse(self._duplicate.reason)
            self.member.observer.read([region.heartbeat for region in found], self._context.now_ms)
            self._adopt(newest_view(found))
            self._news = True
        return True

    def _news_on_the_disk(self) -> bool:
        return self._look or self.member.observer.hears() != self._hears_published

    def _adopt(self, view: View) -> None:
        if view is not self.member.view:
            self._election.overtaken(view.epoch, view.master)
            self.member.adopt(view)
