"""The disk of the model does what the target does; each of these is also tested on the target itself."""

from __future__ import annotations

import pytest

from tests.model.disk import (
    PREEMPT,
    PREEMPT_AND_ABORT,
    REGISTER_AND_IGNORE,
    RESERVE,
    Disk,
    Registrations,
    Write,
    key_of,
    may_write,
    serve,
)

N0, N1 = (0, 0), (1, 0)
K0, K1, K1_NEW = key_of(0, 1), key_of(1, 1), key_of(1, 2)


def pair(kind: int = 5) -> Registrations:
    served = serve(Registrations(((N0, K0), (N1, K1))), RESERVE, N0, K0, kind=kind)
    assert served is not None
    return served[0]


@pytest.mark.parametrize("kind", [5, 7])
@pytest.mark.parametrize(("action", "aborts"), [(PREEMPT, False), (PREEMPT_AND_ABORT, True)])
def test_who_is_preempted_may_write_no_more_and_its_writes_are_aborted_only_if_that_is_asked(  # S6.2
    kind: int, action: int, aborts: bool
) -> None:
    served = serve(pair(kind), action, N0, K0, K1)
    assert served is not None
    after, aborted = served
    assert not may_write(after, N1)
    assert may_write(after, N0)
    assert not after.registered(K1)
    assert aborted == ({N1} if aborts else set())


def test_a_new_key_takes_the_place_of_the_old_one_which_then_cannot_be_named_any_more() -> None:  # S6.3
    served = serve(pair(), REGISTER_AND_IGNORE, N1, 0, K1_NEW)
    assert served is not None
    assert served[1] == set()
    assert served[0].keys_of(1) == (K1_NEW,)
    assert serve(served[0], PREEMPT_AND_ABORT, N1, K1_NEW, K1) is None
    assert serve(served[0], PREEMPT_AND_ABORT, N0, K0, K1) is None


def test_a_life_aborts_what_its_node_has_queued_by_naming_the_key_that_is_registered() -> None:  # S6.3
    served = serve(pair(), PREEMPT_AND_ABORT, N1, K1, K1)
    assert served is not None
    assert served[0].registered(K1)
    assert served[1] == {N1}


def test_a_node_whose_key_is_gone_can_fence_nobody() -> None:  # S6.4
    served = serve(pair(), PREEMPT_AND_ABORT, N0, K0, K1)
    assert served is not None
    assert serve(served[0], PREEMPT_AND_ABORT, N1, K1, K0) is None


def test_writes_wait_in_a_queue_and_land_in_any_order() -> None:
    disk = Disk(pair(), (None, None), (None, None))
    late, other = Write(1, 1, "contest", "late"), Write(0, 1, "commit", "other")
    disk = disk.accept(late).accept(other)
    assert disk.contests == (None, None)
    disk = disk.land(other)
    assert (disk.queue, disk.commits) == ((late,), ("other", None))
    assert disk.land(late).contests == (None, "late")
