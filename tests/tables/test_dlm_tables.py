"""The lock manager's tables: the compatibility of modes, the states of a lock, the forms of messages."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guestd.core.machine import IllegalTrigger
from guestd.dlm import messages, names
from guestd.dlm.locks import LOCK_STATES, LockState
from guestd.dlm.messages import BadMessage, Reason
from guestd.dlm.modes import COMPATIBLE, PROTECTED, WRITES, Mode, are_compatible, common, is_down

# OpenVMS Programming Concepts, "Compatibility of lock modes": granted down, requested across, x: they go together.
MATRIX = """
   NL CR CW PR PW EX
NL x  x  x  x  x  x
CR x  x  x  x  x  .
CW x  x  x  .  .  .
PR x  x  .  x  .  .
PW x  x  .  .  .  .
EX x  .  .  .  .  .
"""
ROWS = {line.split()[0]: line.split()[1:] for line in MATRIX.strip().splitlines()[1:]}
PAIRS = [(one, other, ROWS[one.name][other.value] == "x") for one in Mode for other in Mode]


@pytest.mark.parametrize(("one", "other", "together"), PAIRS, ids=[f"{one.name} {two.name}" for one, two, _ in PAIRS])
def test_each_pair_of_modes_is_as_in_the_usual_matrix(one: Mode, other: Mode, together: bool) -> None:  # S7.1
    assert are_compatible(one, other) is together
    assert are_compatible(other, one) is together


def test_the_matrix_has_all_modes_and_no_more() -> None:
    assert list(COMPATIBLE) == list(Mode)
    assert [mode.name for mode in Mode] == ["NL", "CR", "CW", "PR", "PW", "EX"]


def test_the_matrix_in_the_page_is_the_same() -> None:
    page = (Path(__file__).parents[2] / "docs" / "dlm.md").read_text(encoding="utf-8")
    for mode, row in ROWS.items():
        assert f"| {mode} | {' | '.join(row)} |" in page


# Conversions that only give up: from -> to.
DOWN = {
    "NL": "NL",
    "CR": "NL CR",
    "CW": "NL CR CW",
    "PR": "NL CR PR",
    "PW": "NL CR CW PR PW",
    "EX": "NL CR CW PR PW EX",
}


@pytest.mark.parametrize("mode", list(Mode))
def test_conversions_down(mode: Mode) -> None:
    assert [to.name for to in Mode if is_down(mode, to)] == DOWN[mode.name].split()


def test_what_a_holder_may_rely_on_while_it_is_converted() -> None:
    for one in Mode:
        for other in Mode:
            weaker = min(one, other, key=lambda mode: mode.value)
            assert common(one, other) is (Mode.CR if {one, other} == {Mode.CW, Mode.PR} else weaker)


def test_only_who_excludes_other_writers_leaves_a_value() -> None:
    writers = (Mode.CW, Mode.PW, Mode.EX)
    assert list(WRITES) == [mode for mode in writers if not any(are_compatible(mode, other) for other in writers)]
    assert list(PROTECTED) == [mode for mode in Mode if not any(are_compatible(mode, other) for other in writers)]


LOCK_ROWS = {
    ("requesting", "granted"): "granted",
    ("requesting", "denied"): "ended",
    ("granted", "convert"): "converting",
    ("granted", "release"): "releasing",
    ("converting", "granted"): "granted",
    ("converting", "denied"): "granted",
    ("releasing", "released"): "ended",
}
LOCK_PAIRS = [(state, trigger) for state in LockState for trigger in LOCK_STATES.triggers]


@pytest.mark.parametrize(("state", "trigger"), LOCK_PAIRS, ids=[f"{one.value} {two}" for one, two in LOCK_PAIRS])
def test_each_pair_is_a_row_or_is_refused(state: LockState, trigger: str) -> None:  # S7.1
    following = LOCK_ROWS.get((state.value, trigger))
    assert LOCK_STATES.takes(state, trigger) == (following is not None)
    if following is None:
        with pytest.raises(IllegalTrigger, match=f'{state.value} cannot take "{trigger}"'):
            LOCK_STATES.next(state, trigger)
    else:
        assert LOCK_STATES.next(state, trigger).value == following


NAMES = st.lists(st.binary(min_size=1, max_size=64), min_size=1, max_size=3).map(tuple)
VALUES = st.binary(min_size=64, max_size=64)
U64, U32, U8 = st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), st.integers(0, 255)
FIELDS = {
    "name": NAMES,
    "value": VALUES,
    "mode": st.sampled_from(list(Mode)),
    "reason": st.sampled_from(list(Reason)),
    "started": st.binary(max_size=384),
    **dict.fromkeys(("noqueue", "recovery", "writes", "valid", "releases", "invalidates"), st.booleans()),
    **dict.fromkeys(("lock", "search", "waiting_lock", "digest"), U32),
    **dict.fromkeys(("number", "operation", "owner", "sequence", "mask"), U64),
    **dict.fromkeys(("master", "granted", "wanted", "cancelled", "node", "waiting_node"), U8),
}
KINDS = [message for message, _ in messages.FORMATS.values()]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(deadline=None)
@given(data=st.data())
def test_a_message_is_read_as_it_was_written(kind: type[messages.Message], data: st.DataObject) -> None:
    message = kind(**{field: data.draw(FIELDS[field]) for field in kind.value_fields})
    encoded = messages.encode(message)
    assert len(encoded) <= 512
    assert messages.decode(encoded) == message
    if "started" not in kind.value_fields:
        with pytest.raises(BadMessage):
            messages.decode(encoded + b"x")
    with pytest.raises(BadMessage):
        messages.decode(encoded[: data.draw(st.integers(0, 1 + messages._BY_CLASS[kind][1].size - 1))])


@settings(deadline=None)
@given(data=st.binary(max_size=300))
def test_rubbish_is_a_message_or_is_refused_by_name(data: bytes) -> None:
    try:
        message = messages.decode(data)
    except BadMessage:
        return
    assert messages.decode(messages.encode(message)) == message


def test_the_bytes_of_a_request() -> None:
    request = messages.Request(7, 0x0102, 3, Mode.PW, True, False, (b"vol", b"f"))
    head = bytes([4, 7, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0])
    assert messages.encode(request) == head + bytes([2, 3]) + b"vol" + bytes([1]) + b"f"


def test_the_longest_message_fits_in_a_segment() -> None:
    from guestd.interconnect.segment import MESSAGE_SIZE_MAX

    longest = max(layout.size for _, layout in messages._BY_CLASS.values())
    assert 1 + longest + max(names.NAME_SIZE_MAX, 64 * 6) <= MESSAGE_SIZE_MAX


@pytest.mark.parametrize("name", [(), (b"",), (b"x" * 65,), (b"x",) * 9, (b"x" * 64,) * 4])
def test_what_is_no_name_is_refused(name: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match="legal"):
        names.check(name)


@settings(deadline=None)
@given(data=st.binary(max_size=80))
def test_bytes_are_one_name_or_are_refused(data: bytes) -> None:
    try:
        name = names.decode(data)
    except ValueError:
        return
    assert names.encode(name) == data
