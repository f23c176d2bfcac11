"""Random service actions of three nexuses against a simple model of what the standard says."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from hil.scsi.reservation_access import conflicts
from hil.scsi.reservations import (
    Conflict,
    Identity,
    Request,
    State,
    change,
    end_reserve_6,
    release_6,
    reserve_6,
)
from hil.scsi.sense import Refused

NODES = [(f"iqn.test:{number}", "h:1") for number in range(3)]
READ, WRITE = b"\x28" + bytes(9), b"\x2a" + bytes(9)
NODE = st.sampled_from(NODES)
KEY = st.integers(0, 3)
TYPE = st.sampled_from([1, 3, 5, 6, 7, 8])


class Reservations(RuleBasedStateMachine):
    """The model: ``keys`` by nexus, a type, and the set of holders; SPC-2's ``owner``."""

    def __init__(self) -> None:
        super().__init__()
        self.state = State()
        self.keys: dict[Identity, int] = {}
        self.kind = 0
        self.holder: Identity | None = None
        self.owner: Identity | None = None
        self.attentions: set[Identity] = set()

    def ask(self, action: int, node: Identity, key: int, action_key: int = 0, kind: int = 0) -> str:
        try:
            done = change(self.state, action, Request(node, key, action_key, kind))
        except Conflict:
            return "conflict"
        except Refused:
            return "refused"
        assert set(done.removed) == set(self.state.keys) - set(done.state.keys)
        told = [nexus for nexus, _ in done.told]
        assert len(told) == len(set(told))
        assert node not in told
        self.state = done.state
        return "good"

    def may(self, node: Identity, key: int) -> bool:
        return self.owner is None and node in self.keys and self.keys[node] == key

    def holders(self) -> set[Identity]:
        if not self.kind:
            return set()
        return set(self.keys) if self.kind in (7, 8) else {node for node in self.keys if node == self.holder}

    def drop(self, nodes: set[Identity]) -> None:
        for node in nodes:
            self.keys.pop(node, None)
        if self.kind and not self.holders():
            self.kind, self.holder = 0, None

    @rule(node=NODE, key=KEY, new=KEY, ignore=st.booleans())
    def register(self, node: Identity, key: int, new: int, ignore: bool) -> None:
        legal = self.owner is None and (ignore or self.keys.get(node, 0) == key)
        assert self.ask(6 if ignore else 0, node, key, new) == ("good" if legal else "conflict")
        if legal and new:
            self.keys[node] = new
        elif legal:
            self.drop({node})

    @rule(node=NODE, key=KEY, kind=TYPE)
    def reserve(self, node: Identity, key: int, kind: int) -> None:
        legal = self.may(node, key) and (not self.kind or (node in self.holders() and kind == self.kind))
        assert self.ask(1, node, key, kind=kind) == ("good" if legal else "conflict")
        if legal and not self.kind:
            self.kind, self.holder = kind, node

    @rule(node=NODE, key=KEY, kind=TYPE)
    def release(self, node: Identity, key: int, kind: int) -> None:
        wrong_type = node in self.holders() and kind != self.kind
        expected = "conflict" if not self.may(node, key) else "refused" if wrong_type else "good"
        assert self.ask(2, node, key, kind=kind) == expected
        if expected == "good" and node in self.holders():
            self.kind, self.holder = 0, None

    @rule(node=NODE, key=KEY)
    def clear(self, node: Identity, key: int) -> None:
        legal = self.may(node, key)
        assert self.ask(3, node, key) == ("good" if legal else "conflict")
        if legal:
            self.drop(set(self.keys))

    @rule(node=NODE, key=KEY, victim=KEY, kind=TYPE, action=st.sampled_from([4, 5]))
    def preempt(self, node: Identity, key: int, victim: int, kind: int, action: int) -> None:
        everybody = victim == 0 and self.kind in (7, 8)
        victims = {other for other in self.keys if everybody or self.keys[other] == victim}
        if not self.may(node, key):
            expected = "conflict"
        elif victim == 0 and not everybody:
            expected = "refused"
        else:
            expected = "good" if victims else "conflict"
        assert self.ask(action, node, key, victim, kind) == expected
        if expected != "good":
            return
        takes_over = everybody or (self.kind not in (0, 7, 8) and self.holder in victims)
        if takes_over:
            self.kind, self.holder = kind, node
        self.drop(victims - {node})

    @rule(node=NODE, release=st.booleans())
    def reserve_6(self, node: Identity, release: bool) -> None:
        touched = not self.keys
        if self.keys:
            legal = node in self.holders() or (self.kind >= 5 and node in self.keys)
        else:
            legal = release or self.owner in (None, node)
        try:
            self.state = (release_6 if release else reserve_6)(self.state, node)
        except Conflict:
            assert not legal
            return
        assert legal
        if touched and not release:
            self.owner = node
        elif touched and self.owner == node:
            self.owner = None

    @rule(node=NODE)
    def lose_the_session(self, node: Identity) -> None:
        self.state = end_reserve_6(self.state, node)
        if self.owner == node:
            self.owner = None

    @invariant()
    def agrees(self) -> None:
        state = self.state
        assert (dict(state.keys), state.type or 0, state.reserved_by) == (self.keys, self.kind, self.owner)
        assert {node for node in NODES if state.holds(node)} == self.holders()
        for node in NODES:
            registered = self.kind >= 5 and node in self.keys
            may_write = not self.kind or node in self.holders() or registered
            may_read = may_write or self.kind in (1, 5, 7)
            if self.owner is not None:
                may_write = may_read = node == self.owner
            assert conflicts(state, node, WRITE) == (not may_write)
            assert conflicts(state, node, READ) == (not may_read)


TestReservations = Reservations.TestCase
TestReservations.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
