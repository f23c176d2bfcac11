"""In a guest: locks that nobody else uses, per second. Prints one JSON object, each figure with its rounds.

    python3 guest_locks.py ROUNDS PAIRS

A lock is an acquire and a release. `manager`: of a lock manager in this process, without guestd. `program`: of guestd,
over its socket, one after another. `pipelined`: many in flight. `kept`: those that are released stay with the program
until somebody wants them.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

from guestd.dlm.change import BARRIERS, Change
from guestd.dlm.manager import LockManager
from guestd.dlm.modes import Mode
from guestd.kept_locks import KeptLocks
from guestd.locks import Locks

IN_FLIGHT = 64


def main(rounds: int, pairs: int) -> None:
    """Measure all of them in turn, each round."""
    kinds: dict[str, Callable[[int], None]] = {"manager": manager()}
    with Locks() as plain, KeptLocks() as kept:
        plain.acquire("bench locks", mode="NL")  # with it this node masters the resource
        kinds["program"] = lambda count: one_by_one(plain, count)
        kinds["pipelined"] = lambda count: pipelined(plain, count)
        kinds["kept"] = lambda count: one_by_one(kept, count)
        rates: dict[str, list[float]] = {name: [] for name in kinds}
        for _ in range(rounds):
            for name, run in kinds.items():
                rates[name].append(rate(run, pairs))
        print(json.dumps(rates))


def rate(run: Callable[[int], None], pairs: int) -> float:
    """Locks per second."""
    began = time.monotonic()
    run(pairs)
    return pairs / (time.monotonic() - began)


def manager() -> Callable[[int], None]:
    """Of a cluster of one node."""
    own = LockManager(bytes(16), 0, 1)
    own.found({})
    for barrier in range(BARRIERS):
        own.told([(Change(0, 1, "join"), barrier)])
    own.datagrams()
    own.lock(1, (b"bench",), Mode.NL)
    own.take_notices()

    def run(count: int) -> None:
        for _ in range(count):
            lock = own.lock(1, (b"bench",), Mode.EX)
            (granted,) = own.take_notices()
            own.datagrams()
            own.unlock(lock)
            (gone,) = own.take_notices()
            own.datagrams()
            assert (granted.lock, gone.lock) == (lock, lock)

    return run


def one_by_one(locks: Locks | KeptLocks, count: int) -> None:
    """Each is waited for."""
    for _ in range(count):
        locks.release(locks.acquire("bench locks", mode="EX"))


def pipelined(locks: Locks, count: int) -> None:
    """With different names: two of the same would wait for each other."""
    names = [("bench locks", str(place)) for place in range(IN_FLIGHT)]
    above = locks.acquire("bench locks", mode="NL")
    for first in range(0, count, IN_FLIGHT):
        some = names[: min(IN_FLIGHT, count - first)]
        locks.release_all(locks.acquire_all(some, mode="EX", parent=above))
    locks.release(above)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
