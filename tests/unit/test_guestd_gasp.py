"""The last gasp: a node that ends says so, and the others need not wait for its silence."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from guestd.core.timing import Timing
from guestd.membership import datagram
from guestd.membership.observer import Observer
from guestd.membership.view import View, empty
from tests.unit.guestd_world import World, formed

LOSS_MS_MAX = 2000  # the same after a silence
GASP_MS_MAX = 500  # from a gasp until the new membership is agreed


def took_ms(world: World, victim: int) -> int:
    return world.run_until(lambda: world.agreed_without(victim))


def gasp(world: World, node: int, incarnation: int, sequence: int, *heard_by: int) -> None:
    """Let others hear that this life of a node ends, whoever it is that says so."""
    say = datagram.Say(node, incarnation, sequence, 0, "none", (), None, gasp=True)
    payload = datagram.encode(world.config.cluster_id, say)
    for other in heard_by:
        world._delivery(other, world.machines[other].life, payload)()


def said(world: World, node: int) -> int:
    """How many datagrams this life has sent."""
    stack = world.machines[node].stack
    assert stack is not None
    return stack._manager.member.said


def sent(world: World) -> list[datagram.Say]:
    """Everything that is said from now on."""
    said: list[datagram.Say] = []
    send = world._send

    def listening(node: int, payload: bytes) -> None:
        said.append(datagram.decode(world.config.cluster_id, world.config.nodes, payload))
        send(node, payload)

    world._send = listening  # type: ignore[method-assign]
    return said


def test_with_a_gasp_the_loss_of_any_node_is_agreed_upon_within_half_a_second() -> None:  # S5.1
    took = []
    for seed in range(100):
        world = formed(seed)
        victim = seed % 3  # 0 is the master
        world.order(victim, "panic", "because")
        took.append(took_ms(world, victim))
        assert {fields["where"] for fields in world.events((victim + 1) % 3, "silent")} == {"gasp"}
    assert max(took) <= GASP_MS_MAX


def test_a_lost_gasp_costs_no_more_than_silence() -> None:  # S5.1
    for seed in range(20):
        world = formed(seed)
        victim = seed % 3
        world.isolate(victim)
        world.order(victim, "panic", "because")
        timing = world.config.timing
        assert timing.death_ms - timing.heartbeat_ms <= took_ms(world, victim) <= LOSS_MS_MAX


def test_a_gasp_that_only_one_hears_who_is_not_to_act_costs_no_more_than_silence() -> None:  # S5.1
    world = formed(1)
    world.cut.add((1, 0))
    world.order(1, "panic", "because")
    assert took_ms(world, 1) <= LOSS_MS_MAX
    assert world.view.epoch == 2


@pytest.mark.parametrize("sequence", [1, 1 << 40])
def test_a_gasp_of_an_earlier_life_says_nothing(sequence: int) -> None:  # S2.6
    world = formed(2)
    world.power_off(2)
    world.run_until(lambda: world.agreed_without(2))
    world.power_on(2)
    world.run_until(world.all_joined)
    order = world.view.order
    gasp(world, 2, 1, sequence, 0, 1)
    world.run(10_000)
    assert world.view.order == order
    assert not [event for event in world.events(0, "silent") if event["where"] == "gasp"]


def test_who_goes_on_speaking_after_its_gasp_is_believed_to_live() -> None:
    world = formed(3)
    gasp(world, 2, 1, said(world, 2) + 1, 1)  # node 1 is not the one to act
    assert world.status(1)["suspects"] == [2]
    world.run(world.config.timing.heartbeat_ms * 3)  # the next datagram has the number that the false one took
    assert world.status(1)["suspects"] == []
    world.run(10_000)
    assert world.all_joined()
    assert world.view.epoch == 1


def test_nothing_rests_on_the_gasp_being_true() -> None:  # S6.1
    world = formed(4)
    gasp(world, 2, 1, 1 << 40, 0)
    world.run_until(lambda: world.all_joined(0, 1))
    world.run_until(lambda: world.machines[2].panics, within_ms=world.config.timing.disk_heartbeat_ms * 2)
    assert "found itself forced out" in world.machines[2].panics[0]


def test_after_a_gasp_nobody_else_is_forced_out_by_what_is_not_published_yet() -> None:  # S5.2
    for seed in range(30):
        world = World(nodes=3, seed=seed)
        world.power_on(0, 1)
        world.run_until(lambda world=world: world.all_joined(0, 1))  # type: ignore[misc]
        epoch = world.view.epoch
        world.power_on(2)
        world.run_until(lambda world=world, epoch=epoch: world.view.epoch > epoch)  # type: ignore[misc]
        world.order(1, "panic", "because")
        world.run_until(lambda world=world: world.all_joined(0, 2))  # type: ignore[misc]
        assert not world.machines[2].panics


def test_when_another_is_missed_too_the_gasp_does_not_hurry_the_others() -> None:  # S5.2
    world = World(nodes=4, seed=5)
    world.power_on()
    world.run_until(world.all_joined)
    world.power_off(3)
    world.run_until(lambda: world.events(0, "silent"))
    silent_ms = world.now_ms
    world.order(2, "panic", "because")
    world.run_until(lambda: world.events(0, "bid")[1:])
    assert world.now_ms - silent_ms >= world.config.timing.settle_ms / 2
    world.run_until(lambda: world.all_joined(0, 1))
    assert world.view.epoch == 2


def test_a_node_that_has_left_gasps_and_one_that_runs_does_not() -> None:  # S4.9
    world = formed(6)
    said = sent(world)
    world.order(1, "leave")
    world.run_until(lambda: world.machines[1].exits)
    assert [(say.node, say.incarnation) for say in said if say.gasp] == [(1, 1)]
    assert said[-1].gasp


@pytest.mark.parametrize("delay_ms", range(0, 60, 6))
def test_a_node_that_ends_while_it_waits_is_not_admitted_any_more(delay_ms: int) -> None:  # S3.1
    world = World(nodes=3, seed=7)
    world.power_on(0, 1)
    world.run_until(lambda: world.all_joined(0, 1))
    order = world.view.order
    world.power_on(2)
    world.run_until(lambda: world.events(2, "incarnation"))
    world.run(delay_ms)
    assert world.status(2)["role"] == "outside"
    world.order(2, "leave")
    world.run(5000)
    assert world.machines[2].exits == [0]
    assert world.view.order == order


def test_a_gasp_is_of_one_life_only() -> None:  # S2.6
    observer = Observer(0, 3, Timing())
    observer.heard(datagram.Say(1, 5, 9, 0, "none", (), None, gasp=True))
    assert [observer.gasped(1, life) for life in (4, 5, 6)] == [False, True, False]
    observer.heard(datagram.Say(1, 5, 8, 0, "none", (), None))  # it was late, and says nothing of the end
    assert observer.gasped(1, 5)
    observer.heard(datagram.Say(1, 6, 1, 0, "join", (), None))
    assert not observer.gasped(1, 5)


@pytest.mark.parametrize("end", [lambda world: world.order(1, "panic"), lambda world: world.order(1, "leave")])
def test_a_node_without_a_life_yet_has_nothing_to_say(end: Callable[[World], None]) -> None:
    world = World(nodes=3, seed=8)
    said = sent(world)
    world.power_on(1)
    end(world)
    world.run(1000)
    assert said == []


@pytest.mark.parametrize("view", [None, empty(3)])
@pytest.mark.parametrize("gasps", [False, True])
def test_the_flag_survives_encoding_with_and_without_a_view(view: View | None, gasps: bool) -> None:
    say = datagram.Say(1, 2, 3, 4, "none", (), view, gasps)
    assert datagram.decode(bytes(16), 3, datagram.encode(bytes(16), say)) == say
