"""Programs that register at run time: what they are told, and when (S4.3, S4.12, S4.13)."""

from __future__ import annotations

from typing import Any, Final

from guestd.membership.manager import Manager
from guestd.membership.registry import Registry
from guestd.transition.participant import Participant, Progress
from guestd.transition.program import Program
from guestd.transition.programs import Programs
from guestd.transition.seat import Seat
from guestd.transition.states import SubsystemState
from hil.checkers.one_instance import OneInstance
from hil.checkers.own_level import OwnLevel
from hil.checkers.panics import Panics
from hil.checkers.program_states import ProgramStates
from hil.checkers.programs import ProgramsTold
from hil.checkers.waits import Waits
from hil.sim.claims.worked_on import WorkedOn
from hil.sim.run import CONVERGES
from tests.mutations.mutant import POWER, Mutant
from tests.mutations.patching import Patch


def told_twice(patch: Patch) -> None:
    """A program hears of each of its notifications two times."""
    notify = Program.notify

    def stutter(self: Program, notification: Any) -> Any:
        notify(self, notification)
        return notify(self, notification)

    patch.replace(Program, "notify", stutter)


def late_one_left_out(patch: Patch) -> None:
    """A program that registers late is not taken through the joins that it has not processed."""
    patch.replace(Participant, "catch_up", lambda _self, _others: Progress())


def states_of_before(patch: Patch) -> None:
    """A notification comes with the states of the one before."""
    notify = Seat.notify
    before: dict[Seat, list[SubsystemState]] = {}

    def stale(self: Seat, positions: Any) -> Any:
        states, self.states = self.states, before.get(self, [SubsystemState.INACTIVE] * len(self.states))
        before[self] = list(states)
        try:
            return notify(self, positions)
        finally:
            self.states = states

    patch.replace(Seat, "notify", stale)


def nothing_agreed(patch: Patch) -> None:
    """The master does not agree to the levels that programs ask for."""
    patch.replace(Registry, "_has_heard_all", lambda _self: False)


def hung_one_waited_for(patch: Patch) -> None:
    """A node whose subsystem does not acknowledge waits for it without end."""
    patch.replace(Manager, "_check_subsystems", lambda _self, _counted_ms: None)


def silent_one_forgotten(patch: Patch) -> None:
    """A program that has died, and for which its node is to answer, is not waited for."""
    gone = Programs.gone

    def forgiving(self: Programs, connection: int) -> None:
        program = self._programs.get(connection)
        if program is not None:
            program.on_death = "gone"
        gone(self, connection)

    patch.replace(Programs, "gone", forgiving)


def left_program_waited_for(patch: Patch) -> None:
    """A program that has closed its connection stays registered, and is waited for."""
    patch.replace(Participant, "deregister", lambda _self, _seat: None)


def two_of_one_name(patch: Patch) -> None:
    """A program that has closed its connection stays registered, and one of the same name is let in beside it."""
    patch.replace(Programs, "_check", lambda _self, _level, _dead: None)

    def forgotten(self: Programs, program: Any, _trigger: str) -> None:
        del self._programs[program.connection]

    patch.replace(Programs, "_end", forgotten)


def leave_forgotten(patch: Patch) -> None:
    """An order to leave is taken, and nothing is done."""
    patch.replace(Manager, "leave", lambda _self: None)


ENDINGS: Final[dict[str, Any]] = {"programs": 3, "program_share": 50, "answer_ms_max": 100}

MUTANTS = (
    Mutant(hung_one_waited_for, (CONVERGES,), ENDINGS),
    Mutant(silent_one_forgotten, (WorkedOn.claim,), ENDINGS),
    Mutant(left_program_waited_for, (OwnLevel.claim, Panics.claim), ENDINGS),
    Mutant(told_twice, (ProgramsTold.claim,), {"weights": POWER, "programs": 1}),
    Mutant(late_one_left_out, (CONVERGES,), {"programs": 3}),
    Mutant(states_of_before, (ProgramStates.claim,), {"programs": 3}),
    Mutant(nothing_agreed, (CONVERGES,), {"programs": 1}),
    Mutant(two_of_one_name, (OneInstance.claim,), ENDINGS),
    Mutant(leave_forgotten, (Waits.claim,), {"weights": (("leave", 1),)}),
)
