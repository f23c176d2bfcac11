"""What led to a violation: of all that was told before, what has to do with what was told last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from hil.checkers.disk_order import Keyed, Landed, Removed

if TYPE_CHECKING:
    from hil.checkers.disk_order import Fact
    from hil.checkers.merging import Item

CAUSES_MAX: Final = 16
_LIFE_KINDS: Final = ("guestd-started", "registered", "incarnation", "state", "panic", "left")
_HEAD: Final = frozenset({"n", "t", "kind", "node", "guest_n", "guest_t", "stages", "start"})
_OF_LIVES: Final = ("preempted", "fenced", "held-up")


def causes(told: Sequence[Item | Fact]) -> tuple[str, ...]:
    """One line each, oldest first, the last of them what was told last."""
    if not told:
        return ()
    last = _about(told[-1])
    found = [told[-1]]
    for one in reversed(told[:-1]):
        if len(found) >= CAUSES_MAX:
            break
        if _is_related(_about(one), last):
            found.append(one)
    return tuple(_shown(one) for one in reversed(found))


def _about(one: Item | Fact) -> dict[str, Any]:
    """The transition, the epoch and the lives that it is about; what it is not about is left out."""
    if isinstance(one, Keyed):
        return {"lives": {(one.node, one.incarnation)}}
    if isinstance(one, Removed):
        return {"lives": {(one.removal.node, one.removal.incarnation)}}
    if isinstance(one, Landed):
        epoch = getattr(getattr(one.record, "view", one.record), "epoch", None)
        return {"lives": {(one.node, one.incarnation)}, "epoch": epoch, "heartbeat": one.record is None}
    event, kind = one.event, one.event["kind"]
    own = (one.life.number, one.life.incarnation)
    if kind in ("notified", "acknowledged", "level-complete"):
        return {"transition": (event["subject"], event["incarnation"], event["transition"]), "own": own}
    if kind in _OF_LIVES:
        return {"lives": {(event["subject"], event["incarnation"])}, "own": own}
    if kind == "membership":
        lives = {(int(number), entry["incarnation"]) for number, entry in event["nodes"].items()}
        return {"epoch": event["epoch"], "moved": lives, "own": own}
    if kind in ("bid", "elected", "bid-lost"):
        return {"epoch": event["epoch"], "own": own}
    if kind == "program":
        return {"program": event["program"], "own": own}
    return {"lives": {own} if kind in _LIFE_KINDS else set(), "own": own}


def _is_related(one: dict[str, Any], last: dict[str, Any]) -> bool:
    if "transition" in last:
        return bool(one.get("transition") == last["transition"] or ("moved" in one and one["own"] == last["own"]))
    if "program" in last:
        return bool(one.get("program") == last["program"] and one["own"] == last["own"])
    if one.get("heartbeat") and not last.get("heartbeat"):
        return False
    same_epoch = last.get("epoch") is not None and one.get("epoch") == last["epoch"]
    return same_epoch or bool(one.get("lives", set()) & (last.get("lives", set()) | last.get("moved", set())))


def _shown(one: Item | Fact) -> str:
    if isinstance(one, Keyed):
        return f"disk, command {one.order}: node {one.node} registers as incarnation {one.incarnation}"
    if isinstance(one, Removed):
        removal = one.removal
        whose = f"node {removal.node} (incarnation {removal.incarnation})"
        return f"disk, command {one.order}: node {removal.by} removes the registration of {whose}"
    if isinstance(one, Landed):
        what = "" if one.record is None else f": {type(one.record).__name__.lower()} {one.record}"
        who = f"node {one.node} (incarnation {one.incarnation})"
        return f"disk, command {one.order}: {who} writes LBA {one.lba}+{one.blocks}{what}"
    event = one.event
    fields = " ".join(f"{key}={value}" for key, value in event.items() if key not in _HEAD)
    return f"event {event['n']}: node {one.life.number}: {event['kind']} {fields}".rstrip()
