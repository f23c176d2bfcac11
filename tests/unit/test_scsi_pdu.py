"""Headers and framing: what goes in comes out, however the bytes are cut, and rubbish ends in one known error."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.scsi.iscsi import pdu as p
from hil.scsi.iscsi.framing import DATA_SEGMENT_BYTES_MAX, Framing, MalformedPdu

_SIZES = {"B": 1, "H": 2, "I": 4, "Q": 8}
BYTES_FIELDS = {"isid": 6, "cdb": 16}


@st.composite
def pdus(draw: st.DrawFn) -> p.Pdu:
    code = draw(st.sampled_from(sorted(p.LAYOUTS)))
    kind, layout = p.LAYOUTS[code]
    codes = [c for c in layout.format.replace("6s", "s").replace("1s", "s") if c in "BHIQs"]
    values: list[Any] = []
    for name, field in zip(kind._fields, codes, strict=True):
        if name == "opcode":
            values.append(code)
        elif name == "lengths":
            values.append(0)
        elif field == "s":
            size = BYTES_FIELDS[name]
            values.append(draw(st.binary(min_size=size, max_size=size)))
        else:
            values.append(draw(st.integers(0, 256 ** _SIZES[field] - 1)))
    return kind._make(values)


@pytest.mark.parametrize("code", sorted(p.LAYOUTS))
def test_every_layout_is_exactly_one_basic_header_segment(code: int) -> None:  # RFC 7143 11.2
    assert p.LAYOUTS[code][1].size == p.HEADER_BYTES


@given(pdus(), st.binary(max_size=40))
def test_a_header_that_was_built_is_parsed_to_the_same(pdu: p.Pdu, data: bytes) -> None:
    raw = p.build(pdu, data)
    assert len(raw) % 4 == 0
    assert p.parse(raw) == pdu._replace(lengths=len(data))
    assert raw[48 : 48 + len(data)] == data


@given(st.binary(min_size=48, max_size=48))
def test_parsing_never_fails_on_48_bytes(raw: bytes) -> None:
    found = p.parse(raw)
    assert (found is None) == (raw[0] & 0x3F not in p.LAYOUTS)


def feed(framing: Framing, piece: bytes) -> None:
    space = framing.space()
    space[: len(piece)] = piece
    framing.received(len(piece))


@given(st.lists(st.binary(max_size=300), max_size=20), st.lists(st.integers(1, 400), min_size=1), st.integers(0, 3))
def test_framing_finds_the_same_pdus_however_the_stream_is_cut(
    segments: list[bytes], cuts: list[int], ahs_words: int
) -> None:
    stream = b""
    for data in segments:
        header = struct.pack(">BBxxI40x", 0x01, 0x80, ahs_words << 24 | len(data))
        stream += header + bytes(4 * ahs_words) + data + bytes(-len(data) % 4)
    framing, found, turn = Framing(), [], 0
    while stream:
        cut = cuts[turn % len(cuts)]
        turn += 1
        feed(framing, stream[:cut])
        stream = stream[cut:]
        while (one := framing.next()) is not None:
            found.append(bytes(one[1]))
    assert found == segments


def test_a_stream_of_full_size_pdus_fits_the_fixed_buffer_for_ever() -> None:
    framing = Framing()
    pdu = struct.pack(">BBxxI40x", 0x05, 0, DATA_SEGMENT_BYTES_MAX) + bytes(DATA_SEGMENT_BYTES_MAX)
    stream, size, found = pdu * 5, len(framing.buffer), 0
    while stream:
        space = framing.space()
        assert len(space) > 0
        piece = stream[: len(space)]
        space[: len(piece)] = piece
        framing.received(len(piece))
        stream = stream[len(piece) :]
        while framing.next() is not None:
            found += 1
    assert (found, len(framing.buffer)) == (5, size)


def test_an_announced_length_above_the_declared_one_is_refused_before_the_data_comes() -> None:
    framing = Framing()
    feed(framing, struct.pack(">BBxxI40x", 0x01, 0, DATA_SEGMENT_BYTES_MAX + 1))
    with pytest.raises(MalformedPdu, match="at most 262144 are legal"):
        framing.next()
