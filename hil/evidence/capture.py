"""``python -m hil.evidence.capture``: writes every frame of one network interface to a file, until it is told to end.

It runs beside a bench, in its network namespace, as a process of its own: the bench has other things to do, and a
kernel's buffer is full soon. Each frame is there once, as its sender has sent it: a bridge shows a frame before a cut
drops it, so what was sent into a cut is seen, too. What the kernel had to drop is counted, and told at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from hil.evidence import pcap

ALL_PROTOCOLS: Final = 0x0003
"""ETH_P_ALL (linux/if_ether.h)."""
_SOL_PACKET: Final = 263
_ADD_MEMBERSHIP, _STATISTICS = 1, 6
_PROMISCUOUS: Final = 1
BUFFER_BYTES: Final = 8 << 20
_SO_TIMESTAMPNS: Final = 35
_SO_RCVBUFFORCE: Final = 33
_TIMESPEC: Final = struct.Struct("qq")
_BATCH: Final = 256
"""Frames that are written at once: so what is on the file ends with a whole one, but for a kill in between."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Capture; 0 after SIGTERM or SIGINT. The last line of standard output: {"frames": ..., "dropped": ...}."""
    parser = argparse.ArgumentParser(prog="python -m hil.evidence.capture", description="Started by a bench.")
    parser.add_argument("--interface", required=True)
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--zero-ns", type=int, required=True, help="of the monotonic clock: when the run's began")
    options = parser.parse_args(arguments)
    ended, wake = os.pipe()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os.write(wake, b"."))
    with open_interface(options.interface) as source, open(options.file, "ab", buffering=0) as file:
        if not file.tell():
            file.write(pcap.header())
        print("ready", flush=True)
        frames = capture(source, file.fileno(), options.zero_ns, ended)
        _, dropped = struct.unpack("II", source.getsockopt(_SOL_PACKET, _STATISTICS, 8))
    print(json.dumps({"frames": frames, "dropped": dropped}), flush=True)
    return 0


def open_interface(name: str) -> socket.socket:
    """Hears every frame that arrives there. Raises ``OSError``; needs CAP_NET_RAW in the namespace."""
    source = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    try:
        source.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER_BYTES)
    except OSError:  # an ordinary user, who is root of this namespace only
        source.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    source.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    index = socket.if_nametoindex(name)
    # A bridge hands frames between its ports to itself only when it is promiscuous.
    source.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, struct.pack("iHH8x", index, _PROMISCUOUS, 0))
    source.bind((name, ALL_PROTOCOLS))
    source.setblocking(False)
    return source


def capture(source: socket.socket, file: int, zero_ns: int, ended: int) -> int:
    """Until there is something to be read from ``ended``, and no frame is left; how many there were."""
    frames = 0
    while True:
        ready, _, _ = select.select([source.fileno(), ended], [], [])
        taken = _take(source, zero_ns)
        frames += len(taken)
        _write(file, b"".join(taken))
        if ended in ready and not taken:
            return frames


def _take(source: socket.socket, zero_ns: int) -> list[bytes]:
    taken: list[bytes] = []
    # The kernel stamps frames by the time of day, which may be set: what lies between the clocks is looked up anew.
    offset_ns = time.time_ns() - time.monotonic_ns()
    while len(taken) < _BATCH:
        try:
            frame, about, _, _ = source.recvmsg(pcap.SNAP_BYTES, socket.CMSG_SPACE(_TIMESPEC.size))
        except BlockingIOError:
            break
        time_ns = time.time_ns()
        for level, kind, data in about:
            if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
                seconds, nanoseconds = _TIMESPEC.unpack(data[: _TIMESPEC.size])
                time_ns = seconds * 1_000_000_000 + nanoseconds
        taken.append(pcap.record(time_ns - offset_ns - zero_ns, frame))
    return taken


def _write(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OSError as error:
        print(f"hil.evidence.capture: {error}", file=sys.stderr)
        sys.exit(3)
