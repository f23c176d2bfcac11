"""guestd: `python3.11 -I -S -X utf8 <directory with __main__.py and guestd/>`."""

from __future__ import annotations

import os
import signal
import sys
import time

from guestd import __version__
from guestd.core.node import Stack
from guestd.runtime import discovery
from guestd.runtime.disk_thread import DiskThread
from guestd.runtime.interconnect import Interconnect
from guestd.runtime.loop import Loop
from guestd.runtime.panic import panic
from guestd.runtime.port import Port
from guestd.runtime.settings import PORT_NAME, BadSettings, Settings, load

BAD_SETTINGS_STATUS = 3


def main() -> int:
    """Run until the node has left (0), or must not go on (anything else)."""
    started_s = time.monotonic()
    # Only the host decides when a node ends; a stray signal must not look like a death.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        settings = load(os.environ)
        stack = Stack(settings.config, settings.node)
    except (BadSettings, ValueError) as why:
        print(f"hil: guestd: {why}", file=sys.stderr, flush=True)
        return BAD_SETTINGS_STATUS
    port = Port(lambda: settings.port_path or discovery.find_port(PORT_NAME))
    port.open()
    interconnect = Interconnect(settings.broadcast, settings.port)
    interconnect.open()
    disk = DiskThread(lambda: _find_disk(settings)[0])
    loop = Loop(stack, settings.config.timing.heartbeat_ms, port, interconnect, disk, panic)
    loop.emit(
        "guestd-started",
        node=settings.node,
        version=__version__,
        pid=os.getpid(),
        stages={**settings.stages, "python": round(started_s, 2)},
        uptime=round(time.monotonic(), 2),
    )
    loop.wait_for_disk(lambda: _find_disk(settings), settings.wwid)
    return loop.run()


def _find_disk(settings: Settings) -> tuple[str | None, list[str]]:
    """Where the shared disk is, and which disks were seen."""
    if settings.disk_path is not None:
        return (settings.disk_path if os.path.exists(settings.disk_path) else None), []
    return discovery.find_disk(settings.wwid)
