"""``./run bench sim``: how fast the simulator is, what larger clusters cost, and whether a seed is the same anywhere.

Swarm seeds, every checker on. Speed is told by the wall clock, which is what has a bound, and by processor time: the
two differ by what others take of this machine. Exit status 1 when a bound is missed, a seed fails or a digest differs.
Options: ``--seeds N --first S --interpreted --json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from benchmarks.simulated import pythons
from hil.compiled import cache
from hil.compiled.use import named

if TYPE_CHECKING:
    from benchmarks.simulated.sizes import Cost, Reboot
    from benchmarks.simulated.speed import Speed

SIMULATED_S_LEAST = 1000.0
SEEDS_PER_MINUTE_LEAST = 600.0
JOBS = 2
LOCKERS = 2

_Measured = TypeVar("_Measured")


class Row(NamedTuple):
    """One figure. ``least``: what it has to be; None: no bound."""

    name: str
    value: float
    unit: str
    least: float | None = None

    @property
    def met(self) -> bool:
        """Whether the bound is kept."""
        return self.least is None or self.value >= self.least


def main() -> int:
    """Measure all, and print it."""
    # Not above: the processes that measure import this file first, and must import the compiled modules.
    from benchmarks.simulated import sizes
    from benchmarks.simulated.speed import in_a_process, on_one, on_several

    assert __doc__ is not None
    parser = argparse.ArgumentParser(prog="./run bench sim", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=120, help="how many for each speed (120)")
    parser.add_argument("--first", type=int, default=1000, help="the first of them (1000)")
    parser.add_argument("--interpreted", action="store_true", help="the sources instead of the compiled modules")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    arguments = parser.parse_args()
    if arguments.seeds < 1 or arguments.first < 0:
        parser.error(f"--seeds {arguments.seeds} --first {arguments.first} (legal: 1 or more, 0 or more)")
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    compiled = None if arguments.interpreted else _compiled()
    _note("measured", named(compiled))
    one = _note("one processor", on_one(seeds, compiled))
    locking = _note("one processor, with programs that lock", on_one(seeds, compiled, lockers=LOCKERS))
    whole = _note("one processor, with all programs", on_one(seeds, compiled, lockers=LOCKERS, everything=True))
    two = _note(f"{JOBS} processes", on_several(seeds, JOBS, compiled))
    costs = [_note(f"{nodes} nodes", in_a_process(sizes.measure, nodes, compiled)) for nodes in sizes.SIZES]
    same, absent = same_digests(compiled)
    lock_row = Row("3 nodes, any faults, 2 programs on each lock", locking.per_cpu_s, "simulated s/s by processor time")
    whole_row = Row("  and files, virtual disks, services", whole.per_cpu_s, "simulated s/s by processor time")
    rows = [*speed_rows(one, two), lock_row, whole_row, *size_rows(costs)]
    met = all(row.met for row in rows) and same and not (one.failed or two.failed or locking.failed or whole.failed)
    if arguments.json:
        print(json.dumps({"python": named(compiled)} | as_json(rows, one, two, costs, same, absent, met)))
    else:
        print(table(rows, named(compiled)))
        print(f"seeds {seeds.start} to {seeds.stop - 1}: {one.failed + two.failed} failed")
        print(
            f"digests: {'the same' if same else 'MISS, they DIFFER'} with PYTHONHASHSEED {pythons.HASH_SEEDS}, {absent}"
        )
    return 0 if met else 1


def speed_rows(one: Speed, two: Speed) -> list[Row]:
    """Those with bounds, and what stands behind them."""
    return [
        Row("3 nodes, any faults, one processor", one.per_wall_s, "simulated s/s", SIMULATED_S_LEAST),
        Row("  the same by processor time", one.per_cpu_s, "simulated s/s"),
        Row(f"3 to 5 nodes, 120 s each, {JOBS} processes", two.seeds_per_minute, "seeds/min", SEEDS_PER_MINUTE_LEAST),
        Row("  the same by processor time", 60 * JOBS * two.seeds / two.cpu_s, "seeds/min"),
        Row("  simulated seconds of a seed", two.simulated_s / two.seeds, "s"),
    ]


def size_rows(costs: list[tuple[Cost, Reboot]]) -> list[Row]:
    """The price of size, and the mass reboot of the largest."""
    rows = []
    for cost, reboot in costs:
        rows.append(Row(f"{cost.nodes} nodes, nothing happens", cost.cpu_ms, "ms CPU for a simulated s"))
        rows.append(Row("  each of them", cost.per_node_ms, "ms"))
        rows.append(Row("  all lose power: joined again after", reboot.joined_s, "simulated s"))
    largest = costs[-1][1]
    return [
        *rows,
        Row("  epochs, ", largest.epochs, ""),
        Row("  views committed, ", largest.views, ""),
        Row("  nodes that joined at once", largest.joins_together, "", 2),
    ]


def same_digests(compiled: Path | None = None) -> tuple[bool, str]:
    """Whether they are the same everywhere; and where, with the Pythons that are not on this machine by name."""
    found = {version: pythons.interpreter(version) for version in pythons.WANTED}
    there = {version: python for version, python in found.items() if python is not None}
    told = [pythons.digests(python, seed) for python in there.values() for seed in pythons.HASH_SEEDS]
    if compiled is not None:
        told.append(pythons.digests(Path(sys.executable), "1", compiled=compiled))
    missing = [version for version in found if version not in there]
    where = f"Python {', '.join(there)}{'' if compiled is None else ' and compiled'}"
    if missing:
        where += f"; not on this machine: Python {', '.join(missing)}"
    return all(one == told[0] for one in told), where


def table(rows: list[Row], python: str) -> str:
    """For people. python: what was measured."""
    lines = [f"{os.cpu_count()} processors, Linux {platform.release()}, {python}", ""]
    for row in rows:
        bound = "" if row.least is None else f"  {'ok' if row.met else 'MISS'}, at least {row.least:g}"
        lines.append(f"{row.name:44} {row.value:9.2f} {row.unit}{bound}".rstrip())
    return "\n".join(lines)


def as_json(
    rows: list[Row],
    one: Speed,
    two: Speed,
    costs: list[tuple[Cost, Reboot]],
    same: bool,
    where: str,
    met: bool,
) -> dict[str, Any]:
    """For programs."""
    return {
        "processors": os.cpu_count(),
        "rows": [row._asdict() | {"met": row.met} for row in rows],
        "one": one._asdict(),
        "two": two._asdict(),
        "sizes": [cost._asdict() | {"reboot": reboot._asdict()} for cost, reboot in costs],
        "digests": {"same": same, "where": where},
        "met": met,
    }


def _compiled() -> Path | None:
    """The modules that are measured; None, and why on standard error, where they cannot be built."""
    try:
        return cache.built()
    except cache.NotBuilt as why:
        print(f"interpreted, for there are no compiled modules: {why}", file=sys.stderr)
        return None


def _note(what: str, value: _Measured) -> _Measured:
    print(f"{what}: {value}", file=sys.stderr, flush=True)
    return value


if __name__ == "__main__":
    raise SystemExit(main())
