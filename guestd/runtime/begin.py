"""The beginning of a node whose machine was saved while it waited for it (docs/warm-start.md).

Such a machine boots with `{"wait": true}` for a configuration: everything is loaded, nothing is started, and it has no
identity. It is saved then, and each time it is restored the host's order "begin" brings what no two nodes and no two
starts may share: configuration and keys, the time of day, randomness.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import time

from guestd.runtime.discovery import BLOCK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from guestd.runtime.port import Port

# In the directory of the configuration: the FIFO at which init waits for the keys, when it has set up everything else.
GO = "go"
RANDOM = "/dev/urandom"
RNDADDENTROPY = 0x40085203  # linux/random.h
RNDRESEEDCRNG = 0x5207
BLKFLSBUF = 0x1261  # linux/fs.h
PORT_PERIOD_S = 0.1  # between two looks for the port
SET_UP_PERIOD_S = 0.05  # between two looks for the FIFO


def await_begin(port: Port, directory: str, *, guest: bool) -> Callable[[], None]:
    """Wait for the order and carry it out; files go into `directory`. Orders that come with it are left in `port`.

    Returns what lets init go on with SSH: for later, since on an emulated processor its start holds up the join.

    guest: this machine is one; else it is a trial, and the clock and the kernel's randomness are left alone.
    """
    while guest and not os.path.exists(os.path.join(directory, GO)):
        time.sleep(SET_UP_PERIOD_S)
    port.emit("guestd-waiting", {}, time.monotonic())
    port.flush()
    order = _next_begin(port)
    if guest:
        time.clock_settime_ns(time.CLOCK_REALTIME, int(order["time_ns"]))
        _reseed(bytes.fromhex(order["entropy"]))
    for name, text in order["files"].items():
        _write(os.path.join(directory, os.path.basename(name)), bytes.fromhex(text))
    port.begin_anew()
    return lambda: _let_in(os.path.join(directory, GO), guest=guest)


def _next_begin(port: Port) -> dict[str, Any]:
    readable = select.poll()
    while True:
        while not port.open():
            time.sleep(PORT_PERIOD_S)
        port.flush()
        readable.register(port.fileno(), select.POLLIN)
        readable.poll()
        readable.unregister(port.fileno())
        orders = port.orders()
        for index, order in enumerate(orders):
            if isinstance(order, dict) and order.get("order") == "begin":
                port.put_back(orders[:index] + orders[index + 1 :])
                return order
        port.put_back(orders)


def _reseed(entropy: bytes) -> None:
    """The generator forgets the state that it shares with every other start of this machine."""
    fd = os.open(RANDOM, os.O_WRONLY)
    try:
        fcntl.ioctl(fd, RNDADDENTROPY, struct.pack("ii", len(entropy) * 8, len(entropy)) + entropy)
        fcntl.ioctl(fd, RNDRESEEDCRNG)
    finally:
        os.close(fd)


def _let_in(fifo: str, *, guest: bool) -> None:
    """Init goes on with SSH. Before anybody looks: what the kernel has read of the disk was another cluster's.

    guestd itself does not read what the kernel keeps.
    """
    if guest:
        _forget_disks()
    _let_go(fifo)


def _forget_disks() -> None:
    for name in sorted(os.listdir(BLOCK)):
        if name.startswith("sd"):
            fd = os.open(f"/dev/{name}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.ioctl(fd, BLKFLSBUF)
            finally:
                os.close(fd)


def _write(path: str, content: bytes) -> None:
    """Whole, under its name only then, and for root alone: init takes the first look at it for the last."""
    fd = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, content)
    finally:
        os.close(fd)
    os.rename(f"{path}.new", path)


def _let_go(fifo: str) -> None:
    """Init goes on. It may not read yet, so the FIFO stays open."""
    try:
        fd = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    except FileNotFoundError:  # a trial
        return
    os.write(fd, b"\n")
