"""Whole stacks against a disk and a network in memory: what a cluster does, fault by fault."""

from __future__ import annotations

import pytest

from guestd.core.config import ELECTIONS
from tests.unit.guestd_steps import FORCED_LEAVE, JOIN, LEAVE
from tests.unit.guestd_world import World


@pytest.fixture(params=ELECTIONS)
def world(request: pytest.FixtureRequest) -> World:
    return World(nodes=3, seed=1, election=request.param)


def formed(world: World) -> World:
    world.power_on()
    world.run_until(world.all_joined)
    return world


def transition(world: World, node: int, subject: int, kind: str) -> list[tuple[int, int]]:
    """What that node's subsystems were told of a transition of the subject's, in order."""
    told = world.events(node, "notified")
    return [(e["level"], e["barrier"]) for e in told if (e["subject"], e["transition"]) == (subject, kind)]


def no_panics(world: World) -> bool:
    return all(not machine.panics for machine in world.machines)


def test_three_cold_nodes_form_one_cluster_in_one_epoch(world: World) -> None:  # S3.1
    formed(world)
    assert (world.view.epoch, world.view.master) == (1, 0)
    for node in range(3):
        for subject in range(3):
            assert transition(world, node, subject, "join") == JOIN  # S4.4, S4.5
        assert [e["state"] for e in world.events(node, "state")] == ["joining", "joined"]
    done = [e["level"] for e in world.events(0, "level-complete") if e["subject"] == 2]
    assert done == [0, 10, 20, 30, 40]


def test_when_all_nodes_are_there_nobody_is_waited_for(world: World) -> None:
    world.power_on()
    world.run_until(lambda: bool(world.events(0, "bid")))
    assert world.now_ms < world.config.timing.settle_ms


def test_nodes_tell_each_other_of_a_new_life_without_waiting_for_a_tick(world: World) -> None:
    world.power_on()
    bid_ms = world.run_until(lambda: world.events(0, "bid"))
    assert bid_ms < world.config.timing.heartbeat_ms


def test_nodes_that_start_together_join_in_one_epoch_whatever_overtakes_what() -> None:  # S4.6
    """A datagram that was overtaken says nothing any more; what it said is not true now."""
    for seed in range(100):
        world = World(seed=seed)
        world.power_on()
        world.run_until(world.all_joined)
        assert world.view.epoch == 1, f"seed {seed}: {world.story()}"


def test_where_one_is_missing_others_may_still_come(world: World) -> None:
    world.power_on(1, 2)
    world.run_until(lambda: bool(world.events(1, "bid")))
    assert world.now_ms >= world.config.timing.settle_ms


def test_the_joins_of_nodes_that_boot_together_overlap(world: World) -> None:  # S4.6
    formed(world)
    assert world.view.step == len(JOIN)


def test_nodes_that_come_later_are_admitted_by_the_master(world: World) -> None:  # S3.1
    world.power_on(1)
    world.run_until(lambda: world.all_joined(1))
    world.power_on(0)
    world.run_until(lambda: world.all_joined(0, 1))
    world.power_on(2)
    world.run_until(world.all_joined)
    assert world.view.master == 1
    assert world.view.epoch == 3


def test_a_node_without_power_is_forced_out_and_comes_back(world: World) -> None:  # S2.6, S5.1
    formed(world)
    world.power_off(2)
    took_ms = world.run_until(lambda: world.all_joined(0, 1))
    timing = world.config.timing
    assert timing.death_ms - timing.heartbeat_ms <= took_ms <= timing.death_ms + timing.settle_ms + 1000
    assert transition(world, 1, 2, "forced-leave") == FORCED_LEAVE
    assert world.events(0, "silent")[0]["subject"] == 2
    world.power_on(2)
    world.run_until(world.all_joined)
    assert world.view.entries[2].incarnation == 2
    assert no_panics(world)


def test_a_node_that_is_back_before_anybody_missed_it_is_forced_out_at_once(world: World) -> None:  # S4.10
    formed(world)
    world.power_off(2)
    world.power_on(2)
    assert world.run_until(lambda: world.events(0, "elected")[1:]) < world.config.timing.death_ms
    world.run_until(world.all_joined)
    assert world.events(0, "elected")[1]["victims"] == [2]
    assert world.view.entries[2].incarnation == 2


def test_a_master_that_dies_is_replaced_by_the_lowest_survivor(world: World) -> None:  # S3.3
    formed(world)
    world.power_off(0)
    world.run_until(lambda: world.all_joined(1, 2))
    assert world.view.master == 1
    world.power_on(0)
    world.run_until(world.all_joined)
    assert world.view.master == 1


@pytest.mark.parametrize("step", range(len(JOIN)))
def test_a_master_that_dies_in_any_step_of_a_join_leaves_it_to_the_next_one(step: int) -> None:  # S3.3
    world = World(nodes=3, seed=step)
    world.power_on(0, 1)
    world.run_until(lambda: world.all_joined(0, 1))
    epoch = world.view.epoch + 1
    world.power_on(2)
    world.run_until(lambda: world.view.order >= (epoch, step))
    assert world.view.entries[2].state.value == "joining"
    world.power_off(0)
    world.run_until(lambda: world.all_joined(1, 2))
    assert transition(world, 1, 2, "join") == JOIN  # no step twice, none missed
    assert transition(world, 2, 2, "join") == JOIN


def test_a_forced_leave_reaches_no_higher_than_the_join_did() -> None:  # S4.11
    world = World(nodes=3, seed=3)
    world.power_on(0, 1)
    world.run_until(lambda: world.all_joined(0, 1))
    world.power_on(2)
    world.run_until(lambda: world.view.entries[2].state.value == "joining" and world.view.entries[2].level == 20)
    world.power_off(2)
    world.run_until(lambda: world.all_joined(0, 1))
    told = transition(world, 1, 2, "join")
    forced = transition(world, 1, 2, "forced-leave")
    assert told[-1][0] in (20, 30)
    reached = [step for step in FORCED_LEAVE if step[0] <= told[-1][0]]
    assert forced == reached
    # Nor does the master take the transition any higher, with nobody there to notify.
    complete = [e for e in world.events(0, "level-complete") if e["subject"] == 2 and e["transition"] == "forced-leave"]
    assert [event["level"] for event in complete] == [level for level, barrier in reached if barrier == 0]


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_a_node_without_interconnect_is_forced_out_and_panics(world: World, victim: int) -> None:  # S5.2, S6.1
    formed(world)
    world.isolate(victim)
    others = [node for node in range(3) if node != victim]
    world.run_until(lambda: world.all_joined(*others))
    world.run_until(lambda: world.machines[victim].panics, within_ms=world.config.timing.disk_heartbeat_ms)
    assert world.machines[victim].panics[0].startswith(f"node {victim} (incarnation 1) found itself forced out")
    assert [e["reason"] for e in world.events(victim, "panic")] == world.machines[victim].panics
    assert world.view.epoch == 2  # one fault, one change of membership
    assert all(not world.machines[node].panics for node in others)


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_nobody_acts_before_all_could_publish_whom_they_hear(world: World, victim: int) -> None:  # S5.2
    formed(world)
    cut_ms = world.now_ms
    world.isolate(victim)
    world.run_until(lambda: world.machines[victim].panics)
    told = [event for machine in world.machines for event in machine.events if event[0] >= cut_ms]
    silent_ms = min(at_ms for at_ms, kind, _ in told if kind == "silent")
    bid_ms = min(at_ms for at_ms, kind, _ in told if kind == "bid")
    assert bid_ms - silent_ms >= world.config.timing.settle_ms


@pytest.mark.parametrize("nodes", [2, 3, 5])
@pytest.mark.parametrize(("deaf", "unheard"), [(0, 1), (1, 0), (1, 2), (2, 1)])
def test_one_link_cut_in_one_direction_costs_one_node_and_not_the_master(  # S5.2, A7
    nodes: int, deaf: int, unheard: int
) -> None:
    if max(deaf, unheard) >= nodes:
        return
    world = formed(World(nodes))
    world.cut.add((unheard, deaf))
    world.run_until(lambda: any(machine.panics for machine in world.machines))
    world.run(600_000)  # ten quiet minutes
    assert [node for node, machine in enumerate(world.machines) if machine.panics] == [max(deaf, unheard)]
    assert world.view.epoch == 2


@pytest.mark.parametrize("sooner_ms", [0, 100, 300, 500])
def test_who_lost_a_dead_node_a_little_sooner_is_not_taken_for_cut_off(sooner_ms: int) -> None:  # S5.2
    world = formed(World(4))
    world.power_off(1)
    world.run(1200 - sooner_ms)
    world.cut.add((2, 3))  # its last datagrams get lost on one way
    world.run(sooner_ms)
    world.power_off(2)
    world.run_until(lambda: world.all_joined(0, 3))
    assert no_panics(world)


def test_of_two_nodes_that_lose_each_other_the_master_goes_on() -> None:  # S5.2, A6
    world = World(nodes=2, seed=2)
    world.power_on(1)
    world.run_until(lambda: world.all_joined(1))
    world.power_on(0)
    world.run_until(world.all_joined)
    world.isolate(0)
    world.run_until(lambda: world.machines[0].panics)
    assert not world.machines[1].panics


def test_a_node_that_boots_without_interconnect_waits_and_says_why(world: World) -> None:  # S5.4, A10
    world.power_on(0, 1)
    world.run_until(lambda: world.all_joined(0, 1))
    world.isolate(2)
    world.power_on(2)
    world.run(20_000)
    assert world.state(2) == "inactive"
    assert world.all_joined(0, 1)
    assert world.events(2, "waiting")[-1]["for"] == "the interconnect: nodes 0, 1 on the disk cannot be heard"
    world.cut.clear()
    world.run_until(world.all_joined)


def test_a_node_whose_disk_hangs_is_forced_out_by_the_others(world: World) -> None:  # S5.1, A8
    formed(world)
    world.disk_hung.add(1)
    world.run_until(lambda: world.machines[1].panics)
    world.run_until(lambda: world.all_joined(0, 2))


def test_when_all_lose_the_disk_nobody_panics_and_the_same_membership_goes_on(world: World) -> None:  # S5.3, A5
    formed(world)
    world.disk_hung = {0, 1, 2}
    world.run(30_000)
    world.disk_hung.clear()
    world.run(30_000)
    assert no_panics(world)
    assert world.view.epoch == 1
    assert world.all_joined()


def test_who_alone_still_sees_the_disk_goes_on_alone(world: World) -> None:  # S5.3, A5
    formed(world)
    world.disk_hung = {0, 1}
    world.run_until(lambda: world.all_joined(2))
    assert [bool(machine.panics) for machine in world.machines] == [True, True, False]


def test_a_node_frozen_for_long_panics_when_it_thaws(world: World) -> None:  # S6.1
    formed(world)
    world.freeze(1)
    world.run_until(lambda: world.view.entries[1].state.value == "inactive")
    world.thaw(1)
    world.run_until(lambda: world.machines[1].panics, within_ms=1000)


def test_a_node_frozen_for_a_moment_stays(world: World) -> None:
    formed(world)
    world.freeze(1)
    world.run(world.config.timing.death_ms * 2 // 3)
    world.thaw(1)
    world.run(10_000)
    assert world.all_joined()
    assert world.view.epoch == 1


def test_when_all_freeze_together_nobody_is_forced_out(world: World) -> None:
    formed(world)
    for node in range(3):
        world.freeze(node)
    world.run(30_000)
    for node in range(3):
        world.thaw(node)
    world.run(10_000)
    assert world.all_joined()
    assert world.view.epoch == 1


@pytest.mark.parametrize("leaver", [0, 1, 2])
def test_a_node_leaves_gracefully_from_the_top_down_and_may_come_back(world: World, leaver: int) -> None:  # S4.4, S4.9
    formed(world)
    world.order(leaver, "leave")
    world.run_until(lambda: world.machines[leaver].exits == [0])
    others = [node for node in range(3) if node != leaver]
    for node in range(3):
        assert transition(world, node, leaver, "leave") == LEAVE
    assert [e["state"] for e in world.events(leaver, "state")][-2:] == ["leaving", "inactive"]
    assert world.events(leaver, "left")
    world.run_until(lambda: world.all_joined(*others))
    world.power_on(leaver)
    world.run_until(world.all_joined)
    assert no_panics(world)
    assert not [e for node in range(3) for e in world.events(node, "elected") if e["victims"]]


def test_a_master_that_has_left_is_replaced_without_waiting_for_its_silence(world: World) -> None:
    formed(world)
    world.order(0, "leave")
    world.run_until(lambda: world.machines[0].exits)
    assert world.run_until(lambda: world.view.master == 1) < world.config.timing.disk_heartbeat_ms * 2


def test_all_nodes_may_leave_at_once_and_form_again(world: World) -> None:
    formed(world)
    for node in range(3):
        world.order(node, "leave")
    world.run_until(lambda: all(machine.exits == [0] for machine in world.machines))
    assert world.view.live() == []
    formed(world)
    assert no_panics(world)


def test_a_node_that_wants_to_leave_while_it_joins_turns_round_between_levels() -> None:  # S4.8
    world = World(nodes=2, seed=5)
    world.power_on(0)
    world.run_until(lambda: world.all_joined(0))
    world.power_on(1)
    world.run_until(lambda: world.view.entries[1].level == 10)
    world.run_until(lambda: world.state(1) == "joining")
    world.order(1, "leave")
    world.run_until(lambda: world.machines[1].exits == [0])
    joined = transition(world, 0, 1, "join")
    left = transition(world, 0, 1, "leave")
    assert joined == JOIN[: len(joined)]
    assert joined[-1] in ((10, 1), (20, 0), (30, 0))  # a level that was begun was finished
    assert left == [step for step in LEAVE if step[0] <= joined[-1][0]]


def test_a_node_that_dies_while_it_leaves_and_boots_again_is_recovered_first() -> None:  # S4.10
    world = World(nodes=3, seed=6)
    formed(world)
    world.order(2, "leave")
    world.run_until(lambda: world.view.entries[2].state.value == "leaving" and world.view.entries[2].level == 20)
    world.power_off(2)
    world.power_on(2)
    world.run_until(world.all_joined)
    forced = [level for level, _ in transition(world, 1, 2, "forced-leave")]
    assert forced[:2] == [0, 10]
    assert 40 not in forced  # it was done with that level, and inactive there


def test_power_failure_of_all_and_mass_reboot(world: World) -> None:
    formed(world)
    for life in range(2, 5):
        world.power_off()
        world.run(1000)
        world.power_on()
        assert world.run_until(world.all_joined) < 6000
        assert [entry.incarnation for entry in world.view.entries] == [life] * 3
    assert no_panics(world)


def test_one_node_alone_recovers_after_all_others_of_the_last_membership(world: World) -> None:  # S4.10
    formed(world)
    world.power_off()
    world.power_on(2)
    world.run_until(lambda: world.all_joined(2))
    for dead in (0, 1):
        assert transition(world, 2, dead, "forced-leave") == FORCED_LEAVE
    assert transition(world, 2, 2, "forced-leave") == []  # its own recovery is part of its join


def test_a_mass_reboot_in_the_middle_of_transitions(world: World) -> None:
    formed(world)
    world.order(1, "leave")
    world.power_off(2)
    world.run_until(lambda: world.view.in_transition() != [])
    world.power_off()
    formed(world)
    assert no_panics(world)


def test_nothing_changes_for_ten_minutes_without_a_fault(world: World) -> None:
    formed(world)
    order = world.view.order
    world.run(600_000)
    assert world.view.order == order


def test_an_order_is_carried_out_once(world: World) -> None:
    formed(world)
    world.order(1, "status")
    world.machines[1].orders = 0
    world.order(1, "status")
    world.order(1, "dance")
    world.run(1000)
    assert len(world.events(1, "status")) == 1
    assert world.events(1, "order-taken") == [{"order_n": 1, "order": "status"}]
    assert world.events(1, "order-refused") == [
        {"order_n": 2, "order": "dance", "reason": "unknown order (legal: leave, panic, status)"}
    ]


def test_the_order_to_panic_panics_with_its_reason(world: World) -> None:
    formed(world)
    world.order(1, "panic", "because")
    assert world.machines[1].panics == ["because"]
    assert world.events(1, "order-taken", "panic") == [
        {"order_n": 1, "order": "panic"},
        {"cause": "ordered", "reason": "because"},
    ]
    world.run_until(lambda: world.all_joined(0, 2))


def test_a_node_that_leaves_before_it_was_admitted_just_ends(world: World) -> None:
    world.power_on(1)
    world.order(1, "leave")
    assert world.machines[1].exits == [0]


def test_a_second_order_to_leave_is_refused(world: World) -> None:
    formed(world)
    world.order(1, "leave")
    world.order(1, "leave")
    assert world.events(1, "order-refused")[0]["reason"] == "this node is leaving already"


def test_a_disk_of_another_cluster_is_refused(world: World) -> None:
    other = World(nodes=4)
    world.disk[:] = other.disk
    world.power_on(0)
    world.run(1000)
    assert world.machines[0].exits == [2]
    assert "it is of the cluster demo with 4 nodes" in world.events(0, "refused")[0]["reason"]


SIZES = [*(("paxos", nodes) for nodes in (2, 5, 8, 64)), *(("dekker", nodes) for nodes in range(2, 9))]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("election", "nodes"), SIZES)
def test_clusters_of_every_size_form(election: str, nodes: int) -> None:  # S3.2, A15
    world = World(nodes=nodes, seed=nodes, election=election)
    formed(world)
    assert world.view.step == len(JOIN)
    assert no_panics(world)


def test_the_same_seed_gives_the_same_run() -> None:
    runs = []
    for _ in range(2):
        world = World(nodes=3, seed=9)
        world.loss = 0.1
        formed(world)
        world.power_off(0)
        world.run(20_000)
        runs.append([machine.events for machine in world.machines])
    assert runs[0] == runs[1]
