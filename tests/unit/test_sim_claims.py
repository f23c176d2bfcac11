"""The simulator's own claims: whoever judges a recording tells of each that it is not judged."""

from __future__ import annotations

from pathlib import Path

from hil.checkers.claims import OF_THE_SIMULATOR, every_checker
from hil.checkers.observation import Observation
from hil.sim import claims
from hil.sim.case import Case
from hil.sim.options import changed
from hil.sim.plan import Fault, Plan


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


# -- what is no violation


def test_who_panics_tells_the_others_who_need_not_wait_for_its_death() -> None:  # S5.4, S6.1
    """Node 0 waits outside for a program that hangs on node 1, until that panics for it: then it forms the cluster."""
    options = {"seed": 2_000_005, "timing_factor": 10.0, "converge_ms": 80_000, "programs": 2, "program_share": 50}
    plan = Plan(31_000, (Fault("crash", 900, 0, node="master"), Fault("doom", 1317, 1000, node=0, effects=10)))
    result = Case(changed({"nodes": 2, **options}), plan).run()
    assert (result.claim, result.violation) == (None, None)
    assert result.panics == 1


def test_a_cut_soon_after_another_one_does_not_tell_who_must_survive() -> None:  # S5.2
    """The silence of the first may still be acted on, and the second has not been seen yet."""
    plan = Plan(12_000, (Fault("cut-node", 6608, 1180, node=1), Fault("cut-link", 8091, 2605, node=2, others=(4,))))
    for seed in range(20):
        result = Case(changed({"nodes": 5, "seed": seed}), plan).run()
        assert (result.claim, result.violation) == (None, None)
