"""A widget of many lines of text, wrapped; the newest is at the bottom, in view unless somebody has scrolled up."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Final

from rich.cells import cell_len, chop_cells
from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

LINES_MAX: Final = 10_000
"""Older ones are forgotten."""
ROWS_MAX: Final = 3 * LINES_MAX
"""Of wrapped lines; in a very narrow terminal fewer lines are kept."""

INDENT: Final = " " * 12
"""Of what is wrapped: behind the time of an event."""
WRAPPED_WIDTH_MIN: Final = 40
"""In less than this words are cut where the line ends."""

_CONTROL: Final = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)?|[\x00-\x08\x0a-\x1f\x7f-\x9f]"
)

Line = tuple[str, str]
"""Text, and a style in rich's words."""


def printable(text: str) -> str:
    """Without terminal control sequences: what a guest says must not get at the terminal."""
    return _CONTROL.sub("", text).expandtabs()


class Lines(ScrollView, can_focus=True):
    """Of class ``-top`` it shows its beginning first, and stays there."""

    BINDINGS: ClassVar = [Binding("home", "scroll_home", show=False), Binding("end", "scroll_end", show=False)]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._lines: list[Line] = []
        self._rows: list[Line] = []
        self._width = 0
        self._bottom = 0.0
        """Where this class has scrolled to; whoever is above it has scrolled up."""

    @property
    def text(self) -> list[str]:
        """All lines."""
        return [text for text, _ in self._lines]

    @property
    def rows(self) -> int:
        """How many rows of the terminal they take."""
        return len(self._rows)

    def append(self, lines: Iterable[Line]) -> None:
        """More lines."""
        new = [(printable(text), style) for text, style in lines]
        follows = self._follows
        self._lines += new
        self._rows += self._wrapped(new)
        del self._lines[: max(0, len(self._lines) - LINES_MAX)]
        forgotten = max(0, len(self._rows) - ROWS_MAX)
        del self._rows[:forgotten]
        self._show(follows)
        if forgotten and not follows:
            self.scroll_to(y=self.scroll_y - forgotten, animate=False, force=True)

    def replace(self, lines: Iterable[Line]) -> None:
        """Other lines."""
        self._lines = [(printable(text), style) for text, style in lines][-LINES_MAX:]
        self._rows = list(self._wrapped(self._lines))[-ROWS_MAX:]
        self._show(follows=True)

    def on_resize(self) -> None:
        """Wrap anew where the width is another."""
        if (width := self.scrollable_content_region.width) != self._width:
            self._width = width
            self._rows = list(self._wrapped(self._lines))[-ROWS_MAX:]
        self._show(self._follows)

    @property
    def _follows(self) -> bool:
        return self.scroll_y >= min(self._bottom, self.max_scroll_y)

    def _wrapped(self, lines: Iterable[Line]) -> Iterator[Line]:
        for text, style in lines:
            if not self._width or (cells := cell_len(text)) <= self._width:
                yield text, style
            elif cells == len(text) and self._width >= WRAPPED_WIDTH_MIN:
                parts = textwrap.wrap(text, self._width, subsequent_indent=INDENT, break_on_hyphens=False)
                yield from ((part, style) for part in parts)
            else:
                yield from ((part, style) for part in chop_cells(text, self._width))

    def _show(self, follows: bool) -> None:
        self.virtual_size = Size(self._width, len(self._rows))
        self.refresh()
        if self.has_class("-top"):
            self.scroll_home(animate=False, force=True, immediate=True)
        elif follows:
            # By force: the scroll bar, without which nothing else may scroll, comes with the next refresh.
            self.scroll_end(animate=False, force=True, immediate=True)
            self._bottom = self.scroll_y

    def render_line(self, y: int) -> Strip:
        """Of textual's line API: row ``y`` of what is in view."""
        width, base = self.scrollable_content_region.width, self.rich_style
        number = y + self.scroll_offset.y
        if number >= len(self._rows):
            return Strip.blank(width, base)
        text, style = self._rows[number]
        return Strip([Segment(text, base + Style.parse(style))]).crop_extend(0, width, base)
