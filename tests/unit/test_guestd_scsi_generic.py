"""The generic SCSI device as Linux offers it: struct sg_header of <scsi/sg.h>, 36 bytes, then CDB and data."""

from __future__ import annotations

import socket
import struct

import pytest

from guestd.fence import persistent_reserve as pr
from guestd.runtime.scsi_generic import ATTENTIONS_MAX, execute, write_through

CDB = bytes(range(10))


def answered(status: int, host: int = 0, driver: int = 0, sense: bytes = b"", data: bytes = b"") -> bytes:
    """What the kernel gives back; the status is shifted, as in ``target_status``."""
    fields = status >> 1 << 1 | host << 6 | driver << 14
    return struct.pack("<iiiiI16s", 0, 0, 0, 0, fields, sense) + data


def exchange(answer: bytes, data: bytes = b"", reply_size: int = 0) -> tuple[tuple[int, bytes, int], bytes]:
    """The outcome, and what was sent."""
    ours, device = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, device:
        device.send(answer)
        outcome = execute(ours.fileno(), CDB, data, reply_size)
        return outcome, device.recv(4096)


def test_header_command_and_data_go_out_in_one_write() -> None:
    _, sent = exchange(answered(0), b"parameters")
    assert sent[36:] == CDB + b"parameters"
    assert struct.unpack_from("<ii", sent) == (0, 36)  # nothing is to come back but the header


def test_data_that_comes_back_follows_the_header() -> None:
    (status, data, _), sent = exchange(answered(0, data=b"keys"), reply_size=8)
    assert (status, data) == (pr.GOOD, b"keys")
    assert struct.unpack_from("<ii", sent) == (0, 44)


def test_a_reservation_conflict_is_an_answer() -> None:
    assert exchange(answered(0x18))[0] == (pr.RESERVATION_CONFLICT, b"", 0)


@pytest.mark.parametrize("sense", [bytes.fromhex("70 00 06 00"), bytes.fromhex("72 06 2a 05")])
def test_the_sense_key_is_found_in_both_formats(sense: bytes) -> None:  # SPC-4 4.5
    assert exchange(answered(0x02, driver=8, sense=sense))[0] == (pr.CHECK_CONDITION, b"", 6)


@pytest.mark.parametrize(("host", "driver"), [(3, 0), (0, 6)])
def test_a_command_that_did_not_come_through_has_no_answer(host: int, driver: int) -> None:
    assert exchange(answered(0, host=host, driver=driver))[0] == (pr.NO_ANSWER, b"", 0)


def test_a_write_that_must_last_is_one_command_with_fua() -> None:  # S2.5, SBC-3 5.32
    ours, device = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, device:
        device.send(answered(0))
        assert write_through(ours.fileno(), 0x01020304, b"x" * 1024) == pr.GOOD
        assert device.recv(4096)[36:] == bytes.fromhex("2a 08 01 02 03 04 00 00 02 00") + b"x" * 1024


def attentions(number: int) -> tuple[int, int]:
    """The status of a write that meets so many unit attentions, and how often it was sent."""
    ours, device = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, device:
        for _ in range(number):
            device.send(answered(0x02, driver=8, sense=bytes.fromhex("70 00 06 00")))
        device.send(answered(0))
        status = write_through(ours.fileno(), 0, b"x" * 512)
        ours.shutdown(socket.SHUT_WR)
        sent = 0
        while device.recv(4096):
            sent += 1
        return status, sent


def test_a_unit_attention_is_no_failure_of_the_write() -> None:  # SPC-4 5.14
    assert attentions(2) == (pr.GOOD, 3)
    assert attentions(ATTENTIONS_MAX + 5) == (pr.CHECK_CONDITION, 1 + ATTENTIONS_MAX)


@pytest.mark.parametrize("sense", [bytes.fromhex("70 00 03 00"), bytes.fromhex("72 05 20 00")])
def test_any_other_sense_key_is_not_tried_again(sense: bytes) -> None:
    ours, device = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, device:
        device.send(answered(0x02, driver=8, sense=sense))
        assert write_through(ours.fileno(), 0, b"x" * 512) == pr.CHECK_CONDITION
