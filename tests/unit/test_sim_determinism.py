"""The same seed is the same run: in any process, with any hash seed, on any Python, with or without `hil/sim/speed.py`.

Pythons that this machine does not have are skipped by name.
"""

from __future__ import annotations

import contextlib
import sys
from functools import cache

import pytest

from benchmarks.simulated.pythons import WANTED, digests, interpreter
from guestd.core.value import Value
from guestd.membership import datagram
from guestd.membership.view import View, empty
from hil.sim import speed
from hil.sim.options import draw
from hil.sim.run import Result, run

SEEDS = (1, 3, 8)


@cache
def result(seed: int) -> Result:
    return run(draw(seed))


def here() -> list[str]:
    return [result(seed).digest for seed in SEEDS]


@pytest.mark.parametrize("hash_seed", ["0", "1", "4711"])
@pytest.mark.parametrize("version", WANTED)
def test_the_same_seed_is_the_same_run_in_another_process(version: str, hash_seed: str) -> None:  # S10.9
    python = interpreter(version)
    if python is None:
        pytest.skip(f"this machine has no Python {version} (looked at PATH and ~/.pyenv/versions)")
    assert digests(python, hash_seed, SEEDS) == here()


def test_this_python_is_one_of_those_that_are_compared() -> None:
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    found = interpreter(version)
    assert found is not None
    assert interpreter("2.0") is None


def test_a_run_does_not_depend_on_those_before_it_in_the_same_process() -> None:  # S10.9
    first = [run(draw(seed, "quick")).digest for seed in (5, 6, 7)]
    again = [run(draw(seed, "quick")).digest for seed in (7, 6, 5)]
    assert first == again[::-1]


def test_a_run_that_is_told_is_the_same_run() -> None:  # S10.9
    for seed in (2, 4):
        assert run(draw(seed, "quick"), recording=True).digest == run(draw(seed, "quick")).digest


@pytest.mark.parametrize("seed", [1, 3])
def test_what_makes_it_fast_changes_nothing(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = result(seed)
    monkeypatch.setattr(speed, "installed", contextlib.nullcontext)
    plain = run(draw(seed))
    assert (plain.digest, plain.events, plain.faults) == (quick.digest, quick.events, quick.faults)


def test_what_makes_it_fast_is_undone_afterwards() -> None:
    decode, constructor = datagram.decode, View.__init__
    with speed.installed():
        assert View.__init__ is not constructor
        assert datagram.decode is not decode
        assert empty(3) == empty(3)
        assert hash(empty(3)) == hash(empty(3))
        assert empty(3) != empty(2)
    assert View.__init__ is constructor
    assert View.__eq__ is Value.__eq__
    assert datagram.decode is decode
    with pytest.raises(AttributeError, match="values are immutable"):
        empty(3).epoch = 1  # type: ignore[misc]
