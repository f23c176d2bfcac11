"""The programs that register with this node at run time: their messages, and their way to a seat (spec S4.1, S4.12).

A program asks; the node announces that in its datagrams; the master agrees to one number of barriers for the level; the
program gets its seat when that is heard in the epoch that this node knows. So a level has the same barriers wherever it
is registered, also after a change of masters (`guestd.membership.registry`).
"""

from __future__ import annotations

from guestd.core.effects import Answer
from guestd.membership.announcement import PROGRAMS_MAX, Announcement
from guestd.transition import program_events
from guestd.transition.participant import Progress
from guestd.transition.program import Program
from guestd.transition.registration import Registration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeGuard

    from guestd.core.context import Context
    from guestd.transition.levels import Level
    from guestd.transition.participant import Participant

    NamedLevel = tuple[str, Level]  # where it is registered, for people; the level with the name of the subsystem

REASON_LENGTH_MAX = 400  # characters of why a node must not go on: it is to fit on its console


class Programs:
    """Those of one node. `changed` means that the others should hear of it at once."""

    def __init__(
        self, context: Context, participant: Participant, expel: Callable[[str, str], None] = lambda _name, _why: None
    ) -> None:
        """expel: this node must not go on, as the program of that name says, and why."""
        self._context = context
        self._participant = participant
        self._expel = expel
        self._programs: dict[int, Program] = {}  # by connection
        self.changed = False

    def __bool__(self) -> bool:
        return bool(self._programs)

    def message(self, connection: int, message: object, line: str) -> Progress:
        """One line of a program has come in; what it says is documented in docs/programs.md."""
        said = message if isinstance(message, dict) else {}
        keys = list(said)
        program = self._programs.get(connection)
        if keys == ["register"] and isinstance(said["register"], dict):
            return self._register(connection, said["register"])
        if program is not None and keys == ["acknowledge"]:
            return self._acknowledge(program, said["acknowledge"])
        if program is not None and keys == ["close"]:
            program.answer(closed="as it asked")
            self._end(program, "closed")
        elif program is not None and len(keys) == 1 and keys[0] in ("working", "expel", "emit"):
            self._say(program, keys[0], said[keys[0]])
        else:
            legal = "register" if program is None else "acknowledge, working, emit, expel, close"
            self._context.effects.append(Answer(connection, {"error": f"{line[:80]!r} (legal: {legal})"}))
        return Progress()

    def gone(self, connection: int) -> None:
        """The connection has ended, and with it the program (spec S4.13)."""
        program = self._programs.get(connection)
        if program is None:
            return
        if program.state is Registration.REGISTERED and program.on_death == "hang":
            program.enter("died")
        else:
            self._end(program, "gone" if program.state is Registration.REGISTERED else "died")

    def announcements(self) -> tuple[Announcement, ...]:
        """For the datagrams."""
        if not self._programs:
            return ()
        return tuple([self._announced(program) for program in self._programs.values()])

    def seat(self, agreed: Callable[[int], Level | None], others: Callable[[int], list[NamedLevel]]) -> None:
        """Register those that ask, where the cluster has agreed to the level; refuse those with other barriers.

        others: who is registered at that order, for the refusal.
        """
        for program in list(self._programs.values()):
            level = agreed(program.level.order) if program.state is Registration.ASKING else None
            if level is None:
                continue
            if level.barriers != program.level.barriers:
                named = [
                    f'"{one.name}" on {where} has registered'
                    for where, one in others(level.order)
                    if one.barriers == level.barriers
                ]
                holder = (named or ["the cluster, until its next change of membership, has agreed to"])[0]
                self._refuse(program, _mismatch(self._context.node, program.level, holder, level))
            elif self._participant.is_free(level.order) and not self._waits(program.level):
                for dead in [one for one in self._programs.values() if one.successor is program]:
                    self._end(dead, "replaced")
                program.seat = self._participant.register(program)
                program.enter("agreed")
                program.answer(registered={"node": self._context.node, "nodes": self._context.config.nodes})
                self._show(program)
                self.changed = True

    def _waits(self, level: Level) -> bool:
        """Whether something stands in for it and its node has not joined: no join takes longer for its sake."""
        stands_in = any(_is_stand_in(one, level) for one in self._participant.subsystems())
        return stands_in and not self._participant.has_joined

    def stands_in(self, level: Level) -> bool:
        """Whether what is told of that built-in subsystem is told by the program that has its place."""
        if level.real or not self._programs:
            return False
        return any(one.seat is not None and _is_stand_in(level, one.level) for one in self._programs.values())

    def described(self) -> list[dict[str, Any]]:
        """For the order "status"."""
        return [program.described() for program in self._programs.values()]

    def _register(self, connection: int, asked: dict[str, Any]) -> Progress:
        try:
            if connection in self._programs:
                raise ValueError(f"this connection has registered {self._programs[connection].level.name} already")
            program = Program(self._context, connection, asked)
            dead = self._dead_one(program.level)
            self._check(program.level, dead)
        except ValueError as why:
            self._context.effects.append(Answer(connection, {"refused": str(why)}))
            return Progress()
        self._programs[connection] = program
        self.changed = True
        if dead is None:
            return Progress()
        assert dead.seat is not None, "only what has a seat is silent"
        dead.successor = program
        return self._participant.acknowledge(dead.seat, dead.not_its_own(dead.seat.open.values()))

    def _dead_one(self, level: Level) -> Program | None:
        """The same program as it was before it died (spec S4.13), if none has begun again to take its place."""
        for one in self._programs.values():
            if one.state is Registration.SILENT and one.level == level and one.successor is None:
                return one
        return None

    def _check(self, level: Level, dead: Program | None) -> None:
        """What can be refused at once: by what this node itself has. Raises ValueError."""
        if len(self._programs) >= PROGRAMS_MAX:
            raise ValueError(f"{level.name}: {PROGRAMS_MAX} programs have registered with this node (legal: no more)")
        own = self._participant.subsystems()
        if dead is not None:
            own.remove(dead.level)
        own += [one.level for one in self._programs.values() if one.state is Registration.ASKING]
        for one in own:
            if one.name == level.name and not _is_stand_in(one, level):
                raise ValueError(f"{level.name} is registered with this node already, at level {one.order}")
            if one.order == level.order and one.barriers != level.barriers:
                holder = f'"{one.name}" on node {self._context.node} has registered'
                raise ValueError(_mismatch(self._context.node, level, holder, one))

    def _say(self, program: Program, verb: str, asked: object) -> None:
        """What a program says of its own accord; it is no transition that it moves on."""
        if program.seat is None:
            program.answer(error=f"{verb}: {program.level.name} is not registered yet (legal: close)")
        elif verb == "working":
            if self._is_open(asked, program, verb):
                program.seat.begin_anew(program.unacknowledged[asked])
        elif verb == "emit":
            try:
                self._context.effects.append(program_events.event(asked))
            except ValueError as why:
                program.answer(error=str(why))
        elif not isinstance(asked, str) or not asked.isprintable() or not 1 <= len(asked) <= REASON_LENGTH_MAX:
            legal = f"1 to {REASON_LENGTH_MAX} characters of printable text"
            program.answer(error=f"expel = {str(asked)[:80]!r} (legal: {legal})")
        else:
            self._expel(program.level.name, asked)

    @staticmethod
    def _is_open(number: object, program: Program, verb: str) -> TypeGuard[int]:
        """Whether that is the number of a notification that it has not acknowledged; it is told what is."""
        if type(number) is int and number in program.unacknowledged:
            return True
        open_ = ", ".join(map(str, program.unacknowledged)) or "none"
        program.answer(error=f"{verb} = {number!r} (legal, because not acknowledged: {open_})")
        return False

    def _acknowledge(self, program: Program, number: object) -> Progress:
        if not self._is_open(number, program, "acknowledge"):
            return Progress()
        assert program.seat is not None, "only what has a seat is notified"
        progress = self._participant.acknowledge(program.seat, program.unacknowledged.pop(number))
        self.changed = True
        if program.state is Registration.ENDED:  # that was its own leave
            del self._programs[program.connection]
        return progress

    def _refuse(self, program: Program, why: str) -> None:
        program.answer(refused=why)
        self._end(program, "refused")

    def _end(self, program: Program, trigger: str) -> None:
        if program.seat is not None:
            self._participant.deregister(program.seat)
        for dead in self._programs.values():
            if dead.successor is program:
                dead.successor = None
        program.enter(trigger)
        del self._programs[program.connection]
        self.changed = True

    def _show(self, program: Program) -> None:
        shown = {"level": program.level.order, "name": program.level.name, "real": True}
        others = [one for one in self._participant.subsystems() if one.order == program.level.order]
        others.remove(program.level)
        if not others or any(_is_stand_in(one, program.level) for one in others):
            self._context.emit("subsystems", levels=[shown])

    def _announced(self, program: Program) -> Announcement:
        active = program.seat is not None
        caught_up = None if program.seat is None else self._participant.caught_up(program.seat)
        said = program.announced
        if said is None or said.active is not active or said.caught_up != caught_up:
            said = program.announced = Announcement(program.level, active, caught_up)
        return said


def _is_stand_in(built_in: Level, program: Level) -> bool:
    """Whether the first only acknowledges until such a program is there, which takes its place beside it."""
    return not built_in.real and (built_in.name, built_in.order) == (program.name, program.order)


def _mismatch(node: int, level: Level, holder: str, other: Level) -> str:
    """Names both (spec S4.1)."""
    return (
        f'"{level.name}" on node {node} asks for {_counts(level)} barriers at level {level.order}, '
        f"where {holder} {_counts(other)} (legal: the same numbers)"
    )


def _counts(level: Level) -> str:
    return ", ".join(f"{transition} {count}" for transition, count in level.barriers)
