"""The application: the grid above, what goes on and the events below, the keys at the bottom."""

from __future__ import annotations

from collections import deque
from functools import partial
from queue import Empty
from typing import ClassVar, Final

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.containers import Container, Vertical
from textual.widgets import DataTable, Footer, Input, Static

from hil.cli.tables import headline
from hil.client import Cluster
from hil.live.actions import ACTIONS, Action, named
from hil.live.console import ConsoleScreen
from hil.live.event_list import EventList
from hil.live.grid import WIDE, Grid
from hil.live.help import HelpScreen
from hil.live.lines import Lines, printable
from hil.live.situation import situation
from hil.live.source import Begun, Done, Ended, Happened, Source, Told
from hil.view import Event, View

PERIOD_S: Final = 0.1
EVENTS_AT_ONCE: Final = 2_000
"""In one period; more of them wait, so that keys do not."""
ERROR_SHOWN_S: Final = 15.0
GRID_HEIGHT_MIN: Final = 4
REST_HEIGHT_MIN: Final = 6
"""Headline, keys, and two rows each for what goes on and for the events."""

FORM: Final = """
Screen { layout: vertical; }
.headline { height: 1; text-style: bold; background: $primary-background; }
.headline.-ended { background: $error; color: $text; }
#grid { height: auto; }
#below { height: 1fr; layout: vertical; }
#situation { min-height: 1; }
#about { height: 1; background: $panel; color: $text-muted; }
#events { height: 1fr; min-height: 1; }
#right { height: 1fr; }
.-wide #below { layout: horizontal; }
.-wide #situation { width: 2fr; }
.-wide #right { width: 3fr; border-left: solid $panel; }
#filter { height: 1; border: none; padding: 0 1; display: none; }
#filter.-shown { display: block; }
Lines { overflow-x: hidden; scrollbar-gutter: stable; scrollbar-size: 1 1; background: $background; }
Grid { scrollbar-size: 1 1; background: $background; }
ConsoleScreen Lines { height: 1fr; }
HelpScreen { align: center middle; }
#help { width: auto; height: auto; max-width: 100%; max-height: 100%; padding: 0 1; }
#help { background: $panel; border: solid $primary; }
"""


class LiveApp(App[None]):
    """On one cluster. Returns when a person quits; until then it also stays with a cluster that has ended."""

    CSS = FORM
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (WIDE, "-wide")]  # noqa: RUF012 - as the base class declares it
    BINDINGS: ClassVar = [
        *(
            Binding(action.key, f"act({action.key!r})", action.name, show=action.in_footer, key_display=action.key)
            for action in ACTIONS
        ),
        Binding("enter", "console", "console", show=False),
        Binding("space", "mark", show=False),
        Binding("a", "mark_all", show=False),
        Binding("v", "every_event", show=False),
        Binding("slash", "filter", "filter", key_display="/"),
        Binding("question_mark", "help", "help", key_display="?"),
        Binding("q", "quit", "quit"),
        Binding("ctrl+c", "quit", show=False, priority=True),
    ]

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source
        self.cluster: Cluster = source.cluster
        self.view = View(len(self.cluster.nodes))
        self.marked: set[int] = set()
        self.ended: str | None = None
        """Why nothing comes any more; None while something does."""
        self._waiting: deque[Event] = deque()
        self._under_way: list[str] = []
        self._over = False
        self.title = f"hil: {self.cluster.name}"
        self.headline = Static(classes="headline", markup=False)
        self.grid = Grid(id="grid")
        self.situation = Lines(id="situation", classes="-top")
        self.about = Static(id="about", markup=False)
        self.events = EventList(id="events")
        self.filter = Input(placeholder="text that a line must have, more of it, !text that it must not", id="filter")

    def compose(self) -> ComposeResult:
        """The headline, the grid, what goes on, the events, the keys."""
        yield self.headline
        yield self.grid
        with Container(id="below"):
            yield self.situation
            with Vertical(id="right"):
                yield self.about
                yield self.events
        yield self.filter
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """Begin to listen."""
        self.grid.focus()
        self.source.start()
        self.set_interval(PERIOD_S, self._take)
        self.draw()

    def on_unmount(self) -> None:
        """Listen no more."""
        self.source.close()

    # -- what comes

    def _take(self) -> None:
        """All that was told since the last time."""
        told: list[Told] = []
        try:
            while True:
                told.append(self.source.told.get_nowait())
        except Empty:
            pass
        for one in told:
            self._take_one(one)
        events = [self._waiting.popleft() for _ in range(min(EVENTS_AT_ONCE, len(self._waiting)))]
        for event in events:
            self.view.apply(event)
        if events:
            self.events.take(events)
        if self._over and self.ended is None and not self._waiting:
            self._end("")
        if told or events:
            self.draw()

    def _take_one(self, told: Told) -> None:
        match told:
            case Happened(events):
                self._waiting += events
            case Begun(what):
                self._under_way.append(what)
            case Done(what, said, failed):
                self._under_way.remove(what)
                self.say(said, failed=failed)
            case Ended(""):
                self._over = True
            case Ended(why):
                self._end(why)

    def _end(self, why: str) -> None:
        """There is nothing more to come."""
        self.ended = why or (f"it ended: {self.view.stopping}" if self.view.stopping else "its bench died")
        self.say(f"cluster {self.cluster.name}: {self.ended}; q quits", failed=True)

    def say(self, text: str, *, failed: bool = False) -> None:
        """A notice, for some seconds."""
        severity, shown_s = ("error", ERROR_SHOWN_S) if failed else ("information", None)
        self.notify(printable(text), severity=severity, timeout=shown_s, markup=False)  # type: ignore[arg-type]

    # -- what is seen

    def draw(self) -> None:
        """All that may have changed."""
        self.headline.set_class(self.ended is not None, "-ended")
        self.headline.update(Text(self._headline(), no_wrap=True, overflow="ellipsis"))
        self.grid.draw(self.view, self.marked)
        lines = situation(self.view)
        if [text for text, _ in lines] != self.situation.text:
            self.situation.replace(lines)
        self.about.update(Text(self._about_events(), no_wrap=True, overflow="ellipsis"))
        self._share_out()

    def _headline(self) -> str:
        told = printable(headline(self.cluster.name, self.view).removeprefix("cluster "))
        if self.ended is not None:
            return f"{told}: {self.ended}"
        if self._under_way:
            return f"{told}: {', '.join(self._under_way)} …"
        return f"{told}, {self.view.t:.1f} s"

    def _about_events(self) -> str:
        shown, other = ("each event", "steps") if self.events.every else ("steps", "each event")
        filtered = f" with {self.events.wanted!r}" if self.events.wanted else ""
        return f"{shown}{filtered}   v: {other}   enter: console of the node"

    def _share_out(self) -> None:
        """The grid gets what it needs, as long as something is left for the rest."""
        height = self.size.height
        for_grid = max(GRID_HEIGHT_MIN, height - REST_HEIGHT_MIN)
        self.grid.styles.max_height = for_grid
        if self.screen_stack[0].has_class("-wide"):
            self.situation.styles.height = "1fr"
        else:
            left = height - min(len(self.view.nodes) + 2, for_grid) - 3
            self.situation.styles.height = min(self.situation.rows, max(1, left // 2))

    def on_resize(self) -> None:
        """Other widths and heights."""
        self.call_after_refresh(self.draw)

    def on_data_table_row_highlighted(self, _: DataTable.RowHighlighted) -> None:
        """The cursor has moved."""
        self.draw()

    def on_data_table_row_selected(self, _: DataTable.RowSelected) -> None:
        """Enter on a node."""
        self.action_console()

    # -- what keys do

    def chosen(self) -> list[int]:
        """The node whose console is shown, else the marked ones, else the one under the cursor."""
        if isinstance(self.screen, ConsoleScreen):
            return [self.screen.node]
        return sorted(self.marked) or [self.grid.cursor_row]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What is about the grid and the events does nothing where they are not seen."""
        on_top = len(self.screen_stack) > 1
        return not (on_top and action in {"mark", "mark_all", "console", "every_event", "filter"})

    def action_act(self, key: str) -> None:
        """A key of :data:`ACTIONS`."""
        action = next(one for one in ACTIONS if one.key == key)
        if self.ended is not None:
            self.say(f"{action.name}: {self.ended}", failed=True)
            return
        nodes = self.chosen()
        self.source.order(f"{action.name} {named(nodes)}", partial(_carry_out, action, nodes))

    def action_mark(self) -> None:
        """Mark the node under the cursor, or mark it no more."""
        self.marked ^= {self.grid.cursor_row}
        self.draw()

    def action_mark_all(self) -> None:
        """Mark all nodes; none if all are marked."""
        every = set(range(len(self.view.nodes)))
        self.marked = set() if self.marked == every else every
        self.draw()

    def action_console(self) -> None:
        """The console of the node under the cursor."""
        node = self.cluster.nodes[self.grid.cursor_row]
        self.push_screen(ConsoleScreen(node.id, node.console_path))

    def action_help(self) -> None:
        """What the keys do."""
        self.push_screen(HelpScreen())

    def action_every_event(self) -> None:
        """Each event, or the steps only."""
        self.events.choose(every=not self.events.every)
        self.draw()

    def action_filter(self) -> None:
        """Ask for text."""
        self.filter.add_class("-shown")
        self.filter.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Each letter counts at once."""
        self.events.choose(wanted=event.value)
        self.draw()

    def on_input_submitted(self, _: Input.Submitted) -> None:
        """The filter stays."""
        self._leave_filter()

    def key_escape(self) -> None:
        """The filter goes."""
        self.filter.value = ""
        self._leave_filter()

    def _leave_filter(self) -> None:
        self.filter.remove_class("-shown")
        self.grid.focus()


def _carry_out(action: Action, nodes: list[int], cluster: Cluster) -> str:
    return action.verb(cluster, [cluster.nodes[node] for node in nodes])
