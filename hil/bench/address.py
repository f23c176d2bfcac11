"""Where a bench listens: an abstract Unix socket, which the kernel itself registers and removes.

The address is ``\\0hil/<uid>/<cluster name>`` in the host's network namespace. The launcher binds it before it enters
the bench's namespaces and the bench inherits it, so

* a name cannot be taken twice (``bind`` is the lock),
* nothing is left behind when the bench is killed (there is no file),
* the list of running clusters is a look into ``/proc/net/unix``, never a stale registry.

An abstract socket has no file mode, so both sides check the other's user (``SO_PEERCRED``).
"""

from __future__ import annotations

import errno
import os
import re
import socket
import struct

from hil.errors import AlreadyUp, UnknownCluster

_PREFIX = "hil"


def address(cluster: str) -> str:
    """The abstract address of the bench of ``cluster`` of the calling user."""
    return f"\0{_PREFIX}/{os.getuid()}/{cluster}"


def listen(cluster: str) -> socket.socket:
    """Take the name ``cluster``; raises :class:`AlreadyUp` if a bench holds it."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(address(cluster))
    except OSError as error:
        listener.close()
        if error.errno != errno.EADDRINUSE:
            raise
        raise AlreadyUp(
            f"cluster {cluster!r} is already up; `hil down {cluster}` ends it, `hil up --name OTHER` starts another"
        ) from None
    listener.listen(64)
    return listener


def running_clusters() -> list[str]:
    """The names of the calling user's running clusters, sorted."""
    pattern = re.compile(rf"@{_PREFIX}/{os.getuid()}/([a-z][a-z0-9-]*)$")
    with open("/proc/net/unix", encoding="ascii", errors="replace") as table:
        return sorted({match[1] for line in table if (match := pattern.search(line.rstrip()))})


def choose(cluster: str | None) -> str:
    """``cluster`` if it runs; the only running one if None. Raises :class:`UnknownCluster` listing what runs."""
    running = running_clusters()
    listed = ", ".join(running) if running else "none (`hil up` starts one)"
    if cluster is None:
        if len(running) == 1:
            return running[0]
        if not running:
            raise UnknownCluster("no cluster is running; `hil up` starts one")
        raise UnknownCluster(f"several clusters are running, name one with --name: {listed}")
    if cluster not in running:
        raise UnknownCluster(f"no cluster {cluster!r} is running; running: {listed}")
    return cluster


def connect(cluster: str) -> socket.socket:
    """A connection to the bench of ``cluster``; raises :class:`UnknownCluster` if it does not run."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(address(cluster))
    except OSError:
        connection.close()
        choose(cluster)  # names the ones that do run
        raise UnknownCluster(f"cluster {cluster!r} went away while connecting") from None
    if peer_user(connection) != os.getuid():
        connection.close()
        raise UnknownCluster(f"the bench of {cluster!r} belongs to another user")
    return connection


def peer_user(connection: socket.socket) -> int:
    """The user id of the process at the other end, as seen from the caller's user namespace."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", data)[1]
    return uid
