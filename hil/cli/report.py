"""``hil report``: a run as a page or as a trace for Perfetto's viewer; two runs side by side; many on an index."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from hil.errors import UsageError

PAGE = "report.html"
COMPARISON = "compare.html"


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to ``app``."""
    app.command("report")(report)


def report(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN]...", help="A run's directory, or a cluster; default: the newest run."),
    ] = None,
    *,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE", help="The page; default: report.html in the run.")
    ] = None,
    perfetto: Annotated[
        Path | None, typer.Option("--perfetto", metavar="FILE", help="A trace for Perfetto's viewer instead of a page.")
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Two runs, aligned: where they part, stage by stage.")
    ] = False,
    index: Annotated[
        Path | None, typer.Option("--index", metavar="DIR", help="Every run in DIR, and one page over them.")
    ] = None,
    open_it: Annotated[bool, typer.Option("--open", help="Show the page in this user's browser.")] = False,
) -> None:
    """Draw a run: one HTML page that needs nothing but a browser, whether the nodes were real or simulated.

    States of each node and level, power, panics, faults, services, consoles, the claims, and what each recovery took;
    docs/report.md tells what is what. The run may still go on. The path of what was written goes to standard output.

    Exit status: 0 it is written, whatever the run's verdict; 2 for what is no recording of this version, or cannot be
    written.
    """
    modes = [name for name, given in (("--perfetto", perfetto), ("--compare", compare), ("--index", index)) if given]
    if len(modes) > 1:
        raise UsageError(f"report: {' and '.join(modes)}: one of them at a time")
    if perfetto is not None and (out is not None or open_it):
        raise UsageError("report: --perfetto names its file itself, and a browser shows it at ui.perfetto.dev")
    named = runs or []
    if index is not None:
        if named or out is not None:
            raise UsageError("report: --index DIR draws every run in DIR, and writes DIR/index.html")
        written = _index(index)
    elif compare:
        if len(named) != 2:
            raise UsageError(f"report: --compare takes two runs, not {len(named)}")
        written = _compare(named, out)
    elif len(named) > 1:
        raise UsageError("report: one run at a time; --compare puts two side by side, --index DIR lists many")
    else:
        written = _one(named[0] if named else None, out, perfetto)
    print(written)
    if open_it:
        import webbrowser

        if not webbrowser.open(written.absolute().as_uri()):
            raise UsageError(f"report: there is no browser here that could be opened; the page is {written}")


def _one(run: str | None, out: Path | None, trace: Path | None) -> Path:
    from hil.evidence.runs import opened
    from hil.report import data, page, perfetto
    from hil.report.run import read

    with opened(run) as (directory, where):
        found = read(directory)
        beside = directory if where == str(directory) else Path(where).parent  # a bundle's content is away again
        target = trace or out or beside / PAGE
        page.write(target, perfetto.as_text(found) if trace is not None else page.report_page(data.whole(found)))
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    return target


def _compare(runs: list[str], out: Path | None) -> Path:
    from hil.evidence.runs import opened
    from hil.report import page
    from hil.report.compare import comparison
    from hil.report.run import read

    with ExitStack() as open_runs:
        found = [read(open_runs.enter_context(opened(run))[0]) for run in runs]
        target = out or Path(COMPARISON)
        page.write(target, page.comparison_page(comparison(found[0], found[1])))
    return target


def _index(directory: Path) -> Path:
    from hil.report.index import index

    return index(directory, lambda run: print(f"drawing {run}", file=sys.stderr))
