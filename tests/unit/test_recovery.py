"""The stages of a recovery, from events alone."""

from __future__ import annotations

from typing import Any

import pytest

from hil.recovery import STAGES, Recovery, recoveries
from hil.view import Event

VICTIM, MASTER, EPOCH = 1, 0, 2

LOST = (1.0, "machine-stopped", {"node": VICTIM, "detail": "destroyed"})
BID = (3.0, "bid", {"node": MASTER, "epoch": EPOCH})
PREEMPTED = (3.25, "preempted", {"node": MASTER, "subject": VICTIM, "incarnation": 1})
FENCED = (3.5, "fenced", {"node": MASTER, "subject": VICTIM, "incarnation": 1})
ELECTED = (3.75, "elected", {"node": MASTER, "epoch": EPOCH, "victims": [VICTIM]})


def recovered(t: float, level: int) -> tuple[float, str, dict[str, Any]]:
    fields = {"node": MASTER, "subject": VICTIM, "incarnation": 1, "level": level, "transition": "forced-leave"}
    return t, "level-complete", fields


def service(t: float, state: str, registration: int, node: int) -> tuple[float, str, dict[str, Any]]:
    return t, "service", {"node": node, "service": "web", "state": state, "registration": registration}


Told = tuple[float, str, dict[str, Any]]

FORCED_OUT: tuple[Told, ...] = (
    BID,
    PREEMPTED,
    FENCED,
    ELECTED,
    recovered(4.0, 10),
    recovered(5.0, 30),
    recovered(5.5, 40),
)


def stream(*told: tuple[float, str, dict[str, Any]]) -> list[Event]:
    ordered = sorted(told, key=lambda one: one[0])
    return [{"n": number, "t": t, "kind": kind, **fields} for number, (t, kind, fields) in enumerate(ordered, 1)]


def only(*told: tuple[float, str, dict[str, Any]]) -> Recovery:
    (found,) = recoveries(stream(*told))
    return found


def test_each_stage_ends_with_the_event_that_is_its_end() -> None:  # S5.1, S6.2, S9.5
    found = only(service(0.5, "registered", 1, VICTIM), LOST, *FORCED_OUT, service(6.0, "registered", 2, MASTER))
    assert found.ends == {"detect": 3.0, "elect": 3.25, "fence": 3.75, "recover": 5.0, "launch": 6.0}
    assert found.seconds == {"detect": 2.0, "elect": 0.25, "fence": 0.5, "recover": 1.25, "launch": 1.0}
    assert (found.victim, found.epoch, found.begun_t, found.services) == (VICTIM, EPOCH, 1.0, ("web",))
    assert found.complete


def test_without_a_service_there_is_nothing_to_launch() -> None:
    found = only(LOST, *FORCED_OUT)
    assert found.wanted == STAGES[:-1]
    assert found.complete


def test_what_is_not_over_when_the_stream_ends_is_left_out() -> None:
    found = only(service(0.5, "registered", 1, VICTIM), LOST, *FORCED_OUT)
    assert list(found.ends) == ["detect", "elect", "fence", "recover"]
    assert not found.complete


def test_a_registration_of_before_the_loss_is_no_launch() -> None:
    late = service(5.75, "registered", 1, VICTIM)  # told by another node, of the registration that is lost
    found = only(service(0.5, "registered", 1, VICTIM), LOST, *FORCED_OUT, late)
    assert "launch" not in found.ends


def test_a_service_that_runs_elsewhere_too_is_not_away() -> None:
    both = (service(0.5, "registered", 1, VICTIM), service(0.6, "registered", 2, MASTER))
    assert only(*both, LOST, *FORCED_OUT).services == ()


def test_a_fault_is_the_beginning_where_the_machine_runs_on() -> None:
    cut = (0.75, "fault-injected", {"node": VICTIM, "fault": "link-silent"})
    crash = (6.0, "machine-crashed", {"node": VICTIM})
    found = only(cut, *FORCED_OUT, crash)
    assert (found.begun_t, found.why, found.seconds["detect"]) == (0.75, "link-silent", 2.25)


@pytest.mark.parametrize(
    "over",
    [
        ("fault-injected", {"fault": "link-silent"}, "fault-healed", {"fault": "link-silent"}),
        ("machine-paused", {}, "machine-resumed", {}),
    ],
)
def test_what_was_over_before_is_not_the_reason(over: tuple[str, dict[str, Any], str, dict[str, Any]]) -> None:
    kind, fields, end_kind, end_fields = over
    past = ((0.1, kind, {"node": VICTIM, **fields}), (0.2, end_kind, {"node": VICTIM, **end_fields}))
    assert only(*past, LOST, *FORCED_OUT).begun_t == LOST[0]


def test_the_end_of_an_earlier_life_is_no_loss_of_the_one_that_joined() -> None:
    past = ((0.1, "machine-stopped", {"node": VICTIM}), (0.5, "state", {"node": VICTIM, "state": "joined"}))
    assert only(*past, LOST, *FORCED_OUT).begun_t == LOST[0]


def test_silence_is_the_reason_where_there_is_no_other() -> None:
    silent = (2.5, "silent", {"node": MASTER, "subject": VICTIM, "for_ms": 2000, "where": "interconnect"})
    found = only(silent, *FORCED_OUT)
    assert (found.begun_t, found.why) == (0.5, "silent")


def test_several_that_are_lost_at_once_have_a_recovery_each() -> None:
    other = [(t, kind, fields | {"subject": 2}) for t, kind, fields in FORCED_OUT if "subject" in fields]
    both = (3.75, "elected", {"node": MASTER, "epoch": EPOCH, "victims": [1, 2]})
    second: Told = (1.0, "machine-stopped", {"node": 2})
    told: list[Told] = [LOST, second, *(one for one in FORCED_OUT if one is not ELECTED), *other]
    found = recoveries(stream(*told, both))
    assert [(one.victim, one.complete) for one in found] == [(1, True), (2, True)]


def test_a_stream_in_which_nobody_is_lost_has_none() -> None:
    assert recoveries(stream((1.0, "elected", {"node": 0, "epoch": 1, "victims": []}))) == []
    assert recoveries([]) == []


def test_the_order_between_nodes_says_nothing_and_no_stage_is_negative() -> None:
    early = (3.1, "level-complete", {**recovered(0, 30)[2], "level": 30})
    found = only(LOST, BID, ELECTED, (3.2, "fenced", FENCED[2]), early, recovered(3.76, 20))
    assert all(seconds >= 0 for seconds in found.seconds.values())
