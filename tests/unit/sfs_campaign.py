"""Random histories of the file system, at length.

    python -m tests.unit.sfs_campaign --seeds 0:1000              three nodes at once, deaths, power failures
    python -m tests.unit.sfs_campaign --crashes --seeds 0:100     one node, a power failure at every command

A failed seed is printed with the command that repeats it; the last line is a summary. Exit status 1 if any failed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass

from tests.unit.sfs_crashes import History
from tests.unit.sfs_model import CHURN, WEIGHTS
from tests.unit.sfs_users import THEMES, history


@dataclass(frozen=True)
class Outcome:
    """Of one seed."""

    seed: int
    failure: str = ""
    operations: int = 0
    lost: int = 0
    replays: int = 0
    images: int = 0


def _history(seed: int) -> History:
    return History(seed, steps=120, weights=CHURN if seed % 3 == 0 else WEIGHTS, sync=0.1 if seed % 2 else 0.25)


def one(what: tuple[int, bool]) -> Outcome:
    """Whatever goes wrong is an outcome too."""
    seed, crashes = what
    try:
        if crashes:
            return Outcome(seed, images=_history(seed).crash_everywhere(4))
        users = history(seed, THEMES[seed % len(THEMES)])
    except Exception:  # noqa: BLE001 - a failed assertion, or a bug found in whatever other way
        return Outcome(seed, traceback.format_exc(limit=-6))
    replays = sum(stack.level.replays for stack in users.world.all_stacks)
    return Outcome(seed, "", users.ledger.count, users.ledger.lost_count, replays)


def outcomes(seeds: range, jobs: int, *, crashes: bool) -> Iterator[Outcome]:
    """In the order of the seeds."""
    given = [(seed, crashes) for seed in seeds]
    if jobs == 1:
        yield from map(one, given)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap(one, given, chunksize=10)


def main() -> int:
    """Run the seeds that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.unit.sfs_campaign", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0:1000", help="A:B, or one seed (0:1000)")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--crashes", action="store_true", help="of one node, at every command")
    arguments = parser.parse_args()
    first, _, end = arguments.seeds.partition(":")
    seeds = range(int(first), int(end) if end else int(first) + 1)
    began = time.monotonic()
    found: list[Outcome] = []
    for count, outcome in enumerate(outcomes(seeds, arguments.jobs, crashes=arguments.crashes), 1):
        found.append(outcome)
        if outcome.failure:
            crashes = "--crashes " if arguments.crashes else ""
            print(f"seed {outcome.seed} failed:\n{outcome.failure}", flush=True)
            print(f"again: python -m tests.unit.sfs_campaign {crashes}--seeds {outcome.seed}", flush=True)
        if count % (10 if arguments.crashes else 100) == 0 or count == len(seeds):
            failed = sum(bool(one.failure) for one in found)
            print(f"{count} histories, {failed} failed, {time.monotonic() - began:.0f} s", flush=True)
    operations, lost = sum(one.operations for one in found), sum(one.lost for one in found)
    replays, images = sum(one.replays for one in found), sum(one.images for one in found)
    print(f"{operations} operations, {lost} lost with their nodes, {replays} replays, {images} crash images")
    return 1 if any(one.failure for one in found) else 0


if __name__ == "__main__":
    sys.exit(main())
