"""Rules of a session that outlast one command: how much may come unasked, which answers are numbered, how it ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.scsi.iscsi import pdu as p
from hil.scsi.target import Target
from tests.unit.scsi_initiator import Initiator, make_target, read_10, write_10
from tests.unit.test_scsi_session import disk, r2t, response

R, W, F = p.READ, p.WRITE, p.FINAL


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    target = make_target(tmp_path)
    yield target
    target.units[0].medium.close()


def test_unsolicited_data_end_at_first_burst_length(target: Target) -> None:  # RFC 7143 13.14
    initiator = Initiator(target, FirstBurstLength="1024")
    first = r2t(initiator.command(write_10(0, 4), b"a" * 1024, edtl=2048, flags=F | W))
    assert (first.offset, first.desired) == (1024, 1024)
    assert response(initiator.data_out(1024, b"b" * 1024, ttt=first.ttt)).status == 0
    too_long = Initiator(target, "iqn.test:b", FirstBurstLength="1024")
    assert response(too_long.command(write_10(0, 4), b"x" * 1028, edtl=2048, flags=F | W)).status == 2
    beyond = Initiator(target, "iqn.test:c", FirstBurstLength="1024")
    assert beyond.command(write_10(0, 4), b"x" * 512, edtl=2048, flags=W) == []
    assert beyond.data_out(512, b"x" * 512, final=False) == []
    assert response(beyond.data_out(1024, b"x" * 512, data_sn=1)).status == 2
    assert disk(target, 0, 4) == b"a" * 1024 + b"b" * 1024


def test_stat_sn_counts_what_carries_a_status_and_nothing_else(target: Target) -> None:  # RFC 7143 4.2.2.2
    initiator = Initiator(target, MaxRecvDataSegmentLength="512")
    first = response(initiator.command(b"\0")).stat_sn
    *data, last = [answer for answer, _ in initiator.command(read_10(0, 3), edtl=1536, flags=F | R)]
    assert [(answer.stat_sn, answer.flags & p.HAS_STATUS) for answer in data if isinstance(answer, p.DataIn)] == [
        (0, 0), (0, 0)
    ]  # fmt: skip
    assert isinstance(last, p.DataIn)
    assert last.stat_sn == first + 1
    asked = r2t(initiator.command(write_10(0, 1), edtl=512, flags=F | W))
    assert asked.stat_sn == first + 2
    assert response(initiator.data_out(0, b"a" * 512, ttt=asked.ttt)).stat_sn == first + 2
    [(ping, _)] = initiator.send(p.NopOut(p.Op.NOP_OUT | p.IMMEDIATE, F, 0, 0, 5, p.NO_TAG, 1, 0))
    assert isinstance(ping, p.NopIn)
    assert ping.stat_sn == first + 3
    initiator.session.receive(bytearray([0x3F]) + bytes(47), 0, b"")
    [(reject, _)] = initiator.answers()
    assert isinstance(reject, p.Reject)
    assert reject.stat_sn == first + 4
    assert response(initiator.command(read_10(2**31, 1), edtl=512, flags=F | R)).stat_sn == first + 5


@pytest.mark.parametrize(
    ("reason", "cid", "code", "ends"), [(0, 9, 0, True), (1, 0, 0, True), (1, 9, 1, False), (2, 0, 2, False)]
)
def test_a_logout_is_answered_by_its_reason(
    target: Target, reason: int, cid: int, code: int, ends: bool
) -> None:  # RFC 7143 11.15.1: done, no such connection, recovery is not supported
    initiator = Initiator(target)
    [(answer, _)] = initiator.send(p.LogoutRequest(p.Op.LOGOUT_REQUEST, F | reason, 0, 5, cid, 1, 0))
    assert isinstance(answer, p.LogoutResponse)
    assert answer.response == code
    assert bool(initiator.session.ending) == ends


def test_a_logout_for_no_reason_that_exists_is_rejected(target: Target) -> None:
    [(answer, _)] = Initiator(target).send(p.LogoutRequest(p.Op.LOGOUT_REQUEST, F | 3, 0, 5, 0, 1, 0))
    assert isinstance(answer, p.Reject)
    assert answer.reason == p.RejectReason.INVALID_PDU_FIELD
