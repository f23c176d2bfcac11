"""What a registered program may put into the event stream (docs/programs.md, docs/events.md)."""

from __future__ import annotations

from guestd.core import json
from guestd.core.effects import Emit

KINDS = ("service", "service-command", "occurrence", "event-group", "watcher", "database")
FIELDS_SIZE_MAX = 16 << 10  # as JSON text
# What every event has already: the bench and the port of the node say these.
RESERVED = ("n", "t", "kind", "guest_n", "guest_t")


def event(asked: object) -> Emit:
    """The event that is asked for. Raises ValueError, saying what is legal."""
    told = dict(asked) if isinstance(asked, dict) else {}
    kind = told.pop("kind", None)
    if kind not in KINDS:
        raise ValueError(f"emit: kind = {kind!r} (legal: {', '.join(KINDS)})")
    taken = [name for name in told if name in RESERVED]
    if taken:
        raise ValueError(f"emit: {kind}: {taken[0]} is no field of a program (legal: all but {', '.join(RESERVED)})")
    if "node" in told:  # every event has whose machine says it; whom it is about is its subject
        told = {"subject" if name == "node" else name: value for name, value in told.items()}
    try:
        size = len(json.dumps(told))
    except ValueError:  # what was read as JSON can only hold a number that is out of range
        raise ValueError(f"emit: {kind}: a number is not finite (legal: finite numbers)") from None
    if size > FIELDS_SIZE_MAX:
        raise ValueError(f"emit: {kind}: {size} bytes of fields (legal: at most {FIELDS_SIZE_MAX})")
    return Emit(kind, told)
