"""The grid of nodes and levels, as in figures 3 to 15 of the document: a row for a node, a column for a level.

A cell is the state of the node's subsystem there, as all nodes have acknowledged it or are being notified of it. What
it says is words; the colours only repeat them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from rich.text import Text
from textual.widgets import DataTable

from hil.cli.tables import STYLES, levels_of
from hil.live.lines import printable
from hil.view import UNDER_WAY, NodeView, View

LEAVES: Final = (UNDER_WAY["leave"], UNDER_WAY["forced-leave"])

WIDE: Final = 110
"""From so many columns on there is room for more than words."""

_HEAD: Final = {"  node": 7, "machine": 9, "inc": 4, "state": 9, "epoch": 6}
_HEAD_WIDE: Final = _HEAD | {"state": 15}
"""Widths, with the gap behind each; the levels get the rest of the line."""

LEVEL_WIDTH_MIN: Final = 9
"""With it five levels fit into 80 columns; with more of them the grid scrolls sideways."""
LEVEL_WIDTH_MAX: Final = 15

SHORT: Final = {UNDER_WAY["forced-leave"]: "forced", "membership": "members", "event-manager": "events"}
"""For columns that are too narrow for the word."""

_STYLES: Final = {"frozen": "yellow", "booting": "yellow", "waiting": "yellow"} | STYLES


def machine_of(node: NodeView, faults: Collection[str]) -> str:
    """One word for the machine and for how far its boot has come.

    off, starting, booting (its guestd has not begun yet), waiting (its guestd is about to), running, frozen, exited
    (its guestd has ended), crashed.
    """
    if node.power in ("running", "paused") and any(fault.startswith("freeze-") for fault in faults):
        return "frozen"
    if node.power != "running" or node.guestd == "running":
        return node.power
    return {"absent": "booting"}.get(node.guestd, node.guestd)


def state_of(node: NodeView, view: View) -> str:
    """The node's own word, or the others' of one that cannot speak any more (spec S2.4)."""
    if node.power == "running" and node.guestd == "running":
        return node.state
    return view.newest.nodes.get(node.id, ("inactive", 0))[0]


def levels_shown(node: NodeView, view: View) -> dict[int, str]:
    """The node's levels, as long as they are more than history: until the others are done with its end."""
    living = node.power == "running" and node.guestd == "running" and node.levels_incarnation == node.incarnation
    state, incarnation = view.newest.nodes.get(node.id, ("inactive", 0))
    leaving = state in LEAVES and incarnation == node.levels_incarnation
    return node.levels if living or leaving else {}


def columns(view: View, width: int) -> list[tuple[str, int]]:
    """Titles and widths, with the gap, in a terminal of ``width`` columns."""
    head = _HEAD if width < WIDE else _HEAD_WIDE
    levels = levels_of(view)
    left = (width - sum(head.values())) // max(1, len(levels))
    each = min(LEVEL_WIDTH_MAX, max(LEVEL_WIDTH_MIN, left))
    found = list(head.items())
    for level, (name, real) in levels.items():
        word = fitted(printable(name), each - (1 if real else 2))
        found.append((f"{level}\n{word}{'' if real else '*'}", each))
    return found


def fitted(word: str, width: int) -> str:
    """The word, or what of it fits."""
    if len(word) <= width:
        return word
    word = SHORT.get(word, word)
    return word if len(word) <= width else f"{word[: width - 1]}…"


def row(node: NodeView, view: View, widths: Sequence[int], *, chosen: bool, marked: bool) -> list[Text]:
    """The cells of a node; ``chosen``: the cursor is on it (>); ``marked`` (*); M: it is the master."""
    name = f"{'>' if chosen else ' '}{'*' if marked else ' '}n{node.id}"
    shown = levels_shown(node, view)
    words = [
        f"{name:<5}{'M' if view.master == node.id else ''}".rstrip(),
        machine_of(node, view.faults.get(node.id, [])),
        str(node.incarnation or "-"),
        state_of(node, view),
        str(node.membership.epoch or "-"),
        *(shown.get(level, "-") for level in levels_of(view)),
    ]
    return [
        Text(fitted(word, width - 1), style=_STYLES.get(word, ""), no_wrap=True)
        for word, width in zip(words, widths, strict=True)
    ]


class Grid(DataTable[Text]):
    """Drawn again only where it has changed."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            cursor_type="row", cell_padding=0, header_height=2, show_row_labels=False, fixed_columns=1, **options
        )
        self._columns: list[tuple[str, int]] = []
        self._drawn: list[list[Text]] = []

    def draw(self, view: View, marked: Collection[int]) -> None:
        """The view as it is now; with the cursor where it was."""
        wanted, at = columns(view, self.app.size.width), self.cursor_row
        widths = [width for _, width in wanted]
        rows = [row(node, view, widths, chosen=node.id == at, marked=node.id in marked) for node in view.nodes]
        if wanted != self._columns:
            self._columns, self._drawn = wanted, rows
            self.clear(columns=True)
            for title, width in wanted:
                self.add_column(Text(title), width=width)
            self.add_rows(rows)
            self.move_cursor(row=at)
            return
        for number, (cells, drawn) in enumerate(zip(rows, self._drawn, strict=True)):
            for column, (cell, old) in enumerate(zip(cells, drawn, strict=True)):
                if cell != old or cell.style != old.style:
                    self.update_cell_at((number, column), cell)  # type: ignore[arg-type]  # a pair does
        self._drawn = rows
