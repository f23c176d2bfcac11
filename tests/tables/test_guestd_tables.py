"""Every (state, trigger) pair of every state machine is a row, or is refused without moving."""

from __future__ import annotations

from enum import Enum
from typing import Any

import pytest

from guestd.core.machine import IllegalTrigger, Table
from guestd.events.bell import BELL, BellState
from guestd.membership import dekker
from guestd.membership.paxos import PHASES, Phase
from guestd.membership.roles import ROLES, Role
from guestd.membership.states import NODE_STATES, NodeState
from guestd.services.states import INSTANCE_STATES, InstanceState
from guestd.transition.registration import REGISTRATIONS, Registration
from guestd.transition.states import SUBSYSTEM_STATES, SubsystemState
from tests.tables.events_rows import MACHINES as EVENT_MACHINES

# Spec S2.4 and S4.7: (state, trigger) -> next state. Whatever is not here is refused.
NODE_ROWS = {
    ("inactive", "admit"): "joining",
    ("joining", "complete"): "joined",
    ("joining", "leave"): "leaving",  # S4.8
    ("joining", "force"): "forced-leaving",
    ("joined", "leave"): "leaving",
    ("joined", "force"): "forced-leaving",
    ("leaving", "complete"): "inactive",
    ("leaving", "force"): "forced-leaving",
    ("forced-leaving", "complete"): "inactive",
}
SUBSYSTEM_ROWS = {
    ("inactive", "join"): "joining",
    ("joining", "complete"): "joined",
    ("joining", "forced-leave"): "forced-leaving",
    ("joined", "leave"): "leaving",
    ("joined", "forced-leave"): "forced-leaving",
    ("leaving", "complete"): "inactive",
    ("leaving", "forced-leave"): "forced-leaving",
    ("forced-leaving", "complete"): "inactive",
}
# Table 1 of EP 0750256 A2: notification -> (state after all have acknowledged, what may be re-notified meanwhile).
NOTIFICATIONS = {
    "join": ("joining", "joined", {"forced-leave"}),
    "leave": ("leaving", "inactive", {"forced-leave"}),
    "forced-leave": ("forced-leaving", "inactive", set()),
}
AT_REST = {  # never sent alone: come along with transitions of other nodes
    "inactive": {"join"},
    "joined": {"leave", "forced-leave"},  # Table 1 leaves out the leave, which Fig. 2 and the text have
}
ROLE_ROWS = {
    ("starting", "announced"): "outside",
    ("starting", "left"): "gone",
    ("starting", "expelled"): "expelled",
    ("outside", "admitted"): "member",
    ("outside", "elected"): "master",
    ("outside", "left"): "gone",
    ("outside", "expelled"): "expelled",
    ("member", "elected"): "master",
    ("member", "left"): "gone",
    ("member", "expelled"): "expelled",
    ("master", "deposed"): "member",
    ("master", "left"): "gone",
    ("master", "expelled"): "expelled",
}
BID_ROWS = {
    ("writing-mbal", "written"): "reading-mbal",
    ("reading-mbal", "clear"): "writing-value",
    ("reading-mbal", "overtaken"): "lost",
    ("reading-mbal", "unreadable"): "reading-mbal",
    ("writing-value", "written"): "reading-value",
    ("reading-value", "clear"): "decided",
    ("reading-value", "overtaken"): "lost",
    ("reading-value", "unreadable"): "reading-value",
}
MATCH_ROWS = {
    ("raising", "written"): "looking",
    ("raising", "failed"): "raising",
    ("looking", "seen"): "yielding",
    ("looking", "overtaken"): "lost",
    ("looking", "unreadable"): "looking",
    ("yielding", "written"): "waiting",
    ("yielding", "failed"): "yielding",
    ("waiting", "held up"): "waiting",
    ("waiting", "passed"): "raising",
    ("waiting", "last passed"): "won",
    ("waiting", "overtaken"): "lost",
    ("waiting", "unreadable"): "waiting",
    ("won", "again"): "waiting",
}
REGISTRATION_ROWS = {
    ("asking", "agreed"): "registered",
    ("asking", "refused"): "ended",
    ("asking", "closed"): "ended",
    ("asking", "died"): "ended",
    ("registered", "closed"): "ended",
    ("registered", "gone"): "ended",
    ("registered", "died"): "silent",  # S4.13
    ("registered", "left"): "ended",  # S4.9
    ("silent", "replaced"): "ended",  # the same program has begun again
}
# Spec S9.7, and what it leaves open: docs/services.md.
INSTANCE_ROWS = {
    ("de-registered", "register"): "starting",
    ("de-registered", "register-without-start"): "registered",
    ("starting", "started"): "registered",
    ("starting", "start-failed"): "stopping",
    ("starting", "start-failed-without-stop"): "de-registered",
    ("starting", "lost"): "de-registered",
    ("registered", "stop"): "stopping",
    ("registered", "stop-without-stop"): "de-registered",
    ("registered", "lost"): "recovering",
    ("registered", "lost-without-recovery"): "de-registered",
    ("stopping", "stopped"): "de-registered",
    ("stopping", "lost"): "recovering",
    ("stopping", "lost-without-recovery"): "de-registered",
    ("recovering", "recovered"): "de-registered",
    ("recovering", "recovery-failed"): "recovering",
    ("recovering", "lost"): "recovering",
}
BELL_ROWS = {
    ("absent", "begin"): "asking",
    ("asking", "granted"): "listening",
    ("asking", "denied"): "absent",
    ("listening", "blocks"): "yielding",
    ("listening", "ring"): "preparing",
    ("yielding", "granted"): "asking",
    ("yielding", "denied"): "absent",
    ("preparing", "granted"): "ringing",
    ("preparing", "denied"): "absent",
    ("ringing", "granted"): "asking",
    ("ringing", "denied"): "absent",
}
MACHINES: list[tuple[Table[Any], type[Enum], dict[tuple[str, str], str]]] = [
    (NODE_STATES, NodeState, NODE_ROWS),
    (SUBSYSTEM_STATES, SubsystemState, SUBSYSTEM_ROWS),
    (ROLES, Role, ROLE_ROWS),
    (PHASES, Phase, BID_ROWS),
    (dekker.PHASES, dekker.Phase, MATCH_ROWS),
    (REGISTRATIONS, Registration, REGISTRATION_ROWS),
    (INSTANCE_STATES, InstanceState, INSTANCE_ROWS),
    (BELL, BellState, BELL_ROWS),
    *EVENT_MACHINES,
]
PAIRS = [
    pytest.param(table, state, trigger, rows.get((state.value, trigger)), id=f"{table.name}: {state.value} {trigger}")
    for table, states, rows in MACHINES
    for state in states
    for trigger in table.triggers
]


@pytest.mark.parametrize(("table", "state", "trigger", "following"), PAIRS)
def test_each_pair_is_a_row_or_is_refused(table: Table[Any], state: Enum, trigger: str, following: str | None) -> None:
    # S2.4, S3.2, S4.7, S8.1, S8.3, S8.4, S9.7
    assert table.takes(state, trigger) == (following is not None)
    if following is None:
        with pytest.raises(IllegalTrigger, match=f'{state.value} cannot take "{trigger}"'):
            table.next(state, trigger)
    else:
        assert table.next(state, trigger).value == following


@pytest.mark.parametrize(("table", "states", "rows"), MACHINES, ids=[table.name for table, _, _ in MACHINES])
def test_the_table_has_no_row_that_is_not_listed_here(
    table: Table[Any], states: type[Enum], rows: dict[tuple[str, str], str]
) -> None:
    found = {
        (state.value, trigger): table.next(state, trigger).value for state in states for trigger in table.rows[state]
    }
    assert found == rows


@pytest.mark.parametrize("notification", NOTIFICATIONS)
def test_each_notification_has_the_outcome_and_the_re_notifications_of_the_document(notification: str) -> None:  # S4.7
    noted, outcome, renotified = NOTIFICATIONS[notification]
    before = {SUBSYSTEM_STATES.next(s, notification) for s in SubsystemState if SUBSYSTEM_STATES.takes(s, notification)}
    assert before == {SubsystemState(noted)}
    assert SUBSYSTEM_STATES.next(SubsystemState(noted), "complete") is SubsystemState(outcome)
    assert set(SUBSYSTEM_STATES.rows[SubsystemState(noted)]) - {"complete"} == renotified


@pytest.mark.parametrize("state", AT_REST)
def test_a_state_at_rest_is_left_by_a_notification_only(state: str) -> None:  # S4.7
    assert set(SUBSYSTEM_STATES.rows[SubsystemState(state)]) == AT_REST[state]


def test_a_refusal_says_what_would_be_legal() -> None:
    with pytest.raises(IllegalTrigger) as refused:
        NODE_STATES.next(NodeState.JOINING, "ack")
    assert str(refused.value) == 'node state: joining cannot take "ack" (it takes: complete, force, leave)'


def test_a_table_without_a_row_for_every_state_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no row for: .*JOINED"):
        Table("half", NodeState, {NodeState.INACTIVE: {}})


def test_the_two_tables_of_a_node_and_of_a_subsystem_have_the_same_states() -> None:
    assert [state.value for state in NodeState] == [state.value for state in SubsystemState]
