"""Many runs on one page: how many pass, which tests do both, how long they take; and a report of each in its place."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from hil.errors import UsageError
from hil.evidence.layout import EVENTS
from hil.report import data, page
from hil.report.run import Run, read

REPORT: Final = "report.html"
INDEX: Final = "index.html"
_GOOD: Final = ("passed", "no claim violated")
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 1000, 220, 46, 22
_SPARK_WIDTH, _SPARK_HEIGHT = 180, 26


@dataclass(frozen=True)
class Row:
    """One run. ``why``: of one that cannot be drawn, the reason; then only ``where`` counts besides."""

    where: str
    link: str = ""
    test: str = ""
    verdict: str = ""
    problem: str = ""
    when: datetime | None = None
    seconds: float = 0.0
    events: int = 0
    panics: int = 0
    machines: str = ""
    why: str = ""

    @property
    def good(self) -> bool:
        """Whether it passed."""
        return self.verdict in _GOOD


def find_runs(directory: Path) -> list[Path]:
    """Every directory in there that has a stream of events; links are not followed, so none is there twice.

    Raises :class:`UsageError` without any.
    """
    if not directory.is_dir():
        raise UsageError(f"report: --index {directory}: no such directory")
    found = [Path(where) for where, _, files in os.walk(directory) if EVENTS in files]
    if not found:
        raise UsageError(f"report: --index {directory}: there is no run in it (a directory with {EVENTS})")
    return sorted(found)


def index(directory: Path, tell: Callable[[str], None] = lambda _: None) -> Path:
    """Draw every run in ``directory`` and the page over them; the page's path. ``tell`` hears of each run.

    A run that cannot be drawn is listed with the reason. Raises :class:`UsageError` as :func:`find_runs`, and where a
    page cannot be written.
    """
    rows = []
    for where in find_runs(directory):
        tell(str(where))
        rows.append(_row(where, directory))
    drawn = sorted((row for row in rows if not row.why), key=lambda row: (row.when, row.where))
    tests = _tests(drawn)
    told = page.index_page(
        where=str(directory),
        rows=drawn[::-1],
        refused=[row for row in rows if row.why],
        tests=tests,
        good=sum(row.good for row in drawn),
        flaky=sum(test["flaky"] for test in tests),
        chart=chart(drawn),
    )
    page.write(directory / INDEX, told)
    return directory / INDEX


def _row(where: Path, directory: Path) -> Row:
    shown = where.relative_to(directory).as_posix()
    try:
        run = read(where)
        page.write(where / REPORT, page.report_page(data.whole(run)))
    except UsageError as error:
        return Row(shown, why=str(error))
    return _of(run, shown)


def _of(run: Run, shown: str) -> Row:
    problem = str(run.told.get("problem", "")).strip()
    return Row(
        shown,
        (Path(shown) / REPORT).as_posix(),
        run.title,
        run.verdict,
        problem.splitlines()[0] if problem else "",
        run.when,
        run.end_t - float(run.started["t"]),
        len(run.events),
        sum(event["kind"] == "panic" for event in run.events),
        str(run.started.get("accelerator", "")),
    )


def _tests(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Of each test: how often it passed, and how long it takes; those that fail most first."""
    found = []
    for name in sorted({row.test for row in rows}):
        own = [row for row in rows if row.test == name]
        good = sum(row.good for row in own)
        seconds = [row.seconds for row in own]
        found.append(
            {
                "name": name,
                "runs": len(own),
                "good": good,
                "flaky": 0 < good < len(own),
                "median": statistics.median(seconds),
                "most": max(seconds),
                "spark": _spark(own),
            }
        )
    return sorted(found, key=lambda test: (test["good"] / test["runs"], test["name"]))


def _dot(row: Row, x: float, y: float) -> dict[str, Any]:
    return {"row": row, "x": round(x, 1), "y": round(y, 1), "kind": row.verdict.replace(" ", "-")}


def chart(rows: Sequence[Row]) -> dict[str, Any]:
    """How long each run took, in the order in which they began."""
    most = max([row.seconds for row in rows], default=0.0) or 1.0
    steps = (times * 10**power for power in range(7) for times in (1, 2, 5))
    step: int = next(one for one in steps if one * 4 >= most)
    top = step * math.ceil(most / step)

    def y(seconds: float) -> float:
        return 10 + (_HEIGHT - _BOTTOM - 10) * (1 - seconds / top)

    wide = _WIDTH - _LEFT - 20
    dots = [_dot(row, _LEFT + 10 + wide * (place + 0.5) / len(rows), y(row.seconds)) for place, row in enumerate(rows)]
    rules = [(value, round(y(value), 1)) for value in range(0, top + 1, step)]
    return {
        "width": _WIDTH,
        "height": _HEIGHT,
        "left": _LEFT,
        "dots": dots,
        "rules": rules,
        "radius": 5 if len(rows) < 150 else 3,
    }


def _spark(rows: Sequence[Row]) -> dict[str, Any]:
    most = max(row.seconds for row in rows) or 1.0
    shown = rows[-40:]
    dots = [
        _dot(
            row,
            5 + (_SPARK_WIDTH - 10) * (place + 0.5) / len(shown),
            4 + (_SPARK_HEIGHT - 8) * (1 - row.seconds / most),
        )
        for place, row in enumerate(shown)
    ]
    return {"width": _SPARK_WIDTH, "height": _SPARK_HEIGHT, "dots": dots}
