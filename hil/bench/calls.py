"""What a client may ask of a bench, and the check of what it hands over."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any

import pydantic

from hil.errors import UsageError

CALLS = (
    "status",
    "power_off",
    "power_on",
    "power_cycle",
    "reset",
    "shutdown",
    "panic",
    "cut_link",
    "heal_link",
    "split",
    "freeze",
    "thaw",
    "inject_disk_fault",
    "heal_disk",
    "disk_status",
    "impair_link",
    "mend_link",
    "link_frames",
    "set_carriers",
    "carriers",
    "standing",
    "begin_injection",
    "note_injection",
    "injections",
    "note_plan",
    "save_checkpoint",
    "open_ssh",
    "down",
)

_STRICT = pydantic.ConfigDict(strict=True, arbitrary_types_allowed=True)


def bound(verb: Callable[..., Any], arguments: dict[str, Any]) -> Callable[[], Any]:
    """``verb`` with ``arguments`` checked against its signature, so that a wrong one is not taken for a bug of ours."""
    try:
        inspect.signature(verb).bind(**arguments)
    except TypeError as error:
        raise UsageError(f"{verb.__name__}: {error}") from None
    types = typing.get_type_hints(verb)
    for name, value in arguments.items():
        try:
            pydantic.TypeAdapter(types[name], config=_STRICT).validate_python(value)
        except pydantic.ValidationError as error:
            raise UsageError(f"{verb.__name__}: {name} = {value!r:.100}: {error.errors()[0]['msg']}") from None
    return functools.partial(verb, **arguments)
