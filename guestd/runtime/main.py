"""guestd: `python3.11 -I -S -X utf8 guestd.pyc` (images/bundle.py)."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` would import enum, only to name its numbers
import os
import sys
import time

from guestd import __version__
from guestd.core.disk import DATA, membership_lanes
from guestd.core.node import Stack
from guestd.runtime import discovery
from guestd.runtime.disk_thread import DiskThread
from guestd.runtime.interconnect import Interconnect
from guestd.runtime.loop import Loop
from guestd.runtime.mount import Mount
from guestd.runtime.panic import panic
from guestd.runtime.port import Port
from guestd.runtime.program_socket import ProgramSocket
from guestd.runtime.settings import (
    PORT_NAME,
    PROGRAMS_PATH,
    SHARED_PATH,
    BadSettings,
    Settings,
    config_path,
    is_guest,
    load,
    waits,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

BAD_SETTINGS_STATUS = 3
START_BYTES = 8  # of what no other start of any node has, drawn from the kernel's generator


def main() -> int:
    """Run until the node has left (0), or must not go on (anything else)."""
    started_s = time.monotonic()
    # Only the host decides when a node ends; a stray signal must not look like a death.
    _signal.signal(_signal.SIGTERM, _signal.SIG_IGN)
    _signal.signal(_signal.SIGHUP, _signal.SIG_IGN)
    try:
        port, let_go = _begin() if waits(os.environ) else (None, None)
        settings = load(os.environ)
        stack = Stack(settings.config, settings.node)
    except (BadSettings, ValueError) as why:
        print(f"hil: guestd: {why}", file=sys.stderr, flush=True)
        return BAD_SETTINGS_STATUS
    stages = {}  # a node that waited went through them long ago
    if port is not None:
        print(f"hil: guestd: node {settings.node} begins", flush=True)  # its boot is on another console
    else:
        port = Port(lambda: settings.port_path or discovery.find_port(PORT_NAME))
        stages = {**settings.stages, "python": round(started_s, 2)}
    port.open()
    interconnect = Interconnect(settings.broadcast, settings.port, settings.addresses, settings.node)
    interconnect.open()
    disks = {lane: _thread(settings, lane // 2) for lane in (DATA, *membership_lanes(settings.config.data_disks))}
    programs = ProgramSocket(settings.programs_path or (PROGRAMS_PATH if is_guest() else None))
    shared = settings.shared_path or (SHARED_PATH if is_guest() else None)
    loop = Loop(
        stack,
        settings.config.timing.heartbeat_ms,
        port,
        interconnect,
        disks,
        programs,
        panic,
        None if shared is None else lambda: Mount(shared, f"hil:{settings.config.cluster}"),
    )
    loop.emit(
        "guestd-started",
        node=settings.node,
        version=__version__,
        pid=os.getpid(),
        start=os.urandom(START_BYTES).hex(),
        stages=stages,
        uptime=round(time.monotonic(), 2),
    )
    for lun, wwid in enumerate((settings.wwid, *settings.data_wwids)):
        loop.wait_for_disk(_finder(settings, lun), wwid)
    return loop.run(let_go)


def _begin() -> tuple[Port, Callable[[], None]]:
    """Wait to be told who this node is; the port, which stays open, and what lets init go on."""
    from guestd.runtime.begin import await_begin  # only where it is needed: imports cost boot time

    trial = os.environ.get("HIL_PORT")
    port = Port(lambda: trial or discovery.find_port(PORT_NAME))
    port.open()
    return port, await_begin(port, os.path.dirname(config_path(os.environ)), guest=is_guest())


def _finder(settings: Settings, lun: int) -> Callable[[], tuple[str | None, list[str]]]:
    """Where that LUN of the shared disk is, and which disks were seen."""
    if lun:
        return lambda: discovery.find_disk(settings.data_wwids[lun - 1])
    path = settings.disk_path
    if path is not None:
        return lambda: (path if os.path.exists(path) else None, [])
    return lambda: discovery.find_disk(settings.wwid)


def _thread(settings: Settings, lun: int) -> DiskThread:
    find = _finder(settings, lun)
    return DiskThread(lambda: find()[0])
