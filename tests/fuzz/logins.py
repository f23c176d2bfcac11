"""Logins: how a session begins, done properly, in unusual ways, and wrongly."""

from __future__ import annotations

from typing import Final

from hil.scsi.iscsi import pdu as p
from hil.scsi.iscsi.negotiation import KEYS
from hil.scsi.target import TARGET_NAME
from tests.fuzz.choices import Choices

_SECURITY: Final = 0
_OPERATIONAL: Final = 1
_FULL: Final = 3
_NUMBERS: Final = (
    *("0", "1", "2", "511", "512", "513", "1024", "4096", "8192", "65535", "65536", "262144", "16777215", "16777216"),
    *("0x200", "0X2000", "-1", "4294967296", "1_024", " 512", "512 ", "9" * 5000),
)
_LEGAL: Final = ("512", "513", "1024", "4096", "8192", "65535", "65536", "262144", "16777215", "0x200")
_WORDS: Final = ("Yes", "No", "None", "CRC32C,None", "None,CRC32C", "CHAP", "RFC3720", "Reject", "", ",", "yes")
_IDENTITY: Final = ("InitiatorName", "TargetName", "SessionType", "InitiatorAlias")
_NEGOTIABLE: Final = tuple(name for name in KEYS if name not in _IDENTITY)
_LENGTHS: Final = ("MaxRecvDataSegmentLength", "MaxBurstLength", "FirstBurstLength")
_DIGESTS: Final = ("HeaderDigest", "DataDigest")
_SWITCHES: Final = ("InitialR2T", "ImmediateData")


def draw(choices: Choices, initiator: str, cmd_sn: int) -> list[bytes]:
    """The PDUs of one login, to be sent one after the other."""
    keys = _identity(choices, initiator)
    shape = choices.below(40)
    if shape < 22:  # all at once
        return [_request(choices, _OPERATIONAL, _FULL, keys + _negotiation(choices), cmd_sn)]
    if shape < 30:  # both stages
        first = _request(choices, _SECURITY, _OPERATIONAL, [*keys, b"AuthMethod=None"], cmd_sn)
        return [first, _request(choices, _OPERATIONAL, _FULL, _negotiation(choices), cmd_sn)]
    if shape < 34:  # the text in pieces
        text = b"".join(key + b"\0" for key in keys + _negotiation(choices))
        cut = choices.below(len(text) + 1)
        pieces = [_build(choices, p.CONTINUE | _OPERATIONAL << 2, text[:cut], cmd_sn)]
        return [*pieces, _build(choices, p.FINAL | _OPERATIONAL << 2 | _FULL, text[cut:], cmd_sn)]
    if shape < 38:  # one more round before the transition
        first = _build(choices, _OPERATIONAL << 2, b"".join(key + b"\0" for key in keys), cmd_sn)
        return [first, _request(choices, _OPERATIONAL, _FULL, _negotiation(choices), cmd_sn)]
    if shape == 38:  # back to where it was before
        first = _build(choices, _OPERATIONAL << 2, b"".join(key + b"\0" for key in keys), cmd_sn)
        return [first, _request(choices, _SECURITY, _FULL, [], cmd_sn)]
    return [_build(choices, choices.below(256), _garbage(choices, keys), cmd_sn) for _ in range(1 + choices.below(4))]


def proper(initiator: str) -> bytes:
    """A login that must succeed, with sequence numbers from 1."""
    keys = (f"InitiatorName={initiator}", f"TargetName={TARGET_NAME}", "SessionType=Normal", "InitialR2T=Yes")
    text = b"".join(key.encode() + b"\0" for key in keys)
    flags = p.FINAL | _OPERATIONAL << 2 | _FULL
    return p.build(p.LoginRequest(p.Op.LOGIN_REQUEST | p.IMMEDIATE, flags, 0, 0, 0, b"\x80abcde", 0, 1, 0, 1, 1), text)


def _request(choices: Choices, stage: int, following: int, keys: list[bytes], cmd_sn: int) -> bytes:
    return _build(choices, p.FINAL | stage << 2 | following, b"".join(key + b"\0" for key in keys), cmd_sn)


def _build(choices: Choices, flags: int, text: bytes, cmd_sn: int) -> bytes:
    version = choices.number(8) if choices.percent(1) else 0
    tsih = choices.number(16) if choices.percent(1) else 0
    cid = choices.number(16) if choices.percent(1) else 0
    request = p.LoginRequest(
        p.Op.LOGIN_REQUEST | p.IMMEDIATE, flags, 0, version, 0, b"\x80abcde", tsih, 1, cid, cmd_sn, 1
    )
    return p.build(request, text)


def _identity(choices: Choices, initiator: str) -> list[bytes]:
    found = [b"InitiatorName=" + initiator.encode(), b"TargetName=" + TARGET_NAME.encode(), b"SessionType=Normal"]
    kind = choices.below(40)
    if kind == 0:
        del found[choices.below(3)]
    elif kind == 1:
        found[1] = b"TargetName=iqn.test:other"
    elif kind < 4:
        found[1:] = [b"SessionType=Discovery"]
    elif kind == 4:
        found[2] = b"SessionType=" + choices.octets(8)
    elif kind == 5:
        found[0] += b"n" * 300
    return found


def _negotiation(choices: Choices) -> list[bytes]:
    lengths = _NUMBERS if choices.percent(10) else _LEGAL
    found = [f"{name}={choices.one_of(lengths)}".encode() for name in _LENGTHS if choices.percent(40)]
    found += [f"{name}={choices.one_of(('Yes', 'No'))}".encode() for name in _SWITCHES if choices.percent(60)]
    if choices.percent(15):
        found += [f"{name}=CRC32C,None".encode() for name in _DIGESTS if choices.percent(70)]
    for _ in range(8):
        if not choices.percent(20):
            break
        value = choices.one_of(_NUMBERS if choices.percent(50) else _WORDS).encode()
        name = choices.one_of(_NEGOTIABLE) if choices.percent(90) else "X-" + "k" * choices.below(80)
        found.append(name.encode() + b"=" + (choices.octets(choices.below(40)) if choices.percent(10) else value))
    return found


def _garbage(choices: Choices, keys: list[bytes]) -> bytes:
    kind = choices.below(6)
    if kind == 0:
        return choices.octets(choices.below(300))
    if kind == 1:  # many keys
        return b"".join(b"X-%061d=\0" % index for index in range(choices.one_of((90, 100, 127, 128, 129, 1000))))
    if kind == 2:
        return choices.content(choices.one_of((8192, 16384, 16385, 262144)))
    if kind == 3:
        return b"\0" * choices.below(100)
    return b"".join(key + b"\0" for key in keys + _negotiation(choices))
