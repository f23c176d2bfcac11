"""Portals have one number each, wherever it is told, and are named to those who may use them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.scsi.iscsi import pdu as p
from hil.scsi.iscsi.negotiation import parse_text
from hil.scsi.target import Portal, Target
from tests.unit.scsi_initiator import PORTAL, Initiator, make_target
from tests.unit.scsi_process import running
from tests.unit.scsi_reserve import REGISTER_AND_IGNORE, in_cdb, out_cdb, out_data
from tests.unit.test_scsi_command_line import Client

NAME = "iqn.2026-11.hil:shared"
F, R, W = p.FINAL, p.READ, p.WRITE


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    target = make_target(tmp_path)
    target.add_portal(PORTAL)
    yield target
    target.units[0].medium.close()


def ask(initiator: Initiator, text: bytes, *, ttt: int = p.NO_TAG) -> tuple[p.TextResponse, bytes]:
    request = p.TextRequest(p.Op.TEXT_REQUEST | p.IMMEDIATE, F, 0, 0, 5, ttt, 1, 0)
    [(answer, data)] = initiator.send(request, text)
    assert isinstance(answer, p.TextResponse)
    return answer, data


def discovery(target: Target, **keys: str) -> Initiator:
    initiator = Initiator(target, "iqn.test:a", attentions=False, session_of=None, **keys)
    initiator.session.nexus = None
    return initiator


def test_discovery_names_the_target_and_every_portal_with_its_tag(target: Target) -> None:  # RFC 7143 appendix C
    target.add_portal(Portal("::1", 3261, None))
    _, data = ask(discovery(target), b"SendTargets=All\0")
    assert parse_text(data) == [
        ("TargetName", NAME), ("TargetAddress", "127.0.0.1:3260,1"), ("TargetAddress", "[::1]:3261,2")
    ]  # fmt: skip


def test_portals_of_other_initiators_are_left_out(target: Target) -> None:
    target.add_portal(Portal("127.0.0.1", 3261, "iqn.test:a"))
    target.add_portal(Portal("127.0.0.1", 3262, "iqn.test:b"))
    _, data = ask(discovery(target, InitiatorName="iqn.test:b"), b"SendTargets=All\0")
    assert [value for _, value in parse_text(data)] == [NAME, "127.0.0.1:3260,1", "127.0.0.1:3262,3"]


@pytest.mark.parametrize("wildcard", ["0.0.0.0", "::"])
def test_a_portal_at_all_addresses_is_named_at_the_one_that_the_initiator_reached(
    target: Target, wildcard: str
) -> None:
    target.add_portal(Portal(wildcard, 3261, None))
    _, data = ask(discovery(target), f"SendTargets={NAME}\0".encode())
    assert parse_text(data)[-1] == ("TargetAddress", "127.0.0.1:3261,2")


@pytest.mark.parametrize(
    ("asked", "discovering", "answer"),
    [
        ("SendTargets=", False, [("TargetName", NAME), ("TargetAddress", "127.0.0.1:3260,1")]),
        (f"SendTargets={NAME}", False, [("TargetName", NAME), ("TargetAddress", "127.0.0.1:3260,1")]),
        ("SendTargets=All", False, [("SendTargets", "Reject")]),
        ("SendTargets=iqn.test:another", True, []),
        ("X-com.example.novel=1", True, [("X-com.example.novel", "NotUnderstood")]),
    ],
)
def test_send_targets_answers(
    target: Target, asked: str, discovering: bool, answer: list[tuple[str, str]]
) -> None:  # RFC 7143 appendix C
    initiator = discovery(target) if discovering else Initiator(target)
    response, data = ask(initiator, asked.encode() + b"\0")
    assert (response.flags, response.ttt) == (F, p.NO_TAG)
    assert parse_text(data) == answer


def test_a_request_may_come_in_pieces(target: Target) -> None:
    initiator = discovery(target)
    request = p.TextRequest(p.Op.TEXT_REQUEST | p.IMMEDIATE, p.CONTINUE, 0, 0, 5, p.NO_TAG, 1, 0)
    [(answer, data)] = initiator.send(request, b"SendTar")
    assert isinstance(answer, p.TextResponse)
    assert (answer.flags, data) == (0, b"")
    assert answer.ttt != p.NO_TAG
    response, data = ask(initiator, b"gets=All\0", ttt=answer.ttt)
    assert response.flags == F
    assert parse_text(data)[0] == ("TargetName", NAME)


def test_an_answer_longer_than_a_segment_comes_in_pieces(target: Target) -> None:  # RFC 7143 11.11
    for port in range(4000, 4080):
        target.add_portal(Portal("127.0.0.1", port, None))
    initiator = discovery(target, MaxRecvDataSegmentLength="512")
    response, found = ask(initiator, b"SendTargets=All\0")
    while response.flags == p.CONTINUE:
        assert response.ttt != p.NO_TAG
        response, data = ask(initiator, b"", ttt=response.ttt)
        assert len(data) <= 512
        found += data
    assert response.flags == F
    assert len(parse_text(found)) == 82


def test_an_answer_that_is_not_fetched_is_forgotten_with_the_next_request(target: Target) -> None:
    for port in range(4000, 4100):
        target.add_portal(Portal("127.0.0.1", port, None))
    initiator = discovery(target, MaxRecvDataSegmentLength="512")
    ask(initiator, b"SendTargets=All\0")
    _, data = ask(initiator, b"SendTargets=x\0")
    assert data == b""
    _, data = ask(initiator, b"")
    assert data == b""


def test_a_discovery_session_takes_no_commands(target: Target) -> None:
    initiator = discovery(target)
    [(answer, _)] = initiator.send(p.ScsiCommand(1, F, 0, 0, 6, 0, 1, 0, bytes(16)))
    assert isinstance(answer, p.Reject)


def registrations(full_status: bytes) -> list[tuple[int, int]]:
    """Key and relative target port of each (SPC-4 6.15.5)."""
    found, at = [], 8
    while at < len(full_status):
        key, port, more = struct.unpack_from(">Q10xHI", full_status, at)
        found.append((key, port))
        at += 24 + more
    return found


def test_login_discovery_inquiry_and_registrations_tell_the_same_number(tmp_path: Path) -> None:
    """RFC 7143 13.9, appendix C; SPC-4 7.8.6, 6.15.5."""
    names = ["iqn.test:n0", "iqn.test:n1", "iqn.test:other"]
    arguments = [f"--portal=127.0.0.1:0={name}" for name in names[:2]]
    with running(f"--lun={tmp_path}/disk.raw:1M", *arguments, "--listen=127.0.0.1:0") as process:
        for number, name, address in zip((1, 2, 3), names, process.addresses, strict=True):
            with Client(address) as client:
                assert client.log_in(name) == 0
                assert client.keys["TargetPortalGroupTag"] == str(number)
                client.command(b"\0")
                _, page = client.command(b"\x12\x01\x83\0\xff\0", edtl=255, flags=F | R)
                assert page[-8:] == struct.pack(">BBBBHH", 0x51, 0x94, 0, 4, 0, number)
                client.command(out_cdb(REGISTER_AND_IGNORE), out_data(0, number), edtl=24, flags=F | W)
                _, status = client.command(in_cdb(3), edtl=8192, flags=F | R)
                assert registrations(status)[-1] == (number, number)
                request = p.TextRequest(p.Op.TEXT_REQUEST | p.IMMEDIATE, F, 0, 0, 99, p.NO_TAG, 0, 0)
                _, text = client.send(request, f"SendTargets={NAME}\0".encode())
                everyones = f"{process.addresses[2]},3"
                said = [value for key, value in parse_text(text) if key == "TargetAddress"]
                assert said == ([everyones] if number == 3 else [f"{address},{number}", everyones])
        assert process.end() == (0, "")
