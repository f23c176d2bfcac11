"""The loop of a watcher that looks at each of its watches now and then."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from guestd.watcher import Watch, Watcher

IDLE_S = 60.0


def rounds(watcher: Watcher, descriptors: Sequence[int] = ()) -> Iterator[tuple[float, list[Watch]]]:
    """The time and all watches: when `next_s` of one of them has come, when they have changed, and when one of the
    descriptors is readable. Who goes through them sets `next_s`.
    """
    pause_s = 0.0
    while True:
        watches = watcher.watches(pause_s, descriptors)
        yield time.monotonic(), watches
        next_s = min([watch.next_s for watch in watches], default=time.monotonic() + IDLE_S)
        pause_s = max(0.0, next_s - time.monotonic())


def is_due(watch: Watch, now_s: float) -> bool:
    """Whether it is to be looked at again; the next time is set then, by its IN parameter `every_s`.

    Those with the same one are looked at in the same rounds, after their first look: what one of them has seen, the
    others have seen too.
    """
    if watch.next_s > now_s:
        return False
    every_s = float(watch["every_s"])
    watch.next_s = (now_s // every_s + 1) * every_s
    return True
