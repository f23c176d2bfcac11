"""Verbs that run stories: ``run`` (scenarios, under pytest) and ``demo``."""

from __future__ import annotations

import json
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from hil.cli import completion
from hil.cli.options import AsJson, Backend, BackendOption, Capture, Nodes
from hil.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to ``app``."""
    app.command("run")(run)
    app.command("demo")(demo)


class Profile(StrEnum):
    """Which of the tests of the scenarios."""

    ALL = "all"
    QUICK = "quick"
    NIGHTLY = "nightly"


class Demo(StrEnum):
    """The demos that exist."""

    POWER_FAILURE = "power-failure"
    SPLIT = "split"
    FREEZE = "freeze"


def run(
    scenario: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SCENARIO...",
            help="Names, files, or FILE::TEST; without any: the list.",
            autocompletion=completion.scenarios,
        ),
    ] = None,
    *,
    backend: BackendOption = Backend.QEMU,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            metavar="S",
            min=0,
            help="With --backend sim: the same seed, the same run; with --faults: the same faults; default: 0.",
        ),
    ] = None,
    faults: Annotated[
        str | None,
        typer.Option(
            "--faults", metavar="PLAN", help="Faults beside each scenario: a file, or one of scenarios/faults."
        ),
    ] = None,
    repeat: Annotated[int | None, typer.Option("--repeat", metavar="N", min=1, help="Each N times.")] = None,
    until_failure: Annotated[
        bool,
        typer.Option(
            "--until-failure", help="Repeat all of them until one does not pass; --repeat: so often at most (1000)."
        ),
    ] = False,
    shard: Annotated[
        str | None, typer.Option("--shard", metavar="I/N", help="Part I of N: all N together run each test once.")
    ] = None,
    profile: Annotated[
        Profile, typer.Option("--profile", help="quick: without the tests marked `nightly`; nightly: only those.")
    ] = Profile.ALL,
    nodes: Nodes = None,
    junit: Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Write JUnit XML.")] = None,
    report: Annotated[Path | None, typer.Option("--report", metavar="DIR", help="Copy the evidence there.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the clusters running.")] = False,
    capture: Capture = False,
    keep_failed: Annotated[
        bool, typer.Option("--keep-failed", help="Leave the cluster of a scenario that has failed running.")
    ] = False,
    pause_on_failure: Annotated[
        bool,
        typer.Option("--pause-on-failure", help="Open `hil shell` on the cluster of a scenario that has failed."),
    ] = False,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Name of the cluster; default: made from the test's.")
    ] = None,
    jobs: Annotated[
        str, typer.Option("--jobs", "-j", metavar="J", help="So many side by side; `auto`: what the machine allows.")
    ] = "1",
    max_nodes: Annotated[
        int | None,
        typer.Option(
            "--max-nodes",
            metavar="N",
            min=2,
            help="Nodes that may run at once, those of other clusters of yours included; default: HIL_NODES_MAX, or"
            " counted from cores and memory.",
        ),
    ] = None,
) -> None:
    """Run scenarios, each on a cluster of its own.

    With --backend sim in the simulator: the same guestd, on a virtual clock; with --repeat each round has another seed.
    Of a directory the tests that need real programs on the nodes are left out then; named alone, they are refused.

    With --jobs, several side by side, each phase told as it comes; what does not fit into cores and memory waits.

    Exit status: 0 all passed, 1 a claim failed, 3 the laboratory broke, 4 a fault did not take hold (the first of these
    that applies, in this order).
    """
    from hil import runner

    if not scenario:
        for story in runner.available():
            print(f"{story.name:<20} {story.summary}")
        return
    options = runner.Options(repeat=repeat, until_failure=until_failure, shard=shard, profile=profile.value)
    options = replace(options, nodes=nodes, junit=junit, report=report, keep=keep, name=name, capture=capture)
    options = replace(options, jobs=_jobs(jobs), max_nodes=max_nodes, backend=backend.value, seed=seed, faults=faults)
    options = replace(options, keep_failed=keep_failed, pause_on_failure=pause_on_failure)
    raise typer.Exit(runner.run([runner.find(text) for text in scenario], options))


def _jobs(text: str) -> int | None:
    """``--jobs``; None for auto."""
    if text == "auto":
        return None
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--jobs {text}: legal are auto, and numbers from 1")
    return int(text)


def demo(
    story: Annotated[Demo, typer.Argument(help="Which one.")],
    nodes: Nodes = None,
    *,
    backend: BackendOption = Backend.QEMU,
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="S", min=0, help="With --backend sim: what it follows from; default: 0."),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the cluster running.")] = False,
    as_json: AsJson = False,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="The cluster's name.")] = "demo",
) -> None:
    """Show a story, while programs write to the shared file system and services run.

    power-failure pulls the plug of all nodes and watches them come back; split cuts a minority off; freeze has one node
    stand still until the others have gone on without it. What was acknowledged must be there at the end.

    With --json: one object with cluster, run_dir, accelerator, acknowledged and verified (writes: before the fault, and
    read back on every node at the end). Of power-failure also first_join, total, nodes (a list of {node, off, kernel,
    guestd, joined}), services ({service, before, node, registered}), journals (of which nodes they were replayed); of
    split and freeze also fault, survivors, epoch, victims ({node, fenced_by, fenced, panicked, reason, refused_writes,
    joined}), services. All times are seconds: since power on, or since the fault; off: without power.
    """
    from hil.cli.progress import JoinProgress
    from hil.config import make_config
    from hil.demos.cut_off import freeze, split
    from hil.demos.power_failure import power_failure

    stories: dict[Demo, Any] = {Demo.POWER_FAILURE: power_failure, Demo.SPLIT: split, Demo.FREEZE: freeze}
    values: dict[str, Any] = {"name": name} | ({"nodes": nodes} if nodes is not None else {})
    config = make_config(**values)
    if backend is Backend.SIM:
        seed = seed or 0
    elif seed is not None:
        raise UsageError(f"--seed {seed}: guests follow from no seed; `--backend sim` does")
    with JoinProgress(config.name) as display:
        report = stories[story](config, display, seed=seed, keep=keep)
    if as_json:
        print(json.dumps(report.as_dict(), indent=2))
        return
    lines = [
        *report.lines(),
        f"a picture of it: hil report {report.run_dir}",
        f"all of it, judged once more: hil recheck {report.run_dir}",
    ]
    print("\n".join(lines))
