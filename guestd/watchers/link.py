"""The watcher of network interfaces: one has lost its link, or got it. Usage: link.py [SOCKET]"""

from __future__ import annotations

import _socket
import errno
import fcntl
import struct
import sys

if not __package__:  # started by its path: python3 -I finds nothing else
    sys.path.append(__file__.rpartition("/guestd/")[0])
from guestd.watcher import run
from guestd.watchers.rounds import is_due, rounds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.watcher import Watch, Watcher

SIOCGIFFLAGS = 0x8913  # linux/sockios.h
IFF_UP, IFF_RUNNING = 0x1, 0x40  # linux/if.h; running: it has a carrier, and its operstate is up or unknown
RTMGRP_LINK = 1  # linux/rtnetlink.h
NETLINK_ROUTE = 0
NAME_SIZE_MAX = 15


class Interfaces:
    """The flags of this network namespace's interfaces. `fileno` is readable when one has changed."""

    def __init__(self) -> None:
        flags = _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK
        self._asked = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | flags)
        self._told = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | flags, NETLINK_ROUTE)
        self._told.bind((0, RTMGRP_LINK))

    def fileno(self) -> int:
        """See above; `heard` makes it unreadable again."""
        return self._told.fileno()

    def heard(self) -> bool:
        """Whether one has changed since the last call. What has changed is not read from that, but asked for."""
        found = False
        while True:
            try:
                self._told.recv(1 << 16)
            except BlockingIOError:
                return found
            except OSError as why:
                if why.errno != errno.ENOBUFS:  # more has changed than it could keep
                    raise
            found = True

    def state(self, name: str) -> str:
        """up, no-carrier, down (by an administrator) or absent."""
        encoded = name.encode()
        if len(encoded) > NAME_SIZE_MAX:
            return "absent"
        try:
            answer = fcntl.ioctl(self._asked.fileno(), SIOCGIFFLAGS, struct.pack("16sH22x", encoded, 0))
        except OSError as why:
            if why.errno != errno.ENODEV:
                raise
            return "absent"
        _, flags = struct.unpack("16sH22x", answer)
        if not flags & IFF_UP:
            return "down"
        return "up" if flags & IFF_RUNNING else "no-carrier"


def serve(watcher: Watcher) -> None:
    """Looks when the kernel says that an interface has changed, and by the clock for what it may have missed."""
    interfaces = Interfaces()
    for now_s, watches in rounds(watcher, [interfaces.fileno()]):
        changed = interfaces.heard()
        for watch in watches:
            if is_due(watch, now_s) or changed:
                look(watcher, watch, interfaces.state(watch["interface"]))


def look(watcher: Watcher, watch: Watch, state: str) -> None:
    """A link that is down, or up, at the first look counts as one that has just become so."""
    before, watch.memory = watch.memory, state
    wanted = watch["change"]
    if wanted == "any":
        occurs = before not in (None, state)
    elif wanted == "up":
        occurs = state == "up" and before != "up"
    else:
        occurs = state != "up" and before in (None, "up")
    if occurs:
        watcher.occurred(watch, interface=watch["interface"], state=state, before=before or "")


if __name__ == "__main__":
    run("link", serve)
