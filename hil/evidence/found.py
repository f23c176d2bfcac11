"""A fault that a recorded run has had, while its events are read (:mod:`hil.evidence.reading`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from hil.faults.plan import Step

ALL: Final = "all"


@dataclass(eq=False)
class Found:
    """Of a kind of the library (:mod:`hil.faults.library`). It may still end."""

    kind: str
    nodes: tuple[int, ...]
    at_s: float
    parameters: Mapping[str, Any] = field(default_factory=dict)
    end_s: float | None = None
    """None: it lasts as long as the plan."""
    held: bool = True
    """It took hold, or nobody has looked."""
    unseen: bool = False
    """Nobody has seen that it struck anything: nor need it when it is played."""
    left: set[int] = field(default_factory=set)
    """Of which nodes nobody has told yet that it is over."""

    def __post_init__(self) -> None:
        self.left = set(self.nodes)

    def over(self, at_s: float, *nodes: int) -> None:
        """It has ended there (without ``nodes``: everywhere). What is told later of one that has ended counts no
        more.
        """
        self.left -= set(nodes or self.nodes)
        if not self.left and self.end_s is None:
            self.end_s = at_s

    def step(self, nodes: int, zero_s: float, until_ms: int) -> Step:
        """Its times count from ``zero_s``; what nothing has ended ends with the plan. ``nodes``: how many there are."""
        at_ms = max(0, round((self.at_s - zero_s) * 1000))
        for_ms = until_ms - at_ms if self.end_s is None else round((self.end_s - self.at_s) * 1000)
        whom = ALL if len(self.nodes) == nodes else ",".join(map(str, sorted(self.nodes)))
        return Step(self.kind, whom, at_ms, max(0, for_ms), dict(self.parameters), drawn=self.unseen)
