"""``hil runs`` and ``hil bundle``: the evidence that is kept, and one file of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hil.cli.options import AsJson
from hil.cli.replay import RunArgument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hil.evidence.runs import Run

_AGES = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to ``app``."""
    group = typer.Typer()
    group.callback(invoke_without_command=True)(runs)
    group.command("prune")(prune)
    app.add_typer(group, name="runs")
    app.command("bundle")(bundle)


def runs(context: typer.Context, as_json: AsJson = False) -> None:
    """List the runs that are kept, the newest first: verdict, size, age, and the test that each was of.

    With --json: a list of {run, path, verdict, test, bytes, began, age_s}; verdict: passed, claim failed, laboratory
    broke, invalid, refused, running, unjudged (of `hil up`) or cut short.
    """
    if context.invoked_subcommand is not None:
        return
    from hil import paths
    from hil.evidence.runs import everything

    found = everything()
    if as_json:
        print(json.dumps([run.as_dict() for run in found], indent=2))
    elif found:
        print("\n".join(_table(found)))
    else:
        typer.echo(f"there are no runs in {paths.runs_dir()}", err=True)


def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and keep it.")] = False,
    failed: Annotated[bool, typer.Option("--failed", help="Those that failed, too, by the same limits.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove what is beyond the limits; each new run does the same. Runs that failed or go on are kept.

    Limits: HIL_RUNS_KEPT (50 runs), HIL_RUNS_MIB (4096 MiB together), HIL_RUNS_DAYS (30 days).

    With --json: a list as of `hil runs --json`, of what went.
    """
    from hil.evidence import retention

    gone = retention.prune(failed=failed, dry_run=dry_run)
    if as_json:
        print(json.dumps([run.as_dict() for run in gone], indent=2))
        return
    if gone:
        print("\n".join(_table(gone)))
    mib = sum(run.size for run in gone) / 2**20
    print(f"{len(gone)} runs {'would be' if dry_run else 'are'} gone, {mib:.1f} MiB")


def bundle(
    run: RunArgument = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE", help="Default: CLUSTER-TIME.tar.zst, here.")
    ] = None,
) -> None:
    """Make one file of a run, to be attached to a ticket; `hil recheck FILE` and `hil replay FILE` take it anywhere.

    The same run makes the same bytes. The cluster's keys are not in it.
    """
    from hil.errors import UsageError
    from hil.evidence import bundle as bundles
    from hil.evidence.runs import find, in_use

    directory = find(run)
    target = out or Path(f"{directory.parent.name}-{directory.name}{bundles.SUFFIX}")
    if not target.name.endswith(bundles.SUFFIX):
        raise UsageError(f"--out {target}: a bundle is called *{bundles.SUFFIX}")
    goes_on = in_use(directory)
    for what in bundles.pack(directory, target):
        typer.echo(f"left out: {what}", err=True)
    if goes_on:
        typer.echo("the run still goes on: the bundle has what there was so far", err=True)
    size = target.stat().st_size
    shown = f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
    print(f"{target}: {shown}; `hil replay {target}` has it happen again")


def _table(found: Sequence[Run]) -> list[str]:
    rows = [("run", "verdict", "MiB", "age", "test")]
    rows += [(run.name, run.verdict, f"{run.size / 2**20:.1f}", _age(run), run.test or "") for run in found]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return [
        f"{name.ljust(widths[0])}  {verdict.ljust(widths[1])}  {size.rjust(widths[2])}  {age.rjust(widths[3])}  {test}"
        .rstrip()
        for name, verdict, size, age, test in rows
    ]  # fmt: skip


def _age(run: Run) -> str:
    seconds = run.as_dict()["age_s"]
    for unit, name in _AGES:
        if seconds >= unit:
            return f"{seconds // unit} {name}"
    return "0 s"
