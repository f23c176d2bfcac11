"""The membership manager of one node: ties the database, the interconnect and the deciding part together (level 0).

Order of a life: read the header and all regions; write a new incarnation, before anything else; then, every disk
period, write the own heartbeat and read all regions; every heartbeat and on every change, one datagram. A node that is
not a member yet looks at the disk every heartbeat, and publishes at once whom it hears: others wait for it.
"""

from __future__ import annotations

from guestd.core.effects import Exit
from guestd.membership import datagram
from guestd.membership.database import Database
from guestd.membership.election import Election
from guestd.membership.member import Member
from guestd.membership.office import Office
from guestd.membership.records import Heartbeat
from guestd.membership.regions import newest_view, next_incarnation
from guestd.membership.roles import Role
from guestd.membership.states import NodeState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from guestd.core.context import Context
    from guestd.membership.regions import Region
    from guestd.membership.view import View
    from guestd.transition.levels import Levels
    from guestd.transition.participant import Participant

REFUSED_STATUS = 2  # exit status when the database is not this cluster's


class Manager:
    """One per stack. `settle` must be called at the end of every input."""

    def __init__(self, context: Context, levels: Levels, participant: Participant) -> None:
        self._context = context
        self._database = Database(context)
        self.member = Member(context, levels, participant)
        self._election = Election(context, self._database, self._read_regions)
        self._office = Office(self.member, self._database, self._election)
        self._begins = False  # the start-up sequence is under way
        self._in_round = False
        self._round_due_ms = 0
        self._hears_published = 0
        self._look = False  # outside: somebody else has something new on the disk
        self._said = 0  # datagrams sent by this incarnation
        self._bad_datagrams = 0
        self._news = False  # something that a decision may depend on
        self.over = False

    def start(self) -> None:
        """The disk is there."""
        self._begins = True
        self._database.check_header(self._header_checked)

    def tick(self) -> None:
        """One heartbeat period has passed."""
        member = self.member
        if member.role is Role.STARTING:
            if not self._begins:
                self.start()
            return
        timing = self._context.config.timing
        # A node that was frozen has not waited: only as much of a gap counts as it does for the silence of others.
        counted_ms = member.observer.tick(self._context.now_ms)
        overdue = member.participant.overdue(counted_ms, timing.subsystem_ms)
        if overdue is not None:
            member.expel(f"subsystem {overdue} did not acknowledge within {timing.subsystem_ms} ms")
            return
        self._election.tick()
        member.changed = True
        # Half a heartbeat early is better than a whole one late.
        due = not member.role.inside or self._context.now_ms + timing.heartbeat_ms // 2 >= self._round_due_ms
        if not self._in_round and (due or self._office.suspicion.pending):
            self._round()

    def heard(self, payload: bytes) -> None:
        """A datagram has come in."""
        config = self._context.config
        try:
            say = datagram.decode(config.cluster_id, config.nodes, payload)
        except datagram.BadDatagram as why:
            self._bad_datagrams += 1
            if self._bad_datagrams == 1:
                self._context.emit("bad-datagram", why=str(why))
            return
        if say.node == self._context.node or self.member.role is Role.STARTING:
            return
        observer = self.member.observer
        heard, hears_there = observer.hears(), observer.peers[say.node].heard_hears
        observer.heard(say)
        if self.member.role is Role.OUTSIDE:
            self._news = True
            if observer.hears() != heard:
                self.member.changed = True  # it may not know of this node yet: it is told at once
            if say.hears != hears_there:
                self._look = True  # it publishes that now
        if say.view is not None and say.view.master == say.node:
            self.member.registry.heard(say)
            self._adopt(say.view)

    def program_said(self, connection: int, line: str) -> None:
        """A line from a program of this node."""
        self.member.report(self.member.programs.message(connection, line))

    def program_gone(self, connection: int) -> None:
        """A program's connection has ended."""
        self.member.programs.gone(connection)

    def leave(self) -> str | None:
        """Begin a graceful leave; why it is refused, or None (spec S4.8, S4.9)."""
        member = self.member
        if not member.role.inside:
            member.go()
        elif member.intent == "leave" or member.state is NodeState.LEAVING:
            return "this node is leaving already"
        else:
            member.intent = "leave"
            member.changed = True
        return None

    def settle(self) -> None:
        """After every input: decide what is due, tell the others what has changed, and end if it is over."""
        member = self.member
        if member.role not in (Role.STARTING, Role.EXPELLED):
            member.registry.settle()
            if member.programs.changed:
                member.programs.changed = False
                member.changed = True
            if self._news or member.changed:
                self._news = False
                self._office.decide()
            self._office.advance()
            if member.changed:
                member.changed = False
                self._say()
            news = self._look or member.observer.hears() != self._hears_published
            if member.role is Role.OUTSIDE and news and not self._in_round:
                self._look = False
                self._round()
        if member.role is Role.GONE and not self.over:
            self.over = True
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
            "bidding_for_epoch": self._election.epoch,
            "levels": {
                str(level.order): [state.value for state in member.participant.states(level.order)]
                for level in member.participant.subsystems()
            },
            "programs": member.programs.described(),
            "disk_failed_count": self._context.disk.failed_count,
            "damaged_count": self._database.damaged_count,
            "bad_datagram_count": self._bad_datagrams,
        }

    def _header_checked(self, refusal: str | None, readable: bool) -> None:
        if refusal is not None:
            self._context.emit("refused", reason=refusal)
            self._context.effects.append(Exit(REFUSED_STATUS))
            self.over = True
        elif readable:
            self._database.read(self._first_read)
        else:
            self._begins = False

    def _first_read(self, found: list[Region] | None) -> None:
        if found is None:
            self._begins = False
            return
        member = self.member
        self._database.resume(found)
        member.observer.read([region.heartbeat for region in found], self._context.now_ms)
        member.adopt(newest_view(found))
        if any(name == "ballot" for name, _ in found[member.node].damaged):
            self._election.burn(member.view.epoch + 1)
        incarnation = next_incarnation(member.node, found)
        member.intent = "join"

        def announced(ok: bool) -> None:
            self._begins = ok
            if ok and member.role is Role.STARTING:
                member.announced(incarnation)

        self._database.write_heartbeat(self._heartbeat(incarnation), announced)

    def _round(self) -> None:
        """One disk period: write the own heartbeat, then read everything."""
        self._in_round = True
        self._round_due_ms = self._context.now_ms + self._context.config.timing.disk_heartbeat_ms

        def have_read(_found: list[Region] | None) -> None:
            self._in_round = False

        heartbeat = self._heartbeat(self.member.incarnation)
        self._database.write_heartbeat(heartbeat, lambda _ok: self._read_regions(have_read))

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
        )

    def _read_regions(self, then: Callable[[list[Region] | None], None]) -> None:
        """Read everything and take it in, then go on with `then`."""

        def ended(found: list[Region] | None) -> None:
            if self.member.role in (Role.GONE, Role.EXPELLED):
                return
            if found is not None:
                self.member.observer.read([region.heartbeat for region in found], self._context.now_ms)
                self._adopt(newest_view(found))
                self._news = True
            then(found)

        self._database.read(ended)

    def _adopt(self, view: View) -> None:
        self._election.overtaken(view.epoch, view.master)
        self.member.adopt(view)

    def _say(self) -> None:
        """One datagram: the whole say of this node."""
        member = self.member
        self._said += 1
        say = datagram.Say(
            node=member.node,
            incarnation=member.incarnation,
            sequence=self._said,
            hears=member.observer.hears(),
            intent=member.intent,
            acknowledged=member.participant.acknowledged(),
            view=member.view if self._is_own_view() else None,
            epoch=member.view.epoch,
            programs=member.programs.announcements(),
            levels=member.registry.levels(),
        )
        self._context.broadcast(datagram.encode(self._context.config.cluster_id, say))

    def _is_own_view(self) -> bool:
        """Whether this very life of this node wrote the newest view: only then is it this node's to tell."""
        member = self.member
        return member.view.master == member.node and member.entry.incarnation == member.incarnation
