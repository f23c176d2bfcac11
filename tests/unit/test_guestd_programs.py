"""Programs that register at run time: levels that come late, barriers over all nodes, refusals (spec S4.1, S4.12)."""

from __future__ import annotations

import zlib

import pytest

from guestd.core.inputs import ProgramMessage
from guestd.core.timing import Timing
from guestd.core.value import replace
from guestd.membership import datagram
from guestd.membership.announcement import LEVELS_MAX, PROGRAMS_MAX, Announcement
from guestd.membership.observer import Observer
from guestd.membership.position import Position
from guestd.membership.states import NodeState
from guestd.membership.view import Entry, View
from guestd.transition import program_events
from guestd.transition.levels import level
from guestd.transition.subsystem import Notification, Subsystem
from tests.unit.guestd_world import Program, World

TWO = {"join": 2}
BOTH = {"join": 2, "leave": 2, "forced-leave": 2}  # as the lock manager has them


@pytest.fixture
def world() -> World:
    return formed(World(nodes=3, seed=1))


def formed(world: World) -> World:
    world.power_on()
    world.run_until(world.all_joined)
    return world


def last(program: Program) -> list[str]:
    """The states in its newest notification."""
    states = program.all("notification")[-1]["states"]
    assert isinstance(states, list)
    return states


def test_a_late_program_is_notified_at_once_of_the_joins_that_it_has_not_processed(world: World) -> None:  # S4.2, S4.12
    program = world.program(1, "late", 50)
    world.run_until(lambda: program.told("join"), within_ms=100)
    assert program.all("registered") == [{"node": 1, "nodes": 3}]
    assert program.told("join") == [(0, 0), (1, 0), (2, 0)]  # in one notification (S4.3):
    assert len(program.all("notification")) == 1
    assert last(program) == ["joining"] * 3
    world.run(1000)
    assert world.status(1)["levels"]["50"] == ["joined"] * 3
    assert world.events(1, "caught-up") == [{"level": 50, "subsystem": "late", "subjects": [0, 1, 2]}]
    assert world.all_joined()  # nobody else noticed
    assert world.view.epoch == 1


def test_a_join_proceeds_through_the_highest_level_registered_on_any_node(world: World) -> None:  # S4.12
    world.power_off(2)
    world.run_until(lambda: world.all_joined(0, 1))
    program = world.program(1, "above", 50, answers_ms=700)
    world.run(3000)
    world.power_on(2)
    world.run_until(lambda: (2, 0) in program.told("join"))
    assert world.view.entries[2].level == 50
    assert world.state(2) == "joining"
    assert last(program) == ["joined", "joined", "joining"]  # those that did not change come along (S4.3)
    assert world.run_until(world.all_joined) >= 700 - 10


def test_a_program_between_the_built_in_levels_is_notified_between_them(world: World) -> None:
    world.power_off(2)
    world.run_until(lambda: world.all_joined(0, 1))
    world.program(0, "between", 15)
    world.run(1000)
    world.power_on(2)
    world.run_until(world.all_joined)
    told = [e["level"] for e in world.events(0, "notified") if e["subject"] == 2 and e["incarnation"] == 2]
    assert told == [0, 10, 10, 15, 20, 30, 30, 40]
    world.order(2, "leave")
    world.run_until(lambda: world.machines[2].exits)
    left = [e["level"] for e in world.events(0, "notified") if e["subject"] == 2 and e["transition"] == "leave"]
    assert left == [40, 30, 20, 15, 10, 10, 0]


def test_no_barrier_of_a_level_begins_before_all_have_acknowledged_the_one_before() -> None:  # S4.5
    world = formed(World(nodes=3, seed=4))
    slow = {0: 30, 1: 400, 2: 150}
    programs = [world.program(node, "p", 50, barriers={"join": 3}, answers_ms=slow[node]) for node in range(3)]
    world.run(5000)
    world.power_off(2)
    world.run_until(lambda: world.all_joined(0, 1))
    world.power_on(2)
    world.run_until(world.all_joined)
    for program in programs[:2]:
        assert [barrier for node, barrier in program.told("join") if node == 2][-3:] == [0, 1, 2]
    begun = {barrier: min(_times(program, 2, 2, barrier)[0] for program in programs[:2]) for barrier in (0, 1, 2)}
    for barrier in (1, 2):
        assert begun[barrier] - begun[barrier - 1] >= slow[1]


def _times(program: Program, node: int, incarnation: int, barrier: int) -> list[int]:
    return [
        at_ms
        for at_ms, message in program.said
        for one in message.get("notification", {"transitions": []})["transitions"]
        if (one["node"], one["incarnation"], one["barrier"]) == (node, incarnation, barrier)
    ]


def test_late_joins_at_one_level_keep_their_barriers_together_on_all_nodes(world: World) -> None:  # S4.5, S4.12
    slow = world.program(0, "slow", 50, barriers=TWO, answers_ms=900)
    fast = world.program(1, "fast", 50, barriers=TWO, answers_ms=5)
    world.run(4000)
    for program in (slow, fast):
        assert program.told("join") == [(node, barrier) for barrier in (0, 1) for node in range(3)]
        assert world.status(program.node)["levels"]["50"] == ["joined"] * 3
    (first,) = _times(slow, 2, 1, 0)
    (second,) = _times(fast, 2, 1, 1)
    assert second >= first + 900


def test_late_joins_go_bottom_up_through_levels_that_come_together(world: World) -> None:  # S4.4
    for node in (0, 1):
        lower = world.program(node, f"lower{node}", 50 - node, answers_ms=500)
        upper = world.program(1, f"upper{node}", 60 + node)
        world.run_until(lambda: upper.told("join"))  # noqa: B023
        assert _times(upper, 2, 1, 0)[0] >= _times(lower, 2, 1, 0)[0] + 500


def test_barriers_that_differ_at_one_level_are_refused_and_both_are_named(world: World) -> None:  # S4.1
    first = world.program(0, "first", 50, barriers=TWO)
    world.run_until(lambda: first.registered)
    second = world.program(2, "second", 50)
    world.run_until(lambda: second.all("refused"))
    assert second.all("refused") == [
        (
            '"second" on node 2 asks for forced-leave 1, join 1, leave 1 barriers at level 50, where "first" on node 0 '
            "has registered forced-leave 1, join 2, leave 1 (legal: the same numbers)"
        )
    ]
    again = world.program(2, "second", 50, barriers=TWO)
    world.run_until(lambda: again.registered)


def test_of_two_that_ask_for_different_barriers_at_the_same_time_one_is_refused(world: World) -> None:  # S4.1
    both = [world.program(1, "one", 50, barriers=TWO), world.program(2, "two", 50)]
    world.run(1000)
    assert sorted(program.registered for program in both) == [False, True]
    refused = next(program for program in both if not program.registered)
    own, other = ('"one" on node 1', '"two" on node 2')[:: 1 if refused.node == 1 else -1]
    assert own in refused.all("refused")[0]
    # Who hears of the master's agreement before it hears the other's announcement does not know the other's name.
    holders = (other, "the cluster, until its next change of membership, has agreed")
    assert any(holder in refused.all("refused")[0] for holder in holders)


def test_a_built_in_level_may_be_shared_by_who_has_its_barriers(world: World) -> None:
    wrong = world.program(1, "beside", 10)
    right = world.program(1, "beside", 10, barriers=BOTH, answers_ms=300)
    world.run(2000)
    assert 'where "DLM" on node 1 has registered forced-leave 2, join 2, leave 2' in wrong.all("refused")[0]
    assert right.told("join") == [(node, barrier) for barrier in (0, 1) for node in range(3)]
    world.power_off(2)
    world.run_until(lambda: world.all_joined(0, 1))
    assert right.told("forced-leave") == [(2, 0), (2, 1)]
    (told,) = [at for at in _times(right, 2, 1, 0) if at > 2000]
    after = [at_ms for at_ms, kind, fields in world.machines[0].events if kind == "notified" and fields["level"] == 20]
    assert after[-1] >= told + 300  # the node does not acknowledge for the DLM alone


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"name": "", "order": 50}, "name = '' (legal: 1 to 31 bytes of printable text)"),
        ({"name": "x" * 32, "order": 50}, "legal: 1 to 31 bytes"),
        ({"name": "x", "order": 0}, "x: order = 0 (legal: 1 to 253; 0 is the membership manager itself)"),
        ({"name": "x", "order": 254}, "x: order = 254 (legal: 1 to 253"),
        ({"name": "x", "order": True}, "x: order = True (legal"),
        ({"name": "x"}, "x: order = None (legal"),
        (
            {"name": "x", "order": 50, "barriers": {"join": 17}},
            "x: 17 barriers for 'join' (legal: 1 to 16 for join, leave",
        ),
        ({"name": "x", "order": 50, "barriers": {"jump": 1}}, "x: 1 barriers for 'jump' (legal"),
        ({"name": "x", "order": 50, "barriers": [1]}, "x: barriers = [1] (legal: an object with 1 to 16"),
        ({"name": "x", "order": 50, "barriers": {"join": "2"}}, "x: barriers = {'join': '2'} (legal"),
        ({"name": "x", "order": 50, "on_death": "explode"}, "x: on_death = 'explode' (legal: hang, gone)"),
        ({"name": "VDM", "order": 50}, "VDM is registered with this node already, at level 20"),
    ],
)
def test_a_registration_that_cannot_be_is_refused_and_says_what_is_legal(
    world: World, asked: dict[str, object], why: str
) -> None:
    program = Program(world, 0, 1, None)
    world.programs.append(program)
    program.send(register=asked)
    world.run(10)
    assert why in program.all("refused")[0]
    assert world.status(0)["programs"] == []


def test_messages_that_are_none_are_answered_with_what_would_be_legal(world: World) -> None:
    program = world.program(0, "p", 50, answers_ms=None)
    world.run(500)
    program.send(dance=1)
    program.send(acknowledge=2)
    program.send(acknowledge="x")
    program.send(register={"name": "q", "order": 60})
    world.run(10)
    assert program.all("error") == [
        "'{\"dance\": 1}' (legal: acknowledge, working, emit, expel, close)",
        "acknowledge = 2 (legal, because not acknowledged: 1)",
        "acknowledge = 'x' (legal, because not acknowledged: 1)",
    ]
    assert program.all("refused") == ["this connection has registered p already"]
    stranger = Program(world, 0, 2, None)
    world.programs.append(stranger)
    stranger.send(acknowledge=1)
    world.run(10)
    assert stranger.all("error") == ["'{\"acknowledge\": 1}' (legal: register)"]


def test_a_line_that_is_nested_without_end_is_no_message(world: World) -> None:
    program = world.program(0, "p", 50)
    world.run(500)
    world._to(0, program.life, ProgramMessage(program.connection, "[" * 60_000))
    world.run(10)
    assert "(legal: acknowledge" in program.all("error")[0]
    assert world.all_joined()


def test_a_node_takes_no_more_programs_than_a_datagram_has_room_for(world: World) -> None:
    programs = [world.program(0, f"p{index}", 50 + index) for index in range(PROGRAMS_MAX + 1)]
    world.run(3000)
    assert [program.registered for program in programs] == [True] * PROGRAMS_MAX + [False]
    assert programs[-1].all("refused") == ["p8: 8 programs have registered with this node (legal: no more)"]


def test_a_program_that_asks_before_its_node_is_a_member_is_taken_through_the_join_itself() -> None:  # S4.2
    world = World(nodes=2, seed=3)
    world.power_on(0)
    world.run_until(lambda: world.all_joined(0))
    world.power_on(1)
    program = world.program(1, "early", 50)
    world.run(10)
    assert not program.registered
    world.run_until(world.all_joined)
    world.run(1000)
    assert sorted(program.told("join")) == [(0, 0), (1, 0)]
    assert world.status(1)["levels"]["50"] == ["joined"] * 2


def test_a_program_hears_of_a_graceful_leave_before_the_levels_below(world: World) -> None:  # S4.4
    program = world.program(1, "p", 50, answers_ms=200)
    world.run(2000)
    world.order(2, "leave")
    world.run_until(lambda: program.told("leave"))
    assert [e for e in world.events(1, "notified") if e["transition"] == "leave" and e["level"] < 50] == []
    assert last(program) == ["joined", "joined", "leaving"]
    world.run_until(lambda: world.machines[2].exits)
    assert world.status(1)["levels"]["50"] == ["joined", "joined", "inactive"]


def test_a_leave_at_the_very_moment_of_a_registration_reaches_the_program(world: World) -> None:  # S4.12
    for late_ms in (*range(0, 40, 3), 60, 100):
        world = formed(World(nodes=3, seed=late_ms))
        world.order(2, "leave")
        world.run(late_ms)
        program = world.program(1, "p", 50, answers_ms=40)
        world.run_until(lambda: world.machines[2].exits)  # noqa: B023
        world.run(3000)
        assert world.status(1)["levels"]["50"] == ["joined", "joined", "inactive"], world.story()
        assert ((2, 0) in program.told("join")) == ((2, 0) in program.told("leave"))


def test_a_leave_waits_for_the_end_of_a_late_join_and_then_comes(world: World) -> None:  # S4.8
    program = world.program(1, "p", 50, answers_ms=1000)
    world.run_until(lambda: program.told("join"))
    told_ms = world.now_ms
    world.order(2, "leave")
    world.run_until(lambda: program.told("leave"))
    assert world.now_ms >= told_ms + 1000
    world.run_until(lambda: world.machines[2].exits)


def test_a_forced_leave_interrupts_a_late_join(world: World) -> None:  # S4.7
    program = world.program(1, "p", 50, barriers=TWO, answers_ms=None)
    world.run_until(lambda: program.told("join"))
    world.power_off(2)
    world.run_until(lambda: program.told("forced-leave"))
    assert last(program) == ["joining", "joining", "forced-leaving"]
    program.answers_ms = 5
    for number in (1, 2):
        program.acknowledge(number)
    world.run_until(lambda: world.all_joined(0, 1))
    world.run(1000)
    assert program.told("join") == [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1)]
    assert world.status(1)["levels"]["50"] == ["joined", "joined", "inactive"]


def test_what_was_notified_again_is_not_acknowledged_by_the_answer_to_the_first(world: World) -> None:  # S4.7
    program = world.program(1, "p", 50, answers_ms=None)
    world.run_until(lambda: program.told("join"))
    world.power_off(2)
    world.run_until(lambda: program.told("forced-leave"))
    program.acknowledge(1)
    world.run(3000)
    assert world.view.entries[2].state.value == "forced-leaving"
    program.acknowledge(2)
    world.run_until(lambda: world.all_joined(0, 1))


def test_the_leaving_nodes_own_program_is_deregistered_after_its_leave(world: World) -> None:  # S4.9
    program = world.program(2, "p", 50, answers_ms=100)
    world.run(2000)
    world.order(2, "leave")
    world.run_until(lambda: program.all("closed"))
    assert program.told("leave") == [(2, 0)]
    assert program.all("closed") == ["node 2 has left the cluster"]
    assert world.state(2) == "leaving"  # the levels below come now
    world.run_until(lambda: world.machines[2].exits == [0])


def test_a_program_that_has_left_is_not_waited_for_whatever_else_it_was_told() -> None:  # S4.9, S4.13
    """It cannot acknowledge that any more: its registration has ended with its own node's leave."""
    world = formed(World(nodes=3, seed=1, timing=QUICK))
    program, other = mute(world, 1), mute(world, 0)
    world.program(1, "below", 45, answers_ms=3500, barriers={"leave": 3})  # the leave takes its time there
    world.run_until(lambda: len(world.events(1, "caught-up")) == 2)
    world.power_off(2)
    world.run_until(lambda: program.told("forced-leave") and other.told("forced-leave"))
    recovery = len(other.all("notification"))
    world.order(1, "leave")
    world.run_until(lambda: program.told("leave") and other.told("leave"))
    program.acknowledge(len(program.all("notification")))
    other.acknowledge(len(other.all("notification")))
    while not world.machines[1].exits and not world.machines[1].panics:
        other.send(working=recovery)
        world.run(1000)
    assert program.all("closed") == ["node 1 has left the cluster"]
    assert world.machines[1].panics == []
    assert world.view.entries[2].state.value == "forced-leaving"  # it was under way all the time


@pytest.mark.parametrize("seed", range(6))
def test_a_new_master_knows_the_levels_and_keeps_their_barriers(seed: int) -> None:  # S3.3, S4.1
    world = formed(World(nodes=3, seed=seed))
    world.loss = 0.2
    program = world.program(2, "p", 50, barriers=TWO)
    world.run_until(lambda: program.registered)
    world.power_off(0)
    wrong = world.program(1, "q", 50)
    world.run_until(lambda: world.all_joined(1, 2))
    world.run_until(lambda: wrong.all("refused"))
    assert program.told("forced-leave") == [(0, 0)]
    world.power_on(0)
    world.run_until(world.all_joined)
    assert program.told("join")[-2:] == [(0, 0), (0, 1)]


def test_the_barriers_of_a_level_are_free_again_after_the_next_change_of_membership(world: World) -> None:
    first = world.program(1, "first", 50, barriers=TWO)
    world.run(2000)
    first.send(close=True)
    world.run(2000)
    assert first.all("closed") == ["as it asked"]
    assert world.status(1)["programs"] == []
    early = world.program(2, "second", 50)
    world.run_until(lambda: early.all("refused"))
    assert (
        "where the cluster, until its next change of membership, has agreed to forced-leave 1, join 2"
        in (early.all("refused")[0])
    )
    world.order(0, "leave")
    world.run_until(lambda: world.all_joined(1, 2))
    second = world.program(2, "second", 50)
    world.run_until(lambda: second.registered)


def test_the_order_status_shows_the_programs(world: World) -> None:
    world.program(1, "p", 50, barriers=TWO, on_death="gone", answers_ms=None)
    world.run(1000)
    world.order(1, "status")
    assert world.events(1, "status")[0]["programs"] == [
        {
            "name": "p",
            "order": 50,
            "barriers": {"forced-leave": 1, "join": 2, "leave": 1},
            "on_death": "gone",
            "state": "registered",
            "unacknowledged": [0, 1, 2],
        }
    ]


# -- time and death (S4.13)

QUICK = Timing(subsystem_ms=4000)


def mute(world: World, node: int) -> Program:
    """A program that has processed all joins and acknowledges nothing any more."""
    program = world.program(node, "mute", 50)
    world.run_until(lambda: world.events(node, "caught-up"))
    program.answers_ms = None
    return program


@pytest.mark.parametrize("node", [0, 1])  # 0 is the master
def test_a_program_that_does_not_acknowledge_in_its_time_makes_its_node_panic_and_the_others_go_on(node: int) -> None:
    # S4.13, A14
    world = formed(World(nodes=3, seed=1, timing=QUICK))
    program = mute(world, node)
    world.order(2, "leave")
    world.run_until(lambda: program.told("leave"))
    told_ms = world.now_ms
    world.run_until(lambda: world.machines[node].panics)
    why = f"node {node} (incarnation 1): subsystem mute did not acknowledge within 4000 ms"
    assert world.machines[node].panics == [why]
    assert 4000 - 300 <= world.now_ms - told_ms <= 4000 + 600
    world.run_until(lambda: world.machines[2].exits == [0])  # the leave did not hang on it
    world.run_until(lambda: world.all_joined(1 - node))
    assert world.events(1 - node, "elected")[-1]["victims"] == [node]


class Mute(Subsystem):
    def notify(self, notification: Notification) -> tuple[Position, ...]:
        return ()


def test_the_same_holds_for_a_built_in_subsystem() -> None:  # S4.13
    world = World(nodes=3, seed=2, timing=QUICK)
    world.power_on(0, 1)
    world.run_until(lambda: world.all_joined(0, 1))
    stack = world.machines[1].stack
    assert stack is not None
    dlm = next(seat for seat in stack._manager.member.participant._seats if seat.level.name == "DLM")
    dlm.subsystem = Mute("DLM", order=10, barriers=TWO)
    world.power_on(2)
    world.run_until(lambda: world.machines[1].panics)
    assert world.machines[1].panics == ["node 1 (incarnation 1): subsystem DLM did not acknowledge within 4000 ms"]
    world.run_until(lambda: world.all_joined(0, 2))


def test_a_program_that_answers_late_but_in_its_time_costs_nothing() -> None:
    world = formed(World(nodes=3, seed=1, timing=QUICK))
    program = world.program(1, "slow", 50, answers_ms=3500, barriers={"join": 3})  # each barrier has its own time
    world.run(20_000)
    assert program.told("join")[-1] == (2, 2)
    assert world.all_joined()


def test_a_frozen_node_does_not_count_its_freeze() -> None:  # S4.13
    world = formed(World(nodes=2, seed=1, timing=QUICK))
    programs = [world.program(node, "p", 50, answers_ms=None) for node in range(2)]
    world.run_until(lambda: all(program.told("join") for program in programs))
    world.run(1000)
    for node in range(2):
        world.freeze(node)
    world.run(60_000)
    for node in range(2):
        world.thaw(node)
    for program in programs:
        world.run(500)
        program.acknowledge(1)
    world.run(10_000)
    assert world.all_joined()
    assert [machine.panics for machine in world.machines] == [[], []]


def test_a_forced_leave_has_its_own_time_when_it_takes_the_place_of_a_join() -> None:  # S4.7, S4.13
    world = formed(World(nodes=3, seed=1, timing=QUICK))
    program = world.program(1, "p", 50, answers_ms=None)
    world.run_until(lambda: program.told("join"))
    world.run(1500)
    world.power_off(2)
    world.run_until(lambda: program.told("forced-leave"))
    program.acknowledge(1)
    told_ms = world.now_ms
    world.run_until(lambda: world.machines[1].panics)
    assert world.now_ms - told_ms >= 4000 - 300


def test_a_dead_program_that_chose_to_hang_counts_as_one_that_does_not_answer() -> None:  # S4.13
    world = formed(World(nodes=3, seed=1, timing=QUICK))
    program = mute(world, 1)
    program.die()
    world.run(20_000)
    assert world.all_joined()  # nothing to acknowledge, nothing missed
    assert world.status(1)["programs"][0]["state"] == "silent"
    world.order(2, "leave")
    world.run_until(lambda: world.machines[1].panics)
    assert world.machines[1].panics == ["node 1 (incarnation 1): subsystem mute did not acknowledge within 4000 ms"]
    assert program.told("leave") == []


def test_a_dead_program_that_begins_again_takes_its_own_place() -> None:  # S4.13
    """What stood at its level counts as acknowledged; it is taken through the joins anew."""
    world = formed(World(nodes=3, seed=1, timing=QUICK))
    program = mute(world, 1)
    program.die()
    world.order(2, "leave")
    world.run_until(lambda: world.state(2) == "leaving")
    again = world.program(1, "mute", 50)
    world.run_until(lambda: world.machines[2].exits == [0])
    world.run(20_000)
    assert [machine.panics for machine in world.machines] == [[], [], []]
    assert again.told("join") == [(0, 0), (1, 0), (2, 0)]
    assert again.told("leave") == [(2, 0)]
    assert [e["why"] for e in world.events(1, "program")] == ["agreed", "died", "replaced", "agreed"]


@pytest.mark.parametrize("first", ["leave", "register"])
def test_a_dead_program_that_begins_again_does_not_acknowledge_its_own_nodes_leave(first: str) -> None:  # S4.9, S4.13
    """The leave is what it was registered for."""
    world = formed(World(nodes=3, seed=1, timing=QUICK))
    mute(world, 1).die()
    if first == "leave":
        world.order(1, "leave")
        world.run(1000)  # it stands at level 50
        world.program(1, "mute", 50)
    else:
        other = mute(world, 0)  # so that the level is not free
        world.order(2, "leave")
        world.run(1000)
        world.program(1, "mute", 50)
        world.run(1000)
        world.order(1, "leave")
        world.run(1000)
        other.acknowledge(len(other.all("notification")))
    world.run_until(lambda: world.machines[1].panics)
    assert world.machines[1].panics == ["node 1 (incarnation 1): subsystem mute did not acknowledge within 4000 ms"]


def test_a_dead_program_that_chose_to_be_gone_holds_nothing_up(world: World) -> None:
    program = world.program(1, "p", 50, on_death="gone")
    world.run_until(lambda: world.events(1, "caught-up"))
    program.answers_ms = None
    world.order(2, "leave")
    world.run_until(lambda: program.told("leave"))
    world.run(1000)
    assert world.state(2) == "leaving"
    program.die()
    world.run_until(lambda: world.machines[2].exits == [0], within_ms=1000)  # what it had not acknowledged counts
    assert world.status(1)["programs"] == []
    assert [e["why"] for e in world.events(1, "program")] == ["agreed", "gone"]


def test_a_program_that_dies_before_it_is_registered_is_forgotten() -> None:
    world = World(nodes=2, seed=1)
    world.power_on(0)
    program = world.program(0, "p", 50)
    program.die()
    world.run_until(lambda: world.all_joined(0))
    assert world.status(0)["programs"] == []


def test_a_program_that_goes_in_the_middle_of_late_joins_does_not_keep_the_others(world: World) -> None:
    slow = world.program(0, "slow", 50, barriers=TWO, answers_ms=None, on_death="gone")
    fast = world.program(1, "fast", 50, barriers=TWO)
    world.run(3000)
    assert fast.told("join") == [(0, 0), (1, 0), (2, 0)]
    slow.die()
    world.run_until(lambda: world.status(1)["levels"]["50"] == ["joined"] * 3, within_ms=1000)


def test_a_node_that_dies_in_the_middle_of_late_joins_does_not_keep_the_others(world: World) -> None:
    world.program(0, "slow", 50, barriers=TWO, answers_ms=None)
    fast = world.program(1, "fast", 50, barriers=TWO)
    world.run(3000)
    world.power_off(0)
    world.run_until(lambda: world.all_joined(1, 2))
    world.run(1000)
    assert world.status(1)["levels"]["50"] == ["inactive", "joined", "joined"]
    assert fast.told("forced-leave") == [(0, 0)]


# -- what an agreement is worth after a change of masters, and what is late on the wire


def test_a_new_master_agrees_to_nothing_before_it_has_heard_all_in_its_own_epoch(world: World) -> None:  # S3.3, S4.1
    world.unheard.add((2, 1))  # for less than it takes to miss node 2: node 1 does not hear of the program
    first = world.program(2, "first", 50, barriers=TWO)
    world.run_until(lambda: first.registered)
    world.order(0, "leave")
    world.run_until(lambda: world.view.master == 1, within_ms=1000)
    second = world.program(1, "second", 50)
    world.run(100)
    assert not second.registered
    world.unheard.clear()
    world.run_until(lambda: second.all("refused"))
    assert '"first" on node 2' in second.all("refused")[0]
    assert no_panics(world)


def test_a_new_master_does_not_turn_a_join_round_in_the_middle_of_a_level_that_came_late() -> None:  # S3.3, S4.8
    world = World(nodes=3, seed=1)
    world.power_on(0, 1)
    world.run_until(lambda: world.all_joined(0, 1))
    program = world.program(1, "p", 50, barriers={"join": 3}, answers_ms=300)
    world.run(3000)
    world.power_on(2)
    world.run_until(lambda: (2, 0) in program.told("join"))
    world.order(2, "leave")
    world.power_off(0)
    world.run_until(lambda: world.machines[2].exits == [0])
    assert [at for at in program.told("join") if at[0] == 2] == [(2, 0), (2, 1), (2, 2)]
    assert program.told("leave") == [(2, 0)]


def test_what_the_master_of_an_earlier_epoch_has_agreed_to_lets_nobody_in(world: World) -> None:  # S3.3, S4.1
    earlier = world.program(1, "earlier", 50)
    world.run_until(lambda: earlier.registered)
    earlier.send(close=True)
    world.run(1000)  # that level is agreed to in this epoch
    world.power_off(0)
    world.run_until(lambda: world.events(1, "bid"))
    world.cut.add((1, 2))  # for less than it takes to miss node 1: node 2 hears of the next master on the disk only
    world.run_until(lambda: world.machines[2].stack._manager.member.view.master == 1)  # type: ignore[union-attr]
    program = world.program(2, "p", 50)
    world.run(100)
    assert not program.registered
    world.cut.clear()
    world.run_until(lambda: program.registered)
    assert no_panics(world)


def test_a_datagram_that_was_overtaken_takes_nothing_back() -> None:
    observer = Observer(0, 2, Timing())
    program = Announcement(level(50, "p", {}, real=True), True, None)
    newest = datagram.Say(1, 3, 8, 3, "none", (), None, 5, (program,))
    observer.heard(newest)
    observer.heard(replace(newest, sequence=7, programs=(), hears=0))
    assert (observer.peers[1].programs, observer.peers[1].heard_hears) == ((program,), 3)
    observer.heard(replace(newest, incarnation=4, sequence=1, programs=()))
    assert observer.peers[1].programs == ()


def test_what_registered_is_told_in_datagrams_and_comes_back_as_it_was() -> None:
    identity = bytes(16)
    programs = tuple(
        Announcement(level(order, "ä" * 15, {"join": 16, "leave": order}, real=True), order > 2, caught_up)
        for order, caught_up in ((1, None), (2, None), (3, 0), (4, 16))
    )
    agreed = tuple(level(order, "", {"forced-leave": 3}, real=True) for order in range(1, LEVELS_MAX + 1))
    said = datagram.Say(1, 3, 8, 3, "none", (), None, 5, programs, agreed)
    payload = datagram.encode(identity, said)
    assert datagram.decode(identity, 2, payload) == said
    body = payload[:-4]
    for size in range(45, len(body)):
        cut = body[:size]
        with pytest.raises(datagram.BadDatagram):
            datagram.decode(identity, 2, cut + zlib.crc32(cut).to_bytes(4, "little"))


def test_the_largest_datagram_is_one_packet() -> None:
    entry = Entry(NodeState.FORCED_LEAVING, (1 << 32) - 1, level=253, barrier=15, reach=254, forced=True)
    view = View((1 << 32) - 1, 9, 63, (entry,) * 64)
    positions = tuple(Position(node, 5, NodeState.JOINING, 253, 15) for node in range(64))
    programs = (Announcement(level(253, "x" * 31, {}, real=True), True, 16),) * PROGRAMS_MAX
    agreed = (level(253, "", {}, real=True),) * LEVELS_MAX
    said = datagram.Say(63, 5, 77, (1 << 64) - 1, "join", positions, view, 1, programs, agreed)
    assert len(datagram.encode(bytes(16), said)) <= 1472


def no_panics(world: World) -> bool:
    return all(not machine.panics for machine in world.machines)


def test_who_says_that_it_works_has_its_time_anew_and_who_says_no_more_has_not() -> None:  # S4.13
    world = formed(World(nodes=3, seed=1, timing=QUICK))
    program = mute(world, 1)
    world.order(2, "leave")
    world.run_until(lambda: program.told("leave"))
    number = program.all("notification")[-1]["number"]
    for _ in range(4):
        world.run(3000)
        program.send(working=number)
    world.run(3000)
    assert world.machines[1].panics == []
    said_ms = world.now_ms - 3000
    world.run_until(lambda: world.machines[1].panics)
    assert 4000 - 300 <= world.now_ms - said_ms <= 4000 + 600


def test_work_on_what_was_notified_again_is_not_work_on_the_forced_leave() -> None:  # S4.7, S4.13
    world = formed(World(nodes=3, seed=1, timing=QUICK))
    program = mute(world, 1)
    world.order(2, "leave")
    world.run_until(lambda: program.told("leave"))
    number = program.all("notification")[-1]["number"]
    world.power_off(2)
    world.run_until(lambda: program.told("forced-leave"))
    told_ms = world.now_ms
    while not world.machines[1].panics:
        program.send(working=number)
        world.run(500)
        assert world.now_ms - told_ms <= 4000 + 1200


def test_work_on_what_was_not_notified_is_an_error_that_says_what_is_legal(world: World) -> None:
    program = world.program(0, "p", 50, answers_ms=None)
    world.run(500)
    for number in (2, "1", True, None):
        program.send(working=number)
    world.run(10)
    assert program.all("error") == [
        f"working = {number!r} (legal, because not acknowledged: 1)" for number in (2, "1", True, None)
    ]


@pytest.mark.parametrize("node", [0, 1])  # 0 is the master
def test_a_program_expels_its_node_and_the_others_need_not_wait_for_the_silence(node: int) -> None:  # S6.1
    world = formed(World(nodes=3, seed=1))
    program = world.program(node, "p", 50)
    world.run_until(lambda: program.registered)
    world.run(1000)
    before_ms = world.now_ms
    program.send(expel="the stop command of web failed")
    assert world.machines[node].panics == [
        f"node {node} (incarnation 1): p says that it must not go on: the stop command of web failed"
    ]
    assert world.events(node, "panic")[-1]["cause"] == "expelled-by-program"
    others = [other for other in range(3) if other != node]
    world.run_until(lambda: world.all_joined(*others))
    assert world.now_ms - before_ms < Timing().death_ms  # as a gasp has it, not as a silence


@pytest.mark.parametrize("reason", ["", "x" * 401, "two\nlines", 7, None])
def test_a_node_is_not_expelled_for_a_reason_that_no_console_can_show(world: World, reason: object) -> None:
    program = world.program(0, "p", 50)
    world.run_until(lambda: program.registered)
    program.send(expel=reason)
    world.run(10)
    assert world.machines[0].panics == []
    assert "(legal: 1 to 400 characters of printable text)" in program.all("error")[0]


def test_a_program_puts_events_into_the_stream(world: World) -> None:
    program = world.program(1, "p", 50)
    world.run_until(lambda: program.registered)
    for kind in program_events.KINDS:
        program.send(emit={"kind": kind, "service": "web", "node": 2, "flags": ["T"], "self": {"a": None}})
    world.run(10)
    assert program.all("error") == []
    found = [(kind, fields) for _, kind, fields in world.machines[1].events if kind in program_events.KINDS]
    assert found == [
        (kind, {"service": "web", "subject": 2, "flags": ["T"], "self": {"a": None}}) for kind in program_events.KINDS
    ]


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"kind": "panic", "cause": "ordered"}, "kind = 'panic' (legal: service, service-command, occurrence,"),
        ({"service": "web"}, "kind = None (legal: service"),
        ({"kind": ["service"]}, "kind = ['service'] (legal"),
        ("service", "kind = None (legal"),
        ({"kind": "service", "n": 1}, "service: n is no field of a program (legal: all but n, t, kind, guest_n"),
        ({"kind": "service", "guest_t": 1}, "guest_t is no field"),
        ({"kind": "service", "text": "x" * (16 << 10)}, "service: 16395 bytes of fields (legal: at most 16384)"),
        ({"kind": "service", "text": "\N{EURO SIGN}" * 4000}, "24011 bytes of fields (legal: at most 16384)"),
    ],
)
def test_an_event_that_is_none_of_a_programs_is_refused(world: World, asked: object, why: str) -> None:
    program = world.program(0, "p", 50)
    world.run_until(lambda: program.registered)
    before = len(world.machines[0].events)
    program.send(emit=asked)
    world.run(10)
    (error,) = program.all("error")
    assert why in error
    assert all(kind not in ("service", "panic") for _, kind, _ in world.machines[0].events[before:])


def test_a_number_that_json_cannot_say_is_no_field(world: World) -> None:
    program = world.program(0, "p", 50)
    world.run_until(lambda: program.registered)
    world._to(0, program.life, ProgramMessage(program.connection, '{"emit": {"kind": "service", "x": 1e999}}'))
    world.run(10)
    assert program.all("error") == ["emit: service: a number is not finite (legal: finite numbers)"]


def test_who_is_not_registered_has_no_say() -> None:
    world = World(nodes=2, seed=3)
    world.power_on(0)
    asking = world.program(0, "early", 50)
    for verb in ("working", "expel", "emit"):
        asking.send(**{verb: 1})
    stranger = Program(world, 0, 2, None)
    world.programs.append(stranger)
    stranger.send(expel="no")
    world.run(10)
    assert asking.all("error") == [
        f"{verb}: early is not registered yet (legal: close)" for verb in ("working", "expel", "emit")
    ]
    assert stranger.all("error") == ['\'{"expel": "no"}\' (legal: register)']
    assert world.machines[0].panics == []


# -- the place of a built-in level that only acknowledges


def test_the_event_manager_takes_the_place_of_what_stands_in_for_it(world: World) -> None:  # S4.12, S8.6
    world.run(500)
    before = {node: len(world.machines[node].events) for node in range(3)}
    program = world.program(1, "event-manager", 40, answers_ms=50)
    world.run_until(lambda: program.told("join"))
    assert program.told("join") == [(0, 0), (1, 0), (2, 0)]
    shown = [fields for _, kind, fields in world.machines[1].events[before[1] :] if kind == "subsystems"]
    assert shown == [{"levels": [{"level": 40, "name": "event-manager", "real": True}]}]
    world.run(1000)
    told = len(world.machines[1].events)
    world.order(2, "leave")
    world.run_until(lambda: world.machines[2].exits)
    assert program.told("leave") == [(2, 0)]
    steps = [(kind, e["subsystem"]) for _, kind, e in world.machines[1].events[told:] if e.get("level") == 40]
    # The one that stands in has acknowledged at once: nobody is told of that, and the node waits for the program.
    assert [step for step in steps if step[0] != "level-complete"] == [
        ("notified", "event-manager"),
        ("acknowledged", "event-manager"),
    ]


def test_when_the_event_manager_has_ended_the_level_acknowledges_as_before(world: World) -> None:
    program = world.program(1, "event-manager", 40, answers_ms=None, on_death="gone")
    world.run_until(lambda: program.told("join"))
    program.die()
    told = len(world.machines[1].events)
    world.power_off(2)
    world.run_until(lambda: world.all_joined(0, 1))
    steps = [kind for _, kind, e in world.machines[1].events[told:] if e.get("level") == 40 and "subsystem" in e]
    assert steps.count("notified") == steps.count("acknowledged") == 1
    again = world.program(1, "event-manager", 40, on_death="gone")
    world.run_until(lambda: again.told("join"))
    assert again.told("join") == [(0, 0), (1, 0)]


def test_of_two_event_managers_the_second_is_refused(world: World) -> None:
    first = world.program(1, "event-manager", 40)
    world.run_until(lambda: first.registered)
    second = world.program(1, "event-manager", 40)
    world.run(100)
    assert second.all("refused") == ["event-manager is registered with this node already, at level 40"]


@pytest.mark.parametrize(
    ("order", "barriers", "why"),
    [
        (50, {}, "event-manager is registered with this node already, at level 40"),
        (40, TWO, 'where "event-manager" on node 1 has registered forced-leave 1, join 1, leave 1'),
    ],
)
def test_only_what_has_its_level_and_its_barriers_takes_that_place(
    world: World, order: int, barriers: dict[str, int], why: str
) -> None:
    program = world.program(1, "event-manager", order, barriers=barriers)
    world.run(100)
    assert why in program.all("refused")[0]


def test_another_program_at_that_level_takes_nobodys_place(world: World) -> None:
    program = world.program(1, "mounter", 40)
    world.run_until(lambda: program.told("join"))
    world.run(500)
    told = len(world.machines[1].events)
    assert len(world.events(1, "subsystems")) == 1
    world.order(2, "leave")
    world.run_until(lambda: world.machines[2].exits)
    steps = {e["subsystem"] for _, _, e in world.machines[1].events[told:] if e.get("level") == 40 and "subsystem" in e}
    assert steps == {"event-manager", "mounter"}


def test_no_join_waits_for_an_event_manager_that_asks_early() -> None:  # S4.12
    world = World(nodes=2, seed=3)
    world.power_on()
    early = [world.program(node, "event-manager", 40, answers_ms=None) for node in range(2)]
    world.run_until(world.all_joined)
    world.run(500)
    for program in early:
        assert program.told("join") == [(0, 0), (1, 0)]
    assert world.all_joined()
