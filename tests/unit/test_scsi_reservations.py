"""Service actions of PERSISTENT RESERVE OUT: what each changes, whom it tells, what it refuses (SPC-4 5.13)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.scsi.reservations import (
    ALL_REGISTRANTS,
    INVALID_FIELD_IN_PARAMETER_LIST,
    INVALID_RELEASE,
    REGISTRATIONS_PREEMPTED,
    RESERVATIONS_PREEMPTED,
    RESERVATIONS_RELEASED,
    SHARED,
    Request,
    State,
    Type,
    change,
)
from hil.scsi.sense import INVALID_FIELD_IN_CDB
from hil.scsi.target import Target
from tests.unit.scsi_initiator import Initiator, make_target
from tests.unit.scsi_reserve import (
    CLEAR,
    CONFLICT,
    GOOD,
    PREEMPT,
    PREEMPT_AND_ABORT,
    REGISTER,
    REGISTER_AND_IGNORE,
    RELEASE,
    RESERVE,
    WERO,
    Node,
    generation,
    keys,
    out_cdb,
    out_data,
    refusal,
    reservation,
)

RESERVE_6, RELEASE_6 = b"\x16\0\0\0\0\0", b"\x17\0\0\0\0\0"


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    target = make_target(tmp_path)
    yield target
    target.units[0].medium.close()


@pytest.fixture
def nodes(target: Target) -> list[Node]:
    """0 and 1 are registered, with keys 0x10 and 0x11; 2 is not."""
    found = [Node(target, name) for name in "abc"]
    found[0].register(0x10)
    found[1].register(0x11)
    return found


def test_a_new_registration_must_say_that_it_has_no_key_yet(target: Target) -> None:
    node = Node(target, "a")
    assert node.out(REGISTER, 5, 6) == CONFLICT
    assert (keys(node), generation(node)) == ([], 0)
    assert node.out(REGISTER, 0, 6) == GOOD
    assert (keys(node), generation(node)) == ([6], 1)


def test_a_key_is_changed_by_who_knows_it_or_ignores_it(nodes: list[Node]) -> None:
    assert nodes[0].out(REGISTER, 0, 7) == CONFLICT
    assert nodes[0].out(REGISTER, 0x10, 7) == GOOD
    assert nodes[1].out(REGISTER_AND_IGNORE, 0xBAD, 8) == GOOD
    assert (keys(nodes[0]), generation(nodes[0])) == ([7, 8], 4)


def test_to_end_a_registration_that_is_none_changes_nothing(nodes: list[Node]) -> None:
    before = generation(nodes[0])
    assert nodes[2].out(REGISTER, 0, 0) == GOOD
    assert nodes[2].out(REGISTER_AND_IGNORE, 0, 0) == GOOD
    assert generation(nodes[0]) == before


@pytest.mark.parametrize("kind", Type)
def test_the_end_of_the_holders_registration_ends_its_reservation(nodes: list[Node], kind: Type) -> None:
    assert nodes[0].out(RESERVE, 0x10, kind=kind) == GOOD
    assert nodes[0].out(REGISTER, 0x10, 0) == GOOD
    if kind in ALL_REGISTRANTS:  # the other registrant is a holder as well
        assert reservation(nodes[1]) == (0, kind)
        assert nodes[1].out(REGISTER, 0x11, 0) == GOOD
    else:
        assert nodes[1].attentions() == ([RESERVATIONS_RELEASED] if kind in SHARED else [])
    assert reservation(nodes[2]) is None


@pytest.mark.parametrize("kind", Type)
def test_a_reservation_is_told_with_its_holders_key_or_0_when_all_registrants_hold_it(
    nodes: list[Node], kind: Type
) -> None:
    before = generation(nodes[0])
    assert nodes[0].out(RESERVE, 0x10, kind=kind) == GOOD
    assert reservation(nodes[2]) == (0 if kind in ALL_REGISTRANTS else 0x10, kind)
    assert generation(nodes[0]) == before


@pytest.mark.parametrize("kind", Type)
@pytest.mark.parametrize("second", Type)
def test_a_second_reservation_is_a_conflict_but_for_a_holder_with_the_same_type(
    nodes: list[Node], kind: Type, second: Type
) -> None:
    assert nodes[0].out(RESERVE, 0x10, kind=kind) == GOOD
    assert nodes[0].out(RESERVE, 0x10, kind=second) == (GOOD if kind == second else CONFLICT)
    held_by_both = kind == second and kind in ALL_REGISTRANTS
    assert nodes[1].out(RESERVE, 0x11, kind=second) == (GOOD if held_by_both else CONFLICT)
    assert reservation(nodes[0]) == (0 if kind in ALL_REGISTRANTS else 0x10, kind)


@pytest.mark.parametrize("action", [RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_AND_ABORT])
def test_who_is_not_registered_or_gives_a_wrong_key_gets_a_conflict(nodes: list[Node], action: int) -> None:
    for node, key in ((nodes[2], 0), (nodes[2], 0x10), (nodes[0], 0x11), (nodes[0], 0)):
        assert node.out(action, key, 0x11, kind=WERO) == CONFLICT
    assert (keys(nodes[0]), reservation(nodes[0]), generation(nodes[0])) == ([0x10, 0x11], None, 2)


@pytest.mark.parametrize("kind", [0, 2, 4, 9, 0x15, 0xF5])
def test_a_type_or_scope_that_does_not_exist_is_refused(nodes: list[Node], kind: int) -> None:
    outcome = nodes[0].execute(out_cdb(RESERVE, kind), out_data(0x10))
    assert refusal(outcome) == INVALID_FIELD_IN_CDB


@pytest.mark.parametrize("kind", Type)
def test_a_release_tells_the_other_registrants_when_they_shared(nodes: list[Node], kind: Type) -> None:
    nodes[0].out(RESERVE, 0x10, kind=kind)
    assert nodes[0].out(RELEASE, 0x10, kind=kind) == GOOD
    assert reservation(nodes[0]) is None
    told = [RESERVATIONS_RELEASED] if kind in SHARED else []
    assert [node.attentions() for node in nodes] == [[], told, []]


def test_a_release_by_who_holds_nothing_has_no_effect_and_with_another_type_is_refused(nodes: list[Node]) -> None:
    nodes[0].out(RESERVE, 0x10, kind=WERO)
    assert nodes[1].out(RELEASE, 0x11, kind=Type.WRITE_EXCLUSIVE) == GOOD
    assert refusal(nodes[0].execute(out_cdb(RELEASE, 1), out_data(0x10))) == INVALID_RELEASE
    assert reservation(nodes[0]) == (0x10, WERO)


def test_clear_removes_everything_and_tells_the_others(nodes: list[Node]) -> None:
    nodes[0].out(RESERVE, 0x10, kind=WERO)
    assert nodes[1].out(CLEAR, 0x11) == GOOD
    assert [node.attentions() for node in nodes] == [[RESERVATIONS_PREEMPTED], [], []]
    assert (keys(nodes[0]), reservation(nodes[0]), generation(nodes[0])) == ([], None, 3)


@pytest.mark.parametrize("action", [PREEMPT, PREEMPT_AND_ABORT])
def test_preempt_without_a_reservation_removes_the_registrations_with_that_key(nodes: list[Node], action: int) -> None:
    nodes[2].register(0x11)
    assert nodes[0].out(action, 0x10, 0x11) == GOOD  # the type is of no interest
    assert [node.attentions() for node in nodes] == [[], [REGISTRATIONS_PREEMPTED], [REGISTRATIONS_PREEMPTED]]
    assert (keys(nodes[0]), reservation(nodes[0]), generation(nodes[0])) == ([0x10], None, 4)


@pytest.mark.parametrize("kind", Type)
@pytest.mark.parametrize("after", Type)
def test_preempting_the_holder_takes_the_reservation_over(nodes: list[Node], kind: Type, after: Type) -> None:
    nodes[2].register(0x12)
    nodes[1].out(RESERVE, 0x11, kind=kind)
    assert nodes[0].out(PREEMPT, 0x10, 0 if kind in ALL_REGISTRANTS else 0x11, kind=after) == GOOD
    third = [REGISTRATIONS_PREEMPTED]
    if kind not in ALL_REGISTRANTS:
        third = [RESERVATIONS_RELEASED] if kind != after else []
    assert [node.attentions() for node in nodes] == [[], [REGISTRATIONS_PREEMPTED], third]
    assert keys(nodes[0]) == ([0x10] if kind in ALL_REGISTRANTS else [0x10, 0x12])
    assert reservation(nodes[0]) == (0 if after in ALL_REGISTRANTS else 0x10, after)


@pytest.mark.parametrize("kind", Type)
def test_preempting_another_than_the_holder_leaves_the_reservation(nodes: list[Node], kind: Type) -> None:
    nodes[0].out(RESERVE, 0x10, kind=kind)
    assert nodes[0].out(PREEMPT, 0x10, 0x11, kind=1) == GOOD
    assert nodes[1].attentions() == [REGISTRATIONS_PREEMPTED]
    assert (keys(nodes[0]), reservation(nodes[0])) == ([0x10], (0 if kind in ALL_REGISTRANTS else 0x10, kind))


def test_a_holder_may_preempt_itself_and_change_the_type(nodes: list[Node]) -> None:  # SPC-4 5.13.11.2.4
    nodes[0].out(RESERVE, 0x10, kind=WERO)
    assert nodes[0].out(PREEMPT, 0x10, 0x10, kind=Type.EXCLUSIVE_ACCESS) == GOOD
    assert [node.attentions() for node in nodes] == [[], [RESERVATIONS_RELEASED], []]
    assert (keys(nodes[0]), reservation(nodes[0])) == ([0x10, 0x11], (0x10, Type.EXCLUSIVE_ACCESS))


def test_preempting_a_key_that_nobody_has_is_a_conflict_and_key_0_is_refused(nodes: list[Node]) -> None:
    assert nodes[0].out(PREEMPT, 0x10, 0x99, kind=WERO) == CONFLICT
    for kind in (None, WERO):
        if kind:
            nodes[0].out(RESERVE, 0x10, kind=kind)
        outcome = nodes[0].execute(out_cdb(PREEMPT, WERO), out_data(0x10, 0))
        assert refusal(outcome) == INVALID_FIELD_IN_PARAMETER_LIST
    assert keys(nodes[0]) == [0x10, 0x11]


def test_a_registration_is_of_initiator_and_portal_and_survives_a_new_session(target: Target) -> None:
    node = Node(target, "a")
    node.register(5)
    again = Node(target, "a")
    assert again.nexus is node.nexus
    assert again.out(REGISTER, 5, 6) == GOOD


def test_reserve_6_keeps_everybody_else_off_until_it_is_released(target: Target) -> None:  # SPC-2 5.5.1
    one, other = Node(target, "a"), Node(target, "b")
    assert one.execute(RESERVE_6).status == one.execute(RESERVE_6).status == GOOD
    assert other.execute(b"\0").status == other.execute(RESERVE_6).status == CONFLICT
    assert other.execute(b"\x12\0\0\0\xff").status == GOOD
    assert other.execute(RELEASE_6).status == GOOD
    assert one.execute(b"\0").status == GOOD
    assert other.execute(b"\0").status == CONFLICT
    assert one.execute(RELEASE_6).status == GOOD
    assert other.execute(RESERVE_6).status == GOOD


def test_reserve_6_and_persistent_reservations_exclude_each_other(target: Target) -> None:  # SPC-2 5.5.1
    one, other = Node(target, "a"), Node(target, "b")
    one.execute(RESERVE_6)
    for node in (one, other):
        assert node.out(REGISTER_AND_IGNORE, 0, 5) == CONFLICT
        assert node.execute(b"\x5e" + bytes(6) + b"\xff").status == CONFLICT
    one.execute(RELEASE_6)
    one.register(5)
    for node in (one, other):
        assert node.execute(RESERVE_6).status == node.execute(RELEASE_6).status == CONFLICT


@pytest.mark.parametrize("kind", Type)
def test_reserve_6_has_no_effect_for_who_may_use_the_unit_anyway(nodes: list[Node], kind: Type) -> None:  # SPC-4 5.13.3
    nodes[0].out(RESERVE, 0x10, kind=kind)
    statuses = [GOOD, GOOD if kind in SHARED else CONFLICT, CONFLICT]
    for cdb in (RESERVE_6, RELEASE_6):
        assert [node.execute(cdb).status for node in nodes] == statuses
    assert reservation(nodes[0]) == (0 if kind in ALL_REGISTRANTS else 0x10, kind)


def test_reserve_6_ends_with_the_session_that_made_it_and_with_no_older_one(target: Target) -> None:  # SPC-2 5.5.1
    other = Node(target, "z")
    first = Initiator(target)
    first.command(RESERVE_6)
    assert other.execute(b"\0").status == CONFLICT
    second = Initiator(target)
    assert other.execute(b"\0").status == GOOD
    second.command(RESERVE_6)
    target.detach(first.nexus, first.session)
    assert other.execute(b"\0").status == CONFLICT
    target.detach(second.nexus, second.session)
    assert other.execute(b"\0").status == GOOD


def test_the_generation_wraps_around() -> None:
    state = State(generation=0xFFFFFFFF)
    assert change(state, REGISTER, Request(("iqn.test:a", "h:1"), 0, 1)).state.generation == 0


@pytest.mark.parametrize("flags", [0x01, 0x10])
def test_reserve_6_for_a_third_party_or_an_extent_is_refused(target: Target, flags: int) -> None:
    assert refusal(Node(target, "a").execute(bytes((0x16, flags, 0, 0, 0, 0)))) == INVALID_FIELD_IN_CDB


def test_a_reset_ends_reserve_6_and_no_persistent_reservation(target: Target) -> None:
    one, other = Node(target, "a"), Node(target, "b")
    one.execute(RESERVE_6)
    target.reset_unit(0)
    other.attentions()
    assert other.execute(b"\0").status == GOOD
    one.register(5)
    one.out(RESERVE, 5, kind=WERO)
    target.reset()
    assert reservation(other) == (5, WERO)
