"""Negotiation of text keys (RFC 7143 chapters 6 and 13): one row per key, one small function per kind of key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from hil.scsi.iscsi.framing import DATA_SEGMENT_BYTES_MAX

TEXT_BYTES_MAX: Final = 16 * 1024  # of one negotiation, continuations included; RFC 7143 6.1 asks for at least 8192
# As many answers of the longest kind fit into 8192 bytes, which is what every initiator takes during login (13.12).
_KEYS_MAX: Final = 100


class BadText(Exception):
    """Not a list of key=value pairs."""


class Key(NamedTuple):
    """How our answer comes from the offer; ``default`` holds when the key is never offered."""

    answer: Callable[[str, str], str | None]  # (offered, ours) -> answer; None: a declaration, no answer
    ours: str
    default: str


class Rejected(Exception):
    """The offered value is not legal for this key: the answer is ``Reject``."""


def number(text: str, lowest: int = 0, highest: int = 2**24 - 1) -> int:
    """A numerical value, decimal or 0x (RFC 7143 6.1). Raises ``Rejected`` outside ``lowest`` to ``highest``."""
    try:
        value = int(text, 16 if text[:2].lower() == "0x" else 10)
    except ValueError:
        raise Rejected(text) from None
    if not text[:1].isdigit() or not lowest <= value <= highest:
        raise Rejected(text)
    return value


def _minimum(lowest: int, highest: int) -> Callable[[str, str], str]:
    return lambda offered, ours: str(min(number(offered, lowest, highest), int(ours)))


def _maximum(lowest: int, highest: int) -> Callable[[str, str], str]:
    return lambda offered, ours: str(max(number(offered, lowest, highest), int(ours)))


def _boolean(offered: str) -> bool:
    if offered not in ("Yes", "No"):
        raise Rejected(offered)
    return offered == "Yes"


def _either(offered: str, ours: str) -> str:
    return "Yes" if _boolean(offered) or ours == "Yes" else "No"


def _both(offered: str, ours: str) -> str:
    return "Yes" if _boolean(offered) and ours == "Yes" else "No"


def _first_of(offered: str, ours: str) -> str:
    """RFC 7143 6.2.1: the initiator lists what it wants in its order of preference."""
    for value in offered.split(","):
        if value in ours.split(","):
            return value
    raise Rejected(offered)


def _declared(offered: str, ours: str) -> None:
    return None


def _length_declared(offered: str, ours: str) -> None:
    number(offered, 512)


def _fixed(offered: str, ours: str) -> str:
    return ours


# Ours: FirstBurstLength bounds what may come unasked (times the command window), MaxBurstLength what one R2T asks for.
KEYS: Final[dict[str, Key]] = {
    "AuthMethod": Key(_first_of, "None", "None"),
    "HeaderDigest": Key(_first_of, "CRC32C,None", "None"),
    "DataDigest": Key(_first_of, "CRC32C,None", "None"),
    "TaskReporting": Key(_first_of, "RFC3720", "RFC3720"),
    "MaxConnections": Key(_minimum(1, 65535), "1", "1"),
    "InitialR2T": Key(_either, "No", "Yes"),
    "ImmediateData": Key(_both, "Yes", "Yes"),
    "MaxBurstLength": Key(_minimum(512, 2**24 - 1), str(256 * 1024), str(256 * 1024)),
    "FirstBurstLength": Key(_minimum(512, 2**24 - 1), str(64 * 1024), str(64 * 1024)),
    "DefaultTime2Wait": Key(_maximum(0, 3600), "0", "2"),
    "DefaultTime2Retain": Key(_minimum(0, 3600), "0", "20"),
    "MaxOutstandingR2T": Key(_minimum(1, 65535), "1", "1"),
    "DataPDUInOrder": Key(_either, "Yes", "Yes"),
    "DataSequenceInOrder": Key(_either, "Yes", "Yes"),
    "ErrorRecoveryLevel": Key(_minimum(0, 2), "0", "0"),
    "MaxRecvDataSegmentLength": Key(_length_declared, str(DATA_SEGMENT_BYTES_MAX), "8192"),
    "InitiatorName": Key(_declared, "", ""),
    "InitiatorAlias": Key(_declared, "", ""),
    "TargetName": Key(_declared, "", ""),
    "SessionType": Key(_declared, "", "Normal"),
    # Markers are gone since RFC 7143 (13.25); initiators of RFC 3720 still offer them.
    "IFMarker": Key(_fixed, "No", "No"),
    "OFMarker": Key(_fixed, "No", "No"),
    "IFMarkInt": Key(_fixed, "Irrelevant", ""),
    "OFMarkInt": Key(_fixed, "Irrelevant", ""),
}


class Parameters:
    """Values in force, by key: the answers given, the initiator's declarations, and defaults for the rest."""

    def __init__(self) -> None:
        self.values = {name: key.default for name, key in KEYS.items()}
        self.offered: set[str] = set()

    def __getitem__(self, name: str) -> str:
        return self.values[name]

    def number(self, name: str) -> int:
        """A value that the table keeps numerical."""
        return number(self.values[name])

    def answer(self, name: str, offered: str) -> str | None:
        """What to answer to ``name=offered`` (None: nothing); takes the result in force."""
        key = KEYS.get(name)
        if key is None:
            return "NotUnderstood"
        if name in self.offered:  # RFC 7143 6.3: never twice in one negotiation
            return "Reject"
        self.offered.add(name)
        try:
            answer = key.answer(offered, key.ours)
        except Rejected:
            return "Reject"
        self.values[name] = offered if answer is None else answer
        return answer


def parse_text(data: bytes) -> list[tuple[str, str]]:
    """Pairs in the order sent. Raises ``BadText``."""
    pairs = []
    for part in data.split(b"\0"):
        if not part:
            continue
        name, equals, value = part.partition(b"=")
        if not equals or not 0 < len(name) <= 63:
            raise BadText(f"{part[:80]!r} is not key=value")
        try:
            pairs.append((name.decode("ascii"), value.decode("utf-8")))
        except UnicodeDecodeError:
            raise BadText(f"{part[:80]!r} is not text") from None
    if len(pairs) > _KEYS_MAX:
        raise BadText(f"{len(pairs)} keys: at most {_KEYS_MAX} are legal")
    return pairs


def build_text(pairs: list[tuple[str, str]]) -> bytes:
    """The data segment of a login or text PDU."""
    return b"".join(f"{name}={value}\0".encode() for name, value in pairs)
