"""How far a campaign has got, and that the process which runs it does not grow."""

from __future__ import annotations

import gc
import os
import time
from typing import TYPE_CHECKING, Final

from tests.fuzz.wrong import Wrong

if TYPE_CHECKING:
    from collections.abc import Callable

_LOOK_PDUS: Final = 10_000
_TELL_S: Final = 30.0
# The process may grow by this much from its first 10,000 PDUs to its last: caches fill, allocators do not give all
# back. A target that kept as little as 100 bytes for each PDU would be beyond it after a million.
_GROWTH_BYTES_MAX: Final = 96 * 1024 * 1024


class Progress:
    """Of a campaign of ``pdus`` in all. ``say`` gets a line every half minute."""

    def __init__(self, pdus: int, say: Callable[[str], None]) -> None:
        self._pdus = pdus
        self._say = say
        self._started_s = self._told_s = time.monotonic()
        self._looked_pdus = 0
        self._warm_bytes = 0
        self._now_bytes = 0

    def at(self, sent_pdus: int) -> None:
        """So many were sent so far. Raises ``Wrong`` when resident memory has grown beyond the limit."""
        if sent_pdus - self._looked_pdus < _LOOK_PDUS:
            return
        self._looked_pdus = sent_pdus
        gc.collect()
        self._now_bytes = _resident_bytes()
        self._warm_bytes = self._warm_bytes or self._now_bytes
        if self._now_bytes - self._warm_bytes > _GROWTH_BYTES_MAX:
            raise Wrong(f"after {sent_pdus} PDUs: {self}")
        now_s = time.monotonic()
        if now_s - self._told_s >= _TELL_S:
            self._told_s = now_s
            rate = sent_pdus / (now_s - self._started_s)
            self._say(f"{sent_pdus} of {self._pdus} PDUs, {rate:.0f} a second, {self}")

    def __str__(self) -> str:
        return f"{self._warm_bytes >> 20} MiB resident at first, {self._now_bytes >> 20} MiB now"


def _resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
