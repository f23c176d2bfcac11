"""The claims about a recorded run: tells the checkers what was recorded, and gathers what they find.

Each checker concludes from what is certain only (:mod:`hil.checkers.merging`), so an honest run is never found wrong;
what nothing but the times on the clock would tell is not found.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guestd.fence.keys import life_of
from guestd.membership.records import Ballot, Commit, Match
from hil.checkers.causes import causes
from hil.checkers.checker import Checker, Violation
from hil.checkers.claims import OF_THE_SIMULATOR, every_checker
from hil.checkers.disk_order import Fact, Keyed, Removed, size
from hil.checkers.judgement import Judgement, Ruling
from hil.checkers.merging import Item, Recorded, RecordedLife
from hil.checkers.observation import Observation
from hil.checkers.recording import Recording, load
from hil.checkers.tables import NOT_TOLD, Tables
from hil.checkers.untrue import why_untrue
from hil.errors import ClaimFailed
from hil.view import BENCH_KINDS, MALFORMED

if TYPE_CHECKING:
    from hil.view import Event


def judge(recording: Recording, checkers: Sequence[Checker] | None = None) -> Judgement:
    """All claims about a run, or these."""
    telling = tell(recording, checkers)
    return telling.judgement((*telling.rulings.values(), *(_never_judged() if checkers is None else ())))


def tell(recording: Recording, checkers: Sequence[Checker] | None = None) -> Telling:
    """All of a recording, in an order that may have been."""
    telling = Telling(Recorded(recording), checkers)
    telling.tell()
    return telling


def check(directory: Path) -> Judgement:
    """Of the run in that directory, which may still go on.

    Raises :class:`hil.errors.ClaimFailed` with what is violated, what led to it, and the command that shows it again;
    ``UsageError`` for what is no recording of this version.
    """
    judgement = judge(load(directory))
    if judgement.violated:
        raise ClaimFailed(judgement.failure())
    return judgement


class Telling:
    """Tells all observations; who finds a violation hears no more."""

    def __init__(self, recorded: Recorded, checkers: Sequence[Checker] | None = None) -> None:
        """``checkers``: None for all claims."""
        recording = recorded.recording
        asked = (
            every_checker(fence=recording.fence, election=recording.election, refusals=True)
            if checkers is None
            else checkers
        )
        self.rulings = {_name(one): _unjudged(one, recorded) for one in asked}
        self._recorded = recorded
        self._judged = [one for one in asked if not self.rulings[_name(one)].lacks]
        self._told: list[Item | Fact] = []
        self._lives: dict[tuple[int, int], RecordedLife] = {}  # (node, incarnation)
        for checker in self._judged:
            checker.begin(recorded)

    @property
    def violated(self) -> bool:
        """Whether a claim does not hold."""
        return any(ruling.violation is not None for ruling in self.rulings.values())

    def judgement(self, rulings: Sequence[Ruling] | None = None) -> Judgement:
        """What came of it so far; ``rulings``: None for those of the checkers."""
        recording = self._recorded.recording
        told = tuple(self.rulings.values() if rulings is None else rulings)
        commands = len(recording.records or ())
        return Judgement(recording.where, told, len(recording.events), commands, tuple(self._recorded.notes))

    def tell(self) -> None:
        """All of the recording, from the beginning to the end."""
        place = 0
        for item in self._recorded.merged():
            while place < item.place:
                self.fact(self._recorded.facts[place])
                place += 1
            self.event(item)
        for fact in self._recorded.facts[place:]:
            self.fact(fact)
        if Observation.REST in self._recorded.provides:
            self._ask(lambda one: one.finished())

    def event(self, item: Item) -> None:
        """One event of a node, or of its machine's end."""
        self._told.append(item)
        event, life = item.event, item.life
        kind = event["kind"]
        if kind in BENCH_KINDS:
            self._ask(lambda one: one.ended(life))
            return
        if kind == "guestd-started":
            self._ask(lambda one: one.booted(life))
        elif kind in ("registered", "incarnation"):
            _enter(life, event)
            self._lives[life.number, life.incarnation] = life
        self._ask(lambda one: one.emitted(life, kind, item.fields) if kind in one.kinds else None)
        if kind == "guestd-exited":
            self._ask(lambda one: one.ended(life))

    def fact(self, fact: Fact) -> None:
        """One fact of the disk."""
        self._told.append(fact)
        if fact.lun:
            self._of_data_disk(fact)
        elif isinstance(fact, Keyed):
            self._ask(lambda one: one.keyed(fact.node, fact.incarnation))
        elif isinstance(fact, Removed):
            self._ask(lambda one: one.removed(fact.removal))
        else:
            known = self._lives.get((fact.node, fact.incarnation))
            life = known or RecordedLife(fact.node, -1, fact.incarnation)
            data = bytes(size(fact))
            self._ask(lambda one: one.landed(life, life.life, fact.lba, data))
            record = fact.record
            if isinstance(record, Commit):
                self._ask(lambda one: one.committed(life, life.life, record.view))
            elif isinstance(record, Ballot):
                self._ask(lambda one: one.voted(life, life.life, record))
            elif isinstance(record, Match):
                self._ask(lambda one: one.contended(life, life.life, record))

    def _of_data_disk(self, fact: Fact) -> None:
        if isinstance(fact, Keyed):
            self._ask(lambda one: one.data_keyed(fact.lun, fact.node, fact.incarnation))
        elif isinstance(fact, Removed):
            self._ask(lambda one: one.data_removed(fact.lun, fact.removal))
        else:
            known = self._lives.get((fact.node, fact.incarnation))
            life = known or RecordedLife(fact.node, -1, fact.incarnation)
            self._ask(lambda one: one.data_landed(fact.lun, life, life.life, fact.lba, bytes(size(fact))))

    def _ask(self, what: Any) -> None:
        for checker in list(self._judged):
            try:
                what(checker)
            except Violation as violation:
                self._rule(checker, violation.what)
            except MALFORMED as error:  # a guest in disorder, whatever it says
                self._rule(checker, f"an event says what cannot be: {type(error).__name__}: {error}")

    def _rule(self, checker: Checker, what: str) -> None:
        self._judged.remove(checker)
        last = self._told[-1] if self._told else None
        place = f"event {last.event['n']}" if isinstance(last, Item) else f"command {last.order}" if last else ""
        led = causes(self._told)
        before = self.rulings[_name(checker)]
        self.rulings[_name(checker)] = Ruling(before.name, before.claim, what, place, led, (), before.without)


def _enter(life: RecordedLife, event: Event) -> None:
    if event["kind"] == "incarnation":
        life.incarnation = event["incarnation"]
    elif (known := life_of(int(event["key"], 16))) is not None:
        life.incarnation = known[1]


def _unjudged(checker: Checker, recorded: Recorded) -> Ruling:
    if (untrue := why_untrue(recorded.events)) is not None:
        return Ruling(_name(checker), checker.claim, lacks=(untrue,))
    lacks = tuple(one.value for one in checker.needs if one not in recorded.provides)
    without = tuple(one.value for one in checker.also if one not in recorded.provides)
    return Ruling(_name(checker), checker.claim, lacks=lacks, without=without)


def _never_judged() -> list[Ruling]:
    """What no recording can be held against: told all the same, lest anybody take it for judged."""
    inside = (Observation.INSIDE.value,)
    return [
        *(Ruling(name, claim, lacks=inside) for name, claim in OF_THE_SIMULATOR.items()),
        *(Ruling(f"table: {name}", Tables.claim, lacks=(why,)) for name, why in NOT_TOLD.items()),
    ]


def _name(checker: Checker) -> str:
    return type(checker).__module__.rpartition(".")[2]
