"""Full feature phase: data in and out, residuals, numbers, task management (RFC 7143)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hil.scsi.faults.selection import Selection
from hil.scsi.iscsi import pdu as p
from hil.scsi.iscsi.pending import WINDOW
from hil.scsi.ledger import read_ledger
from hil.scsi.sense import Status
from hil.scsi.target import Target
from tests.unit.scsi_initiator import Initiator, make_target, read_10, write_10

R, W, F = p.READ, p.WRITE, p.FINAL


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    target = make_target(tmp_path, ledger=True)
    yield target
    target.units[0].medium.close()
    assert target.ledger is not None
    target.ledger.close()


def response(answers: list[tuple[p.Pdu, bytes]]) -> p.ScsiResponse:
    [(answer, _)] = answers
    assert isinstance(answer, p.ScsiResponse), answer
    return answer


def r2t(answers: list[tuple[p.Pdu, bytes]]) -> p.R2T:
    [(answer, _)] = answers
    assert isinstance(answer, p.R2T), answer
    return answer


def disk(target: Target, lba: int, blocks: int) -> bytes:
    return target.units[0].medium.read(lba, blocks)


def test_a_read_that_fits_is_one_data_in_with_its_status(target: Target) -> None:  # RFC 7143 11.7.3
    [(answer, data)] = Initiator(target).command(read_10(0, 8), edtl=4096, flags=F | R)
    assert isinstance(answer, p.DataIn)
    assert (answer.flags, answer.status, len(data)) == (F | p.HAS_STATUS, 0, 4096)


def test_a_long_read_is_cut_to_segments_and_bursts(target: Target) -> None:
    target.units[0].medium.write(0, bytes(range(256)) * 20)
    initiator = Initiator(target, MaxRecvDataSegmentLength="1024", MaxBurstLength="2560")
    answers = initiator.command(read_10(0, 10), edtl=5120, flags=F | R)
    headers = [answer for answer, _ in answers if isinstance(answer, p.DataIn)]
    assert [answer.offset for answer in headers] == [0, 1024, 2048, 3072, 4096]
    assert [answer.data_sn for answer in headers] == [0, 1, 2, 3, 4]
    assert [bool(answer.flags & F) for answer in headers] == [False, True, False, True, True]
    assert [bool(answer.flags & p.HAS_STATUS) for answer in headers] == [False] * 4 + [True]
    assert b"".join(data for _, data in answers) == bytes(range(256)) * 20


@pytest.mark.parametrize(
    ("edtl", "flag", "residual"), [(2048, p.UNDERFLOW, 1024), (512, p.OVERFLOW, 512), (1024, 0, 0)]
)
def test_residuals_of_a_read(target: Target, edtl: int, flag: int, residual: int) -> None:  # RFC 7143 11.4.5
    [(answer, data)] = Initiator(target).command(read_10(0, 2), edtl=edtl, flags=F | R)
    assert isinstance(answer, p.DataIn)
    assert answer.flags & (p.UNDERFLOW | p.OVERFLOW) == flag
    assert (answer.residual, len(data)) == (residual, min(edtl, 1024))


@pytest.mark.parametrize(
    ("edtl", "flag", "residual"), [(2048, p.UNDERFLOW, 1024), (512, p.OVERFLOW, 512), (1024, 0, 0)]
)
def test_residuals_of_a_write(target: Target, edtl: int, flag: int, residual: int) -> None:
    answer = response(Initiator(target).command(write_10(0, 2), b"a" * edtl, edtl=edtl, flags=F | W))
    assert (answer.flags & 6, answer.residual, answer.status) == (flag, residual, 0)
    assert disk(target, 0, 2) == (b"a" * edtl)[:1024].ljust(1024, b"\0")


def test_a_refused_command_carries_autosense_and_moves_nothing(target: Target) -> None:
    [(answer, data)] = Initiator(target).command(read_10(2**31, 1), edtl=512, flags=F | R)
    assert isinstance(answer, p.ScsiResponse)
    assert (answer.status, answer.flags & 6, answer.residual) == (Status.CHECK_CONDITION, p.UNDERFLOW, 512)
    assert data[:2] == b"\0\x12"
    assert (data[4], data[14]) == (0x5, 0x21)


def test_data_that_did_not_come_is_asked_for_burst_by_burst(target: Target) -> None:  # RFC 7143 11.8
    initiator = Initiator(target, MaxBurstLength="1024")
    content = bytes(range(256)) * 12
    first = r2t(initiator.command(write_10(7, 6), content[:512], edtl=3072, flags=F | W))
    assert (first.offset, first.desired, first.r2t_sn) == (512, 1024, 0)
    assert initiator.data_out(512, content[512:1024], ttt=first.ttt, final=False) == []
    second = r2t(initiator.data_out(1024, content[1024:1536], ttt=first.ttt, data_sn=1))
    assert (second.offset, second.desired, second.r2t_sn) == (1536, 1024, 1)
    third = r2t(initiator.data_out(1536, content[1536:2560], ttt=second.ttt))
    assert (third.offset, third.desired) == (2560, 512)
    assert disk(target, 7, 6) == bytes(3072)
    assert response(initiator.data_out(2560, content[2560:], ttt=third.ttt)).status == 0
    assert disk(target, 7, 6) == content


def test_unsolicited_data_needs_no_r2t(target: Target) -> None:
    initiator = Initiator(target)
    assert initiator.command(write_10(0, 2), b"a" * 512, edtl=1024, flags=W) == []
    assert response(initiator.data_out(512, b"b" * 512)).status == 0
    assert disk(target, 0, 2) == b"a" * 512 + b"b" * 512


def test_nothing_is_asked_for_when_the_command_cannot_succeed(target: Target) -> None:
    assert response(Initiator(target).command(write_10(2**31, 8), edtl=4096, flags=F | W)).status == 2


MISTAKES = [
    ("DataSN", {"offset": 0, "data": b"a" * 1024, "data_sn": 1}),
    ("offset", {"offset": 512, "data": b"a" * 512}),
    ("too much", {"offset": 0, "data": b"a" * 1028}),
    ("too little", {"offset": 0, "data": b"a" * 512}),
]


@pytest.mark.parametrize(("what", "wrong"), MISTAKES, ids=[row[0] for row in MISTAKES])
def test_a_mistake_in_solicited_data_aborts_the_command_and_writes_nothing(
    target: Target, what: str, wrong: dict[str, object]
) -> None:  # RFC 7143 11.4.7.2
    initiator = Initiator(target)
    tag = r2t(initiator.command(write_10(0, 2), edtl=1024, flags=F | W)).ttt
    [(answer, data)] = initiator.data_out(**wrong, ttt=tag)  # type: ignore[arg-type]
    assert isinstance(answer, p.ScsiResponse)
    assert (answer.status, data[4]) == (2, 0x0B)
    assert disk(target, 0, 2) == bytes(1024)


def test_data_that_was_negotiated_away_is_refused(target: Target) -> None:
    immediate = Initiator(target, ImmediateData="No").command(write_10(0, 1), b"a" * 512, edtl=512, flags=F | W)
    assert response(immediate).status == 2
    initiator = Initiator(target, "iqn.test:b", InitialR2T="Yes")
    initiator.command(write_10(0, 2), b"a" * 512, edtl=1024, flags=W)
    assert response(initiator.data_out(512, b"a" * 512)).status == 2
    assert disk(target, 0, 2) == bytes(1024)


def test_data_without_the_write_flag_or_an_expected_length_is_not_written(target: Target) -> None:
    for flags, edtl in ((F, 512), (F | W, 0), (F | R, 512)):
        initiator = Initiator(target)
        initiator.command(write_10(0, 1), b"a" * 512, edtl=edtl, flags=flags)
    assert disk(target, 0, 1) == bytes(512)


def test_the_window_moves_on_when_commands_finish_not_when_they_arrive(target: Target) -> None:  # RFC 7143 4.2.2.1
    initiator = Initiator(target)
    for _ in range(WINDOW):
        assert r2t(initiator.command(write_10(0, 1), edtl=512, flags=F | W)).max_cmd_sn == WINDOW
    assert initiator.command(b"\0") == []
    initiator.itt -= 1
    assert response(initiator.data_out(0, b"a" * 512, ttt=WINDOW)).max_cmd_sn == WINDOW + 1


def test_a_command_outside_the_window_is_ignored(target: Target) -> None:
    initiator = Initiator(target)
    assert initiator.command(b"\0", cmd_sn=0) == []
    assert initiator.command(b"\0", cmd_sn=WINDOW + 1) == []
    assert response(initiator.command(b"\0")).exp_cmd_sn == 2


def test_a_gap_in_the_command_numbers_ends_the_session(target: Target) -> None:
    initiator = Initiator(target)
    assert initiator.command(b"\0", cmd_sn=5) == []
    assert initiator.session.ending == "CmdSN 5 where 1 is due"


def test_numbers_wrap_around(target: Target) -> None:
    initiator = Initiator(target)
    initiator.session.exp_cmd_sn, initiator.session.max_cmd_sn = 2**32 - 1, WINDOW - 2
    assert response(initiator.command(b"\0", cmd_sn=2**32 - 1)).exp_cmd_sn == 0
    assert response(initiator.command(b"\0", cmd_sn=0)).exp_cmd_sn == 1


def test_a_task_tag_that_is_in_use_is_rejected(target: Target) -> None:
    initiator = Initiator(target)
    initiator.command(write_10(0, 1), edtl=512, flags=F | W)
    initiator.itt -= 1
    [(answer, header)] = initiator.command(b"\0")
    assert isinstance(answer, p.Reject)
    assert (answer.reason, len(header)) == (p.RejectReason.TASK_IN_PROGRESS, 48)


def test_abort_task_ends_a_waiting_write_without_answer_or_effect(target: Target) -> None:  # RFC 7143 11.5
    initiator = Initiator(target)
    tag = r2t(initiator.command(write_10(0, 1), edtl=512, flags=F | W)).ttt
    assert initiator.manage(1, referenced_itt=initiator.itt) == 0
    assert initiator.data_out(0, b"a" * 512, ttt=tag) == []
    assert initiator.manage(1, referenced_itt=initiator.itt) == 1
    assert disk(target, 0, 1) == bytes(512)
    assert target.ledger is not None
    target.ledger.flush()
    [entry] = read_ledger(target.ledger.path)
    assert (entry.name, entry.status, entry.changed) == ("WRITE (10)", Status.TASK_ABORTED, False)


def test_lun_reset_aborts_every_nexus_and_tells_all_of_them(target: Target) -> None:  # SAM-5 6.3.3
    one, other = Initiator(target), Initiator(target, "iqn.test:b")
    one.command(write_10(0, 1), edtl=512, flags=F | W)
    other.command(write_10(0, 1), edtl=512, flags=F | W)
    assert one.manage(5) == 0
    assert not one.session.tasks.by_itt
    assert not other.session.tasks.by_itt
    for initiator in (one, other):
        [(answer, data)] = initiator.command(b"\0")
        assert isinstance(answer, p.ScsiResponse)
        assert (data[4], data[14], data[15]) == (0x6, 0x29, 0x03)
        assert response(initiator.command(b"\0")).status == 0


@pytest.mark.parametrize(
    ("function", "lun", "code"), [(3, 0, 5), (5, 1 << 48, 2), (8, 0, 4), (2, 0, 0), (4, 0, 0), (6, 0, 0)]
)
def test_task_management_answers(target: Target, function: int, lun: int, code: int) -> None:
    assert Initiator(target).manage(function, lun=lun) == code


def test_a_target_reset_aborts_commands_for_luns_that_do_not_exist_too(target: Target) -> None:  # RFC 7143 11.5.1
    initiator = Initiator(target)
    command = p.ScsiCommand(p.Op.SCSI_COMMAND, W, 0, 9 << 48, 5, 512, 1, 0, write_10(0, 1))
    assert initiator.send(command) == []
    assert initiator.manage(6) == 0
    assert not initiator.session.tasks.by_itt


def test_a_second_login_of_the_same_nexus_replaces_the_first_session(target: Target) -> None:
    first = Initiator(target)
    tag = r2t(first.command(write_10(0, 1), edtl=512, flags=F | W)).ttt
    second = Initiator(target)
    assert first.dropped == ["replaced by a new login of the same initiator at the same portal"]
    assert first.data_out(0, b"a" * 512, ttt=tag) == []
    assert disk(target, 0, 1) == bytes(512)
    assert target.sessions == {second.nexus: second.session}
    target.detach(first.nexus, first.session)
    assert target.sessions == {second.nexus: second.session}


def test_a_ping_is_answered_with_its_data(target: Target) -> None:  # RFC 7143 11.18
    ping = p.NopOut(p.Op.NOP_OUT | p.IMMEDIATE, F, 0, 0, 5, p.NO_TAG, 1, 0)
    [(answer, data)] = Initiator(target).send(ping, b"hello")
    assert isinstance(answer, p.NopIn)
    assert (answer.itt, data) == (5, b"hello")
    assert Initiator(target).send(ping._replace(itt=p.NO_TAG)) == []


@pytest.mark.parametrize("code", [0x07, 0x10, 0x1C, 0x20, 0x3F, 0x03])
def test_what_no_initiator_may_send_now_is_rejected(target: Target, code: int) -> None:  # RFC 7143 11.17
    initiator = Initiator(target)
    initiator.session.receive(bytearray([code]) + bytes(47), 0, b"")
    [(answer, _)] = initiator.answers()
    assert isinstance(answer, p.Reject)


CODES = st.sampled_from([0x00, 0x01, 0x02, 0x04, 0x05, 0x06, 0x40, 0x41, 0x42, 0x44])
OPERATIONS = st.sampled_from(
    [0x00, 0x12, 0x16, 0x17, 0x5E, 0x5F, 0x5F, 0x1A, 0x28, 0x2A, 0x2F, 0x35, 0x5A, 0x88, 0x8A, 0x9E, 0xA0]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(CODES, st.binary(min_size=46, max_size=46), OPERATIONS, st.binary(max_size=64)), max_size=12))
def test_random_pdus_neither_break_the_session_nor_write_outside_the_unit(
    target: Target, pdus: list[tuple[int, bytes, int, bytes]]
) -> None:
    initiator = Initiator(target)
    session = initiator.session
    fault = target.faults.inject("delay-writes", Selection(), 1)
    for code, rest, operation, data in pdus:
        raw = bytearray([code]) + rest + b"\0"
        raw[24:28] = session.exp_cmd_sn.to_bytes(4, "big")
        raw[32] = operation
        session.receive(raw, 0, data)
        assert len(session.tasks.by_itt) <= WINDOW + 32
    target.faults.heal(fault.number)
    initiator.answers()
    session.abort_tasks(None)
    assert target.faults.held_bytes == 0
    assert Path(target.units[0].medium.path).stat().st_size == target.units[0].blocks * 512
