"""What can go wrong with a PDU on its way, or in an initiator that has lost its mind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from hil.scsi.iscsi import pdu as p
from tests.fuzz.choices import Choices

if TYPE_CHECKING:
    from collections.abc import Callable

_CMD_SN: Final = 24
_TAGS_AND_FIELDS: Final = (8, 16, 20, 24, 28, 32, 36, 40, 44)  # where headers have words


class Mutated(NamedTuple):
    """``intact``: still one whole PDU, so what follows in the stream is found."""

    raw: bytes
    intact: bool


def mutate(choices: Choices, raw: bytes) -> list[Mutated]:
    """What is sent instead of ``raw``: none, one or two PDUs."""
    return choices.one_of(_MUTATIONS)(choices, raw)


def _flip_header(choices: Choices, raw: bytes) -> list[Mutated]:
    """Not the lengths; the first byte changes what kind of PDU it is."""
    found = bytearray(raw)
    for _ in range(1 + choices.below(3)):
        at = choices.below(p.HEADER_BYTES - 4)
        found[at if at < 4 else at + 4] ^= 1 << choices.below(8)
    return [Mutated(bytes(found), True)]


def _flip_data(choices: Choices, raw: bytes) -> list[Mutated]:
    found = bytearray(raw)
    if len(found) > p.HEADER_BYTES:
        found[p.HEADER_BYTES + choices.below(len(found) - p.HEADER_BYTES)] ^= 1 << choices.below(8)
    return [Mutated(bytes(found), True)]


def _field(choices: Choices, raw: bytes) -> list[Mutated]:
    at = choices.one_of(_TAGS_AND_FIELDS)
    return [Mutated(raw[:at] + choices.number(32).to_bytes(4, "big") + raw[at + 4 :], True)]


def _command_number(choices: Choices, raw: bytes) -> list[Mutated]:
    number = int.from_bytes(raw[_CMD_SN : _CMD_SN + 4], "big")
    wrong = (number + choices.one_of((-1, -1, -128, 127, 128, 2**31, 1))) & 0xFFFFFFFF
    return [Mutated(raw[:_CMD_SN] + wrong.to_bytes(4, "big") + raw[_CMD_SN + 4 :], True)]


def _additional_header(choices: Choices, raw: bytes) -> list[Mutated]:
    words = choices.one_of((1, 2, 255)) if not raw[4] else 0
    if not words:
        return [Mutated(raw, True)]
    head = raw[:4] + bytes((words,)) + raw[5 : p.HEADER_BYTES]
    return [Mutated(head + choices.content(4 * words) + raw[p.HEADER_BYTES :], True)]


def _twice(choices: Choices, raw: bytes) -> list[Mutated]:
    return [Mutated(raw, True), Mutated(raw, True)]


def _lost(choices: Choices, raw: bytes) -> list[Mutated]:
    return []


def _announced_length(choices: Choices, raw: bytes) -> list[Mutated]:
    """More or less data than comes."""
    length = choices.one_of((0, 1, 3, 4, 512, 262144, 262145, 2**24 - 1, choices.below(2**24)))
    return [Mutated(raw[:5] + length.to_bytes(3, "big") + raw[8:], False)]


def _announced_header(choices: Choices, raw: bytes) -> list[Mutated]:
    return [Mutated(raw[:4] + bytes((choices.one_of((1, 2, 255)),)) + raw[5:], False)]


def _cut(choices: Choices, raw: bytes) -> list[Mutated]:
    return [Mutated(raw[: choices.below(len(raw))], False)]


def _rubbish(choices: Choices, raw: bytes) -> list[Mutated]:
    return [Mutated(choices.octets(choices.one_of((1, 4, 47, 48, 96, 1000))), False)]


_INTACT: Final = (_flip_header, _flip_header, _flip_data, _field, _field, _command_number, _additional_header, _twice)
_MUTATIONS: Final[tuple[Callable[[Choices, bytes], list[Mutated]], ...]] = (
    *(*_INTACT, *_INTACT, *_INTACT),
    *(_lost, _announced_length, _announced_header, _cut, _rubbish),
)
