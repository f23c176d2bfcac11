"""Faults put into the lock manager on purpose; the checks of `dlm_net` must find each of them.

A mutant is a function that breaks one thing by `monkeypatch`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from guestd.dlm import mastery, modes, remaster, spread
from guestd.dlm.client import Client
from guestd.dlm.deadlock import Deadlock
from guestd.dlm.directory import Directory
from guestd.dlm.lock_messages import held
from guestd.dlm.manager import LockManager
from guestd.dlm.mastery import Mastery
from guestd.dlm.messages import NO_MODE, Held, LastValue
from guestd.dlm.modes import Mode
from guestd.dlm.part import Part
from guestd.dlm.recovery import Recovery
from guestd.dlm.remaster import Remaster
from guestd.dlm.resource import Resource
from guestd.dlm.spread import Spread
from guestd.interconnect.channel import Channel
from tests.unit.dlm_users import CROWDS, DEATHS, ENDINGS, EVERYTHING, LEAVES, Theme

Patch = pytest.MonkeyPatch


def matrix_wrong(patch: Patch) -> None:
    """CW lets PR in."""
    patch.setitem(modes.COMPATIBLE, Mode.PR, (Mode.NL, Mode.CR, Mode.CW, Mode.PR))


def orphans_released_early(patch: Patch) -> None:
    """What a dead node held is free as soon as the directory is spread anew, before the levels above have recovered."""

    def bury(self: Mastery, node: int, incarnation: int) -> None:
        self.purge(node)

    patch.setattr(Mastery, "bury", bury)


def withheld_forgotten(patch: Patch) -> None:
    """Whatever a dead master had is granted to the next who asks."""
    made = Mastery.resource

    def resource_of(self: Mastery, name: Any) -> Resource:
        found = made(self, name)
        found.withheld = []
        return found

    patch.setattr(Mastery, "resource", resource_of)


def value_valid_after_death(patch: Patch) -> None:
    """The death of who held EX is nothing to the value block."""
    orphan = Resource.orphan

    def forgiving(self: Resource, entry: Any, life: Any) -> bool:
        valid = self.valid
        left = orphan(self, entry, life)
        self.valid = valid
        return left

    patch.setattr(Resource, "orphan", forgiving)


def value_valid_without_a_guard(patch: Patch) -> None:
    """A new master believes the newest copy of the value block, whoever held the resource."""
    value = Remaster._value

    def trusting(self: Remaster, found: Resource, locks: list[Held]) -> None:
        value(self, found, locks)
        found.valid = True

    patch.setattr(Remaster, "_value", trusting)


def value_lost_with_a_leave(patch: Patch) -> None:
    """Who leaves takes its value blocks along."""
    patch.setattr(Spread, "_remember", lambda _self, _leaving: None)


def value_valid_after_an_end(patch: Patch) -> None:
    """A program that ends with EX leaves the value as it was."""
    unlock = LockManager.unlock

    def lenient(self: LockManager, lock: int, *, value: bytes | None = None, invalidate: bool = False) -> None:
        unlock(self, lock, value=value)

    patch.setattr(LockManager, "unlock", lenient)


def value_valid_after_a_leave(patch: Patch) -> None:
    """Who leaves with EX tells nobody, and the value stays valid."""
    left = Spread._left_by_users

    def only_what_was_left(self: Spread) -> list[LastValue]:
        return [one for one in left(self) if one.valid]

    patch.setattr(Spread, "_left_by_users", only_what_was_left)


def older_word_counts(patch: Patch) -> None:
    """Of two that tell of the same value, whoever says that it is valid is believed."""
    for module in (mastery, remaster, spread):
        patch.setattr(module, "is_newer", lambda one, other: one.sequence > other.sequence)


def end_forgotten_by_a_new_master(patch: Patch) -> None:
    """A new master is not told that a lock that is being given up is so by its holder's end."""

    def told(lock: Any) -> Held:
        before, lock.invalidates = lock.invalidates, False
        found = held(lock)
        lock.invalidates = before
        return found

    patch.setattr(spread, "held", told)


def write_forgotten(patch: Patch) -> None:
    """A conversion down leaves no value."""
    convert = Mastery._convert

    def forgetful(self: Mastery, entry: Any, operation: Any) -> None:
        if operation.writes:
            entry.resource.value = bytes(64)
        convert(self, entry, operation)

    patch.setattr(Mastery, "_convert", forgetful)


def notice_lost(patch: Patch) -> None:
    """Holders are not told that somebody waits for them to give up more than NL lets in."""
    patch.setattr(Client, "blocks", lambda _self, _sender, _message: None)


def no_search(patch: Patch) -> None:
    """Nobody looks for circles."""
    patch.setattr(Deadlock, "tick", lambda _self: None)


def search_stops_at_the_first_node(patch: Patch) -> None:
    """A probe is not sent on from the node of an owner that waits itself."""
    go_on = Deadlock.what_delays

    def short(self: Deadlock, message: Any) -> None:
        if message.node == self._site.node:
            go_on(self, message)

    patch.setattr(Deadlock, "what_delays", short)


def parts_not_awaited(patch: Patch) -> None:
    """The directory goes on when one part has come."""
    is_current = Spread.is_current

    def hasty(self: Spread, peer: int) -> bool:
        return is_current(self, peer) or is_current(self, self._site.node)

    patch.setattr(Spread, "is_current", hasty)
    finish = Spread._finish

    def with_what_there_is(self: Spread, leaving: list[int]) -> None:
        empty = self._parts[self._site.node]
        for node in (*self._site.members, *leaving):
            if node not in self._parts:
                self._parts[node] = Part(empty.begin)
        finish(self, leaving)

    patch.setattr(Spread, "_finish", with_what_there_is)


def waiting_locks_forgotten(patch: Patch) -> None:
    """A new master is told what is granted, and nothing of who waits."""

    def half(lock: Any) -> Held:
        told = held(lock)
        fields = {name: getattr(told, name) for name in Held.value_fields}
        return Held(**{**fields, "wanted": NO_MODE})

    patch.setattr(spread, "held", half)


def directory_kept(patch: Patch) -> None:
    """A tree that has no master any more is still in the directory."""
    patch.setattr(Directory, "remove", lambda _self, _sender, _message: None)


def never_let_go(patch: Patch) -> None:
    """What a dead node held stays held for ever."""
    patch.setattr(Recovery, "_let_go", lambda _self, _life, *, programs: None)


def two_masters(patch: Patch) -> None:
    """The directory makes everybody a master who asks."""

    def generous(self: Directory, sender: int, message: Any) -> None:
        (root,) = message.name
        self.masters.pop(root, None)
        look_up(self, sender, message)

    look_up = Directory.look_up
    patch.setattr(Directory, "look_up", generous)


def doubled_delivery(patch: Patch) -> None:
    """A channel delivers again what is sent again."""
    receive = Channel.receive

    def stutter(self: Channel, first: int, expected: int, messages: Any) -> list[bytes]:
        again = [one for number, one in enumerate(messages, first) if number < self._expected]
        return again + receive(self, first, expected, messages)

    patch.setattr(Channel, "receive", stutter)


def never_again(patch: Patch) -> None:
    """A channel does not send again what was lost."""
    patch.setattr(Channel, "tick", lambda _self: None)


def unconfirmed_forgotten(patch: Patch) -> None:
    """Who has brought its locks to a new master believes at once that all others have as well."""
    bring = Spread._bring

    def trusting(self: Spread, root: bytes, items: Any) -> None:
        bring(self, root, items)
        self._client.unconfirmed.clear()

    patch.setattr(Spread, "_bring", trusting)


def brought_locks_win(patch: Patch) -> None:
    """A tree is mastered anew although it has a master."""
    patch.setattr(Remaster, "send_on", Remaster.take)


def questions_not_void(patch: Patch) -> None:
    """An answer of the directory counts, although it has begun anew since."""
    patch.setattr(Client, "void_questions", lambda _self: None)


@dataclass(frozen=True)
class Mutant:
    """theme: of the histories that show it; seeds: in so many it must be found."""

    broken: Callable[[Patch], None]
    theme: Theme = EVERYTHING
    seeds: int = 40

    @property
    def name(self) -> str:
        return self.broken.__name__


MUTANTS = [
    Mutant(matrix_wrong),
    Mutant(orphans_released_early, DEATHS),
    Mutant(withheld_forgotten, DEATHS),
    Mutant(value_valid_after_death, DEATHS, seeds=60),
    Mutant(value_valid_without_a_guard, DEATHS),
    Mutant(value_lost_with_a_leave, LEAVES),
    Mutant(value_valid_after_an_end, ENDINGS),
    Mutant(value_valid_after_a_leave, ENDINGS),
    Mutant(older_word_counts, ENDINGS),
    Mutant(end_forgotten_by_a_new_master, ENDINGS),
    Mutant(write_forgotten),
    Mutant(notice_lost),
    Mutant(no_search),
    Mutant(search_stops_at_the_first_node),
    Mutant(parts_not_awaited, CROWDS),
    Mutant(waiting_locks_forgotten, DEATHS),
    Mutant(directory_kept),
    Mutant(never_let_go, DEATHS),
    Mutant(two_masters),
    Mutant(doubled_delivery, DEATHS),
    Mutant(never_again),
    Mutant(unconfirmed_forgotten, CROWDS, seeds=60),
    Mutant(brought_locks_win, CROWDS, seeds=60),
    Mutant(questions_not_void, CROWDS),
]
