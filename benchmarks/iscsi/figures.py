"""From samples to figures: medians over the rounds, and whether the bounds are met.

A ratio is taken within a round, where the targets had the same neighbours on the machine; then the median over the
quieter half of the rounds, which for a case are those in which others took the least of the machine's CPU time.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.iscsi.perf import Case

OURS = "ours"
NO_LEDGER = "ours, no ledger"
TGT = "tgt"
NAMES = (OURS, NO_LEDGER, TGT)
CASES = [
    Case(direction, access, depth)
    for direction in ("read", "write")
    for access in ("sequential", "random")
    for depth in (1, 32)
]

# What is demanded: least throughput against tgt's by depth, most of it that the ledger may cost over all loads (no
# disk is only read from), most memory.
RATIO_MIN: Mapping[int, float] = {1: 0.6, 32: 0.5}
LEDGER_COST_MAX = 0.10
RESIDENT_BYTES_MAX = 150_000_000


class Sample(NamedTuple):
    """One run of a load against one target.

    ``cpu_us`` is the target's CPU time per command in microseconds, ``neighbours`` the part (0 to 1) of the machine's
    CPU time that others took meanwhile.
    """

    commands_per_s: int
    cpu_us: float
    neighbours: float


Samples = Mapping[str, Sequence[Sample]]
"""By target, in the order of the rounds."""

ByCase = dict[Case, dict[str, list[Sample]]]
"""The samples of all loads."""


class Spread(NamedTuple):
    """Of the values of the quieter rounds."""

    median: float
    least: float
    most: float


class Row(NamedTuple):
    """The figures of one case. ``ratio`` is our throughput over tgt's; ``ledger_cost`` the part of ours that it takes,
    ``ledger_cpu_cost`` what it adds to our CPU time per command; ``neighbours`` the median of the rounds that count."""

    case: Case
    commands_per_s: dict[str, float]
    cpu_us: dict[str, float]
    ratio: Spread
    ratio_min: float
    ledger_cost: Spread
    ledger_cpu_cost: float
    neighbours: float

    @property
    def ratio_met(self) -> bool:
        """Whether we are fast enough."""
        return self.ratio.median >= self.ratio_min


def spread(values: Sequence[float]) -> Spread:
    """Of at least one value."""
    return Spread(statistics.median(values), min(values), max(values))


def quieter(samples: Samples) -> list[tuple[Sample, ...]]:
    """Half of the rounds, a sample per target in each, in the order of ``NAMES``."""
    rounds = list(zip(*(samples[name] for name in NAMES), strict=True))
    rounds.sort(key=lambda found: sum(sample.neighbours for sample in found))
    return rounds[: (len(rounds) + 1) // 2]


def summarise(case: Case, samples: Samples) -> Row:
    """Of at least one round."""
    rounds = quieter(samples)
    by_name = dict(zip(NAMES, zip(*rounds, strict=True), strict=True))
    cpu_us = {name: statistics.median(sample.cpu_us for sample in found) for name, found in by_name.items()}
    return Row(
        case,
        {name: statistics.median(sample.commands_per_s for sample in found) for name, found in by_name.items()},
        cpu_us,
        spread([ours.commands_per_s / tgt.commands_per_s for ours, _, tgt in rounds]),
        RATIO_MIN[case.depth],
        spread([1 - ours.commands_per_s / without.commands_per_s for ours, without, _ in rounds]),
        cpu_us[OURS] / cpu_us[NO_LEDGER] - 1 if cpu_us[NO_LEDGER] else 0.0,
        statistics.median(sample.neighbours for found in rounds for sample in found),
    )


def ledger_cost(rows: Sequence[Row]) -> float:
    """The part of our throughput that the ledger takes over all loads: by the geometric mean of what it leaves."""
    return 1 - statistics.geometric_mean(1 - row.ledger_cost.median for row in rows)


def all_met(rows: Sequence[Row], resident_bytes: int) -> bool:
    """Whether every bound is."""
    cheap = ledger_cost(rows) <= LEDGER_COST_MAX
    return cheap and resident_bytes <= RESIDENT_BYTES_MAX and all(row.ratio_met for row in rows)


def as_json(rows: Sequence[Row], resident_bytes: int, samples: ByCase) -> dict[str, Any]:
    """All of it, with every sample."""
    return {
        "rows": [
            {
                **row.case._asdict(),
                "commands_per_s": row.commands_per_s,
                "cpu_us_per_command": row.cpu_us,
                "ratio": row.ratio._asdict() | {"bound": row.ratio_min, "met": row.ratio_met},
                "ledger_cost": row.ledger_cost._asdict(),
                "ledger_cpu_cost": row.ledger_cpu_cost,
                "neighbours": row.neighbours,
                "samples": {name: [sample._asdict() for sample in samples[row.case][name]] for name in NAMES},
            }
            for row in rows
        ],
        "ledger_cost": {
            "value": ledger_cost(rows),
            "bound": LEDGER_COST_MAX,
            "met": ledger_cost(rows) <= LEDGER_COST_MAX,
        },
        "resident_bytes_max": {
            "value": resident_bytes,
            "bound": RESIDENT_BYTES_MAX,
            "met": resident_bytes <= RESIDENT_BYTES_MAX,
        },
        "met": all_met(rows, resident_bytes),
    }
