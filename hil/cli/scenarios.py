"""Verbs that run stories: ``run`` (scenarios, under pytest) and ``demo``."""

from __future__ import annotations

import json
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from hil.cli.options import AsJson, Backend, BackendOption, Nodes
from hil.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to ``app``."""
    app.command("run")(run)
    app.command("demo")(demo)


class Demo(StrEnum):
    """The demos that exist."""

    POWER_FAILURE = "power-failure"


def run(
    scenario: Annotated[
        list[str] | None,
        typer.Argument(metavar="SCENARIO...", help="Names, files, or FILE::TEST; without any: the list."),
    ] = None,
    *,
    backend: BackendOption = Backend.QEMU,
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="S", min=0, help="With --backend sim: the same seed, the same run; default: 0."),
    ] = None,
    repeat: Annotated[int, typer.Option("--repeat", metavar="N", min=1, help="Each N times in a row.")] = 1,
    nodes: Nodes = None,
    junit: Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Write JUnit XML.")] = None,
    report: Annotated[Path | None, typer.Option("--report", metavar="DIR", help="Copy the evidence there.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the clusters running.")] = False,
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

    With --jobs, several side by side, each phase told as it comes; what does not fit into cores and memory waits.

    Exit status: 0 all passed, 1 a claim failed, 3 the laboratory broke, 4 a fault did not take hold (the first of these
    that applies, in this order).
    """
    from hil import runner

    if not scenario:
        for story in runner.available():
            print(f"{story.name:<20} {story.summary}")
        return
    options = runner.Options(repeat=repeat, nodes=nodes, junit=junit, report=report, keep=keep, name=name)
    options = replace(options, jobs=_jobs(jobs), max_nodes=max_nodes, backend=backend.value, seed=seed)
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
    keep: Annotated[bool, typer.Option("--keep", help="Leave the cluster running.")] = False,
    as_json: AsJson = False,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="The cluster's name.")] = "demo",
) -> None:
    """Show a story: power-failure pulls the plug of a whole cluster and watches it come back.

    With --json: one object with cluster, run_dir, accelerator, first_join, total, and nodes: a list of {node, off,
    kernel, guestd, joined}; all times in seconds, kernel, guestd and joined since power on.
    """
    from hil.cli.progress import JoinProgress
    from hil.config import make_config
    from hil.demo import power_failure, report_lines

    assert story is Demo.POWER_FAILURE
    values: dict[str, Any] = {"name": name} | ({"nodes": nodes} if nodes is not None else {})
    config = make_config(**values)
    with JoinProgress(config.name) as display:
        report = power_failure(config, display, keep=keep)
    print(json.dumps(report.as_dict(), indent=2) if as_json else "\n".join(report_lines(report)))
