"""The event manager: `python3.11 -I -S -X utf8 event_manager.pyc` (images/bundle.py).

For a trial outside a guest, the environment says where everything is: HIL_GUESTD (guestd's socket for programs),
HIL_EVENTS (its own socket), HIL_SHARED (the directory of the shared file system), HIL_COMMANDS (a directory for the
files that tell which commands run).
"""

from __future__ import annotations

import os
import sys
import time

from guestd.client import PATH, Disconnected, Refused, Registration, register
from guestd.connection import Connection
from guestd.events.manager import EventManager
from guestd.events.subsystem import LEVEL, NAME
from guestd.runtime.event_manager.commands import Commands
from guestd.runtime.event_manager.loop import Loop
from guestd.runtime.event_manager.store import Store
from guestd.runtime.program_socket import ProgramSocket
from guestd.runtime.settings import SHARED_PATH, kernel_node

EVENTS_PATH = "/run/hil/events.sock"
COMMANDS_PATH = "/run/hil/commands"
GUESTD_PERIOD_S = 0.25  # between two looks for guestd, which has no socket before it begins
REFUSED_PERIOD_S = 1.0  # after a refusal: the one that died before may be registered still
GONE_STATUS = 1
NICENESS = 5  # when it is registered; before that, as init has it, it holds up no join


def main() -> int:
    """Run until this node has left (0) or guestd has gone (1)."""
    environment = os.environ
    guestd = environment.get("HIL_GUESTD", PATH)
    # First of all: what an earlier one has begun must not go on beside what this one begins.
    commands = Commands(environment.get("HIL_COMMANDS", COMMANDS_PATH))
    try:
        registration = _register(guestd)
        if kernel_node() is not None:
            os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
        store = Store(environment.get("HIL_SHARED", SHARED_PATH), is_mount="HIL_SHARED" not in environment)
        programs = ProgramSocket(environment.get("HIL_EVENTS", EVENTS_PATH))
        core = EventManager(registration.node, registration.nodes, again=commands.again)
        Loop(core, registration, Connection(guestd), programs, store, commands).run()
    except (Disconnected, OSError) as why:
        print(f"hil: event manager: {why}", file=sys.stderr, flush=True)
        commands.close()
        return GONE_STATUS
    commands.close()
    return 0


def _register(path: str) -> Registration:
    """Wait until guestd is there and this node a member. Raises Disconnected when guestd has gone again."""
    while True:
        try:
            # Not "gone": if it dies while its node leaves, nobody stops what runs there, and the others would wait for
            # that for ever. At any other time the next one takes its place, long before the node is given up.
            return register(NAME, LEVEL, on_death="hang", path=path)
        except Refused as why:
            print(f"hil: event manager: {why}", file=sys.stderr, flush=True)
            time.sleep(REFUSED_PERIOD_S)
        except OSError:
            time.sleep(GUESTD_PERIOD_S)


if __name__ == "__main__":
    sys.exit(main())
