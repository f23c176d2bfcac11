"""In a guest: one of two programs, on two nodes, that hand a lock to and fro. Prints how long it took to get it, in ms.

    python3 guest_bounce.py COUNT

A time is from asking for EX, while the other one holds it, until it is granted; the other one gives it up when it is
told.
"""

from __future__ import annotations

import json
import sys
import time

from guestd.locks import Locks

REST_S = 0.05  # before the next one: by then the other one holds it
LIMIT_S = 60.0  # until the other program is there
ENDED_S = 5.0  # after so long the other one has ended


def main(count: int) -> None:
    """Until it has been handed over so often."""
    times = []
    with Locks() as locks:
        lock = locks.acquire("bench bounce", mode="NL")
        for number in range(count):
            began = time.monotonic()
            locks.convert(lock, "EX")
            times.append((time.monotonic() - began) * 1000)
            try:
                locks.wanted(LIMIT_S if number == 0 else ENDED_S)
            except TimeoutError:
                break
            locks.convert(lock, "NL")
            time.sleep(REST_S)
    print(json.dumps(times[2:]))  # the first ones find nobody


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
