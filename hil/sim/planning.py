"""Draws the faults of a seed: when they strike, whom, for how long, each by a generator of the plan's own.

Nothing else of a run draws from it, and the plan is whole before the run begins: a run without one of its faults is the
same plan without it (:mod:`hil.sim.shrink`).
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

from hil.sim.plan import DIRECTIONS, KINDS, Fault, Plan

if TYPE_CHECKING:
    from hil.sim.options import Options

_MASTER_SHARE: Final = 0.2
"""Of faults of one node: in a large cluster the master is hardly ever struck else, and it has the most to lose."""


def draw_plan(options: Options) -> Plan:
    """By the weights and the rate of the options."""
    randomness = random.Random(f"faults {options.preset} {options.seed}")
    kinds = [kind for kind, _ in options.weights]
    weights = [weight for _, weight in options.weights]
    faults: list[Fault] = []
    at_ms = 0
    while kinds:
        at_ms += int(randomness.expovariate(1 / options.fault_every_ms)) + 1
        if at_ms >= options.faults_ms:
            break
        faults.append(_draw(randomness, options, randomness.choices(kinds, weights)[0], at_ms))
    return Plan(options.faults_ms, tuple(faults))


def _draw(randomness: random.Random, options: Options, kind: str, at_ms: int) -> Fault:
    numbers = range(options.nodes)
    struck = randomness.randrange(options.nodes)
    others = [other for other in numbers if other != struck]
    for_ms = _duration_ms(randomness, options)
    parameters: dict[str, Any] = {}
    if kind == "power-failure":  # all, or some
        lost = [number for number in numbers if randomness.random() < 0.5] if randomness.random() < 0.5 else []
        parameters["nodes"] = tuple(lost or numbers)
    elif kind == "doom":
        parameters["effects"] = randomness.randrange(30)
    elif kind in ("freeze-process", "freeze-vcpu"):
        parameters["drops"] = randomness.random() < 0.5
    elif kind == "slow-cpu":  # all that its period brings takes a tenth of it to all of it
        period_us = options.timing.heartbeat_ms * 1000
        share = 0.1 + 0.9 * randomness.random()
        parameters["cost_us"] = max(1, int(period_us / (options.nodes + 4) * share))
    elif kind == "cut-one-way":  # to one other node, or to all, or from all
        how = randomness.randrange(3)
        parameters["others"] = (randomness.choice(others),) if how == 0 else tuple(others)
        parameters["direction"] = DIRECTIONS[how == 2]
    elif kind == "cut-link":
        parameters["others"] = (randomness.choice(others),)
    elif kind == "split":
        parameters["groups"] = _groups(randomness, options.nodes)
    elif kind in ("fence-hang", "fence-errors"):
        parameters["lun"] = randomness.choice([0, *[*range(1, 1 + options.data_disks)] * 3])
    if kind in ("loss", "disk-errors", "fence-errors"):
        shares = [100, 300, 600] if kind == "loss" else [50, 300, 1000]
        parameters["share"] = randomness.choice(shares)
    if "node" in KINDS[kind].parameters:
        # Those that name others name one that is none of them; any other may be whoever is the master then.
        by_role = randomness.random() < _MASTER_SHARE and "others" not in parameters
        parameters["node"] = "master" if by_role else struck
    if not KINDS[kind].lasts or (kind in ("crash", "power-failure") and randomness.random() < 0.75):
        for_ms = 0
    return Fault(kind, at_ms, for_ms, **parameters)


def _duration_ms(randomness: random.Random, options: Options) -> int:
    """Short of, about, or well above the time after which a silent node is forced out."""
    drawn = options.timing.death_ms * randomness.choice([0.1, 0.5, 1.0, 1.5, 3.0, 10.0])
    return max(1, int(drawn * (0.5 + randomness.random())))


def _groups(randomness: random.Random, nodes: int) -> tuple[tuple[int, ...], ...]:
    """Two or three, none of them empty."""
    count = min(randomness.choice([2, 2, 3]), nodes)
    numbers = randomness.sample(range(nodes), nodes)
    groups = [[number] for number in numbers[:count]]
    for number in numbers[count:]:
        groups[randomness.randrange(count)].append(number)
    return tuple(tuple(sorted(group)) for group in sorted(groups))
