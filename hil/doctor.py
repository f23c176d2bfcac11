"""``hil doctor``: what this host lacks, each with what to type; for people and, as JSON, for programs."""

from __future__ import annotations

import dataclasses
import json

from rich.console import Console
from rich.text import Text

from hil import preflight
from hil.preflight import Finding, Needs

STYLE = {"ok": "green", "notice": "yellow", "problem": "bold red"}


def findings(needs: Needs | None = None) -> list[Finding]:
    """Every check's finding on this host, in a fixed order; see :func:`hil.preflight.findings`."""
    return preflight.findings(needs)


def exit_status(found: list[Finding]) -> int:
    """2 if a cluster cannot start on this host ("refused by preflight"), else 0."""
    return 2 if any(finding.grade == "problem" for finding in found) else 0


def render(found: list[Finding]) -> Text:
    """For people: one line per check, what to type below it, a verdict at the end."""
    told = Text()
    for finding in found:
        told.append(f"{finding.grade:<8}", style=STYLE[finding.grade])
        told.append(f" {finding.check:<16} {finding.text}\n")
        if finding.remedy:
            told.append(f"{'':9}> {finding.remedy}\n", style="bold")
    return told.append("\n").append_text(_verdict(found))


def _verdict(found: list[Finding]) -> Text:
    count = sum(finding.grade == "problem" for finding in found)
    if count == 0:
        return Text("This host can run clusters.", style="green")
    return Text(f"This host cannot run clusters yet: {count} problem{'s' if count > 1 else ''}.", style="bold red")


def as_json(found: list[Finding]) -> str:
    """``{"ok": bool, "findings": [{"check", "grade", "text", "remedy"}, ...]}``, stable for programs."""
    rows = [dataclasses.asdict(finding) for finding in found]
    return json.dumps({"ok": exit_status(found) == 0, "findings": rows}, indent=2)


def show(found: list[Finding], console: Console | None = None) -> None:
    """Print :func:`render`'s lines, never broken: what is to be typed can be copied from any terminal."""
    (console or Console(highlight=False)).print(render(found), soft_wrap=True)
