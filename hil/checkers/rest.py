"""Whether a recorded run ended at rest: nothing is wrong, all are joined, and nothing has happened for a while."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from hil.view import MALFORMED, View

if TYPE_CHECKING:
    from hil.view import Event

_QUIET: Final = ("bench-stopping", "silent", "heard", "damaged", "bad-datagram")
"""Kinds after which nobody has anything to do."""


def at_rest(events: Sequence[Event], nodes: int, timing: Mapping[str, int]) -> bool:
    """For as long as a subsystem may take to acknowledge (S4.13), by the cluster's own times."""
    view = View(nodes)
    last_t = 0.0
    for event in events:
        try:
            view.apply(event)
        except MALFORMED:
            return False
        if event["kind"] not in _QUIET:
            last_t = event.get("t", 0.0)
    quiet_s = timing.get("subsystem_ms", 0) / 1000
    if not quiet_s or view.t - last_t < quiet_s or any(view.faults.values()):
        return False
    return view.why_not_joined(list(range(nodes))) is None
