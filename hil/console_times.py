"""When a console has shown what: ``console-n<i>.times`` beside ``console-n<i>.log``.

A line of it is a time of the event stream in seconds, and how many bytes the console had by then; so a line of the
console is as old as the first of them that reaches to its end. A console's text is QEMU's to write, and has no times of
its own but the kernel's, on the guest's clock, which stands still with the guest.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self

PERIOD_S: Final = 0.1
"""A person sees no difference below it; a look at a file costs some microseconds."""


def times_path(console: Path) -> Path:
    """Beside the console's own."""
    return console.with_suffix(".times")


class ConsoleTimes:
    """Takes down how far each console has come, while it is entered; or whenever :meth:`look` is called."""

    def __init__(self, consoles: Sequence[Path], now: Callable[[], float]) -> None:
        self._seen = dict.fromkeys(consoles, 0)
        self._now = now
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="console-times", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.look()

    def _watch(self) -> None:
        while not self._over.wait(PERIOD_S):
            self.look()

    def look(self) -> None:
        """Once. What cannot be read or written is left out: no run fails for that."""
        for console, seen in self._seen.items():
            try:
                size = console.stat().st_size
                if size != seen:
                    with times_path(console).open("a", encoding="ascii") as file:
                        file.write(f"{self._now():.4f} {size}\n")
                    self._seen[console] = size
            except OSError:
                continue


class ConsoleLine(NamedTuple):
    """``t``: seconds of the event stream; None where nobody took it down."""

    t: float | None
    text: str


def console_lines(console: Path) -> list[ConsoleLine]:
    """All lines of a console; none without one. Raises nothing for times that are cut short, or none."""
    try:
        data = console.read_bytes()
    except OSError:
        return []
    marks = _marks(times_path(console))
    sizes = [size for _, size in marks]
    lines, end = [], 0
    for raw in data.removesuffix(b"\n").split(b"\n") if data else []:
        end = min(end + len(raw) + 1, len(data))
        place = bisect_left(sizes, end)
        t = marks[place][0] if place < len(marks) else (marks[-1][0] if marks else None)
        lines.append(ConsoleLine(t, raw.decode(errors="replace").rstrip("\r")))
    return lines


def _marks(path: Path) -> list[tuple[float, int]]:
    try:
        words = [line.split() for line in path.read_text(encoding="ascii", errors="replace").splitlines()]
        return [(float(pair[0]), int(pair[1])) for pair in words if len(pair) == 2]
    except (OSError, ValueError):
        return []
