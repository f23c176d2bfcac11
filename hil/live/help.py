"""What the keys do, over the grid until any key is pressed."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.screen import ModalScreen
from textual.widgets import Static

from hil.live.actions import ACTIONS

OTHER_KEYS = (
    ("up down", "choose a node"),
    ("space", "mark it: keys act on all that are marked"),
    ("a", "mark all nodes, or none"),
    ("enter", "the node's console; keys act on this node then"),
    ("/", "filter: text, more text, !unwanted text; esc: all lines"),
    ("v", "each event with its fields, or the steps only"),
    ("tab", "to the next part, whose lines the arrows then scroll"),
    ("q", "quit; the cluster goes on"),
    ("", "M: the master   *: marked; behind a level: acknowledges only"),
)


def key_table(keys: Sequence[tuple[str, str]]) -> Table:
    """A line for each key."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for key, told in keys:
        table.add_row(Text(key, style="bold"), Text(told))
    return table


class HelpScreen(ModalScreen[None]):
    """Fits 80 by 24."""

    def compose(self) -> ComposeResult:
        """Two tables."""
        yield Static(key_table([*((one.key, one.help) for one in ACTIONS), *OTHER_KEYS]), id="help")

    def on_key(self, event: events.Key) -> None:
        """Any."""
        event.stop()
        self.dismiss()
