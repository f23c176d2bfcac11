"""What ``./run bench boot`` makes of its samples: the stages of a boot, and what it costs against the floor."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

RATIO_MAX = 1.5
JOINED_S_MAX = 25.0

# In the order of a boot. The first is the host's, the others are read on the guest's clock.
STAGES = {
    "machine": "QEMU runs, by libvirt's word",
    "kernel": "the kernel's clock begins",
    "initramfs": "kernel is up, /init of the initramfs begins",
    "modules": "modules for root and port are loaded",
    "root": "root mounted",
    "init": "the root's script begins: it starts guestd",
    "python": "Python starts",
    "imports": "guestd is imported",
    "guestd": "`guestd-started` has arrived at the bench",
}


@dataclass(frozen=True)
class Round:
    """One boot of the floor and, next to it, one of a node, each in seconds from the moment that power was asked for.

    ``stages``: name -> seconds from the same moment, of the node.
    """

    floor_s: float
    node_s: float
    stages: Mapping[str, float]
    neighbours: float = 0.0
    """What part of the machine others took meanwhile, 0 to 1: the worse of the two."""

    @property
    def ratio(self) -> float:
        """What the node took, the floor being 1."""
        return self.node_s / self.floor_s


@dataclass(frozen=True)
class Joined:
    """One boot of the whole cluster, until all have joined."""

    seconds: float
    neighbours: float = 0.0


@dataclass(frozen=True)
class Figures:
    """Medians of the rounds that count: the half that others disturbed least."""

    rounds: tuple[Round, ...]
    joined: tuple[Joined, ...]

    @property
    def quiet(self) -> list[Round]:
        """The rounds that count; at least one."""
        return sorted(self.rounds, key=lambda each: each.neighbours)[: (len(self.rounds) + 1) // 2]

    @property
    def ratio(self) -> float:
        """Taken within each round, so that a machine that is slow for a while does not show in it."""
        return statistics.median(each.ratio for each in self.quiet)

    @property
    def joined_s(self) -> float:
        """Until all nodes of a cluster have joined."""
        quiet = sorted(self.joined, key=lambda each: each.neighbours)[: (len(self.joined) + 1) // 2]
        return statistics.median(each.seconds for each in quiet)

    @property
    def met(self) -> bool:
        """Whether both bounds hold."""
        return self.ratio <= RATIO_MAX and self.joined_s <= JOINED_S_MAX

    def stage(self, name: str) -> float:
        """When a stage is reached, in seconds from power on."""
        return statistics.median(each.stages[name] for each in self.quiet)


def stages(events: Iterable[Mapping[str, Any]], node: int) -> dict[str, float]:
    """The stages of the last boot of ``node`` that the events tell of, in seconds from ``machine-starting``."""
    found: dict[str, float] = {}
    begin = 0.0
    for event in events:
        if event.get("node") != node:
            continue
        if event["kind"] == "machine-starting":
            begin, found = event["t"], {}
        elif event["kind"] == "machine-started":
            found["machine"] = event["t"] - begin
        elif event["kind"] == "guestd-started":
            # The two clocks run at the same rate; the event was written at guest_t and came at once.
            kernel = event["t"] - event["guest_t"] - begin
            found["kernel"] = kernel
            told = {("imports" if name == "python" else name): value for name, value in event["stages"].items()}
            told["python"] = told.pop("interpreter")
            found |= {name: kernel + value for name, value in told.items()}
            found["guestd"] = event["t"] - begin
    return {name: found[name] for name in STAGES if name in found}


def table(figures: Figures) -> str:
    """When each stage is reached, and how long it takes from the one before."""
    lines = [f"{'reached':>8} {'takes':>7}  seconds, medians of the {len(figures.quiet)} least disturbed rounds"]
    before = 0.0
    for name, meaning in STAGES.items():
        at = figures.stage(name)
        lines.append(f"{at:8.2f} {at - before:7.2f}  {name}: {meaning}")
        before = at
    node = statistics.median(each.node_s for each in figures.quiet)
    floor = statistics.median(each.floor_s for each in figures.quiet)
    ratios = [each.ratio for each in figures.quiet]
    others = statistics.median(each.neighbours for each in figures.quiet)
    joined = [each.seconds for each in figures.joined]
    return "\n".join(
        [
            *lines,
            "",
            f"{node:8.2f}  a node alone, from power on asked to `guestd-started` seen",
            f"{floor:8.2f}  the floor, from power on asked to its line seen",
            f"{figures.ratio:8.2f}  ratio ({min(ratios):.2f} to {max(ratios):.2f}), at most {RATIO_MAX}: "
            + _word(figures.ratio <= RATIO_MAX),
            f"{figures.joined_s:8.2f}  three nodes, from power on asked to all joined "
            f"(all rounds: {min(joined):.2f} to {max(joined):.2f}), at most {JOINED_S_MAX:.0f}: "
            + _word(figures.joined_s <= JOINED_S_MAX),
            f"{others:8.0%}  of the machine was others' meanwhile",
        ]
    )


def as_json(figures: Figures) -> dict[str, Any]:
    """Every sample, and what they come to."""
    return {
        "rounds": [{**asdict(each), "ratio": each.ratio} for each in figures.rounds],
        "joined_rounds": [asdict(each) for each in figures.joined],
        "counted": len(figures.quiet),
        "stages": {name: figures.stage(name) for name in STAGES},
        "ratio": {"value": figures.ratio, "bound": RATIO_MAX, "met": figures.ratio <= RATIO_MAX},
        "joined_s": {"value": figures.joined_s, "bound": JOINED_S_MAX, "met": figures.joined_s <= JOINED_S_MAX},
        "met": figures.met,
    }


def _word(met: bool) -> str:
    return "met" if met else "MISS"
