"""One resource against a sequential model: who holds it, who is granted next of those who wait, and what value is left.

The model is written from OpenVMS's rules and knows nothing of the code under test but its names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from guestd.dlm.modes import Mode
from guestd.dlm.resource import NO_VALUE, Entry, Resource

EXCLUDES = {"NL": "", "CR": "EX", "CW": "PR PW EX", "PR": "CW PW EX", "PW": "CW PR PW EX", "EX": "CR CW PR PW EX"}
MODES = st.sampled_from(list(Mode))


@dataclass
class Asker:
    """A lock in the model."""

    held: str = ""
    wants: str = ""
    recovery: bool = False
    dead: bool = False


class Sequential:
    """The model: three lists, in the order in which things happened."""

    def __init__(self) -> None:
        self.holders: list[int] = []
        self.converting: list[int] = []
        self.waiting: list[int] = []
        self.askers: dict[int, Asker] = {}

    def fits(self, number: int) -> bool:
        asker = self.askers[number]
        return not any(
            self.askers[other].held in EXCLUDES[asker.wants].split()
            for other in self.holders
            if other != number and not (asker.recovery and self.askers[other].dead)
        )

    def grant(self, number: int) -> None:
        asker = self.askers[number]
        if number not in self.holders:
            self.holders.append(number)
        asker.held, asker.wants = asker.wants, ""

    def ask(self, number: int, mode: str, noqueue: bool) -> bool | None:
        asker = self.askers[number]
        asker.wants = mode
        new = not asker.held
        if self.fits(number) and (asker.recovery or not new or not (self.converting or self.waiting)):
            self.grant(number)
            return True
        if noqueue:
            asker.wants = ""
            return False
        (self.waiting if new else self.converting).append(number)
        return None

    def go_on(self) -> list[int]:
        granted = []
        for queue in (self.converting, self.waiting):
            for number in list(queue):
                if self.askers[number].recovery and self.fits(number):
                    queue.remove(number)
                    self.grant(number)
                    granted.append(number)
        while self.converting and self.fits(self.converting[0]):
            granted.append(self.converting.pop(0))
            self.grant(granted[-1])
        while not self.converting and self.waiting and self.fits(self.waiting[0]):
            granted.append(self.waiting.pop(0))
            self.grant(granted[-1])
        return granted

    def give_up(self, number: int) -> None:
        for queue in (self.holders, self.converting, self.waiting):
            if number in queue:
                queue.remove(number)


class Against(RuleBasedStateMachine):
    """Both, side by side."""

    @initialize()
    def begin(self) -> None:
        self.resource = Resource((b"r",))
        self.model = Sequential()
        self.entries: dict[int, Entry] = {}
        self.last = 0
        self.told: dict[int, set[str]] = {}

    def settle(self) -> None:
        granted = [entry.lock for entry in self.resource.settle()]
        assert granted == self.model.go_on()
        for number in granted:
            self.told[number] = set()
        for holder, wanted in self.resource.notices():
            assert wanted.name not in self.told[holder.lock], "told twice"
            self.told[holder.lock].add(wanted.name)

    def some(self, data: st.DataObject, which: Callable[[Entry], bool]) -> Entry | None:
        found = [entry for entry in self.entries.values() if which(entry)]
        return data.draw(st.sampled_from(found)) if found else None

    @rule(mode=MODES, noqueue=st.booleans(), recovery=st.sampled_from([False, False, False, True]))
    def request(self, mode: Mode, noqueue: bool, recovery: bool) -> None:
        self.last += 1
        entry = Entry(self.resource, 0, self.last, 0, recovery=recovery)
        self.model.askers[self.last] = Asker(recovery=recovery)
        outcome = self.resource.request(entry, mode, noqueue=noqueue)
        assert outcome is self.model.ask(self.last, mode.name, noqueue)
        if outcome is not False:
            self.entries[self.last] = entry
            self.told[self.last] = set()
        self.settle()

    @precondition(lambda self: self.entries)
    @rule(mode=MODES, noqueue=st.booleans(), data=st.data())
    def convert(self, mode: Mode, noqueue: bool, data: st.DataObject) -> None:
        entry = self.some(data, lambda one: one.granted is not None and one.wanted is None and one.orphan_of is None)
        if entry is None:
            return
        outcome = self.resource.convert(entry, mode, noqueue=noqueue)
        assert outcome is self.model.ask(entry.lock, mode.name, noqueue)
        if outcome:
            self.told[entry.lock] = set()
        self.settle()

    @precondition(lambda self: self.entries)
    @rule(data=st.data(), writes=st.booleans())
    def release(self, data: st.DataObject, writes: bool) -> None:
        entry = self.some(data, lambda one: one.granted is not None and one.wanted is None)
        if entry is None:
            return
        if writes and entry.granted in (Mode.PW, Mode.EX) and entry.orphan_of is None:
            before = self.resource.sequence
            self.resource.write(entry.lock.to_bytes(64, "big"))
            assert (self.resource.sequence, self.resource.valid) == (before + 1, True)
        self.resource.release(entry)
        self.model.give_up(entry.lock)
        del self.entries[entry.lock]
        self.settle()

    @precondition(lambda self: self.entries)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        entry = self.some(data, lambda one: True)
        assert entry is not None
        waited = entry.lock in self.model.converting + self.model.waiting
        assert self.resource.cancel(entry) is waited
        if not waited:
            return
        asker = self.model.askers[entry.lock]
        asker.wants = ""
        (self.model.converting if asker.held else self.model.waiting).remove(entry.lock)
        if not asker.held:
            del self.entries[entry.lock]
        self.settle()

    @precondition(lambda self: self.entries)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:  # the death of a node with one lock
        entry = self.some(data, lambda one: one.orphan_of is None)
        if entry is None:
            return
        asker, valid = self.model.askers[entry.lock], self.resource.valid
        left = self.resource.orphan(entry, (0, 1))
        assert left is bool(asker.held)
        assert self.resource.valid is (valid and asker.held not in ("PW", "EX"))
        for queue in (self.model.converting, self.model.waiting):
            if entry.lock in queue:
                queue.remove(entry.lock)
        asker.wants, asker.dead = "", True
        if not left:
            del self.entries[entry.lock]
        self.settle()

    @invariant()
    def alike(self) -> None:
        if not hasattr(self, "model"):
            return
        model, found = self.model, self.resource
        assert [entry.lock for entry in found.granted] == model.holders
        assert [entry.lock for entry in found.converting] == model.converting
        assert [entry.lock for entry in found.waiting] == model.waiting
        for entry in found.granted:
            assert entry.granted is not None
            assert entry.granted.name == model.askers[entry.lock].held
        assert found.empty is not bool(model.holders or model.waiting)

    @invariant()
    def whoever_is_in_the_way_has_been_told(self) -> None:
        if not hasattr(self, "model"):
            return
        for waiter in self.model.converting + self.model.waiting:
            asker = self.model.askers[waiter]
            for holder in self.model.holders:
                other = self.model.askers[holder]
                if holder != waiter and other.held in EXCLUDES[asker.wants].split() and not other.dead:
                    assert asker.wants in self.told[holder], f"{holder} does not know that {waiter} waits"


COMMON = settings(
    max_examples=100,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


def check(phases: tuple[Phase, ...] = tuple(Phase)) -> None:
    run_state_machine_as_test(Against, settings=settings(COMMON, phases=phases))


def test_a_resource_is_what_the_sequential_model_is() -> None:  # S7.1
    check()


def requests_past_conversions(patch: pytest.MonkeyPatch) -> None:
    def settle(self: Resource) -> list[Entry]:
        granted = []
        for queue in (self.converting, self.waiting):
            while queue and self._admits(queue[0]):
                granted.append(queue.pop(0))
                self._grant(granted[-1])
        return granted

    patch.setattr(Resource, "settle", settle)


def last_comes_first(patch: pytest.MonkeyPatch) -> None:
    request = Resource.request

    def push_in(self: Resource, entry: Entry, mode: Mode, *, noqueue: bool) -> bool | None:
        outcome = request(self, entry, mode, noqueue=noqueue)
        if outcome is None:
            self.waiting.insert(0, self.waiting.pop())
        return outcome

    patch.setattr(Resource, "request", push_in)


def granted_past_the_queue(patch: pytest.MonkeyPatch) -> None:
    def pushy(self: Resource, entry: Entry, mode: Mode, *, noqueue: bool) -> bool | None:
        entry.wanted = mode
        if self._admits(entry):
            self._grant(entry)
            return True
        if not noqueue:
            self.waiting.append(entry)
            return None
        entry.wanted = None
        return False

    patch.setattr(Resource, "request", pushy)


def notice_lost(patch: pytest.MonkeyPatch) -> None:
    notices = Resource.notices
    patch.setattr(Resource, "notices", lambda self: [one for one in notices(self) if one[1] is not Mode.PR])


def notice_repeated(patch: pytest.MonkeyPatch) -> None:
    notices = Resource.notices
    patch.setattr(Resource, "notices", lambda self: [two for one in notices(self) for two in (one, one)])


def orphan_lets_all_in(patch: pytest.MonkeyPatch) -> None:
    in_the_way = Resource._in_the_way

    def blind(self: Resource, entry: Entry) -> list[Entry]:
        return [other for other in in_the_way(self, entry) if other.orphan_of is None]

    patch.setattr(Resource, "_in_the_way", blind)


def value_valid_after_death(patch: pytest.MonkeyPatch) -> None:
    orphan = Resource.orphan

    def forgiving(self: Resource, entry: Entry, life: Any) -> bool:
        valid = self.valid
        left = orphan(self, entry, life)
        self.valid = valid
        return left

    patch.setattr(Resource, "orphan", forgiving)


MUTANTS = [
    requests_past_conversions,
    last_comes_first,
    granted_past_the_queue,
    notice_lost,
    notice_repeated,
    orphan_lets_all_in,
    value_valid_after_death,
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_the_model_finds(mutant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        check((Phase.generate,))  # that there is a history is enough, it need not be short


# -- what the model does not have


def locks(*modes: Mode) -> tuple[Resource, list[Entry]]:
    """A resource and locks on it, asked for in this order."""
    resource = Resource((b"r",))
    entries = [Entry(resource, number, number, number) for number in range(len(modes))]
    for entry, mode in zip(entries, modes, strict=True):
        resource.request(entry, mode, noqueue=False)
    return resource, entries


def test_a_withheld_resource_is_granted_to_nobody_but_the_recovery() -> None:  # S7.1, A13
    resource, (holder,) = locks(Mode.EX)
    resource.withheld.append((2, 1))
    stranger = Entry(resource, 1, 1, 1)
    assert resource.request(stranger, Mode.NL, noqueue=True) is False
    assert resource.convert(holder, Mode.PR, noqueue=False) is True, "giving up is always possible"
    assert resource.request(stranger, Mode.CR, noqueue=False) is None
    helper = Entry(resource, 1, 2, 2, recovery=True)
    assert resource.request(helper, Mode.PR, noqueue=False) is True
    resource.withheld.clear()
    assert resource.settle() == [stranger]


def test_two_who_recover_exclude_each_other() -> None:  # A12
    resource, (dead,) = locks(Mode.EX)
    resource.orphan(dead, (0, 1))
    first, second = (Entry(resource, 1, number, number, recovery=True) for number in (1, 2))
    assert resource.request(first, Mode.EX, noqueue=False) is True
    assert resource.request(second, Mode.EX, noqueue=False) is None
    resource.release(first)
    assert resource.settle() == [second]


def test_whom_a_lock_waits_for() -> None:  # A24
    resource, (one, two, three, four) = locks(Mode.PR, Mode.PR, Mode.EX, Mode.PR)
    assert resource.convert(one, Mode.EX, noqueue=False) is None
    assert resource.blockers(one) == [two]
    assert resource.blockers(three) == [one, two, one], "both holders, and the conversion before it"
    assert resource.blockers(four) == [one, three], "those before it only, since it goes together with all holders"


def test_a_new_resource_has_zeros_for_a_value() -> None:
    resource, _ = locks(Mode.EX)
    assert (resource.value, resource.valid, resource.sequence) == (NO_VALUE, True, 0)
