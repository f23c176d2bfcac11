"""``hil sim``: random faults against simulated clusters, seed after seed, until a claim fails or the range ends."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hil.cli.options import AsJson
from hil.cli.status_line import StatusLine
from hil.errors import UsageError

if TYPE_CHECKING:
    from hil.sim.campaign import Totals
    from hil.sim.run import Result

_TOLD_IN_FULL = 5
"""Failures; of more than that there is one line each."""

_LINE_EVERY_S = 5.0
"""Between two lines of progress without a terminal."""

_LONG_SEEDS, _LONG_MINUTES = 1000, 10.0
"""A campaign of so much is worth the minutes that the compiled modules take to build."""


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to ``app``."""
    app.command("sim")(sim)


def sim(
    seeds: Annotated[
        str | None,
        typer.Option(
            "--seeds",
            metavar="A:B",
            help="Seeds from A up to, not including, B; A: with --minutes.  \\[default: 0:100]",
        ),
    ] = None,
    *,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", metavar="J", help="Processes; default: one for each processor.")
    ] = None,
    preset: Annotated[
        str, typer.Option("--preset", "--options", metavar="P", help="lite, quick, swarm or performance.")
    ] = "swarm",
    nodes: Annotated[
        int | None, typer.Option("--nodes", metavar="N", help="How many nodes, 2 to 64; default: by the seed.")
    ] = None,
    data_disks: Annotated[
        int | None,
        typer.Option("--data-disks", metavar="K", help="How many LUNs beside LUN 0, 0 to 7; default: by the seed."),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option("--minutes", metavar="M", help="Begin no seed after so many minutes.")
    ] = None,
    play: Annotated[
        Path | None,
        typer.Option("--play", metavar="FILE", help="Instead of seeds: the run that a file describes (.toml, .py)."),
    ] = None,
    shrink: Annotated[
        int | None,
        typer.Option("--shrink", metavar="SEED", min=0, help="Instead of seeds: reduce that seed, which fails."),
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option("--write", metavar="FILE", help="With --shrink: the result, as a scenario (.py) or for --play."),
    ] = None,
    coverage: Annotated[
        bool, typer.Option("--coverage", help="Tell which rows of guestd's state tables were exercised.")
    ] = False,
    compiled: Annotated[
        bool | None,
        typer.Option(
            "--compiled/--interpreted",
            help="Run guestd and the simulator as machine code, built first if need be (minutes), or as sources. "
            " \\[default: compiled if it was built or is worth it]",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Simulate clusters under random faults: complete guestd stacks on a virtual clock (docs/simulator.md).

    The same seed is the same run. A seed that fails is told with its options, the claim that does not hold, what led to
    it and the command that repeats it; the exit status is 1 then.

    --shrink leaves out of a seed that fails whatever it fails without: faults, nodes, chance, time. --write has the
    result as a file that --play plays; a .py file is a scenario as well, for `hil run`.

    With --json: one object with python, preset, seeds, failed (a list of {seed, claim, violation, details, options,
    story, digest, command}), simulated_s, wall_s, seeds_per_s, simulated_s_per_s, events, panics and faults (kind to
    count).
    Of --play and --shrink: options (those that are not calm), until_ms, faults, claim (null: passed), violation,
    details, story, digest, command; of --shrink also seed, runs, wall_s and file.
    With --coverage also coverage: by table rows, exercised, never (a list of "state trigger") and counts.
    """
    from hil.cli.sim_case import check_together, play_file, shrink_seed
    from hil.compiled.use import named
    from hil.sim.campaign import Totals, campaign, parse_seeds, processors
    from hil.sim.coverage import described, lines

    check_together(
        {"--seeds": seeds, "--play": play, "--shrink": shrink},
        {"--jobs": jobs, "--minutes": minutes, "--coverage": coverage or None, "--compiled": compiled},
        write=write,
        nodes=nodes,
        data_disks=data_disks,
        preset=preset,
    )
    if play is not None:
        raise typer.Exit(play_file(play, as_json=as_json))
    if shrink is not None:
        raise typer.Exit(shrink_seed(shrink, preset, nodes, data_disks, write, as_json=as_json))
    if minutes is not None and not minutes > 0:
        raise UsageError(f"--minutes {minutes:g} (legal: more than 0)")
    if jobs is not None and jobs < 1:
        raise UsageError(f"--jobs {jobs} (legal: 1 or more)")
    wanted = parse_seeds("0:100" if seeds is None else seeds, minutes=minutes)
    count = 0 if wanted.end is None else wanted.end - wanted.first
    modules = _modules(compiled, long=count >= _LONG_SEEDS or (minutes or 0) >= _LONG_MINUTES)
    totals, failed = Totals(), []
    progress = StatusLine(_LINE_EVERY_S)
    try:
        results = campaign(
            wanted,
            preset,
            nodes,
            jobs or processors(),
            minutes,
            data_disks=data_disks,
            coverage=coverage,
            compiled=modules,
        )
        for result in results:
            totals.add(result)
            if not result.passed:
                failed.append(result)
                if not as_json:
                    progress.clear()
                    print("\n".join(_lines(result, in_full=len(failed) <= _TOLD_IN_FULL)), flush=True)
            progress.show(totals.speed())
    finally:
        progress.clear()
    if as_json:
        told = (
            {"python": named(modules)}
            | _described(preset, totals, failed)
            | ({"coverage": described(totals.coverage)} if coverage else {})
        )
        print(json.dumps(told, indent=2))
    else:
        print("\n".join([_summary(totals, named(modules)), *(lines(totals.coverage) if coverage else [])]))
    if failed:
        raise typer.Exit(1)


def _modules(wanted: bool | None, *, long: bool) -> Path | None:
    """Those that the workers run; None: the sources. Raises :class:`UsageError` if they were asked for in vain."""
    from hil.compiled import cache

    if wanted is False:
        return None
    place = cache.found()
    if place is not None or not (wanted or long):
        return place
    print("compiling the simulator: two to five minutes, once for these sources", file=sys.stderr, flush=True)
    try:
        return cache.built()
    except cache.NotBuilt as why:
        if wanted:
            raise UsageError(f"--compiled: {why}") from None
        print(f"interpreted instead: {why}", file=sys.stderr, flush=True)
        return None


def _lines(result: Result, *, in_full: bool) -> list[str]:
    lines = [f"seed {result.options.seed} FAILED: {result.claim}"]
    if in_full:
        lines += [f"  {result.violation}", *(f"    {line}" for line in result.details)]
        lines += ["  options:", *(f"    {line}" for line in result.options.shown())]
        lines += ["  what led to it:", *(f"    {line}" for line in result.story)]
        lines += [f"  digest: {result.digest}"]
    return [*lines, f"  repeat: {result.command}"]


def _summary(totals: Totals, python: str) -> str:
    faults = ", ".join(f"{kind} {count}" for kind, count in sorted(totals.faults.items())) or "none"
    verdict = f"{totals.failed} of {totals.seeds} seeds failed" if totals.failed else f"{totals.seeds} seeds passed"
    return (
        f"{verdict}: {totals.simulated_s:.0f} simulated s in {totals.wall_s:.1f} s "
        f"({totals.seeds / totals.wall_s:.1f} seeds/s, {totals.simulated_s / totals.wall_s:.0f} simulated s/s), "
        f"{totals.events} events, {totals.panics} panics; {python}\nfaults: {faults}"
    )


def _described(preset: str, totals: Totals, failed: list[Result]) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "preset": preset,
        "seeds": totals.seeds,
        "failed": [
            {
                "seed": one.options.seed,
                "claim": one.claim,
                "violation": one.violation,
                "details": one.details,
                "options": asdict(one.options),
                "story": one.story,
                "digest": one.digest,
                "command": one.command,
            }
            for one in sorted(failed, key=lambda result: result.options.seed)
        ],
        "simulated_s": round(totals.simulated_s, 3),
        "wall_s": round(totals.wall_s, 3),
        "seeds_per_s": round(totals.seeds / totals.wall_s, 3),
        "simulated_s_per_s": round(totals.simulated_s / totals.wall_s, 1),
        "events": totals.events,
        "panics": totals.panics,
        "faults": dict(sorted(totals.faults.items())),
    }
