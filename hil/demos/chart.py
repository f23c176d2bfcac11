"""A chart of stages for any terminal: one bar a line, each stage with a letter of its own, no colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

WIDTH = 48


class Bar(NamedTuple):
    """``stages``: the name of each stage and the moment at which it was reached, in their order, from 0."""

    label: str
    stages: tuple[tuple[str, float], ...]


def chart(bars: Sequence[Bar], width: int = WIDTH) -> list[str]:
    """The lines: each stage fills the time that led to it with its first letter; the moments stand behind."""
    end = max((one.stages[-1][1] for one in bars if one.stages), default=0.0) or 1.0
    label_width = max((len(one.label) for one in bars), default=0)
    lines = []
    for bar in bars:
        drawn = ""
        for name, reached in bar.stages:
            drawn += name[0] * (round(reached / end * width) - len(drawn))
        told = "  ".join(f"{name} {reached:.2f}" for name, reached in bar.stages)
        lines.append(f"{bar.label:<{label_width}} |{drawn:<{width}}| {told}")
    return lines
