"""What led to a violation: of all that was told before, what has to do with what was told last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from guestd.membership.records import Commit, Match
from hil.checkers.disk_order import Keyed, Landed, Removed

if TYPE_CHECKING:
    from guestd.membership.records import Ballot
    from hil.checkers.disk_order import Fact
    from hil.checkers.merging import Item

CAUSES_MAX: Final = 16
_LIFE_KINDS: Final = ("guestd-started", "registered", "incarnation", "state", "panic", "left")
_LONG: Final = ("stages", "start", "levels")
_OUT: Final = ("forced-leaving",)
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
        return _about_record(one)
    event, kind = one.event, one.event["kind"]
    own = (one.life.number, one.life.incarnation)
    if kind in ("notified", "acknowledged", "level-complete"):
        return {"transition": (event["subject"], event["incarnation"], event["transition"]), "own": own}
    if kind in _OF_LIVES:
        return {"lives": {(event["subject"], event["incarnation"])}, "own": own}
    if kind == "membership":
        out = {(int(n), entry["incarnation"]) for n, entry in event["nodes"].items() if entry["state"] in _OUT}
        # Of the many views of an epoch the first one tells who is in it.
        return {"view": (event["epoch"], event["step"]), "epoch": event["epoch"], "out": out, "own": own}
    if kind in ("bid", "elected", "bid-lost"):
        return {"epoch": event["epoch"], "own": own}
    if kind == "program":
        return {"program": event["program"], "own": own}
    return {"lives": {own} if kind in _LIFE_KINDS else set(), "own": own}


def _about_record(one: Landed) -> dict[str, Any]:
    lives = {(one.node, one.incarnation)}
    if isinstance(one.record, Commit):
        view = one.record.view
        out = {(node, entry.incarnation) for node, entry in enumerate(view.entries) if entry.forced}
        return {"view": view.order, "epoch": view.epoch, "out": out, "writer": lives}
    if one.record is not None:
        return {"epoch": one.record.epoch, "writer": lives}
    return {"writer": lives}


def _is_related(one: dict[str, Any], last: dict[str, Any]) -> bool:
    if "transition" in last:
        return bool(one.get("transition") == last["transition"] or ("view" in one and one.get("own") == last["own"]))
    if "program" in last:
        return bool(one.get("program") == last["program"] and one["own"] == last["own"])
    concerned = last.get("lives", set()) | last.get("out", set()) | last.get("writer", set())
    if one.get("lives", set()) & concerned:
        return True
    if "view" in one and one["view"] != last.get("view"):
        return bool(one["out"] & concerned) and one["view"][1] == 0
    return last.get("epoch") is not None and one.get("epoch") == last["epoch"]


def _shown(one: Item | Fact) -> str:
    if isinstance(one, Keyed):
        return (
            f"command {one.order} of the disk{_where(one)}: node {one.node} registers as incarnation {one.incarnation}"
        )
    if isinstance(one, Removed):
        removal = one.removal
        whose = f"node {removal.node} (incarnation {removal.incarnation})"
        return f"command {one.order} of the disk{_where(one)}: node {removal.by} removes the registration of {whose}"
    if isinstance(one, Landed):
        what = f": {_record(one.record)}" if one.record is not None else ""
        who = f"node {one.node} (incarnation {one.incarnation})"
        return f"command {one.order} of the disk{_where(one)}: {who} writes LBA {one.lba}+{one.blocks}{what}"
    fields = " ".join(f"{key}={_field(value)}" for key, value in one.fields.items() if key not in _LONG)
    return f"event {one.event['n']}: node {one.life.number} {one.event['kind']} {fields}".rstrip()


def _where(fact: Fact) -> str:
    return f", LUN {fact.lun}" if fact.lun else ""


def _record(record: Ballot | Commit | Match) -> str:
    if isinstance(record, Commit):
        view = record.view
        nodes = ", ".join(f"{entry.state.value} ({entry.incarnation})" for entry in view.entries)
        return f"view {view.epoch}.{view.step} of master {view.master}: {nodes}"
    if isinstance(record, Match):
        return f"match of epoch {record.epoch}, flags {record.flags:b}, turn bits {record.bits:b}"
    return f"ballot of epoch {record.epoch}, mbal {record.mbal}, bal {record.bal}, for node {record.owner}"


def _field(value: Any) -> str:
    if isinstance(value, dict):  # the nodes of a membership
        return ", ".join(f"{entry['state']} ({entry['incarnation']})" for entry in value.values())
    return str(value)
