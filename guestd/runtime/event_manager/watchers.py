"""Where the watchers are that come with the system, and how one is started."""

from __future__ import annotations

import os
import sys

import guestd

HOME = os.path.dirname(os.path.dirname(os.path.abspath(guestd.__file__)))  # in a guest /usr/lib/hil
DIRECTORY = "guestd/watchers"
PYTHON = "python3.11"


def watcher_command(name: str, socket: str) -> tuple[str, ...]:
    """The arguments of that watcher's program. socket: of the event manager. Raises LookupError if there is none."""
    path = f"{HOME}/{DIRECTORY}/{name}.py"
    if not name.isidentifier() or not os.path.exists(path):
        raise LookupError(f"there is no watcher {name!r} in {HOME}/{DIRECTORY}")
    return sys.executable or PYTHON, "-I", "-S", "-X", "utf8", path, socket
