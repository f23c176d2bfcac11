"""Rows of measurements with their bounds, as a table or as JSON."""

from __future__ import annotations

import json
import os
import platform
import sys
from typing import NamedTuple


class Figure(NamedTuple):
    """One row: what was measured, in which unit, and the most and the least that it may be (None: no bound)."""

    name: str
    value: float
    unit: str
    most: float | None
    samples: list[float]
    least: float | None = None

    @property
    def met(self) -> bool:
        """Whether the bound is kept."""
        return (self.most is None or self.value <= self.most) and (self.least is None or self.value >= self.least)


def print_figures(figures: list[Figure], *, as_json: bool) -> int:
    """All rows to standard output; the exit status: 1 if a bound is missed."""
    if as_json:
        print(json.dumps([figure._asdict() | {"met": figure.met} for figure in figures]))
    else:
        print_table(figures)
    return 0 if all(figure.met for figure in figures) else 1


def note(what: str, seconds: float) -> float:
    """Progress."""
    print(f"{what}: {seconds:.2f} s", file=sys.stderr, flush=True)
    return seconds


def print_table(figures: list[Figure]) -> None:
    """One line for each figure."""
    print(f"\n{os.cpu_count()} processors, Linux {platform.release()}\n")
    width = max(len(figure.name) for figure in figures)
    for figure in figures:
        spread = f"{min(figure.samples):.2f} to {max(figure.samples):.2f}" if figure.samples else ""
        bounds = [f"at {word} {bound:g}" for word, bound in (("most", figure.most), ("least", figure.least)) if bound]
        wanted = f"{'ok' if figure.met else 'MISS'}, {', '.join(bounds)}" if bounds else ""
        print(f"{figure.name:{width}} {figure.value:7.2f} {figure.unit:5} {spread:>18}  {wanted}".rstrip())
