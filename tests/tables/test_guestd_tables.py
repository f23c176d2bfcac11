"""Every (state, trigger) pair of every state machine is a row, or is refused without moving."""

from __future__ import annotations

from enum import Enum
from typing import Any

import pytest

from guestd.core.machine import IllegalTrigger, Table
from guestd.membership.paxos import PHASES, Phase
from guestd.membership.roles import ROLES, Role
from guestd.membership.states import NODE_STATES, NodeState
from guestd.transition.registration import REGISTRATIONS, Registration
from guestd.transition.states import SUBSYSTEM_STATES, SubsystemState

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
REGISTRATION_ROWS = {
    ("asking", "agreed"): "registered",
    ("asking", "refused"): "ended",
    ("asking", "closed"): "ended",
    ("asking", "died"): "ended",
    ("registered", "closed"): "ended",
    ("registered", "gone"): "ended",
    ("registered", "died"): "silent",  # S4.13
    ("registered", "left"): "ended",  # S4.9
}
MACHINES: list[tuple[Table[Any], type[Enum], dict[tuple[str, str], str]]] = [
    (NODE_STATES, NodeState, NODE_ROWS),
    (SUBSYSTEM_STATES, SubsystemState, SUBSYSTEM_ROWS),
    (ROLES, Role, ROLE_ROWS),
    (PHASES, Phase, BID_ROWS),
    (REGISTRATIONS, Registration, REGISTRATION_ROWS),
]
PAIRS = [
    pytest.param(table, state, trigger, rows.get((state.value, trigger)), id=f"{table.name}: {state.value} {trigger}")
    for table, states, rows in MACHINES
    for state in states
    for trigger in table.triggers
]


@pytest.mark.parametrize(("table", "state", "trigger", "following"), PAIRS)
def test_each_pair_is_a_row_or_is_refused(table: Table[Any], state: Enum, trigger: str, following: str | None) -> None:
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


def test_a_refusal_says_what_would_be_legal() -> None:
    with pytest.raises(IllegalTrigger) as refused:
        NODE_STATES.next(NodeState.JOINING, "ack")
    assert str(refused.value) == 'node state: joining cannot take "ack" (it takes: complete, force, leave)'


def test_a_table_without_a_row_for_every_state_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no row for: .*JOINED"):
        Table("half", NodeState, {NodeState.INACTIVE: {}})


def test_the_two_tables_of_a_node_and_of_a_subsystem_have_the_same_states() -> None:
    assert [state.value for state in NodeState] == [state.value for state in SubsystemState]
