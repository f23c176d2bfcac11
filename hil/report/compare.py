"""Two runs of one scenario, aligned: where their histories part, and what each stage took.

The clocks of both are at 0 when the first fault begins; without a fault, when the bench began. What is compared is the
order of what each node says by itself, for between nodes the order of a stream says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

from hil.recovery import STAGES
from hil.report import spans
from hil.report.data import picture

if TYPE_CHECKING:
    from hil.recovery import Recovery
    from hil.report.run import Run
    from hil.view import Event

_HISTORY: Final = {
    "state": ("state",),
    "notified": ("subject", "incarnation", "level", "transition", "barrier"),
    "acknowledged": ("subject", "incarnation", "level", "transition", "barrier"),
    "level-complete": ("subject", "incarnation", "level", "transition"),
    "membership": ("epoch", "step", "master", "nodes"),
    "elected": ("epoch", "victims"),
    "panic": ("cause",),
    "left": ("epoch",),
}
"""What of an event is history; its times and random numbers are not."""

CONTEXT: Final = 2
"""Steps that are shown before the one in which two histories part."""


@dataclass
class Difference:
    """Of one node. ``common``: so many steps are the same; then each run's next one, None: it says no more."""

    node: int
    common: int
    before: list[str]
    steps: list[str | None]
    times: list[float | None]


def comparison(first: Run, second: Run) -> dict[str, Any]:
    """What the page shows of them."""
    runs = [run.shifted(_anchor(run)) for run in (first, second)]
    pictures = [picture(run) for run in runs]
    return {
        "runs": [one | {"events": [], "anchor": run.moved} for one, run in zip(pictures, runs, strict=True)],
        "differences": differences(runs[0], runs[1]),
        "stages": _stages(runs),
        "facts": _facts(runs),
    }


def _anchor(run: Run) -> float:
    """When what is compared begins."""
    return min((fault.begin for fault in spans.faults(run)), default=float(run.started["t"]))


def differences(first: Run, second: Run) -> list[Difference]:
    """Of each node whose histories part, the one that parts first in time first."""
    found = []
    for node in range(max(first.nodes, second.nodes)):
        histories = [_history(run, node) for run in (first, second)]
        for place, steps in enumerate(zip_longest(*histories)):
            words = [None if step is None else step[1] for step in steps]
            if words[0] != words[1]:
                before = [word for _, word in histories[0][max(0, place - CONTEXT) : place]]
                times = [None if step is None else step[0] for step in steps]
                found.append(Difference(node, place, before, words, times))
                break
    return sorted(found, key=lambda one: min(t for t in one.times if t is not None))


def _history(run: Run, node: int) -> list[tuple[float, str]]:
    return [
        (event["t"], _step(event)) for event in run.events if event.get("node") == node and event["kind"] in _HISTORY
    ]


def _step(event: Event) -> str:
    kind = event["kind"]
    if kind == "membership":
        nodes = event.get("nodes") or {}
        states = ", ".join(f"n{number} {one['state']} ({one['incarnation']})" for number, one in nodes.items())
        return f"membership {event['epoch']}.{event['step']}, master n{event['master']}: {states}"
    return " ".join([kind, *(f"{key}={event.get(key)}" for key in _HISTORY[kind])])


def _stages(runs: list[Run]) -> list[dict[str, Any]]:
    """The recoveries of both, in their order; side by side where they are of the same node."""
    rows = []
    for pair in zip_longest(*(run.recoveries for run in runs)):
        victims = [f"n{one.victim}" for one in pair if one is not None]
        cells = [_cells(one) for one in pair]
        rows.append(
            {"of": " / ".join(dict.fromkeys(victims)), "cells": cells, "begin": [one and one.begun_t for one in pair]}
        )
    return rows


def _cells(one: Recovery | None) -> dict[str, float] | None:
    if one is None:
        return None
    return {**{stage: one.seconds[stage] for stage in STAGES if stage in one.seconds}, "all": sum(one.seconds.values())}


def _facts(runs: list[Run]) -> list[tuple[str, list[str]]]:
    """Durations and counts of both."""

    def each(what: Any) -> list[str]:
        return [str(what(run)) for run in runs]

    def lasted(run: Run) -> str:
        return f"{run.end_t - float(run.started['t']):.3f} s"

    def until_joined(run: Run) -> str:
        times = [event["t"] for event in run.events if event["kind"] == "state" and event.get("state") == "joined"]
        joined = sorted(times)[: run.nodes]
        return f"{joined[-1] - float(run.started['t']):.3f} s" if len(joined) == run.nodes else "never"

    return [
        ("verdict", each(lambda run: run.verdict)),
        ("machines", each(lambda run: run.started.get("accelerator", ""))),
        ("seed", each(lambda run: run.started.get("seed", "-"))),
        ("timing factor", each(lambda run: run.started.get("timing_factor", "-"))),
        ("lasted", each(lasted)),
        ("until all joined first", each(until_joined)),
        ("first fault at", each(lambda run: f"{-float(run.started['t']):.3f} s")),
        ("events", each(lambda run: len(run.events))),
        (
            "epochs",
            each(lambda run: max((event["epoch"] for event in run.events if event["kind"] == "membership"), default=0)),
        ),
        ("panics", each(lambda run: sum(event["kind"] == "panic" for event in run.events))),
        ("recoveries", each(lambda run: len(run.recoveries))),
    ]
