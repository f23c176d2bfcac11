"""In a guest: round trips of datagrams to another node, over the interconnect. Prints them in ms, as JSON.

python3 guest_round_trip.py echo ADDRESS         until it hears b"end"
python3 guest_round_trip.py ADDRESS COUNT
"""

from __future__ import annotations

import json
import socket
import sys
import time

PORT = 7500
SIZE = 160  # about that of a datagram with one message of the lock manager
LIMIT_S = 10.0


def echo(address: str) -> None:
    """Send back what comes."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.bind((address, PORT))
        while (heard := own.recvfrom(2048))[0] != b"end":
            own.sendto(*heard)


def measure(address: str, count: int) -> None:
    """One after another; a lost one is left out."""
    times = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.settimeout(LIMIT_S)
        for _ in range(count):
            began = time.monotonic()
            own.sendto(bytes(SIZE), (address, PORT))
            try:
                own.recv(2048)
            except OSError:
                continue
            times.append((time.monotonic() - began) * 1000)
        own.sendto(b"end", (address, PORT))
    print(json.dumps(times))


if __name__ == "__main__":
    if sys.argv[1] == "echo":
        echo(sys.argv[2])
    else:
        measure(sys.argv[1], int(sys.argv[2]))
