"""``hil replay --check``: what was recorded of a run, held against the claims and the tables of the state machines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from hil.cli import completion
from hil.cli.options import AsJson
from hil.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to ``app``."""
    app.command("replay")(replay)


def replay(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN",
            help="A run's directory, or a cluster; default: the newest run.",
            autocompletion=completion.runs,
        ),
    ] = None,
    *,
    check: Annotated[bool, typer.Option("--check", help="Judge what was recorded.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check a recorded run: its events and its disk's ledger against every claim, its steps against guestd's tables.

    The same claims as in the simulator (docs/checkers.md). What a recording does not have is told: those claims are
    not judged. The run may still go on. Exit status: 0 nothing is violated, 1 a claim is, 2 it is no recording of this
    version.

    With --json: one object with run, passed, events, disk_commands, notes (a list) and claims: a list of {name, claim,
    outcome (held, violated or not judged), violation, place, causes, lacks, without}.
    """
    from hil.checkers.recorded import judge
    from hil.checkers.recording import load

    if not check:
        raise UsageError("replay: only checking what was recorded is possible; `hil replay --check` does it")
    judgement = judge(load(find(run)))
    if as_json:
        print(json.dumps(judgement.as_dict(), indent=2))
    else:
        outcomes = [ruling.outcome for ruling in judgement.rulings]
        counts = ", ".join(f"{outcomes.count(one)} {one}" for one in ("held", "violated", "not judged"))
        print(f"{judgement.where}: {judgement.events} events, {judgement.commands} writes and registrations")
        print("\n".join([*judgement.lines(), f"claims: {counts}"]))
    if judgement.violated:
        raise typer.Exit(1)


def find(run: str | None, verb: str = "replay") -> Path:
    """The directory of ``run``: itself, the newest of a cluster, or the newest of all. ``verb``: who asks.

    Raises :class:`UsageError` listing the clusters that have left one.
    """
    from hil import paths

    if run is not None and Path(run).is_dir():
        return Path(run).resolve()
    newest = {one.parent.name: one.resolve() for one in paths.runs_dir().glob("*/latest") if one.exists()}
    if run is None and newest:
        return max(newest.values(), key=lambda directory: directory.name)
    if run in newest:
        return newest[run]
    there = f"there are runs of: {', '.join(sorted(newest))}" if newest else f"there are no runs in {paths.runs_dir()}"
    raise UsageError(f"{verb}: no run {run!r}, and no such directory; {there}" if run else f"{verb}: {there}")
