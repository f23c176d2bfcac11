"""Declared and undeclared panics, from events alone (spec S10.8)."""

from typing import Any

import pytest

from hil.errors import ClaimFailed
from hil.expect import PanicLedger, ServiceDeclaration
from hil.view import View


class Stream:
    """Numbers events and feeds them to a ledger."""

    def __init__(self) -> None:
        self.ledger = PanicLedger()
        self.events: list[dict[str, Any]] = []

    def say(self, kind: str, node: int, **fields: Any) -> None:
        event = {"n": len(self.events) + 1, "t": float(len(self.events)), "kind": kind, "node": node, **fields}
        self.events.append(event)
        self.ledger.apply(event)

    def panic(self, node: int, reason: str = "forced out") -> None:
        self.say("panic", node, reason=reason)
        self.say("machine-crashed", node, detail="panicked")


@pytest.fixture
def stream() -> Stream:
    stream = Stream()
    for node in range(3):
        stream.say("machine-starting", node)
        stream.say("machine-started", node)
    return stream


def test_no_panic_and_none_declared_is_fine(stream: Stream) -> None:
    stream.ledger.check()


def test_an_undeclared_panic_fails_with_node_and_reason(stream: Stream) -> None:
    stream.panic(2, "forced out in epoch 5")
    with pytest.raises(ClaimFailed, match=r"node 2 panicked at 6\.000 s: forced out in epoch 5; nobody declared"):
        stream.ledger.check()


def test_a_crash_without_a_last_word_is_a_panic_too(stream: Stream) -> None:
    stream.say("machine-crashed", 1, detail="panicked")
    with pytest.raises(ClaimFailed, match=r"node 1 panicked .* \(its guestd said nothing\)"):
        stream.ledger.check()


def test_the_last_word_and_the_crash_are_one_panic(stream: Stream) -> None:
    stream.ledger.expect(2)
    stream.panic(2)
    assert len(stream.ledger.panics) == 1
    stream.ledger.check()


def test_each_life_panics_on_its_own(stream: Stream) -> None:
    stream.ledger.expect(2)
    stream.panic(2)
    stream.say("machine-starting", 2)
    stream.panic(2, "again")
    assert [panic.reason for panic in stream.ledger.undeclared()] == ["again"]


def test_a_reset_begins_a_new_life(stream: Stream) -> None:
    stream.panic(0, "first")
    stream.say("machine-reset", 0)
    stream.panic(0, "second")
    assert [panic.reason for panic in stream.ledger.panics] == ["first", "second"]


def test_a_declared_panic_that_never_came_fails_with_its_reason(stream: Stream) -> None:
    stream.ledger.expect(1, because="forced out")
    with pytest.raises(ClaimFailed, match="node 1 was to panic because of 'forced out', but it did not"):
        stream.ledger.check()


def test_a_panic_for_another_reason_is_not_the_declared_one(stream: Stream) -> None:
    stream.ledger.expect(1, because="forced out")
    stream.panic(1, "assertion failed")
    assert stream.ledger.problems() == [
        "node 1 panicked at 6.000 s: assertion failed; nobody declared that it would",
        "node 1 was to panic because of 'forced out', but it did not",
    ]


@pytest.mark.parametrize(("by_t", "in_time"), [(5.9, False), (6.0, True)])
def test_a_panic_has_to_come_in_its_time(stream: Stream, by_t: float, *, in_time: bool) -> None:
    stream.ledger.expect(2, by_t=by_t)
    stream.panic(2)
    if in_time:
        stream.ledger.check()
        return
    with pytest.raises(
        ClaimFailed, match=r"6\.000 s: forced out; nobody declared .*; node 2 was to panic by 5\.900 s, but"
    ):
        stream.ledger.check()


def test_another_nodes_panic_is_not_the_declared_one(stream: Stream) -> None:
    stream.ledger.expect(1)
    stream.panic(2)
    assert len(stream.ledger.problems()) == 2


def test_a_panic_that_was_known_before_is_not_the_declared_one(stream: Stream) -> None:
    stream.panic(1)
    stream.ledger.expect(1)
    assert len(stream.ledger.problems()) == 2


def test_one_declaration_is_good_for_one_panic(stream: Stream) -> None:
    stream.ledger.expect(1)
    stream.ledger.expect(1)
    stream.panic(1)
    assert len(stream.ledger.missing()) == 1


@pytest.mark.parametrize("order_first", [True, False])
def test_an_order_to_panic_declares_the_panic_also_when_it_is_written_down_after_it(
    stream: Stream, order_first: bool
) -> None:
    if order_first:
        stream.say("order-sent", 1, order_n=1, order="panic", reason="test")
        stream.panic(1, "test")
    else:
        stream.panic(1, "test")
        stream.say("order-sent", 1, order_n=1, order="panic", reason="test")
    stream.ledger.check()


def test_an_order_does_not_excuse_the_panic_of_an_earlier_life(stream: Stream) -> None:
    stream.panic(1, "nobody wanted this")
    stream.say("machine-starting", 1)
    stream.say("order-sent", 1, order_n=1, order="panic", reason="test")
    stream.panic(1, "test")
    assert [panic.reason for panic in stream.ledger.undeclared()] == ["nobody wanted this"]


def test_an_order_to_leave_declares_nothing(stream: Stream) -> None:
    stream.say("order-sent", 1, order_n=1, order="leave")
    stream.ledger.check()


def test_why_not_tells_what_is_missing_step_by_step(stream: Stream) -> None:
    declaration = stream.ledger.expect(2, because="forced out")
    assert stream.ledger.why_not(declaration) == "node 2 has not panicked"
    stream.say("panic", 2, reason="forced out in epoch 5")
    assert "libvirt has not reported the crash" in str(stream.ledger.why_not(declaration))
    stream.say("machine-crashed", 2, detail="panicked")
    assert stream.ledger.why_not(declaration) is None


def test_why_not_names_the_panic_that_came_instead(stream: Stream) -> None:
    declaration = stream.ledger.expect(2, because="forced out")
    stream.panic(2, "assertion failed")
    assert "assertion failed" in str(stream.ledger.why_not(declaration))


def test_events_that_were_applied_before_count_once(stream: Stream) -> None:
    stream.panic(2)
    stream.ledger.apply_all(stream.events)
    assert len(stream.ledger.panics) == 1
    assert stream.ledger.seen == len(stream.events)


def test_events_of_no_node_are_ignored(stream: Stream) -> None:
    stream.ledger.apply({"n": 99, "kind": "bench-stopping", "reason": "down"})
    stream.ledger.check()


# -- where services must be


def view_of(*steps: tuple[str, int, int]) -> View:
    """After steps (state, node, registration) of one service."""
    view = View(3)
    for n, (state, node, registration) in enumerate(steps, 1):
        told = {"service": "web", "subject": node, "state": state, "registration": registration, "flags": "", "why": ""}
        view.apply({"n": n, "t": float(n), "kind": "service", "node": 0, **told})
    return view


def test_a_service_must_be_registered_where_it_was_declared() -> None:  # S9.1
    there = view_of(("registered", 1, 1))
    assert ServiceDeclaration("web").why_not(there) is None
    assert ServiceDeclaration("web", on=1).why_not(there) is None
    assert ServiceDeclaration("web", on=2).why_not(there) == "it is registered on node 1"
    assert ServiceDeclaration("web", on=1).why_not(view_of(("starting", 1, 1))) == "it is starting on node 1"
    assert ServiceDeclaration("other").why_not(there) == "nothing was told of it"
    assert str(ServiceDeclaration("web", on=2, after=1)) == "service web was to be registered on node 2 anew"


def test_what_was_known_before_does_not_count_as_anew() -> None:
    declaration = ServiceDeclaration("web", after=1)
    assert declaration.why_not(view_of(("registered", 1, 1))) == "it is registered on node 1"
    assert declaration.why_not(view_of(("registered", 1, 1), ("de-registered", 1, 1), ("registered", 1, 2))) is None


def test_it_is_hopeless_when_the_service_has_settled_elsewhere() -> None:
    declaration = ServiceDeclaration("web", on=2, after=1)
    assert declaration.why_hopeless(view_of(("registered", 1, 1))) is None
    assert declaration.why_hopeless(view_of(("starting", 0, 2))) is None
    assert declaration.why_hopeless(view_of(("registered", 0, 2))) == "it is registered on node 0 instead"
    assert declaration.why_hopeless(view_of(("registered", 2, 2))) is None
    lost = view_of(("registered", 0, 2))
    lost.apply({"n": 9, "t": 9.0, "kind": "machine-crashed", "node": 0, "detail": ""})
    assert declaration.why_hopeless(lost) is None
