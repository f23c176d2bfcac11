"""``./run mutations``: puts one fault after the other into guestd and lets the simulator look for it."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from hil.cli.status_line import StatusLine
from hil.errors import UsageError
from tests.mutations.catalogue import MUTANTS, named
from tests.mutations.hunt import Looked, hunt
from tests.mutations.patching import MutationError
from tests.mutations.report import described, page, summary, table

SEEDS = 500
JOBS = 2
LINE_EVERY_S = 5.0


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 all were found, 1 one survives, 2 refused, 3 a mutant does not fit the code any more."""
    parser = argparse.ArgumentParser(prog="./run mutations", description=__doc__)
    parser.add_argument("--only", metavar="NAME", nargs="+", default=[], help="these mutants; default: all")
    parser.add_argument("--seeds", metavar="N", type=int, default=SEEDS, help=f"look that far; default: {SEEDS}")
    parser.add_argument("--jobs", "-j", metavar="J", type=int, default=JOBS, help=f"processes; default: {JOBS}")
    parser.add_argument(
        "--write", metavar="FILE", type=Path, help="the page of docs/ into that file, if all were looked for"
    )
    parser.add_argument("--json", action="store_true", help="the result for a program")
    asked = parser.parse_args(arguments)
    try:
        return _look(asked)
    except UsageError as refused:
        print(f"run mutations: {refused}", file=sys.stderr)
        return 2
    except MutationError as broken:
        print(f"run mutations: {broken} (tests/mutations/)", file=sys.stderr)
        return 3


def _look(asked: argparse.Namespace) -> int:
    if asked.seeds < 1:
        raise UsageError(f"--seeds {asked.seeds} (legal: 1 or more)")
    if asked.jobs < 1:
        raise UsageError(f"--jobs {asked.jobs} (legal: 1 or more)")
    if asked.write is not None and asked.only:
        raise UsageError("--write and --only: the page tells of all mutants (leave one of the two out)")
    mutants = named(asked.only)
    began, progress = time.monotonic(), _Progress(len(mutants))
    done: list[Looked] = []
    for one in hunt(mutants, asked.seeds, asked.jobs, progress.show):
        done.append(one)
        progress.done(one)
    progress.clear()
    order = [mutant.name for mutant in MUTANTS]
    done.sort(key=lambda one: order.index(one.name))
    wall_s = time.monotonic() - began
    if asked.json:
        print(json.dumps(described(done, asked.seeds, wall_s), indent=2))
    else:
        print(f"{table(done)}\n\n{summary(done, asked.seeds, wall_s)}")
    if asked.write is not None:
        asked.write.write_text(page(done, asked.seeds), encoding="utf-8")
    return 0 if all(one.found for one in done) else 1


class _Progress:
    """On standard error: one line for each mutant that is done; between them, how far the others are."""

    def __init__(self, count: int) -> None:
        self._line = StatusLine(LINE_EVERY_S)
        self._count = count
        self._done = 0

    def done(self, one: Looked) -> None:
        """That one was found, or not."""
        self.clear()
        self._done += 1
        what = f"found at seed {one.seed}: {one.claim}" if one.found else f"NOT found in {one.seeds} seeds"
        print(f"{self._done}/{self._count} {one.name}: {what}", file=sys.stderr, flush=True)

    def show(self, under_way: list[Looked]) -> None:
        """Those that are looked for."""
        if under_way:
            self._line.show("looking for " + ", ".join(f"{one.name} (seed {one.seeds})" for one in under_way))

    def clear(self) -> None:
        """Room for other lines."""
        self._line.clear()


if __name__ == "__main__":
    sys.exit(main())
