"""``hil recheck`` and ``hil replay``: a recorded run is judged by the claims of this checkout, or happens again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hil.cli import completion
from hil.cli.options import AsJson, Backend
from hil.errors import UsageError
from hil.evidence.runs import find, opened

if TYPE_CHECKING:
    from hil.evidence.replay import Recorded

__all__ = ["find", "recheck", "register", "replay"]

RunArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN",
        help="A run's directory, a cluster, CLUSTER/TIME, or a bundle; default: the newest.",
        autocompletion=completion.runs,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to ``app``."""
    app.command("recheck")(recheck)
    app.command("replay")(replay)


def recheck(run: RunArgument = None, as_json: AsJson = False) -> None:
    """Judge a recorded run by the claims of this checkout.

    Its events and its disk's ledger are held against every claim, its steps against guestd's tables. The same claims as
    in the simulator (docs/checkers.md). What a recording does not have is told: those claims are not judged. The run
    may still go on. Exit status: 0 nothing is violated, 1 a claim is, 2 it is no recording of this version.

    With --json: one object with run, passed, events, disk_commands, notes (a list) and claims: a list of {name, claim,
    outcome (held, violated or not judged), violation, place, causes, lacks, without}.
    """
    with opened(run) as (directory, where):
        violated = _judge(directory, where, as_json=as_json)
    if violated:
        raise typer.Exit(1)


def _judge(directory: Path, where: str, *, as_json: bool) -> bool:
    from hil.checkers.recorded import judge
    from hil.checkers.recording import load

    recording = replace(load(directory), where=where)
    judgement = judge(recording)
    if not any(event["kind"] == "bench-stopping" for event in recording.events):
        judgement = replace(judgement, notes=(*judgement.notes, "there is no end: the run goes on, or was cut short"))
    if as_json:
        print(json.dumps(judgement.as_dict(), indent=2))
    else:
        outcomes = [ruling.outcome for ruling in judgement.rulings]
        counts = ", ".join(f"{outcomes.count(one)} {one}" for one in ("held", "violated", "not judged"))
        print(f"{judgement.where}: {judgement.events} events, {judgement.commands} writes and registrations")
        print("\n".join([*judgement.lines(), f"claims: {counts}"]))
    return bool(judgement.violated)


def replay(
    run: RunArgument = None,
    *,
    backend: Annotated[
        Backend | None, typer.Option("--backend", help="Guests (qemu) or the simulator (sim); default: as recorded.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="S", min=0, help="Of the simulator; default: the recorded one, or 0."),
    ] = None,
    faults_only: Annotated[
        bool, typer.Option("--faults-only", help="Its faults on a fresh cluster, though its scenario is there.")
    ] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Show its faults as a plan, and do nothing.")] = False,
    check: Annotated[bool, typer.Option("--check", help="The same as `hil recheck`.")] = False,
    as_json: AsJson = False,
) -> None:
    """Have a recorded run happen again, and judge it.

    The scenario that it was of runs again, where its file is here; else a fresh cluster has the same faults at the same
    points (docs/evidence.md). A fault that the back end cannot do is refused by its name before anything starts. A
    simulated run with its seed is the very same run. Exit status: as of `hil run`; 2 also for what is no run of this
    version.

    With --plan --json: one object with begins (power-on or joined), master, until_ms, faults (a list of {fault, whom,
    at_ms, for_ms, parameters}), config and left_out.
    """
    from hil.evidence import replay as replaying

    if check:
        recheck(run, as_json)
        return
    if as_json and not plan:
        raise UsageError("replay --json: with --plan, or with --check")
    with opened(run) as (directory, where):
        known = replaying.recorded(directory, where)
        chosen = known.manifest.backend if backend is None else backend.value
        if seed is not None and chosen != Backend.SIM.value:
            raise UsageError(f"--seed {seed}: guests follow from no seed; `--backend sim` does")
        if plan:
            _show(known, chosen, as_json=as_json)
            return
        status = _again(known, chosen, seed, faults_only=faults_only)
    raise typer.Exit(status)


def _again(known: Recorded, backend: str, seed: int | None, *, faults_only: bool) -> int:
    from hil.evidence import replay as replaying

    known.derived.plan.check(known.manifest.nodes, backend)
    for line in known.differences():
        print(f"replay: {line}")
    if known.scenario is not None and not faults_only:
        return replaying.run_scenario(known, backend, seed, print)
    scenario = known.manifest.scenario
    if scenario is not None and not faults_only:
        print(f"replay: the scenario {scenario.test} is not here: what its programs did is not part of this")
    for what in known.derived.left_out:
        print(f"replay: left out: {what}")
    replaying.run_plan(known, backend, seed, print)
    return 0


def _show(known: Recorded, backend: str, *, as_json: bool) -> None:
    from hil.evidence.replay import config_of

    derived, about = known.derived, known.manifest
    config = config_of(about, str(about.config.get("name")), backend)
    if as_json:
        told = {
            "begins": derived.begins,
            "master": derived.master,
            "until_ms": derived.plan.until_ms,
            "faults": [step.as_dict() for step in derived.plan.steps],
            "config": config.model_dump(),
            "left_out": list(derived.left_out),
        }
        print(json.dumps(told, indent=2))
        return
    since = "power on" if derived.master is None else f"all had joined, node {derived.master} as the master"
    print(f"{config.nodes} nodes, death_ms {about.timing['death_ms']}; milliseconds since {since}")
    print("\n".join([*derived.plan.table(), f"healed at {derived.plan.until_ms} ms"]))
    for what in derived.left_out:
        print(f"left out: {what}")
