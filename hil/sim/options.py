"""From a seed to everything that a run may do: each rate is drawn ("swarm testing", Groce et al., ISSTA 2012).

A run that does everything a little never does one thing much: so each kind of fault is left out of half of the runs,
and what is in has a weight of its own. A few runs have a theme, of what does not come together by chance. Sizes go from
2 to 64 nodes, mostly small: what goes wrong goes wrong with few.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from guestd.core.config import DATA_DISKS_MAX, NODES_MAX
from guestd.core.timing import Timing, scaled
from hil.errors import UsageError

PRESETS: Final = {
    "lite": "3 nodes, power failures, leaves and a network that loses a little: nobody is forced out that lives",
    "swarm": "2 to 64 nodes, any faults, every rate drawn",
    "quick": "2 to 5 nodes, any faults, every rate drawn, for a third of a minute",
    "performance": "3 nodes, no faults at all: how fast the simulator is",
}

SAFE_FAULTS: Final = ("crash", "doom", "power-failure", "leave")
"""Those in which nobody who lives can be forced out."""

FAULTS: Final = (
    *SAFE_FAULTS,
    *("panic", "freeze-process", "freeze-vcpu", "slow-cpu"),
    *("cut-node", "cut-one-way", "cut-link", "split", "loss"),
    *("disk-hang", "disk-hang-all", "delay-writes", "disk-errors"),
)

FENCE_FAULTS: Final = ("fence-hang", "fence-errors")
"""Those of one LUN of several (A18)."""

_ONLY_CUTS: Final[dict[str, Any]] = {
    **dict.fromkeys(("loss_share", "late_share", "slow_share", "torn_share", "lost_share", "stale_share"), 0),
    "flip_share": 0,
    "timing_factor": 1.0,
    "drift_ppm_max": 100,
    "weights": (("cut-node", 1), ("cut-one-way", 1), ("cut-link", 2), ("split", 3)),
    "fault_every_ms": 10_000,
}
"""Nothing but cuts, with time to come together between them: then it can be told who must survive (S5.2)."""

_CONTENTION: Final[dict[str, Any]] = {
    "weights": (("power-failure", 3), ("split", 1), ("doom", 1), ("freeze-process", 1)),
    "timing_factor": 1.0,
    "fault_every_ms": 3000,
    "boot_ms_max": 800,
    "slow_share": 800,
    "slow_ms_max": 200,
    "flip_share": 200,
}
"""Nodes that come one after the other, at a slow disk: several bid for one epoch."""
_LOCKING_NODES_MAX: Final = 16
_CONTENDERS_MAX: Final = 8  # a contest of more, and the fences of all of them, takes minutes at such a disk

_SIZES: Final = (((2, 2), 14), ((3, 3), 36), ((4, 5), 30), ((6, 8), 12), ((9, 16), 6), ((17, 64), 2))
_FACTORS: Final = (1.0, 1.0, 1.0, 2.5, 10.0)


@dataclass(frozen=True)
class Options:
    """One run, printed in full when it fails. Shares are per mille of what they are about; 0: never."""

    preset: str
    seed: int
    nodes: int
    timing_factor: float  # as the host multiplies the cluster's times (docs/timing.md)
    faults_ms: int  # how long faults go on
    fault_every_ms: int  # the mean time between two of them
    weights: tuple[tuple[str, int], ...]  # kind of fault -> how often it is chosen, of those that there are
    converge_ms: int  # after healing: by when all must have joined
    quiet_ms: int  # and for how long nothing may change then
    # network
    delay_us_max: int
    late_share: int  # datagrams that take longer, and come after later ones
    late_ms_max: int
    loss_share: int
    duplicate_share: int
    # disk
    latency_us_max: int
    slow_share: int  # commands that take longer
    slow_ms_max: int
    attention_share: int  # SCSI commands that are told a unit attention instead
    torn_share: int
    lost_share: int  # heartbeats that are answered and not written
    stale_share: int  # reads in which a heartbeat is an older one
    flip_share: int  # reads in which one sector comes damaged
    cache_share: int  # what was not written durably and is lost when its node loses power
    # nodes
    drift_ppm_max: int  # how much faster or slower a node's clock runs, each its own
    late_tick_us_max: int
    boot_ms_max: int  # from power on until guestd runs
    programs: int  # that register on each node, each at a level of its own
    answer_ms_max: int  # what a program takes to acknowledge
    program_share: int = (
        0  # notifications at which a program ends, dies or hangs, and registrations that come to nothing
    )
    lockers: int = 0  # programs on each node that lock
    filers: int = 0  # programs on each node that use the shared file system; 0: there is none
    volume_users: int = 0  # programs on each node that make, change and delete virtual disks
    services: int = 0  # client services of the cluster; 0: no event managers run
    command_share: int = 0  # commands of services that fail or hang
    manager_share: int = 0  # of the inputs after which an event manager does something: it dies meanwhile
    store_share: int = (
        0  # operations on their database within which an event manager dies; 0: it is never replaced either
    )
    election: str = "paxos"  # or "dekker": how an epoch gets its owner (docs/election.md)
    data_disks: int = 0  # LUNs beside LUN 0, to which a program on each node writes raw

    @property
    def timing(self) -> Timing:
        """The cluster's times."""
        return scaled(Timing(), self.timing_factor)

    def shown(self) -> list[str]:
        """One line for each option."""
        return [f"{field.name} = {_shown(getattr(self, field.name))}" for field in fields(self)]


def calm(seed: int = 0, nodes: int = 3, preset: str = "swarm") -> Options:
    """Nothing goes wrong by chance: every share is 0, every clock right, every delay short, and there are no faults."""
    return Options(
        preset=preset,
        seed=seed,
        nodes=nodes,
        timing_factor=1.0,
        faults_ms=30_000,
        fault_every_ms=3000,
        weights=(),
        converge_ms=60_000,
        quiet_ms=5000,
        delay_us_max=100,
        late_share=0,
        late_ms_max=5,
        loss_share=0,
        duplicate_share=0,
        latency_us_max=500,
        slow_share=0,
        slow_ms_max=20,
        attention_share=0,
        torn_share=0,
        lost_share=0,
        stale_share=0,
        flip_share=0,
        cache_share=0,
        drift_ppm_max=0,
        late_tick_us_max=100,
        boot_ms_max=500,
        programs=0,
        answer_ms_max=5,
    )


OF_THE_PLAN: Final = ("faults_ms", "fault_every_ms", "weights")
"""What only the drawing of a plan asks for: where there is a plan already, they mean nothing."""

_LIMITS: Final[Mapping[str, tuple[float, float]]] = {
    "nodes": (2, NODES_MAX),
    "timing_factor": (1, 10),
    "late_ms_max": (0, 250),  # a datagram is not on its way for as long as a boot takes (hil.sim.network)
    "drift_ppm_max": (0, 100_000),  # A19
    "boot_ms_max": (300, 10_000_000),
    "programs": (0, 3),
    "data_disks": (0, DATA_DISKS_MAX),
}


def differing(options: Options) -> dict[str, Any]:
    """Those that are not as :func:`calm` has them, by name, but for what a plan was drawn from."""
    usual = calm()
    names = [field.name for field in fields(Options) if field.name not in OF_THE_PLAN]
    return {name: value for name in names if (value := getattr(options, name)) != getattr(usual, name)}


def changed(given: Mapping[str, Any]) -> Options:
    """Those of :func:`calm`, but for what is given. Raises :class:`UsageError`; says what is legal."""
    usual = calm()
    legal = [field.name for field in fields(Options) if field.name not in OF_THE_PLAN]
    for name, value in given.items():
        if name not in legal:
            raise UsageError(f"option {name!r} (legal: {', '.join(legal)})")
        if isinstance(getattr(usual, name), str):
            if not isinstance(value, str):
                raise UsageError(f"{name} = {value!r} (legal: a text)")
            continue
        low, high = _LIMITS.get(name, (0, 1000 if name.endswith("_share") else 10_000_000))
        types = (int, float) if name == "timing_factor" else (int,)
        if not isinstance(value, types) or isinstance(value, bool) or not low <= value <= high:
            raise UsageError(f"{name} = {value!r} (legal: {low:.0f} to {high:.0f})")
    return replace(usual, **given)


def draw(seed: int, preset: str = "swarm", nodes: int | None = None, data_disks: int | None = None) -> Options:
    """The options of that seed, but for the size and the number of data disks where these are given.

    Raises :class:`UsageError` for a preset, a size or a number that does not exist.
    """
    if preset not in PRESETS:
        raise UsageError(f"preset {preset!r} (legal: {', '.join(PRESETS)})")
    if nodes is not None and not 2 <= nodes <= NODES_MAX:
        raise UsageError(f"{nodes} nodes (legal: 2 to {NODES_MAX})")
    if data_disks is not None and not 0 <= data_disks <= DATA_DISKS_MAX:
        raise UsageError(f"{data_disks} data disks (legal: 0 to {DATA_DISKS_MAX})")
    randomness = random.Random(f"{preset} {seed}")  # a text: its hash does not depend on PYTHONHASHSEED
    if preset in ("swarm", "quick"):
        options = _swarm(seed, preset, randomness, nodes)
        return replace(options, **_data_disks(randomness, options, data_disks))
    return replace(_plain(seed, preset, randomness, nodes), data_disks=data_disks or 0)


def _swarm(seed: int, preset: str, randomness: random.Random, nodes: int | None) -> Options:
    def some(*values: int) -> int:
        return randomness.choice((0, *values))

    quick = preset == "quick"
    drawn = randomness.randint(2, 5) if quick else _size(randomness)
    size = nodes or drawn  # so that asking for the size that is drawn changes nothing
    weights = tuple((kind, randomness.randint(1, 5)) for kind in FAULTS if randomness.random() < 0.5)
    factor = randomness.choice(_FACTORS)
    # A large cluster has as much to do in less time, and each of its seconds costs the square of its size.
    longest_ms = 25_000 if quick or size > 8 else 100_000
    faults_ms = randomness.randint(longest_ms * 3 // 5, longest_ms)
    options = Options(
        preset=preset,
        seed=seed,
        nodes=size,
        timing_factor=factor,
        faults_ms=faults_ms,
        fault_every_ms=round(randomness.choice([700, 2000, 5000, 10_000]) * min(factor, 3)),
        weights=weights or (("crash", 1),),
        converge_ms=round(60_000 * factor),
        quiet_ms=round(5000 * factor),
        delay_us_max=randomness.choice([100, 1000, 5000]),
        late_share=some(1, 10, 100),
        late_ms_max=randomness.choice([5, 50, 250]),
        loss_share=some(1, 10, 50),
        duplicate_share=some(1, 10, 100),
        latency_us_max=randomness.choice([500, 3000, 10_000]),
        slow_share=some(1, 10, 100),
        slow_ms_max=randomness.choice([20, 60, 200]),
        attention_share=some(10, 200),
        torn_share=some(1, 20),
        lost_share=some(1, 20),
        stale_share=some(1, 20),
        flip_share=some(1, 20),
        cache_share=some(200, 1000),
        drift_ppm_max=some(100, 10_000, 100_000),
        late_tick_us_max=randomness.choice([100, 2000, 10_000]),
        boot_ms_max=randomness.choice([500, 3000, 8000]),
        programs=randomness.choice([0, 0, 1, 3]),
        answer_ms_max=randomness.choice([5, 100, 1500]),
        # Drawn last, as whatever is new: what was drawn before stays what it was.
        election=randomness.choice(["paxos", "paxos", "paxos", "dekker"]),
        program_share=some(10, 50),
        lockers=some(1, 2) if size <= _LOCKING_NODES_MAX else 0,
        # Of some runs only: each of their steps takes many disk commands and datagrams.
        filers=randomness.choice([0, 0, 0, 1, 2]) if size <= _LOCKING_NODES_MAX else 0,
        volume_users=randomness.choice([0, 0, 0, 1]) if size <= _LOCKING_NODES_MAX else 0,
    )
    theme = randomness.choices([None, _ONLY_CUTS, _CONTENTION], [17, 1, 2])[0]
    if theme is not None and not (theme is _CONTENTION and size > _CONTENDERS_MAX):
        options = replace(options, **theme)
    return replace(options, **_services(randomness, size))


def _services(randomness: random.Random, nodes: int) -> dict[str, Any]:
    """Of two runs in five."""
    drawn = randomness.choice([0, 0, 0, 2, 5])
    command_share = randomness.choice([0, 50, 300])
    manager_share = randomness.choice([0, 0, 5, 30])
    store_share = randomness.choice([0, 10, 50])
    if not drawn or nodes > _LOCKING_NODES_MAX:
        return {}
    shares = {"command_share": command_share, "manager_share": manager_share, "store_share": store_share}
    return {"services": drawn, **shares}


def _data_disks(randomness: random.Random, options: Options, asked: int | None) -> dict[str, Any]:
    """Of one run in four, with faults of their fences; drawn after all else, so that the others are what they were."""
    drawn = randomness.choice([*[0] * 9, 1, 2, 2])
    weights = [(kind, randomness.randint(1, 5)) for kind in FENCE_FAULTS if randomness.random() < 0.7]
    if options.weights == _ONLY_CUTS["weights"]:
        weights = []  # nothing but cuts
    count = asked if asked is not None else drawn if options.nodes <= _LOCKING_NODES_MAX else 0
    return {"data_disks": count, "weights": (*options.weights, *weights)} if count else {}


def _plain(seed: int, preset: str, randomness: random.Random, nodes: int | None) -> Options:
    """Few faults, or none; no rate is high."""
    lite = preset == "lite"
    return Options(
        preset=preset,
        seed=seed,
        nodes=nodes or 3,
        timing_factor=1.0,
        faults_ms=30_000 if lite else 110_000,
        fault_every_ms=3000,
        weights=tuple((kind, 1) for kind in SAFE_FAULTS) if lite else (),
        converge_ms=60_000,
        quiet_ms=5000,
        delay_us_max=randomness.choice([100, 1000]),
        late_share=10 if lite else 0,
        late_ms_max=20,
        loss_share=10 if lite else 0,
        duplicate_share=10 if lite else 0,
        latency_us_max=1000,
        slow_share=10 if lite else 0,
        slow_ms_max=20,
        attention_share=10 if lite else 0,
        torn_share=0,
        lost_share=0,
        stale_share=0,
        flip_share=0,
        cache_share=500 if lite else 0,
        drift_ppm_max=100,
        late_tick_us_max=1000,
        boot_ms_max=3000 if lite else 500,
        programs=1 if lite else 0,
        answer_ms_max=50,
        lockers=1 if lite else 0,
        services=randomness.choice([0, 0, 0, 2, 5]) if lite else 0,
        command_share=50 if lite else 0,
    )


def _size(randomness: random.Random) -> int:
    low, high = randomness.choices([size for size, _ in _SIZES], [weight for _, weight in _SIZES])[0]
    return randomness.randint(low, high)


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(f"{kind}:{weight}" for kind, weight in value) or "none"
    return str(value)
