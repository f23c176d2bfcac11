"""The live view for its tests: textual's own Pilot at the keys, and the screen as text."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from textual.events import Key
from textual.pilot import Pilot

from hil.client import Cluster
from hil.live.app import LiveApp
from hil.live.source import Source

PACE = 20.0
"""Of simulated clusters: seconds of theirs in one of the host's."""
PATIENCE_S = 60.0


class Heard(LiveApp):
    """Keeps what its notices have said: they go away."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.said: list[str] = []

    def say(self, text: str, *, failed: bool = False) -> None:
        self.said.append(text)
        super().say(text, failed=failed)


@dataclass
class Watched:
    """One live view, somebody at its keys."""

    app: Heard
    pilot: Pilot[None]

    async def press(self, *keys: str) -> None:
        """One after another."""
        await self.pilot.press(*keys)

    async def press_at_once(self, *keys: str) -> None:
        """As `press`, without waiting after each until the process has nothing to do: it has, while a large simulated
        cluster runs in it, and the wait ends after two seconds a key. What comes of them is to be waited for.
        """
        assert self.app._driver is not None
        for key in keys:
            event = Key(key, None)
            event.set_sender(self.app)
            self.app._driver.send_message(event)

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Return when ``condition()`` is true."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"{what}: not seen in\n" + "\n".join(self.screen)
            await asyncio.sleep(0.05)
        await self.pilot.pause()

    async def until_told(self, words: str) -> None:
        """Return when a notice has said so."""
        await self.until(lambda: any(words in notice for notice in self.notices), f"a notice with {words!r}")

    @property
    def screen(self) -> list[str]:
        """The rows of the terminal."""
        return [strip.text for strip in self.app.screen._compositor.render_strips()]

    @property
    def notices(self) -> list[str]:
        """What the notices have said."""
        return self.app.said

    def row(self, node: int) -> list[str]:
        """The words of a node's row in the grid."""
        return next(words for row in self.screen if (words := row.lstrip(" >*").split()) and words[0] == f"n{node}")


def watching(
    cluster: Cluster, body: Callable[[Watched], Awaitable[None]], size: tuple[int, int] = (80, 24), pace: float = PACE
) -> None:
    """Run ``body`` on a live view of ``cluster`` in a terminal of ``size``."""

    async def run() -> None:
        app = Heard(Source(cluster, pace=pace))
        async with app.run_test(size=size, notifications=True) as pilot:
            watched = Watched(app, pilot)
            await watched.until(lambda: app.view.n > 0 and watched.screen[-1].strip(), "the first event")
            await body(watched)

    asyncio.run(run())
