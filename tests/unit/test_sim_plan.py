"""A plan of faults: drawn by a generator of its own, written down and read again, checked, carried out as it says."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest

from guestd.membership.roles import Role
from hil.errors import UsageError
from hil.sim.options import FAULTS, FENCE_FAULTS, draw
from hil.sim.plan import KINDS, PARAMETERS, Fault, Plan, from_dict
from hil.sim.planning import draw_plan
from hil.sim.randomness import draws
from hil.sim.run import run
from hil.sim.world import World

QUIET = replace(draw(0, "performance"), faults_ms=20_000)

ONE_OF_EACH = (
    Fault("crash", 100, node=1),
    Fault("crash", 100, 1500, node="master"),
    Fault("doom", 100, 3000, node=0, effects=0),
    Fault("power-failure", 100, nodes=(0, 2)),
    Fault("leave", 100, node="other"),
    Fault("panic", 100, node=2),
    Fault("freeze-process", 100, 700, node=0, drops=False),
    Fault("freeze-vcpu", 100, 700, node=0, drops=True),
    Fault("slow-cpu", 100, 700, node=1, cost_us=900),
    Fault("cut-node", 100, 700, node=1),
    Fault("cut-one-way", 100, 700, node="master", others=(1, 2), direction="in"),
    Fault("cut-link", 100, 700, node=0, others=(1,)),
    Fault("split", 100, 700, groups=((0, 1), (2,))),
    Fault("loss", 100, 700, share=300),
    Fault("disk-hang", 100, 700, node=0),
    Fault("disk-hang-all", 100, 700),
    Fault("delay-writes", 100, 700, node=0),
    Fault("disk-errors", 100, 700, node=0, share=1000),
    Fault("fence-hang", 100, 700, node=0, lun=0),
    Fault("fence-errors", 100, 700, node="other", lun=0, share=300),
)


def world(*faults: Fault, nodes: int = 3, until_ms: int = 20_000, **options: Any) -> World:
    """Booted, with those faults before it."""
    made = World(replace(QUIET, nodes=nodes, **options), plan=Plan(until_ms, faults))
    made.begin()
    made.faults.begin()
    return made


def master_of(made: World) -> int:
    (master,) = [node.number for node in made.nodes if node.stack and node.stack.member.role is Role.MASTER]
    return master


def test_every_kind_that_the_options_choose_from_is_a_kind_of_a_plan() -> None:
    assert tuple(KINDS) == (*FAULTS, *FENCE_FAULTS)
    assert {fault.kind for fault in ONE_OF_EACH} == set(KINDS)


@pytest.mark.parametrize("fault", ONE_OF_EACH, ids=str)
def test_a_fault_is_the_same_again_after_json_and_from_its_source(fault: Fault) -> None:
    assert from_dict(json.loads(json.dumps(fault.as_dict()))) == fault
    assert eval(fault.source(), {"Fault": Fault}) == fault


@pytest.mark.parametrize("fault", ONE_OF_EACH, ids=str)
def test_every_fault_strikes_and_is_told(fault: Fault) -> None:  # S10.7
    made = world(replace(fault, at_ms=6000))
    made.queue.run_until(5_999_999)
    assert made.why_not_converged() is None
    assert made.faults.counts == {}
    made.queue.run_until(6_000_001)
    assert made.faults.counts == {fault.kind: 1}
    assert made.faults.in_force == ([fault.kind] if fault.for_ms else [])


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"kind": "flood", "at_ms": 1}, "fault 'flood' (legal: crash, doom, "),
    ({"at_ms": 1}, "a fault lacks kind: {'at_ms': 1}"),
    ({"kind": "crash"}, "a fault lacks at_ms: {'kind': 'crash'}"),
    ({"kind": "crash", "at_ms": 1, "when": 3}, "a fault has no 'when' (legal: kind, at_ms, for_ms, node, "),
    ({"kind": "crash", "at_ms": 1}, "fault crash at 1 ms: lacks node"),
    ({"kind": "crash", "at_ms": 1, "node": 1, "share": 3}, "fault crash at 1 ms: has no share (it has: node)"),
    ({"kind": "disk-hang-all", "at_ms": 1, "for_ms": 1, "node": 0}, "has no node (it has: no parameters)"),
    ({"kind": "crash", "at_ms": 1.5, "node": 1}, "fault crash at 1.5 ms: at_ms must be a whole number from 0"),
    ({"kind": "crash", "at_ms": -1, "node": 1}, "fault crash at -1 ms: at_ms must be a whole number from 0"),
    ({"kind": "crash", "at_ms": 1, "node": "slave"}, "node = 'slave' (legal: a node's number, master, other)"),
    ({"kind": "crash", "at_ms": 1, "node": True}, "node = True (legal: a node's number, master, other)"),
    ({"kind": "crash", "at_ms": 1, "node": 1, "for_ms": -1}, "for_ms = -1 (legal: a whole number from 0)"),
    ({"kind": "cut-node", "at_ms": 1, "node": 1}, "for_ms = 0 (legal: a whole number from 1)"),
    ({"kind": "leave", "at_ms": 1, "node": 1, "for_ms": 5}, "is over at once: for_ms = 5 (legal: 0)"),
    ({"kind": "power-failure", "at_ms": 1, "nodes": []}, "nodes = () (legal: numbers of nodes, each once)"),
    ({"kind": "power-failure", "at_ms": 1, "nodes": [1, 1]}, "nodes = (1, 1) (legal: numbers of nodes, each once)"),
    ({"kind": "cut-link", "at_ms": 1, "for_ms": 1, "node": 0, "others": []}, "others = () (legal: numbers of nodes"),
    ({"kind": "power-failure", "at_ms": 1, "nodes": 1}, "nodes = 1 (legal: numbers of nodes, each once)"),
    ({"kind": "split", "at_ms": 1, "for_ms": 1, "groups": [[0]]}, "groups = ((0,),) (legal: two groups or more"),
    ({"kind": "split", "at_ms": 1, "for_ms": 1, "groups": [[0], [0]]}, "(legal: two groups or more, each node in one"),
    ({"kind": "loss", "at_ms": 1, "for_ms": 1, "share": 1001}, "share = 1001 (legal: 1 to 1000, per mille)"),
    (
        {"kind": "doom", "at_ms": 1, "for_ms": 1, "node": 0, "effects": -1},
        "effects = -1 (legal: a whole number from 0)",
    ),
    ({"kind": "slow-cpu", "at_ms": 1, "for_ms": 1, "node": 0, "cost_us": 0}, "(legal: a whole number from 1)"),
    ({"kind": "fence-hang", "at_ms": 1, "for_ms": 1, "node": 0, "lun": 8}, "lun = 8 (legal: 0 to 7)"),
    ({"kind": "freeze-vcpu", "at_ms": 1, "for_ms": 1, "node": 0, "drops": 1}, "drops = 1 (legal: true, false)"),
    (
        {"kind": "cut-one-way", "at_ms": 1, "for_ms": 1, "node": 0, "others": [1], "direction": "up"},
        "direction = 'up' (legal: out, in)",
    ),
]


@pytest.mark.parametrize(("given", "told"), WRONG, ids=[told for _, told in WRONG])
def test_what_is_no_fault_is_refused_with_what_is_legal(given: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as refused:
        from_dict(given)
    assert told in str(refused.value)


def test_no_parameter_is_without_a_check() -> None:
    named = {name for given, told in WRONG for name in given if "(legal: " in told}
    assert set(PARAMETERS) <= named


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        (Plan(1000, (Fault("crash", 5, node=3),)), "fault crash at 5 ms: node 3 (legal: 0 to 2)"),
        (Plan(1000, (Fault("split", 5, 1, groups=((0,), (1, 4))),)), "fault split at 5 ms: node 4 (legal: 0 to 2)"),
        (Plan(1000, (Fault("cut-link", 5, 1, node=1, others=(0, 1)),)), "node 1 is one of the others"),
        (Plan(0), "plan: until_ms = 0 (legal: a whole number from 1)"),
    ],
)
def test_a_plan_for_other_nodes_is_refused_before_anything_begins(plan: Plan, told: str) -> None:
    with pytest.raises(UsageError) as refused:
        run(QUIET, plan)
    assert told in str(refused.value)


@pytest.mark.parametrize("seed", range(0, 60, 7))
def test_a_plan_is_drawn_the_same_again_fits_its_options_and_lies_within_the_run(seed: int) -> None:
    options = draw(seed)
    plan = draw_plan(options)
    assert plan == draw_plan(options)
    plan.check(options.nodes)
    assert {fault.kind for fault in plan.faults} <= {kind for kind, _ in options.weights}
    assert [fault.at_ms for fault in plan.faults] == sorted(fault.at_ms for fault in plan.faults)
    assert all(0 < fault.at_ms < plan.until_ms for fault in plan.faults)


def test_plans_differ_by_seed_and_now_and_then_strike_whoever_is_the_master() -> None:
    plans = [draw_plan(draw(seed)) for seed in range(60)]
    assert len(set(plans)) == len(plans)
    struck = [fault.node for plan in plans for fault in plan.faults if fault.node is not None]
    assert 0.1 < struck.count("master") / len(struck) < 0.3


def test_a_plan_played_again_is_the_run_of_its_seed() -> None:
    options = draw(5)
    assert run(options, draw_plan(options)).digest == run(options).digest


def test_without_faults_to_choose_from_the_plan_is_empty() -> None:
    assert draw_plan(QUIET) == Plan(20_000)
    assert Plan(20_000).table() == ["no faults for 20000 ms"]


# -- whom it strikes


@pytest.mark.parametrize("seed", range(4))
def test_a_fault_of_the_master_strikes_who_is_it_then(seed: int) -> None:
    made = world(Fault("crash", 6000, 60_000, node="master"), Fault("crash", 14_000, 60_000, node="master"), seed=seed)
    made.queue.run_until(5_999_999)
    first = master_of(made)
    made.queue.run_until(13_999_999)
    second = master_of(made)
    assert [node.number for node in made.nodes if node.stack is None] == [first]
    made.queue.run_until(14_000_001)
    assert [node.number for node in made.nodes if node.stack is None] == sorted([first, second])


def test_a_fault_of_another_member_strikes_the_first_that_is_not_the_master() -> None:
    made = world(Fault("panic", 6000, node="other"))
    made.queue.run_until(5_999_999)
    master = master_of(made)
    made.queue.run_until(6_000_001)
    assert [bool(node.panics) for node in made.nodes] == [number == min({0, 1} - {master}) for number in range(3)]


def test_a_fault_that_finds_nobody_is_passed_over() -> None:
    made = world(
        Fault("power-failure", 6000, 60_000, nodes=(0, 1, 2)),
        Fault("panic", 7000, node="master"),
        Fault("leave", 7000, node=1),
    )
    made.queue.run_until(8_000_000)
    assert made.faults.counts == {"power-failure": 1}


def test_power_is_off_for_as_long_as_the_plan_says() -> None:
    made = world(Fault("crash", 6000, 2500, node=1), boot_ms_max=400)
    made.queue.run_until(8_500_000 + 299_999)
    assert made.nodes[1].stack is None
    made.queue.run_until(8_500_000 + 400_001)
    assert made.nodes[1].stack is not None


def test_cuts_are_those_that_the_plan_names_and_no_others() -> None:
    def cut(fault: Fault) -> set[tuple[int, int]]:
        made = world(fault, nodes=4)
        made.queue.run_until(20_000)
        deaf = list(made.network._deaf)
        made.queue.run_until(100_001)
        assert made.network.whole
        return {(one, other) for one in range(4) for other in range(4) if deaf[one] >> other & 1}

    assert cut(Fault("cut-node", 0, 100, node=1)) == {(1, 0), (1, 2), (1, 3), (0, 1), (2, 1), (3, 1)}
    assert cut(Fault("cut-link", 0, 100, node=1, others=(3,))) == {(1, 3), (3, 1)}
    assert cut(Fault("cut-one-way", 0, 100, node=1, others=(0, 3), direction="out")) == {(1, 0), (1, 3)}
    assert cut(Fault("cut-one-way", 0, 100, node=1, others=(0, 3), direction="in")) == {(0, 1), (3, 1)}
    # Whoever is in no group is cut from all.
    assert cut(Fault("split", 0, 100, groups=((0, 1), (2,)))) == {
        *((0, 2), (2, 0), (1, 2), (2, 1)),
        *((number, 3) for number in range(3)),
        *((3, number) for number in range(3)),
    }


# -- what leaving one out does to the rest


def drawn_next(made: World) -> list[tuple[float, ...]]:
    """What the first three nodes would draw."""
    return [
        (*(draw() for draw in made.network._draws[node]), *(draw() for draw in made.disk._draws[node]), *drawn)
        for node, drawn in enumerate([tuple(draw.random() for draw in one) for one in made.generators[:3]])
    ]


def test_a_node_draws_the_same_in_a_cluster_of_any_size() -> None:
    small, large = drawn_next(world(nodes=3)), drawn_next(world(nodes=9))
    assert small == large
    assert len({number for node in small for number in node}) == 3 * len(small[0]), "no two generators are the same"


def ticks(made: World, number: int) -> list[int]:
    """When that node's heartbeats land."""
    return [entry.at_us for entry in made.disk.ledger.of(number, "done", "lost") if entry.what == "write"]


def test_leaving_out_a_fault_of_one_node_leaves_another_ones_luck_as_it_was() -> None:
    """A freeze that nobody notices: what the others draw afterwards is the same as without it."""
    options: dict[str, Any] = {"late_tick_us_max": 10_000, "latency_us_max": 10_000, "lost_share": 20}
    with_it = world(Fault("slow-cpu", 8000, 500, node=2, cost_us=50), **options)
    without = world(**options)
    for made in (with_it, without):
        made.queue.run_until(15_000_000)
    assert ticks(with_it, 0) == ticks(without, 0)
    assert ticks(with_it, 1) == ticks(without, 1)


def test_a_rate_at_zero_leaves_the_delays_as_they_were() -> None:
    several = {"loss_share": 50, "duplicate_share": 100, "late_share": 100, "late_ms_max": 1}
    made = [world(**several), world(**{**several, "loss_share": 0})]
    drawn = []
    for one in made:
        one.queue.run_until(1_500_000)
        one.network._draws = [
            draws(random.Random(7), 4)
        ] * 3  # what the cluster said up to here depends on what was lost
        for _ in range(50):
            one.network.send(0, b"for all")
        drawn.append(one.network._draws[0][3]())
    assert made[0].network.counts["lost"] > 0
    assert drawn[0] == drawn[1]


def test_every_kind_is_drawn() -> None:
    with_all = replace(QUIET, weights=tuple((kind, 1) for kind in FAULTS), fault_every_ms=5, faults_ms=5000)
    assert {fault.kind for fault in draw_plan(with_all).faults} == set(FAULTS)


def test_the_table_of_a_plan_is_for_people() -> None:
    plan = Plan(9000, (Fault("crash", 100, 1500, node="master"), Fault("split", 7000, 700, groups=((0, 1), (2,)))))
    assert plan.table() == [
        "at ms  fault  for ms  whom, how",
        "  100  crash    1500  master",
        " 7000  split     700  groups n0 n1 | n2",
    ]
