"""Bytes of PERSISTENT RESERVE IN and OUT, and what is refused (SPC-4 6.15, 6.16)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.scsi.reservations import INVALID_FIELD_IN_PARAMETER_LIST, Type
from hil.scsi.sense import INVALID_FIELD_IN_CDB, PARAMETER_LIST_LENGTH
from hil.scsi.target import Target
from tests.unit.scsi_initiator import make_target
from tests.unit.scsi_reserve import (
    GOOD,
    REGISTER,
    REGISTER_AND_IGNORE,
    RESERVE,
    WERO,
    Node,
    in_cdb,
    keys,
    out_cdb,
    out_data,
    refusal,
)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    target = make_target(tmp_path)
    yield target
    target.units[0].medium.close()


def test_read_keys_tells_the_whole_length_however_little_is_asked_for(target: Target) -> None:
    one, two = Node(target, "a"), Node(target, "b")
    one.register(1)
    two.register(2)
    for allocation in (0, 4, 8, 16, 24, 100):
        outcome = one.execute(in_cdb(0, allocation))
        assert outcome.data == struct.pack(">IIQQ", 2, 16, 1, 2)[:allocation]


def test_read_reservation_of_none_is_a_header_only(target: Target) -> None:
    node = Node(target, "a")
    node.register(1)
    assert node.read(1) == struct.pack(">II", 1, 0)
    node.out(RESERVE, 1, kind=WERO)
    assert node.read(1) == struct.pack(">IIQIBBH", 1, 16, 1, 0, 0, 5, 0)


def test_report_capabilities(target: Target) -> None:
    node = Node(target, "a")
    length, flags, more, types = struct.unpack(">HBBHxx", node.read(2))
    assert (length, flags, more) == (8, 0x11, 0x80)  # CRH, PTPL_C; TMV, not PTPL_A
    assert types == 0xEA01
    node.register(1, flags=1)
    assert node.read(2)[3] == 0x81


@pytest.mark.parametrize("kind", [WERO, Type.WRITE_EXCLUSIVE_ALL_REGISTRANTS])
def test_read_full_status_names_every_registrant(target: Target, kind: Type) -> None:  # SPC-4 6.15.5
    nodes = [Node(target, name) for name in "ab"]
    for number, node in enumerate(nodes):
        node.register(number + 1)
    nodes[0].out(RESERVE, 1, kind=kind)
    data = nodes[0].read(3)
    number, length = struct.unpack_from(">II", data)
    assert (number, length) == (2, len(data) - 8)
    data = data[8:]
    for index in range(2):
        key, flags, scope_and_type, port, extra = struct.unpack_from(">Q4xBB4xHI", data)
        holds = index == 0 or kind != WERO
        assert (key, flags, scope_and_type, port) == (index + 1, int(holds), kind if holds else 0, index + 1)
        transport = data[24 : 24 + extra]
        assert transport[0] == 0x05
        assert len(transport) % 4 == 0
        assert int.from_bytes(transport[2:4], "big") == len(transport) - 4 >= 20
        assert transport[4:].rstrip(b"\0").decode() == nodes[index].nexus.initiator
        data = data[24 + extra :]
    assert data == b""


@pytest.mark.parametrize("action", range(4, 32))
def test_a_service_action_in_that_does_not_exist_is_refused(target: Target, action: int) -> None:
    assert refusal(Node(target, "a").execute(in_cdb(action))) == INVALID_FIELD_IN_CDB


@pytest.mark.parametrize("action", range(7, 32))
def test_a_service_action_out_that_does_not_exist_is_refused(target: Target, action: int) -> None:
    outcome = Node(target, "a").execute(out_cdb(action), out_data())
    assert refusal(outcome) == INVALID_FIELD_IN_CDB


@pytest.mark.parametrize(("length", "sent"), [(0, 0), (23, 24), (24, 23), (25, 25), (28, 28), (2**32 - 1, 24)])
def test_a_parameter_list_of_another_length_is_refused(target: Target, length: int, sent: int) -> None:
    node = Node(target, "a")
    outcome = node.execute(out_cdb(REGISTER, length=length), out_data(0, 1).ljust(28, b"\0")[:sent])
    assert refusal(outcome) == PARAMETER_LIST_LENGTH
    assert keys(node) == []


@pytest.mark.parametrize("action", [REGISTER, REGISTER_AND_IGNORE])
@pytest.mark.parametrize("flags", [0x08, 0x04])
def test_other_initiator_ports_and_all_target_ports_are_refused(target: Target, action: int, flags: int) -> None:
    node = Node(target, "a")
    for length in (24, 28):
        outcome = node.execute(out_cdb(action, length=length), out_data(0, 1, flags).ljust(length, b"\0"))
        assert refusal(outcome) == INVALID_FIELD_IN_PARAMETER_LIST
    assert keys(node) == []


def test_flags_of_register_are_ignored_elsewhere(target: Target) -> None:
    node = Node(target, "a")
    node.register(1)
    assert node.out(RESERVE, 1, kind=WERO, flags=0x0D) == GOOD
    assert node.read(2)[3] == 0x80


def test_no_more_than_the_parameter_list_is_asked_of_the_initiator(target: Target) -> None:
    from hil.scsi.command import Command

    command = Command(Node(target, "a").nexus, 0, out_cdb(REGISTER, length=2**32 - 1), b"", 0)
    assert target.data_out_length(command) == 24
