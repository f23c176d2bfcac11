"""Many locks in flight, and locks that stay with a program: against real guestds over real sockets (S7.1)."""

from __future__ import annotations

import threading
import time

import pytest

from guestd import kept_locks
from guestd.kept_locks import KeptLocks
from guestd.locks import IN_FLIGHT_MAX, LockDenied, LockLost, LockRefused, Locks
from tests.unit.test_guestd_runtime import Trio, trio
from tests.unit.test_program_socket import joined

__all__ = ["trio"]  # a fixture


def path(trio: Trio, node: int) -> str:
    return str(trio.directory / f"programs{node}")


@pytest.fixture
def running(trio: Trio) -> Trio:
    return joined(trio)


def test_many_locks_are_granted_converted_and_released_at_once(running: Trio) -> None:
    with Locks(path(running, 0)) as one, Locks(path(running, 1)) as two:
        names = [(f"many {number}",) for number in range(2 * IN_FLIGHT_MAX + 1)]
        locks = one.acquire_all(names, mode="EX")
        assert len(set(locks)) == len(names) == len(one.show()["own"]) - _own_of_guestd(one)
        with pytest.raises(LockDenied, match="again"):
            two.acquire(names[-1][0], mode="PR", noqueue=True)
        one.convert_all(locks, "PR")
        shared = two.acquire(names[-1][0], mode="PR")
        with pytest.raises(LockDenied, match="again"):
            one.convert_all(locks, "EX", noqueue=True)
        with pytest.raises(LockDenied, match="again"):
            two.acquire(names[0][0], mode="PR", noqueue=True)  # the others were converted all the same
        two.release(shared)
        with pytest.raises(LockRefused, match="no lock 9999"):
            one.release_all([*locks[:3], 9999, *locks[3:]])
        assert one.values == {}
        two.acquire_all(names, mode="EX")


def test_when_one_of_many_is_denied_none_of_them_is_held(running: Trio) -> None:
    with Locks(path(running, 0)) as one, Locks(path(running, 1)) as two:
        two.acquire("b", mode="EX")
        with pytest.raises(LockDenied, match="again"):
            one.acquire_all([("a",), ("b",), ("c",)], mode="EX", noqueue=True)
        two.acquire_all([("a",), ("c",)], mode="EX", noqueue=True)


def test_a_kept_lock_takes_no_message_until_somebody_wants_it(running: Trio) -> None:
    with KeptLocks(path(running, 0)) as one, Locks(path(running, 1)) as two:
        first = one.acquire("kept", mode="EX")
        assert one.value(first) == bytes(64)
        one.release(first)
        assert one.kept() == ["kept"]
        assert one.acquire("kept", mode="EX") == first
        with pytest.raises(LockDenied, match="again"):
            two.acquire("kept", mode="EX", noqueue=True)
        one.release(first)
        # Nobody calls anything of `one`: its thread gives the lock up.
        taken = two.acquire("kept", mode="EX", timeout_s=10)
        assert one.kept() == []
        with pytest.raises(LockDenied, match="again"):
            one.acquire("kept", mode="PR", noqueue=True)
        two.release(taken)
        assert one.acquire("kept", mode="EX", timeout_s=10) != first


def test_a_lock_that_is_used_stays_and_goes_when_it_is_released_if_somebody_waits(running: Trio) -> None:
    with KeptLocks(path(running, 0)) as one, Locks(path(running, 1)) as two:
        lock = one.acquire("kept", mode="EX")
        with pytest.raises(TimeoutError):
            two.acquire("kept", mode="EX", timeout_s=0.5)
        got: list[int] = []
        waiter = threading.Thread(target=lambda: got.append(two.acquire("kept", mode="EX")))
        waiter.start()
        time.sleep(0.5)
        assert got == []
        one.release(lock)
        waiter.join(10)
        assert len(got) == 1
        assert one.kept() == []


def test_a_value_goes_to_whoever_comes_next(running: Trio) -> None:
    with KeptLocks(path(running, 0)) as one, Locks(path(running, 1)) as two:
        witness = two.acquire("valued", mode="NL")
        lock = one.acquire("valued", mode="EX")
        one.release(lock, value=b"v" * 64)
        assert one.kept() == []
        two.convert(witness, "PR", timeout_s=10)
        assert two.values[witness] == b"v" * 64


def test_two_programs_that_keep_what_the_other_one_waits_for_both_get_it(running: Trio) -> None:
    """Each waits with the mutex held, and must give up what it keeps all the same."""
    with KeptLocks(path(running, 0)) as one, KeptLocks(path(running, 1)) as two:
        one.release(one.acquire("left", mode="EX"))
        two.release(two.acquire("right", mode="EX"))
        got: list[str] = []

        def take(locks: KeptLocks, name: str) -> None:
            locks.acquire(name, mode="EX", timeout_s=10)
            got.append(name)

        threads = [threading.Thread(target=take, args=some) for some in ((one, "right"), (two, "left"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert sorted(got) == ["left", "right"]


def test_another_mode_is_asked_for_and_no_more_are_kept_than_legal(
    running: Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_locks, "KEPT_MAX", 2)
    with KeptLocks(path(running, 0)) as one, Locks(path(running, 1)) as two:
        lock = one.acquire("a", mode="EX")
        one.release(lock)
        assert one.acquire("a", mode="PR") == lock
        two.release(two.acquire("a", mode="PR", timeout_s=10))
        one.release(lock)
        for name in ("b", "c"):
            one.release(one.acquire(name, mode="EX"))
        assert one.kept() == ["b", "c"]
        two.acquire("a", mode="EX", timeout_s=10)


def test_a_program_whose_node_leaves_has_lost_what_it_kept(running: Trio) -> None:
    with KeptLocks(path(running, 1)) as one:
        one.release(one.acquire("kept", mode="EX"))
        running.guests[1].order("leave")
        running.wait(lambda: running.guests[1].last("left"))
        with pytest.raises(LockLost):
            _acquire_until_lost(one)


def _acquire_until_lost(locks: KeptLocks) -> None:
    for _ in range(100):
        locks.release(locks.acquire("kept", mode="EX"))
        time.sleep(0.05)


def _own_of_guestd(locks: Locks) -> int:
    return sum(not lock["name"].startswith("program:") for lock in locks.show()["own"])
