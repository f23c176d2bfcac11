"""The watcher of time that passes. Usage: timer.py [SOCKET]"""

from __future__ import annotations

import sys

if not __package__:  # started by its path: python3 -I finds nothing else
    sys.path.append(__file__.rpartition("/guestd/")[0])
from guestd.watcher import run
from guestd.watchers.rounds import rounds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.watcher import Watcher


def serve(watcher: Watcher) -> None:
    """Times that have passed while this program could not run are one occurrence."""
    for now_s, watches in rounds(watcher):
        for watch in watches:
            every_s = float(watch["every_s"])
            if watch.memory is None:
                watch.memory, watch.next_s = 0, now_s + every_s
            elif watch.next_s <= now_s:
                watch.memory += 1
                watch.next_s += every_s * ((now_s - watch.next_s) // every_s + 1)
                watcher.occurred(watch, count=watch.memory)


if __name__ == "__main__":
    run("timer", serve)
