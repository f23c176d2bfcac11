"""The transition notification framework, clause by clause (spec S4), in a cluster in memory with slow subsystems."""

from __future__ import annotations

import random

import pytest

from guestd.membership.position import Position
from guestd.transition.states import SUBSYSTEM_STATES, SubsystemState
from guestd.transition.subsystem import Notification
from tests.unit.guestd_slow import Delay, SlowWorld
from tests.unit.guestd_steps import FORCED_LEAVE, JOIN, LEAVE

ORDERS = [0, 10, 20, 30, 40]
STEPS = {"join": JOIN, "leave": LEAVE, "forced-leave": FORCED_LEAVE}
SEEDS = range(8)

Step = tuple[int, int]


def random_delays(seed: int) -> Delay:
    """Up to 0.3 s each: longer than a period of the disk, shorter than a death."""
    randomness = random.Random(seed)
    return lambda node, level, position: randomness.choice([0, 0, 5, 40, 300])


def at_once(node: int, level: int, position: Position) -> int:
    return 0


def joined(nodes: int, delay_ms: Delay, *, of: int | None = None, seed: int = 1) -> SlowWorld:
    """A laboratory for `of` nodes (all, if None) in which the first `nodes` have joined."""
    world = SlowWorld(of or nodes, seed, delay_ms)
    members = range(nodes)
    world.power_on(*members)
    world.run_until(lambda: world.all_joined(*members))
    return world


def told(world: SlowWorld, node: int, subject: int, transition: str) -> list[Step]:
    """The steps of that transition that this node's subsystems were notified of, in order."""
    told = world.events(node, "notified")
    return [(e["level"], e["barrier"]) for e in told if (e["subject"], e["transition"]) == (subject, transition)]


def handed(world: SlowWorld, node: int, order: int) -> list[Notification]:
    return [notification for at, level, notification in world.handed if (at, level) == (node, order)]


def premature(world: SlowWorld, since: int, parties: set[int]) -> list[str]:
    """Notifications that came before the parties had all acknowledged the step before, in the journal since then."""
    found = []
    acknowledged: dict[tuple[int, str, Step], set[int]] = {}
    for node, kind, fields in world.journal[since:]:
        if kind not in ("notified", "acknowledged"):
            continue
        subject, transition, step = fields["subject"], fields["transition"], (fields["level"], fields["barrier"])
        if kind == "acknowledged":
            acknowledged.setdefault((subject, transition, step), set()).add(node)
            continue
        steps = STEPS[transition]
        before = steps[: steps.index(step)][-1:]
        if before and acknowledged.get((subject, transition, before[0])) != parties:
            found.append(f"node {node}: {fields}")
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_a_join_goes_bottom_up_and_each_barrier_waits_for_all_nodes(seed: int) -> None:  # S4.4, S4.5
    world = joined(2, random_delays(seed), of=3, seed=seed)
    mark = len(world.journal)
    world.power_on(2)
    world.run_until(world.all_joined)
    assert [told(world, node, 2, "join") for node in range(3)] == [JOIN] * 3
    assert premature(world, mark, {0, 1, 2}) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_graceful_leave_goes_top_down_and_each_level_waits_for_all_nodes(seed: int) -> None:  # S4.4, S4.5
    world = joined(3, random_delays(seed), seed=seed)
    mark = len(world.journal)
    world.order(seed % 3, "leave")
    world.run_until(lambda: world.machines[seed % 3].exits)
    assert [told(world, node, seed % 3, "leave") for node in range(3)] == [LEAVE] * 3
    assert premature(world, mark, {0, 1, 2}) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_forced_leave_goes_bottom_up_and_each_level_waits_for_all_survivors(seed: int) -> None:  # S4.4, S4.5
    world = joined(3, random_delays(seed), seed=seed)
    mark = len(world.journal)
    victim = seed % 3
    survivors = [node for node in range(3) if node != victim]
    world.power_off(victim)
    world.run_until(lambda: world.all_joined(*survivors))
    assert [told(world, node, victim, "forced-leave") for node in survivors] == [FORCED_LEAVE] * 2
    assert premature(world, mark, set(survivors)) == []


@pytest.mark.parametrize("silent", [0, 1, 2])
def test_one_node_that_has_not_acknowledged_a_barrier_holds_all_at_it(silent: int) -> None:  # S4.5
    def delay_ms(node: int, level: int, position: Position) -> int | None:
        return None if (node, level, position.subject, position.barrier) == (silent, 10, 2, 0) else 0

    world = joined(2, delay_ms, of=3)
    world.power_on(2)
    world.run(10_000)
    assert [told(world, node, 2, "join") for node in range(3)] == [JOIN[:2]] * 3
    world.acknowledge(silent, handed(world, silent, 10)[-1].positions[-1])
    world.run_until(world.all_joined)


def test_a_subsystem_is_left_alone_while_there_is_nothing_to_process() -> None:  # S4.2
    world = joined(3, at_once)
    told_of = len(world.handed)
    world.run(60_000)
    assert len(world.handed) == told_of
    assert all(notification.positions for _, _, notification in world.handed)


def test_the_states_of_all_nodes_come_along_with_a_transition_of_one() -> None:  # S4.3
    world = joined(3, at_once)
    world.order(2, "leave")
    world.run_until(lambda: world.machines[2].exits)
    world.power_on(2)
    world.run_until(world.all_joined)
    for node, order in [(node, order) for node in (0, 1) for order in ORDERS]:
        states = [[state.value for state in notification.states] for notification in handed(world, node, order)]
        assert ["joined", "joined", "leaving"] in states
        assert states[-1] == ["joined", "joined", "joining"]
    # The node that comes back was told nothing of their joins; it finds them joined.
    assert [state.value for state in handed(world, 2, 40)[-1].states] == ["joined", "joined", "joining"]


def test_transitions_of_several_nodes_and_of_different_types_come_in_one_notification() -> None:  # S4.3, S4.6
    world = joined(3, at_once)
    world.power_off()
    world.power_on(0)
    world.run_until(lambda: world.all_joined(0))
    for order in ORDERS:
        last = [one.positions for one in handed(world, 0, order) if one.positions[0].barrier == 0][-1]
        together = [position.transition for position in last]
        assert sorted(together) == ["forced-leave", "forced-leave", "join"]


@pytest.mark.parametrize("seed", SEEDS)
def test_transitions_of_different_nodes_are_at_different_levels_at_the_same_time(seed: int) -> None:  # S4.6
    world = joined(3, random_delays(seed), of=4, seed=seed)
    world.power_on(3)
    world.run_until(lambda: world.view.entries[3].level == 10)
    world.order(1, "leave")
    world.run_until(lambda: len({world.view.entries[node].level for node in world.view.in_transition()}) == 2)
    world.run_until(lambda: world.all_joined(0, 2, 3))
    for node in (0, 2):
        assert told(world, node, 3, "join") == JOIN
        assert told(world, node, 1, "leave") == LEAVE


@pytest.mark.parametrize("transition", ["join", "leave", "forced-leave"])
def test_the_subject_is_notified_in_the_state_that_the_table_gives_it(transition: str) -> None:  # S4.7
    world = joined(3, at_once)
    if transition == "forced-leave":
        world.power_off(2)
    else:
        world.order(2, "leave")
    world.run_until(lambda: world.all_joined(0, 1))
    found = [
        notification.states[position.subject]
        for _, _, notification in world.handed
        for position in notification.positions
        if position.transition == transition
    ]
    before = SubsystemState.INACTIVE if transition == "join" else SubsystemState.JOINED
    assert set(found) == {SUBSYSTEM_STATES.next(before, transition)}


@pytest.mark.parametrize("under_way", ["join", "leave"])
def test_a_forced_leave_aborts_what_is_under_way_and_its_late_acknowledgement_is_nothing(under_way: str) -> None:
    # S4.7
    def delay_ms(node: int, level: int, position: Position) -> int | None:
        return None if (node, level, position.subject, position.transition) == (1, 20, 2, under_way) else 0

    world = joined(2, delay_ms, of=3) if under_way == "join" else joined(3, delay_ms)
    if under_way == "join":
        world.power_on(2)
    else:
        world.order(2, "leave")
    world.run_until(lambda: told(world, 1, 2, under_way)[-1:] == [(20, 0)])
    aborted = handed(world, 1, 20)[-1].positions[-1]
    world.power_off(2)
    world.run_until(lambda: (20, 0) in told(world, 1, 2, "forced-leave"))
    assert handed(world, 1, 20)[-1].states[2] is SubsystemState.FORCED_LEAVING
    mark = len(world.journal)
    world.acknowledge(1, aborted)
    world.run_until(lambda: world.all_joined(0, 1))
    assert not [e for _, kind, e in world.journal[mark:] if (kind, e.get("transition")) == ("acknowledged", under_way)]


@pytest.mark.parametrize("step", JOIN)
def test_a_level_that_processes_a_join_completes_it_before_the_leave_begins(step: Step) -> None:  # S4.8
    def delay_ms(node: int, level: int, position: Position) -> int | None:
        begun = (position.subject, position.transition, (level, position.barrier)) == (2, "join", step)
        return None if begun and node == 0 else 0

    world = joined(2, delay_ms, of=3)
    world.power_on(2)
    world.run_until(lambda: told(world, 0, 2, "join")[-1:] == [step] and world.state(2) == "joining")
    world.order(2, "leave")
    world.run(5000)
    assert told(world, 0, 2, "leave") == []
    world.acknowledge(0, handed(world, 0, step[0])[-1].positions[-1])
    world.run_until(lambda: world.machines[2].exits)
    level = step[0]
    assert told(world, 0, 2, "join") == [one for one in JOIN if one[0] <= level]
    assert told(world, 0, 2, "leave") == [one for one in LEAVE if one[0] <= level]


def test_a_level_that_has_acknowledged_its_own_leave_is_told_nothing_any_more() -> None:  # S4.9
    """Node 1 has acknowledged its leave at the top, and node 0 has not, when node 2 begins to leave."""

    def delay_ms(node: int, level: int, position: Position) -> int | None:
        return None if (node, level, position.subject, position.transition) == (0, 40, 1, "leave") else 0

    world = joined(3, delay_ms)
    world.order(1, "leave")
    world.run_until(lambda: told(world, 0, 1, "leave"))
    world.run(1000)
    world.order(2, "leave")
    world.run_until(lambda: world.machines[2].exits)
    assert told(world, 0, 2, "leave") == LEAVE
    assert told(world, 1, 2, "leave") == LEAVE[1:]
    world.acknowledge(0, [p for one in handed(world, 0, 40) for p in one.positions if p.subject == 1][-1])
    world.run_until(lambda: world.machines[1].exits)
    assert told(world, 1, 1, "leave") == LEAVE


@pytest.mark.parametrize("order", ORDERS)
def test_a_node_does_not_join_while_its_forced_leave_is_processed_anywhere(order: int) -> None:  # S4.10, A9
    def delay_ms(node: int, level: int, position: Position) -> int | None:
        held = (node, level, position.transition, position.barrier) == (1, order, "forced-leave", 0)
        return None if held else 0

    world = joined(3, delay_ms)
    world.power_off(2)
    world.power_on(2)
    world.run_until(lambda: (order, 0) in told(world, 1, 2, "forced-leave"))
    world.run(8_000)  # long enough to be forced out again for the same reason
    assert world.state(2) == "inactive"
    assert world.view.entries[2].incarnation == 1
    world.acknowledge(1, handed(world, 1, order)[-1].positions[-1])
    world.run_until(world.all_joined)
    assert [e["victims"] for node in range(3) for e in world.events(node, "elected") if e["victims"]] == [[2]]
    assert not any(machine.panics for machine in world.machines)


@pytest.mark.parametrize("step", JOIN)
def test_a_forced_leave_reaches_the_level_that_had_been_told_of_the_join_and_no_higher(step: Step) -> None:  # S4.11
    def delay_ms(node: int, level: int, position: Position) -> int | None:
        return None if (node, position.subject, (level, position.barrier)) == (2, 2, step) else 0

    world = joined(2, delay_ms, of=3)
    world.power_on(2)
    world.run_until(lambda: told(world, 1, 2, "join")[-1:] == [step])
    world.run(1000)
    world.power_off(2)
    world.run_until(lambda: world.all_joined(0, 1))
    reached = [one for one in FORCED_LEAVE if one[0] <= step[0]]
    assert [told(world, node, 2, "forced-leave") for node in (0, 1)] == [reached] * 2
    # Nor does the master take it any higher, with nobody there to notify.
    complete = [e for e in world.events(0, "level-complete") if (e["subject"], e["transition"]) == (2, "forced-leave")]
    assert [event["level"] for event in complete] == [level for level, barrier in reached if barrier == 0]


@pytest.mark.parametrize("step", LEAVE)
def test_a_forced_leave_does_not_reach_the_levels_that_had_completed_the_leave(step: Step) -> None:  # S4.11
    def delay_ms(node: int, level: int, position: Position) -> int | None:
        return None if (node, position.transition, (level, position.barrier)) == (2, "leave", step) else 0

    world = joined(3, delay_ms)
    world.order(2, "leave")
    world.run_until(lambda: told(world, 1, 2, "leave")[-1:] == [step])
    world.power_off(2)
    world.run_until(lambda: world.all_joined(0, 1))
    reached = [one for one in FORCED_LEAVE if one[0] <= step[0]]
    assert [told(world, node, 2, "forced-leave") for node in (0, 1)] == [reached] * 2
    # Nor does the master take it any higher, with nobody there to notify.
    complete = [e for e in world.events(0, "level-complete") if (e["subject"], e["transition"]) == (2, "forced-leave")]
    assert [event["level"] for event in complete] == [level for level, barrier in reached if barrier == 0]


def test_no_level_of_a_joining_node_is_told_anything_before_its_own_join_has_come_to_it() -> None:  # S4.3, S4.5
    """Node 1 leaves from the top down while node 2 joins from the bottom up; they meet."""
    world = joined(2, lambda node, level, position: 100 if position.subject == 2 else 0, of=3)
    world.power_on(2)
    world.run_until(lambda: world.view.entries[2].level == 10)
    world.order(1, "leave")
    world.run_until(lambda: world.all_joined(0, 2))
    first = [handed(world, 2, order)[0] for order in ORDERS]
    assert [2 in [p.subject for p in notification.positions] for notification in first] == [True] * 5
    assert told(world, 0, 1, "leave") == LEAVE
    assert told(world, 2, 1, "leave") == LEAVE[-3:]
    # Where the leave was over when the join came, node 1 is inactive; below, it is a member still.
    assert [notification.states[1].value for notification in first] == ["joined", "joined"] + ["inactive"] * 3


def test_what_is_under_way_at_a_level_when_a_join_comes_to_it_is_told_with_the_join() -> None:  # S4.3
    held = {(0, 20, 1, "leave")}  # node 0 takes its time over the leave of node 1 at level 20

    def delay_ms(node: int, level: int, position: Position) -> int | None:
        return None if (node, level, position.subject, position.transition) in held else 0

    world = joined(2, delay_ms, of=3)
    world.order(1, "leave")
    world.run_until(lambda: told(world, 0, 1, "leave")[-1:] == [(20, 0)])
    world.power_on(2)
    world.run_until(lambda: handed(world, 2, 20))
    together = handed(world, 2, 20)[0]
    assert sorted((p.subject, p.transition) for p in together.positions) == [(1, "leave"), (2, "join")]
    assert [state.value for state in together.states] == ["joined", "leaving", "joining"]
    world.acknowledge(0, handed(world, 0, 20)[-2].positions[0])
    world.run_until(lambda: world.all_joined(0, 2))


def test_recovery_after_a_node_is_not_over_with_nobody_there_to_do_it() -> None:  # S4.9, S4.10
    """The last member leaves while it is to recover after another one: the next life of the cluster does it."""

    def delay_ms(node: int, level: int, position: Position) -> int | None:
        return None if (node, level, position.transition, position.barrier) == (1, 10, "leave", 1) else 0

    world = joined(2, delay_ms)
    world.order(0, "leave")
    world.run_until(lambda: told(world, 0, 0, "leave")[-1:] == [(10, 1)])
    world.power_off(1)
    world.run_until(lambda: world.machines[0].exits)
    assert [level for level, _ in told(world, 0, 1, "forced-leave")] == [0]
    mark = len(world.events(0, "notified"))
    world.power_on(0)
    world.run_until(lambda: world.all_joined(0))
    after = [e for e in world.events(0, "notified")[mark:] if e["transition"] == "forced-leave"]
    assert [(e["level"], e["barrier"]) for e in after] == FORCED_LEAVE


@pytest.mark.parametrize("nodes", [2, 4, 8])
def test_after_a_power_failure_all_join_in_as_many_steps_as_one_node(nodes: int) -> None:  # S4.6
    world = joined(nodes, at_once, seed=nodes)
    world.power_off()
    world.power_on()
    world.run_until(world.all_joined)
    # One membership recovers after the former one while its first node joins; in the next all others join together.
    steps: dict[int, list[int]] = {}
    for event in world.events(world.view.master, "membership"):
        steps.setdefault(event["epoch"], []).append(event["step"])
    moves = [max(found) for epoch, found in sorted(steps.items()) if epoch > 1]
    assert moves == [len(JOIN)] * 2
    joins = [told(world, node, subject, "join") for node in range(1, nodes) for subject in range(1, nodes)]
    assert {tuple(join[-len(JOIN) :]) for join in joins} == {tuple(JOIN)}


@pytest.mark.parametrize("nodes", [2, 4, 8])
def test_a_cluster_that_starts_joins_in_as_many_steps_as_one_node(nodes: int) -> None:  # S4.6
    assert joined(1, at_once, of=nodes).view.step == len(JOIN)
    assert joined(nodes, at_once).view.step == len(JOIN)
