"""Events as lines of text: for ``hil events``, for progress without a terminal, and for a failed test's report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hil.view import Event

_HEAD = frozenset({"n", "t", "kind", "node", "guest_n", "guest_t"})
# What a person who waits wants to hear of, and how it is said of the node (or the cluster).
_STEPS = {
    "bench-started": "{nodes} nodes, {accelerator}, times x {timing_factor}, image {image}",
    "machine-started": "machine runs",
    "machine-stopped": "machine stopped ({detail})",
    "machine-crashed": "machine crashed ({detail})",
    "machine-reset": "machine was reset",
    "guestd-started": "guestd runs, {guest_t} s after its kernel",
    "guestd-exited": "guestd ended with status {status}",
    "disk-found": "found the shared disk, {device}",
    "disk-missing": "does not find the shared disk {wanted}",
    "state": "{previous} -> {state}",
    "elected": "is master of epoch {epoch}",
    "waiting": "waits for {for}",
    "epoch-not-begun": "cannot begin epoch {epoch}: {why}",
    "data-disk": "LUN {lun}: {state}",
    "panic": "PANIC: {reason}",
    "refused": "refused: {reason}",
    "service": "service {service}: {state} ({why})",
    "fault-injected": "fault: {fault}",
    "fault-struck": "fault strikes for the first time: {fault}",
    "fault-healed": "healed: {fault}",
    "bench-stopping": "ends: {reason}",
    "disk-exited": "the shared disk's process ended with status {status}",
    "garbage": "sent what is no event: {text}",
    "events-lost": "lost events: {expected} was next, {got} came",
}


class _Fields(dict[str, Any]):
    """The fields of an event for a sentence; one that is missing is shown as such."""

    def __missing__(self, key: str) -> str:
        return "?"


def event_line(event: Event) -> str:
    """One event for people: number, time (s since bench start), node, kind, and its fields."""
    node = event.get("node")
    who = f"n{node}" if isinstance(node, int) else "-"
    fields = " ".join(f"{key}={_short(value)}" for key, value in event.items() if key not in _HEAD)
    return f"{event.get('n', 0):5d} {event.get('t', 0.0):9.3f} {who:>3} {event['kind']:<16} {fields}".rstrip()


def step_line(event: Event) -> str | None:
    """One line about an event that a person who waits wants to hear of; None for the many others."""
    kind = event["kind"]
    if kind not in _STEPS:
        return None
    node = event.get("node")
    who = f"node {node}" if isinstance(node, int) else "cluster"
    return f"{event.get('t', 0.0):8.2f} s  {who}: {_STEPS[kind].format_map(_Fields(event))}"


def slowness(settings: Mapping[str, Any]) -> str | None:
    """What is to be said of machines that are emulated, and why they are; None if KVM runs them."""
    if settings.get("accelerator") != "tcg":
        return None
    return f"without KVM: {settings.get('why', 'not told')}"


def _short(value: Any) -> str:
    """A value on one line: text as it is unless it has blanks, a table of nodes in the style of the event stream."""
    if isinstance(value, str):
        return repr(value) if not value or any(c.isspace() for c in value) else value
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_short(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_short(item) for item in value) + "]"
    return str(value)
