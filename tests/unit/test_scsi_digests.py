"""Header and data digests (RFC 7143 11.2.3, 13.1): where they are, what they cover, and what an error leads to."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from hil.scsi.iscsi import pdu as p
from hil.scsi.iscsi.digests import DigestFraming, DigestSeal
from hil.scsi.iscsi.framing import DATA_SEGMENT_BYTES_MAX, DataDigestError, MalformedPdu
from hil.scsi.ledger import read_ledger
from hil.scsi.sense import Status
from hil.scsi.target import Target
from tests.unit.scsi_digests import DigestClient, digest, protected
from tests.unit.scsi_initiator import Initiator, make_target, read_10, write_10
from tests.unit.scsi_process import running
from tests.unit.test_scsi_command_line import Client, portals
from tests.unit.test_scsi_pdu import feed

F, R, W = p.FINAL, p.READ, p.WRITE
READ_COMMAND = "01c0000000000000000000000000000014000000000004000000001400000018280000000000000002000000" + "00" * 4

VECTORS = [
    (bytes(32), "aa36918a"),
    (b"\xff" * 32, "43aba862"),
    (bytes(range(32)), "4e79dd46"),
    (bytes(range(31, -1, -1)), "5cdb3f11"),
    (bytes.fromhex(READ_COMMAND), "563a96d9"),
]
BOTH = [{"header": header, "data": data} for header, data in product((False, True), repeat=2)]
DIGESTS = [which for which in BOTH if any(which.values())]


def named(which: dict[str, bool]) -> str:
    return "+".join(name for name, wanted in which.items() if wanted)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    target = make_target(tmp_path, ledger=True)
    yield target
    target.units[0].medium.close()
    assert target.ledger is not None
    target.ledger.close()


def raw(data: bytes, ahs: bytes = b"", code: int = 0x01) -> bytes:
    header = struct.pack(">BBxxI40x", code, 0x80, len(ahs) // 4 << 24 | len(data))
    return header + ahs + data + bytes(-len(data) % 4)


@pytest.mark.parametrize(("data", "expected"), VECTORS)
def test_digests_are_those_of_the_examples(data: bytes, expected: str) -> None:  # RFC 7143 appendix A.4
    assert digest(data).hex() == expected
    sealed = DigestSeal(header=False, data=True).seal([p.build(p.NopIn(p.Op.NOP_IN, F, *[0] * 7), data)])
    assert bytes(sealed[-1]).hex() == expected


SEGMENTS = [(b"", b""), (b"", bytes(8)), (b"a", b""), (b"abcd", b"\1\2\3\4"), (b"abcdefg", b""), (b"", b"")]


def taken(framing: DigestFraming) -> Iterator[bytes]:
    while (found := framing.next()) is not None:
        yield bytes(found[1])


@pytest.mark.parametrize("which", DIGESTS, ids=named)
def test_pdus_with_digests_are_found_wherever_the_stream_is_cut(which: dict[str, bool]) -> None:
    stream = b"".join(protected(raw(data, ahs), **which) for data, ahs in SEGMENTS)
    for cut in range(len(stream) + 1):
        framing = DigestFraming(header=which["header"], data=which["data"])
        found = []
        for piece in (stream[:cut], stream[cut:]):
            feed(framing, piece)
            found += list(taken(framing))
        assert found == [data for data, _ in SEGMENTS]


@pytest.mark.parametrize("which", DIGESTS, ids=named)
def test_what_came_before_digests_were_in_force_is_not_lost(which: dict[str, bool]) -> None:
    stream = protected(raw(b"abcde"), **which)
    for cut in range(len(stream) + 1):
        framing = DigestFraming(header=which["header"], data=which["data"], unread=stream[:cut])
        feed(framing, stream[cut:])
        assert list(taken(framing)) == [b"abcde"]


def test_full_size_pdus_with_everything_fit_the_buffer() -> None:
    framing = DigestFraming(header=True, data=True)
    one = protected(raw(bytes(DATA_SEGMENT_BYTES_MAX), bytes(1020)), header=True, data=True)
    stream, found = one * 3, 0
    while stream:
        space = framing.space()
        assert len(space) > 0
        feed(framing, stream[: len(space)])
        stream = stream[len(space) :]
        found += len(list(taken(framing)))
    assert found == 3


def test_every_damaged_bit_of_a_header_is_a_header_digest_error() -> None:
    """Or, where the header is longer by it, at least no PDU before that much has come."""
    good = protected(raw(b"abcde", b"\1\2\3\4\5\6\7\x08"), header=True, data=True)
    following = bytes(1100)
    for bit in range((48 + 8 + 4) * 8):
        framing = DigestFraming(header=True, data=True)
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        feed(framing, bytes(damaged) + following)
        with pytest.raises(MalformedPdu, match="header digest error"):
            framing.next()


@pytest.mark.parametrize("header", [False, True])
def test_every_damaged_bit_of_a_data_segment_its_padding_and_its_digest_is_found(header: bool) -> None:
    good = protected(raw(b"abcde"), header=header, data=True)
    first = 52 if header else 48
    for bit in range(first * 8, len(good) * 8):
        framing = DigestFraming(header=header, data=True)
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        feed(framing, bytes(damaged) + good)
        with pytest.raises(DataDigestError):
            framing.next()
        assert list(taken(framing)) == [b"abcde"]


@pytest.mark.parametrize("which", DIGESTS, ids=named)
def test_what_a_session_sends_is_sealed_pdu_by_pdu(target: Target, which: dict[str, bool]) -> None:
    target.units[0].medium.write(0, bytes(range(256)) * 20)
    initiator = Initiator(target, MaxRecvDataSegmentLength="1022", MaxBurstLength="4096")
    session = initiator.session
    for cdb, edtl in ((read_10(0, 10), 5120), (b"\x12\0\0\0\5", 5), (read_10(2**31, 1), 512), (b"\0", 0)):
        command = p.ScsiCommand(0x41, F | R, 0, 0, edtl, edtl, 0, 0, cdb.ljust(16, b"\0"))
        session.receive(bytearray(p.build(command)), 0, b"")
    session.receive(bytearray(p.build(p.NopOut(0x40, F, 0, 0, 5, p.NO_TAG, 0, 0))), 0, b"ping!")
    pieces = session.out
    plain = bytearray(b"".join(pieces))
    expected = b""
    while plain:
        length = 48 + ((int.from_bytes(plain[5:8], "big") + 3) & ~3)
        expected += protected(bytes(plain[:length]), **which)
        del plain[:length]
    assert b"".join(DigestSeal(**which).seal(pieces)) == expected


def damage(initiator: Initiator, request: p.Pdu) -> list[p.Pdu]:
    """What is answered to a PDU with a data digest error."""
    initiator.session.receive_damaged(bytearray(p.build(request)), 0)
    return [answer for answer, _ in initiator.answers()]


def data_out(initiator: Initiator, ttt: int, *, final: bool, offset: int = 0) -> p.DataOut:
    return p.DataOut(p.Op.DATA_OUT, F if final else 0, 512, 0, initiator.itt, ttt, 0, offset // 512, offset)


def recorded(target: Target) -> list[tuple[str, int, bool]]:
    assert target.ledger is not None
    target.ledger.flush()
    return [(entry.name, entry.status, entry.changed) for entry in read_ledger(target.ledger.path)]


@pytest.mark.parametrize("damaged_at", [0, 512, 1024])
def test_damaged_data_of_a_write_end_it_when_the_rest_has_come_and_write_nothing(
    target: Target, damaged_at: int
) -> None:  # RFC 7143 7.8, 11.4.7.2
    initiator = Initiator(target)
    [(asked, _)] = initiator.command(write_10(0, 3), edtl=1536, flags=F | W)
    assert isinstance(asked, p.R2T)
    found: list[p.Pdu] = []
    for offset in (0, 512, 1024):
        assert not any(isinstance(answer, p.ScsiResponse) for answer in found)
        final = offset == 1024
        if offset == damaged_at:
            found += damage(initiator, data_out(initiator, asked.ttt, final=final, offset=offset))
        else:
            request = data_out(initiator, asked.ttt, final=final, offset=offset)
            initiator.session.receive(bytearray(p.build(request)), 0, b"a" * 512)
            answers = initiator.answers()
            found += [answer for answer, _ in answers]
    reject, response = found
    assert isinstance(reject, p.Reject)
    assert reject.reason == p.RejectReason.DATA_DIGEST_ERROR
    assert isinstance(response, p.ScsiResponse)
    assert response.status == Status.CHECK_CONDITION
    assert target.units[0].medium.read(0, 3) == bytes(1536)
    assert recorded(target) == [("WRITE (10)", Status.CHECK_CONDITION, False)]
    assert not initiator.session.ending


def test_the_sense_data_of_damaged_data_say_protocol_service_crc_error(target: Target) -> None:
    initiator = Initiator(target)
    initiator.command(write_10(0, 1), edtl=512, flags=W)
    initiator.session.receive_damaged(bytearray(p.build(data_out(initiator, p.NO_TAG, final=True))), 0)
    (_, header), (_, segment) = initiator.answers()
    assert header == p.build(data_out(initiator, p.NO_TAG, final=True))[:48]
    assert (segment[4], segment[14], segment[15]) == (0xB, 0x47, 0x05)


def test_damaged_data_that_nobody_waits_for_are_rejected_and_that_is_all(target: Target) -> None:
    initiator = Initiator(target)
    [(asked, _)] = initiator.command(write_10(0, 1), edtl=512, flags=F | W)
    assert isinstance(asked, p.R2T)
    [reject] = damage(initiator, data_out(initiator, asked.ttt + 1, final=True))
    assert isinstance(reject, p.Reject)
    initiator.manage(1, referenced_itt=initiator.itt)
    [reject] = damage(initiator, data_out(initiator, asked.ttt, final=True))
    assert isinstance(reject, p.Reject)
    assert not initiator.session.ending


def test_a_command_with_damaged_data_never_came_and_at_level_0_that_ends_the_session(target: Target) -> None:
    initiator = Initiator(target)
    command = p.ScsiCommand(1, F | W, 512, 0, 1, 512, 1, 0, write_10(0, 1))
    [reject] = damage(initiator, command)
    assert isinstance(reject, p.Reject)
    assert (reject.reason, reject.exp_cmd_sn) == (p.RejectReason.DATA_DIGEST_ERROR, 1)
    assert initiator.session.ending
    assert target.units[0].medium.read(0, 1) == bytes(512)
    assert recorded(target) == []


def test_an_immediate_request_with_damaged_data_is_missed_by_nobody(target: Target) -> None:
    initiator = Initiator(target)
    [reject] = damage(initiator, p.NopOut(p.Op.NOP_OUT | p.IMMEDIATE, F, 4, 0, 5, p.NO_TAG, 1, 0))
    assert isinstance(reject, p.Reject)
    assert not initiator.session.ending
    [(answer, _)] = initiator.command(b"\0")
    assert isinstance(answer, p.ScsiResponse)


@pytest.mark.parametrize("which", BOTH, ids=named)
def test_an_initiator_with_digests_writes_and_reads_beside_one_without(tmp_path: Path, which: dict[str, bool]) -> None:
    content = bytes(range(256)) * 100
    with running(*portals(tmp_path)) as process:
        with DigestClient(process.addresses[0], **which) as client, Client(process.addresses[1]) as plain:
            client.log_in("iqn.2026-11.hil:n0")
            plain.log_in("iqn.2026-11.hil:n1")
            for one in (client, plain):
                one.command(b"\0")
            asked, _ = client.command(write_10(3, 50), content[:512], edtl=25600, flags=F | W)
            assert isinstance(asked, p.R2T)
            final = p.DataOut(p.Op.DATA_OUT, F, 0, 0, asked.itt, asked.ttt, 0, 0, 512)
            answer, _ = client.send(final, content[512:])
            assert isinstance(answer, p.ScsiResponse)
            assert answer.status == Status.GOOD
            _, data = plain.command(read_10(3, 50), edtl=25600, flags=F | R)
            assert data[:8192] == content[:8192]
            found = b""
            answer, data = client.command(read_10(3, 50), edtl=25600, flags=F | R)
            while True:
                found += data
                assert isinstance(answer, p.DataIn)
                if answer.flags & p.HAS_STATUS:
                    break
                answer, data = client.receive()
            assert found == content
            _, data = client.command(b"\x12\0\0\0\5", edtl=5, flags=F | R)
            assert len(data) == 5
        assert process.end() == (0, "")


def test_only_a_connection_with_digests_loads_the_library(tmp_path: Path) -> None:
    with running(*portals(tmp_path)) as process:
        maps = Path(f"/proc/{process.process.pid}/maps")
        for header, loaded in ((False, False), (True, True)):
            with DigestClient(process.addresses[0], header=header, data=False) as client:
                client.log_in("iqn.2026-11.hil:n0")
                client.command(b"\0")
                assert ("crc32c" in maps.read_text(encoding="utf-8")) == loaded


def test_digests_are_in_force_for_what_comes_right_behind_the_login(tmp_path: Path) -> None:
    """Before the answer to the login has been seen, in the same segment."""
    with running(*portals(tmp_path)) as process, DigestClient(process.addresses[0]) as client:
        keys = ("InitiatorName=iqn.2026-11.hil:n0", "TargetName=iqn.2026-11.hil:shared")
        text = "".join(f"{key}\0" for key in (*keys, "HeaderDigest=CRC32C", "DataDigest=CRC32C")).encode()
        login = p.build(p.LoginRequest(0x43, F | 1 << 2 | 3, 0, 0, 0, b"\x80\0\0\0\0\1", 0, 1, 0, 1, 0), text)
        ping = p.build(p.NopOut(0x40, F, 0, 0, 5, p.NO_TAG, 1, 0), b"hello")
        client.socket.sendall(login + protected(ping, **client.digests))
        answer, _ = client.receive()
        assert isinstance(answer, p.LoginResponse)
        client.in_force = True
        answer, data = client.receive()
        assert isinstance(answer, p.NopIn)
        assert data == b"hello"


def test_a_header_digest_error_ends_its_connection_and_no_other(tmp_path: Path) -> None:
    with running(*portals(tmp_path)) as process:
        with DigestClient(process.addresses[0]) as bad, DigestClient(process.addresses[1]) as good:
            bad.log_in("iqn.2026-11.hil:n0")
            good.log_in("iqn.2026-11.hil:n1")
            ping = protected(p.build(p.NopOut(0x40, F, 0, 0, 5, p.NO_TAG, 1, 0)), **bad.digests)
            bad.socket.sendall(ping + ping[:51] + bytes([ping[51] ^ 1]))
            answer, _ = bad.receive()
            assert isinstance(answer, p.NopIn)  # what came before was good, and is answered
            with pytest.raises(EOFError):
                bad.receive()
            answer, _ = good.command(b"\0")
            assert isinstance(answer, p.ScsiResponse)
        assert process.end() == (0, "")


def test_a_data_digest_error_in_a_command_is_rejected_changes_nothing_and_ends_the_connection(tmp_path: Path) -> None:
    with running(*portals(tmp_path)) as process, DigestClient(process.addresses[0]) as client:
        client.log_in("iqn.2026-11.hil:n0")
        client.command(b"\0")
        command = p.ScsiCommand(1, F | W, 0, 0, 2, 512, 2, 0, write_10(0, 1))
        damaged = bytearray(protected(p.build(command, b"a" * 512), **client.digests))
        damaged[60] ^= 1
        client.socket.sendall(damaged)
        answer, _ = client.receive()
        assert isinstance(answer, p.Reject)
        assert answer.reason == p.RejectReason.DATA_DIGEST_ERROR
        with pytest.raises(EOFError):
            client.receive()
        assert process.end() == (0, "")
    assert (tmp_path / "disk.raw").read_bytes() == bytes(1024 * 1024)
    assert [entry.name for entry in read_ledger(tmp_path / "ledger.bin")] == ["TEST UNIT READY"]
