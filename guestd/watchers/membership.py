"""The watcher of the cluster's nodes: they join, leave, or are forced out. Usage: membership.py [SOCKET]

It learns of that from the event manager, which is notified by the framework (docs/programs.md).
"""

from __future__ import annotations

import sys

if not __package__:  # started by its path: python3 -I finds nothing else
    sys.path.append(__file__.rpartition("/guestd/")[0])
from guestd.watcher import run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from guestd.watcher import Watch, Watcher

IDLE_S = 60.0


def serve(watcher: Watcher) -> None:
    """A transition counts for the watches that there were when it happened."""
    while True:
        watches = watcher.watches(IDLE_S)
        for told in watcher.transitions():
            for watch in watches:
                if watch.number in told["watches"] and is_meant(watch, told):
                    about = {name: told[name] for name in ("node", "incarnation", "transition")}
                    watcher.occurred(watch, members=len(told["members"]), **about)


def is_meant(watch: Watch, told: dict[str, Any]) -> bool:
    """Whether it is the transition that the event is about."""
    return watch.get("node") in (None, told["node"]) and watch.get("transition") in (None, told["transition"])


if __name__ == "__main__":
    run("membership", serve)
