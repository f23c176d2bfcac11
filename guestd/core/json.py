"""JSON text (RFC 8259) by the interpreter's own scanner and encoder, without the standard library's package.

``import json`` compiles regular expressions, for its Python twins of the same scanner and encoder: with ``re`` it is a
quarter of what guestd would import, on an emulated processor 0.1 s of every boot. What a node reads and writes needs
none of it: one value, no indentation.
"""

from __future__ import annotations

import _json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SPACE = " \t\r\n"


class _Scanner:
    """What the scanner asks for: how to make each kind of value."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int

    @staticmethod
    def parse_constant(name: str) -> Any:
        raise ValueError(f"{name} is no JSON")


def _refuse(value: object) -> Any:
    raise TypeError(f"{type(value).__name__} has no JSON: {value!r}")


_scan = _json.make_scanner(_Scanner)  # type: ignore[arg-type]  # the stub knows its result only
_encode = _json.make_encoder(None, _refuse, _json.encode_basestring_ascii, None, ":", ",", False, False, False)


def loads(text: str | bytes) -> Any:
    """The value of one JSON text, as ``json.loads`` gives it. Raises ValueError for anything else, also for NaN."""
    if isinstance(text, bytes):
        text = text.decode()
    text = text.strip(_SPACE)
    try:
        value, end = _scan(text, 0)
    except StopIteration as where:
        raise ValueError(f"no JSON value at character {where.value}") from None
    if end != len(text):
        raise ValueError(f"more than one JSON value: the second begins at character {end}")
    return value


def dumps(value: object) -> str:
    """The shortest text, all of it ASCII, keys in their order. Raises TypeError or ValueError for what JSON lacks.

    A value that contains itself is a bug of the caller's, found as RecursionError.
    """
    return "".join(_encode(value, 0))
