"""The simulator's own claims: whoever judges a recording tells of each that it is not judged."""

from __future__ import annotations

from pathlib import Path

from hil.checkers.claims import OF_THE_SIMULATOR, every_checker
from hil.checkers.observation import Observation
from hil.sim import claims


def test_each_is_named_where_recordings_are_judged() -> None:
    own = claims.every_claim()[len(every_checker()) :]
    assert {type(one).__module__: one.claim for one in own} == {
        f"{claims.__name__}.{name}": claim for name, claim in OF_THE_SIMULATOR.items()
    }
    assert all(one.needs == (Observation.INSIDE,) for one in own)


def test_no_file_of_them_is_forgotten() -> None:
    files = {path.stem for path in Path(claims.__path__[0]).glob("*.py")} - {"__init__"}
    assert files == set(OF_THE_SIMULATOR)


def test_all_claims_of_a_simulated_run_begin_with_those_of_every_run() -> None:
    every = claims.every_claim(fence="panic", election="dekker")
    of_every_run = every_checker(fence="panic", election="dekker")
    assert [type(one) for one in every[: len(of_every_run)]] == [type(one) for one in of_every_run]
