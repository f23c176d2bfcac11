"""Login and its negotiation (RFC 7143 chapters 6 and 13)."""

from __future__ import annotations

import pytest

from hil.scsi.iscsi import pdu as p
from hil.scsi.iscsi.login import Login, LoginRefused, LoginStatus
from hil.scsi.iscsi.negotiation import TEXT_BYTES_MAX, BadText, Parameters, parse_text
from hil.scsi.target import Portal, Target

ISID = b"\x80\0\0\0\0\x01"
NAMES = b"InitiatorName=iqn.test:a\0TargetName=iqn.2026-11.hil:shared\0"
SECURITY_TO_OPERATIONAL = p.FINAL | 0 << 2 | 1
OPERATIONAL_TO_FULL = p.FINAL | 1 << 2 | 3

TABLE = [
    ("HeaderDigest", "None", "None"),
    ("HeaderDigest", "None,CRC32C", "None"),
    ("HeaderDigest", "CRC32C,None", "CRC32C"),
    ("HeaderDigest", "CRC32C", "CRC32C"),
    ("HeaderDigest", "X-sha1,CRC32C", "CRC32C"),
    ("HeaderDigest", "X-sha1", "Reject"),
    ("DataDigest", "None,CRC32C", "None"),
    ("DataDigest", "CRC32C,None", "CRC32C"),
    ("DataDigest", "crc32c", "Reject"),
    ("MaxConnections", "8", "1"),
    ("MaxConnections", "0", "Reject"),
    ("InitialR2T", "No", "No"),
    ("InitialR2T", "Yes", "Yes"),
    ("InitialR2T", "yes", "Reject"),
    ("ImmediateData", "Yes", "Yes"),
    ("ImmediateData", "No", "No"),
    ("MaxBurstLength", "0x4000", "16384"),
    ("MaxBurstLength", "16776192", "262144"),
    ("MaxBurstLength", "511", "Reject"),
    ("MaxBurstLength", "-1", "Reject"),
    ("FirstBurstLength", "262144", "65536"),
    ("DefaultTime2Wait", "2", "2"),
    ("DefaultTime2Retain", "20", "0"),
    ("MaxOutstandingR2T", "16", "1"),
    ("DataPDUInOrder", "No", "Yes"),
    ("DataSequenceInOrder", "No", "Yes"),
    ("ErrorRecoveryLevel", "2", "0"),
    ("ErrorRecoveryLevel", "3", "Reject"),
    ("IFMarker", "No", "No"),
    ("MaxRecvDataSegmentLength", "262144", None),
    ("MaxRecvDataSegmentLength", "100", "Reject"),
    ("X-com.example.novel", "1", "NotUnderstood"),
]


@pytest.mark.parametrize(("key", "offered", "answer"), TABLE)
def test_a_key_is_answered_as_its_result_function_says(key: str, offered: str, answer: str | None) -> None:
    parameters = Parameters()
    default = parameters.values.get(key)
    assert parameters.answer(key, offered) == answer
    if answer == "Reject":
        assert parameters[key] == default


def test_a_key_that_is_offered_twice_is_rejected() -> None:  # RFC 7143 6.3
    parameters = Parameters()
    parameters.answer("InitialR2T", "No")
    assert parameters.answer("InitialR2T", "Yes") == "Reject"
    assert parameters["InitialR2T"] == "No"


@pytest.mark.parametrize("data", [b"novalue\0", b"=x\0", b"\xff=1\0", b"a=\xff\0", b"k" * 64 + b"=1\0", b"a=1\0" * 200])
def test_what_is_no_list_of_keys_is_refused(data: bytes) -> None:
    with pytest.raises(BadText):
        parse_text(data)


def request(flags: int, **fields: int) -> p.LoginRequest:
    plain = p.LoginRequest(p.Op.LOGIN_REQUEST | p.IMMEDIATE, flags, 0, 0, 0, ISID, 0, 7, 1, 100, 0)
    return plain._replace(**fields)  # type: ignore[arg-type]


def exchange(login: Login, flags: int, data: bytes, **fields: int) -> tuple[p.LoginResponse, dict[str, str]]:
    raw = login.receive(request(flags, **fields), data)
    answer = p.parse(raw)
    assert isinstance(answer, p.LoginResponse)
    return answer, dict(parse_text(raw[48 : 48 + answer.lengths]))


def new_login(only: str | None = None) -> Login:
    class Door:
        def admit(self, initiator: str, target: str | None) -> None:
            Target().admit(Portal("h", 1, only), initiator, target)

    return Login(Door(), 5, 128, 7)


def test_security_then_operational_negotiation_leads_to_full_feature_phase() -> None:  # RFC 7143 6.3
    login = new_login()
    answer, keys = exchange(login, SECURITY_TO_OPERATIONAL, NAMES + b"AuthMethod=CHAP,None\0")
    assert (answer.status, answer.flags, answer.tsih) == (0, SECURITY_TO_OPERATIONAL, 0)
    assert keys == {"TargetPortalGroupTag": "7", "AuthMethod": "None"}
    answer, keys = exchange(login, OPERATIONAL_TO_FULL, b"HeaderDigest=None\0MaxRecvDataSegmentLength=65536\0")
    assert (answer.status, answer.flags, answer.tsih, answer.isid) == (0, OPERATIONAL_TO_FULL, 5, ISID)
    assert keys == {"HeaderDigest": "None", "MaxRecvDataSegmentLength": "262144"}
    assert login.parameters.number("MaxRecvDataSegmentLength") == 65536
    assert (answer.exp_cmd_sn, answer.max_cmd_sn) == (100, 227)


def test_a_discovery_session_is_told_no_portal_group_tag() -> None:  # RFC 7143 13.9
    login = new_login()
    _, keys = exchange(login, OPERATIONAL_TO_FULL, b"InitiatorName=iqn.test:a\0SessionType=Discovery\0")
    assert keys == {"MaxRecvDataSegmentLength": "262144"}
    assert login.finished


def test_a_login_may_begin_with_operational_negotiation() -> None:
    login = new_login()
    exchange(login, OPERATIONAL_TO_FULL, NAMES)
    assert login.finished


def test_text_may_come_in_several_requests() -> None:  # RFC 7143 6.2, the C bit
    login = new_login()
    answer, keys = exchange(login, p.CONTINUE | 1 << 2, NAMES[:30])
    assert (answer.status, answer.flags, keys) == (0, 1 << 2, {})
    exchange(login, OPERATIONAL_TO_FULL, NAMES[30:])
    assert login.finished


REFUSALS = [
    ("a portal's only initiator", OPERATIONAL_TO_FULL, NAMES, {}, LoginStatus.NOT_AUTHORISED),
    ("target", OPERATIONAL_TO_FULL, b"InitiatorName=iqn.test:n0\0TargetName=x\0", {}, LoginStatus.TARGET_NOT_FOUND),
    ("no names", OPERATIONAL_TO_FULL, b"", {}, LoginStatus.MISSING_PARAMETER),
    ("no target", OPERATIONAL_TO_FULL, b"InitiatorName=iqn.test:n0\0", {}, LoginStatus.MISSING_PARAMETER),
    ("CHAP", SECURITY_TO_OPERATIONAL, NAMES + b"AuthMethod=CHAP\0", {}, LoginStatus.AUTHENTICATION_FAILED),
    ("type", OPERATIONAL_TO_FULL, NAMES + b"SessionType=X\0", {}, LoginStatus.SESSION_TYPE_NOT_SUPPORTED),
    ("version", OPERATIONAL_TO_FULL, NAMES, {"version_min": 1}, LoginStatus.UNSUPPORTED_VERSION),
    ("an old session", OPERATIONAL_TO_FULL, NAMES, {"tsih": 3}, LoginStatus.SESSION_DOES_NOT_EXIST),
    ("stage 2", p.FINAL | 2 << 2 | 3, NAMES, {}, LoginStatus.INVALID_REQUEST),
    ("to stage 2", p.FINAL | 1 << 2 | 2, NAMES, {}, LoginStatus.INVALID_REQUEST),
    ("backwards", p.FINAL | 1 << 2 | 0, NAMES, {}, LoginStatus.INVALID_REQUEST),
    ("rubbish", OPERATIONAL_TO_FULL, b"\xff\xfe", {}, LoginStatus.INITIATOR_ERROR),
    ("a long name", OPERATIONAL_TO_FULL, b"TargetName=x\0InitiatorName=" + b"i" * 224, {}, LoginStatus.INITIATOR_ERROR),
    ("too much text", OPERATIONAL_TO_FULL, b"a" * (TEXT_BYTES_MAX + 1), {}, LoginStatus.INITIATOR_ERROR),
]


@pytest.mark.parametrize(("what", "flags", "data", "fields", "status"), REFUSALS, ids=[row[0] for row in REFUSALS])
def test_a_login_is_refused_with_the_status_that_says_why(
    what: str, flags: int, data: bytes, fields: dict[str, int], status: LoginStatus
) -> None:  # RFC 7143 11.13.5
    login = new_login("iqn.test:n0")
    answer, _ = exchange(login, flags, data, **fields)
    assert answer.status == status
    assert login.refused
    assert not login.finished


def test_a_login_cannot_go_on_for_ever() -> None:
    login = new_login()
    answers = [exchange(login, 1 << 2, NAMES if turn == 0 else b"")[0].status for turn in range(65)]
    assert answers == [0] * 64 + [LoginStatus.INVALID_REQUEST]


def test_a_refusal_names_who_came_and_who_may() -> None:
    with pytest.raises(LoginRefused, match="initiator b at portal h:1: only a is legal"):
        Target().admit(Portal("h", 1, "a"), "b", None)
