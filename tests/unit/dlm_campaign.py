"""Many random histories of the lock manager: ``python -m tests.unit.dlm_campaign --seeds 0:10000 [--jobs J]``.

Prints one line per hundred, each seed that fails with its reason and what repeats it, and a summary. Exit status 1 if
any failed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass

from tests.unit.dlm_users import history


@dataclass(frozen=True)
class Outcome:
    """Of one seed."""

    seed: int
    failure: str = ""
    grants: int = 0
    deaths: int = 0
    victims: int = 0
    datagrams: int = 0


def one(seed: int) -> Outcome:
    """Whatever goes wrong is an outcome too."""
    try:
        users = history(seed)
    except Exception:  # noqa: BLE001 - a failed assertion, or a bug found in whatever other way
        return Outcome(seed, traceback.format_exc(limit=-4))
    world = users.world
    return Outcome(seed, "", world.checks.grants, world.checks.deaths, users.victims, world.datagram_count)


def outcomes(seeds: range, jobs: int) -> Iterator[Outcome]:
    """In the order of the seeds."""
    if jobs == 1:
        yield from map(one, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap(one, seeds, chunksize=10)


def main() -> int:
    """Run the seeds that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.unit.dlm_campaign", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0:10000", help="A:B, or one seed (0:10000)")
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    first, _, end = arguments.seeds.partition(":")
    seeds = range(int(first), int(end) if end else int(first) + 1)
    began = time.monotonic()
    failed, grants, deaths, victims, datagrams = 0, 0, 0, 0, 0
    for count, outcome in enumerate(outcomes(seeds, arguments.jobs), 1):
        grants, deaths = grants + outcome.grants, deaths + outcome.deaths
        victims, datagrams = victims + outcome.victims, datagrams + outcome.datagrams
        if outcome.failure:
            failed += 1
            print(f"seed {outcome.seed} failed:\n{outcome.failure}", flush=True)
            print(f"again: python -m tests.unit.dlm_campaign --seeds {outcome.seed}", flush=True)
        if count % 100 == 0 or count == len(seeds):
            took = time.monotonic() - began
            print(f"{count} histories, {failed} failed, {took:.0f} s", flush=True)
    print(f"{grants} grants, {deaths} deaths, {victims} deadlocks broken, {datagrams} datagrams")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
