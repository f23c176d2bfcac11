"""The simulator's own claims: whoever judges a recording tells of each that it is not judged."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from guestd.core.value import replace
from guestd.membership.states import NodeState
from guestd.membership.view import Entry, View
from hil.checkers.checker import Violation
from hil.checkers.claims import OF_THE_SIMULATOR, every_checker
from hil.checkers.observation import Observation
from hil.sim import claims
from hil.sim.case import Case
from hil.sim.claims.worked_on import WorkedOn
from hil.sim.options import changed
from hil.sim.plan import Fault, Plan

if TYPE_CHECKING:
    from hil.checkers.observation import Life
    from hil.sim.world import World


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


# -- what is worked on


@pytest.mark.parametrize(
    ("own", "waited_for"),
    [
        (Entry(NodeState.JOINED, 1, reach=50), True),
        (Entry(NodeState.LEAVING, 1, level=40, reach=40), True),  # on its way down to the program's level
        (Entry(NodeState.LEAVING, 1, level=15, reach=15), True),  # there: it may be at work on both
        (Entry(NodeState.LEAVING, 1, level=10, reach=10), False),  # past it: the program has let it go (S4.9)
    ],
)
def test_a_program_is_waited_for_until_its_nodes_own_leave_has_passed(own: Entry, *, waited_for: bool) -> None:  # S4.5
    node = SimpleNamespace(number=0, incarnation=1)
    told = (1, 1, "forced-leave", 0)
    state = {"runs": True, "deregistered": False, "unacknowledged": {told}}
    program = SimpleNamespace(order=15, name="recoverer", node=node, **state)
    claim = WorkedOn()
    claim.world = cast("World", SimpleNamespace(programs=SimpleNamespace(all=[program])))
    dead = Entry(NodeState.FORCED_LEAVING, 1, level=15, reach=50, forced=True)
    claim.committed(cast("Life", node), 1, View(3, 1, 0, (own, dead)))
    moved = View(3, 2, 0, (own, replace(dead, level=20)))
    with pytest.raises(Violation, match="recoverer on node 0") if waited_for else nullcontext():
        claim.committed(cast("Life", node), 1, moved)


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
