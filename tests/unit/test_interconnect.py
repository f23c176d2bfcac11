"""The ordered channels: everything arrives once and in order, or its receiver is another life."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guestd.interconnect import segment
from guestd.interconnect.channel import RETRY_TICKS, RETRY_TICKS_MAX, WINDOW, Channel
from guestd.interconnect.channels import Channels
from guestd.interconnect.segment import MESSAGE_SIZE_MAX, SIZE_MAX, BadSegment, Segment

ID = bytes(range(16))


def pair(left: int = 1, right: int = 1) -> tuple[Channels, Channels]:
    """Nodes 0 and 1 with these incarnations, each of which knows of the other."""
    one, two = Channels(ID, 0, left), Channels(ID, 1, right)
    one.open(1, right)
    two.open(0, left)
    return one, two


def test_the_bytes_of_a_segment() -> None:  # S7.1
    data = segment.encode(ID, Segment(2, 5, 7, 9, 0x1122, 0x33, (b"ab", b"")))
    assert data[:4] == b"HILC"
    assert data[4:8] == bytes([1, 2, 5, 2])
    assert data[8:24] == ID
    assert data[24:32] == bytes([7, 0, 0, 0, 9, 0, 0, 0])
    assert data[32:40] == bytes([0x22, 0x11, 0, 0, 0, 0, 0, 0])
    assert data[40:48] == bytes([0x33, 0, 0, 0, 0, 0, 0, 0])
    assert data[48:-4] == bytes([2, 0]) + b"ab" + bytes([0, 0])
    assert segment.decode(ID, data) == Segment(2, 5, 7, 9, 0x1122, 0x33, (b"ab", b""))


@settings(deadline=None)
@given(data=st.binary(max_size=200), at=st.integers(0, 51), flip=st.integers(1, 255))
def test_rubbish_is_refused_by_name(data: bytes, at: int, flip: int) -> None:
    with pytest.raises(BadSegment):
        segment.decode(ID, data)
    good = bytearray(segment.encode(ID, Segment(0, 1, 1, 1, 0, 0, (b"message",))))
    good[at] ^= flip
    with pytest.raises(BadSegment):
        segment.decode(ID, bytes(good))
    with pytest.raises(BadSegment, match="from the cluster"):
        segment.decode(bytes(16), segment.encode(ID, Segment(0, 1, 1, 1, 0, 0)))


def test_a_count_that_does_not_fit_is_refused() -> None:
    import zlib

    whole = segment.encode(ID, Segment(0, 1, 1, 1, 0, 0, (b"message",)))[:-4]
    for count, size in ((0, 7), (2, 7), (1, 6), (1, 8)):
        wrong = bytearray(whole)
        wrong[7], wrong[48] = count, size
        with pytest.raises(BadSegment, match="do not hold"):
            segment.decode(ID, bytes(wrong) + zlib.crc32(wrong).to_bytes(4, "little"))


@pytest.mark.parametrize("seed", range(60))
def test_all_arrives_once_and_in_order_whatever_the_network_does(seed: int) -> None:  # S7.1
    randomness = random.Random(seed)
    loss, double = randomness.choice([0, 0.1, 0.5, 0.8]), randomness.choice([0, 0.3])
    ends = pair()
    sent: list[list[bytes]] = [[], []]
    received: list[list[bytes]] = [[], []]
    air: list[tuple[int, bytes]] = []
    rounds = 0
    while rounds < 150 or sent[0] != received[1] or sent[1] != received[0]:
        rounds += 1
        assert rounds < 4000, "it never ends"
        for node, end in enumerate(ends):
            for _ in range(randomness.randrange(6) if rounds < 150 else 0):
                message = f"{node} {len(sent[node])} ".encode() + bytes(randomness.randrange(MESSAGE_SIZE_MAX // 2))
                sent[node].append(message)
                end.send(1 - node, message)
            end.tick()
            air += end.flush()
        randomness.shuffle(air)
        for _ in range(randomness.randrange(len(air) + 1)):
            to, payload = air.pop()
            assert len(payload) <= SIZE_MAX
            if randomness.random() < double:
                air.append((to, payload))
            if randomness.random() >= loss:
                sender, messages = ends[to].heard(payload)
                assert sender == 1 - to
                received[to] += messages
    assert ends[0].bad_count == ends[1].bad_count == 0


def test_nothing_is_delivered_across_lives() -> None:  # S2.6, S7.1
    one, two = pair()
    one.send(1, b"of the first life")
    ((to, late),) = one.flush()
    assert to == 1
    two.close(0)
    assert two.heard(late) == (0, [])
    two.open(0, 2)  # node 0 is back
    assert two.heard(late) == (0, []), "a message of a former life was delivered"
    again = Channels(ID, 1, 2)  # node 1 is back as well
    again.open(0, 1)
    assert again.heard(late) == (0, []), "a message for a former life was delivered"
    assert again.flush() == [], "and was acknowledged"


def test_what_comes_before_the_channel_is_open_comes_again() -> None:
    one, two = Channels(ID, 0, 1), Channels(ID, 1, 1)
    one.open(1, 1)
    one.send(1, b"early")
    for _, payload in one.flush():
        assert two.heard(payload) == (0, [])
    two.open(0, 1)
    for _ in range(RETRY_TICKS):
        one.tick()
    assert [two.heard(payload) for _, payload in one.flush()] == [(0, [b"early"])]


def test_a_silent_peer_is_asked_less_and_less_and_never_given_up() -> None:
    channel = Channel()
    channel.send(b"message")
    moments = []
    for tick in range(100):
        if channel.segments():
            moments.append(tick)
        channel.tick()
    gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert gaps == [2, 4, 8, *[RETRY_TICKS_MAX] * (len(gaps) - 3)]
    assert len(gaps) > 6


def test_an_acknowledgement_alone_is_sent_only_if_something_came() -> None:
    one, two = pair()
    one.send(1, b"message")
    ((_, payload),) = one.flush()
    assert two.flush() == []
    two.heard(payload)
    ((_, answer),) = two.flush()
    assert segment.decode(ID, answer).messages == ()
    one.heard(answer)
    for _ in range(50):
        one.tick()
        two.tick()
        assert (one.flush(), two.flush()) == ([], [])


def test_no_more_than_the_window_is_under_way() -> None:
    channel = Channel()
    for number in range(3 * WINDOW):
        channel.send(number.to_bytes(4, "big"))
    assert sum(len(messages) for _, messages in channel.segments()) == WINDOW
    assert channel.segments() == []
    channel.receive(0, 10, ())
    assert [first for first, _ in channel.segments()] == [WINDOW]


def test_an_acknowledgement_of_what_was_never_sent_is_nothing() -> None:
    channel = Channel()
    channel.send(b"message")
    channel.segments()
    channel.receive(0, 5, ())
    assert not channel.idle
    channel.receive(0, 1, ())
    assert channel.idle


def test_a_message_that_fits_in_no_segment_is_refused() -> None:
    with pytest.raises(ValueError, match="1347 bytes"):
        Channel().send(bytes(MESSAGE_SIZE_MAX + 1))
    channel = Channel()
    channel.send(bytes(MESSAGE_SIZE_MAX))
    assert [len(messages) for _, messages in channel.segments()] == [1]
