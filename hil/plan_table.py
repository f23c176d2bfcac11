"""A plan of faults as a table for people."""

from __future__ import annotations

from collections.abc import Sequence

Row = tuple[int, str, int, str]
"""When (ms), which fault, for how long (ms, 0: not said), whom and how."""


def plan_table(rows: Sequence[Row], until_ms: int) -> list[str]:
    """One line for each fault, under a line of headings; one line that says so if there are none."""
    if not rows:
        return [f"no faults for {until_ms} ms"]
    cells = [("at ms", "fault", "for ms", "whom, how")]
    cells += [(str(at_ms), kind, str(for_ms or ""), whom) for at_ms, kind, for_ms, whom in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(3)]
    return [
        f"{at.rjust(widths[0])}  {kind.ljust(widths[1])}  {lasts.rjust(widths[2])}  {whom}".rstrip()
        for at, kind, lasts, whom in cells
    ]
