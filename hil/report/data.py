"""A run as the plain data that the page's program draws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hil.console_times import console_lines
from hil.evidence import layout
from hil.recovery import STAGES
from hil.report import disk, lanes, spans
from hil.report.first import Places, claims

if TYPE_CHECKING:
    from hil.recovery import Recovery
    from hil.report.run import Run

CONSOLE_LINES_MAX: Final = 20_000
"""Of one node; of more the last ones are shown, and the page says so."""


def picture(run: Run) -> dict[str, Any]:
    """What the timeline draws. Raises :class:`hil.errors.UsageError` for what cannot be drawn."""
    return {
        "about": about(run),
        "begin": min(float(event["t"]) for event in run.events),
        "end": run.end_t,
        "lanes": lanes.as_data(lanes.lanes(run)),
        "faults": spans.as_data(spans.faults(run)),
        "services": spans.as_data(spans.services(run)),
        "stages": STAGES,
        "recoveries": [recovery_row(one) for one in run.recoveries],
        "messages": spans.messages(run),
    }


def whole(run: Run) -> dict[str, Any]:
    """The picture, and all that is shown beside it."""
    found = disk.commands(run)
    places = Places({event["n"]: event for event in run.events}, found.by_order or {})
    told = picture(run) | {
        "events": run.events,
        "disk": disk.as_data(found),
        "claims": claims(run.judgement, places),
        "consoles": [_console(run, node) for node in range(run.nodes)],
    }
    told["about"]["notes"] = [*run.notes, *run.judgement.notes, *_notes(run, told, found)]
    return told


def about(run: Run) -> dict[str, Any]:
    """What a person wants to know of it first."""
    first, told = run.started, run.told
    outcomes = [ruling.outcome for ruling in run.judgement.rulings]
    return {
        "title": run.title,
        "cluster": first.get("cluster", ""),
        "verdict": run.verdict,
        "problem": str(told.get("problem", "")),
        "repeat": str(told.get("repeat", "")),
        "when": run.when.isoformat().replace("+00:00", "Z"),
        "where": str(run.directory),
        "nodes": run.nodes,
        "accelerator": first.get("accelerator", ""),
        "timing_factor": first.get("timing_factor"),
        "seed": first.get("seed", told.get("seed")),
        "seconds": round(run.end_t - min(float(event["t"]) for event in run.events), 3),
        "events": len(run.events),
        "check": run.judgement.command,
        "claims": {word: outcomes.count(word) for word in ("held", "violated", "not judged")},
    }


def recovery_row(one: Recovery) -> dict[str, Any]:
    """For the page; ``complete`` false: the run ended before its last stage."""
    return {
        "victim": one.victim, "epoch": one.epoch, "begin": one.begun_t, "n": one.begun_n, "why": one.why,
        "ends": one.ends, "wanted": one.wanted, "services": one.services, "complete": one.complete,
    }  # fmt: skip


def _console(run: Run, node: int) -> dict[str, Any]:
    lines = console_lines(run.directory / layout.console(node))
    shown = lines[-CONSOLE_LINES_MAX:]
    moved = [(None if line.t is None else round(line.t - run.moved, 4), line.text) for line in shown]
    return {"node": node, "lines": moved, "left_out": len(lines) - len(shown)}


def _notes(run: Run, told: dict[str, Any], found: disk.Commands) -> list[str]:
    notes = []
    if found.left_out and not found.writes:
        notes.append("no event ties the disk's ledger to the clock of the events: its commands are not drawn")
    elif found.left_out:
        notes.append(
            f"the first {found.left_out} commands of the disk's ledger are not drawn: `hil disk ledger` shows them"
        )
    consoles = told["consoles"]
    if any(one["lines"] and all(t is None for t, _ in one["lines"]) for one in consoles):
        notes.append("the times of the console lines were not recorded: they do not follow the timeline")
    notes += [
        f"the first {one['left_out']} console lines of node {one['node']} are not shown"
        for one in consoles
        if one["left_out"]
    ]
    return notes
