"""Answers are handed to the socket in few calls, whatever pieces they come in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hil.scsi.iscsi.joining import joined

PIECES = st.lists(st.binary(max_size=40), max_size=60)


@given(PIECES, st.integers(1, 100))
def test_the_bytes_stay_the_same_and_in_order(pieces: list[bytes], bytes_max: int) -> None:
    assert b"".join(joined(pieces, bytes_max)) == b"".join(pieces)


@given(PIECES, st.integers(1, 100))
def test_only_a_piece_that_was_longer_itself_is_longer_than_the_limit(pieces: list[bytes], bytes_max: int) -> None:
    assert all(len(found) <= bytes_max or found in pieces for found in joined(pieces, bytes_max))


@given(st.integers(1, 40), st.integers(0, 60), st.integers(1, 100))
def test_as_many_are_joined_as_the_limit_allows(size: int, count: int, bytes_max: int) -> None:
    at_once = max(bytes_max // size, 1)
    assert len(list(joined([bytes(size)] * count, bytes_max))) == -(-count // at_once)


def test_a_piece_that_stays_alone_is_not_copied() -> None:
    header, data = b"h" * 48, memoryview(bytes(1000))
    first, second = joined([header, data], 100)
    assert first is header
    assert second is data


def test_a_deep_queue_of_small_reads_takes_a_call_per_128_kib() -> None:
    assert len(list(joined([b"h" * 48, bytes(4096)] * 128))) == 5
