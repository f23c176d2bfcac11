"""Mode `dekker`: what a tournament writes, and what becomes of a contender that stops, boots again, or gives up."""

from __future__ import annotations

from pathlib import Path

import pytest

from guestd.core.config import ELECTIONS
from guestd.core.effects import ScsiCommand
from guestd.core.timing import Timing
from guestd.fence import persistent_reserve as pr
from guestd.fence.keys import key_of
from guestd.membership import layout
from guestd.membership.dekker import Phase, Tournament, opponents, rounds
from guestd.membership.observer import Observer
from guestd.membership.records import Heartbeat, Match, decode_match
from guestd.membership.regions import Region, next_incarnation
from guestd.membership.rivals import Rivals
from guestd.membership.states import NodeState
from tests.unit.contenders import EPOCH, Contenders
from tests.unit.guestd_sudden_death import MortalWorld
from tests.unit.guestd_world import World
from tests.unit.test_guestd_master_dies import BOUND_MS, KINDS, MASTER, members

# -- the tournament


@pytest.mark.parametrize("nodes", range(2, 65))
def test_any_two_nodes_meet_in_one_round_and_the_last_round_is_everybodys(nodes: int) -> None:  # S3.2
    """So two that both pass all their rounds have passed one against each other."""
    for node in range(nodes):
        met = [other for number in rounds(node, nodes) for other in opponents(node, nodes, number)]
        assert sorted(met) == [other for other in range(nodes) if other != node]
    assert len({rounds(node, nodes)[-1] for node in range(nodes)}) == 1


@pytest.mark.parametrize(("nodes", "commands"), [(2, 4), (3, 8), (4, 8), (8, 12), (64, 24)])
def test_who_contends_alone_owns_the_epoch_after_four_commands_a_round(nodes: int, commands: int) -> None:  # S3.2
    world = Contenders(nodes, mode="dekker")
    world.step(0)
    for _ in range(commands - 1):
        world.step(0)
    assert not world.winners
    world.step(0)
    assert world.winners == {(0, 1)}
    assert world.disk[0] == Match(commands // 2, EPOCH, 1, flags=(1 << commands // 4) - 1, bits=0)


def alone(mode: str, nodes: int, node: int) -> int:
    """Commands of an election in which nobody else contends."""
    world, commands = Contenders(nodes, mode=mode), 0
    world.step(node)
    while not world.winners:
        world.step(node)
        commands += 1
    return commands


@pytest.mark.parametrize("nodes", [2, 3, 4, 5, 8, 16, 64])
def test_an_election_without_others_costs_what_the_page_says(nodes: int) -> None:  # S3.2
    told = []
    for mode in ELECTIONS:
        costs = sorted({alone(mode, nodes, node) for node in range(nodes)})
        told.append(f"{costs[0]} to {costs[-1]}" if costs[1:] else f"{costs[0]}")
    page = (Path(__file__).parents[2] / "docs" / "election.md").read_text(encoding="utf-8")
    assert f"| {nodes} | {' | '.join(told)} |\n" in page


def test_a_bit_survives_a_restart_and_the_end_of_its_contest_is_the_end_of_it() -> None:  # S3.2
    before = Match(9, EPOCH, 1, flags=0b11, bits=0b0110)
    blocks = [before, None, None, None]
    assert Tournament(0, 2, EPOCH, blocks).block == Match(10, EPOCH, 2, flags=1, bits=0b0110)
    assert Tournament(0, 1, EPOCH + 1, blocks).block == Match(10, EPOCH + 1, 1, flags=1, bits=0)


def test_a_write_that_failed_is_written_again_byte_for_byte() -> None:
    contest = Tournament(1, 1, EPOCH, [None, None])
    block = contest.block
    contest.failed()
    assert (contest.phase, contest.block) == (Phase.RAISING, block)
    contest.written()
    contest.read([None, block])
    block = contest.block
    contest.failed()
    assert (contest.phase, contest.block) == (Phase.YIELDING, block)


def test_a_block_that_cannot_be_read_lets_nobody_pass() -> None:  # S2.5, S3.2
    contest = Tournament(0, 1, EPOCH, [None, None])
    contest.written()
    assert contest.read([contest.block, None], unreadable=[1]) is Phase.LOOKING
    assert contest.read([contest.block, None], unreadable=[0]) is Phase.YIELDING
    contest.written()
    assert contest.read([contest.block, None], unreadable=[1]) is Phase.WAITING
    assert contest.read([contest.block, None]) is Phase.WON


def test_a_contest_for_a_later_epoch_ends_this_one() -> None:
    contest = Tournament(0, 1, EPOCH, [None, None])
    contest.written()
    assert contest.read([contest.block, Match(1, EPOCH + 1, 1, flags=1, bits=0)]) is Phase.LOST
    assert contest.lost_to == 1


def test_a_flag_is_ignored_of_the_life_that_was_fenced_only() -> None:  # S6.2
    contest = Tournament(0, 1, EPOCH, [None, None])
    contest.written()
    contest.read([contest.block, None])
    contest.written()
    rival = Match(1, EPOCH, 4, flags=1, bits=0)  # equal bits: it is its turn
    assert contest.read([contest.block, rival]) is Phase.WAITING
    assert contest.rivals == ((1, 4),)
    contest.ignore((1, 3))
    assert contest.read([contest.block, rival]) is Phase.WAITING
    contest.ignore((1, 4))
    assert contest.read([contest.block, rival]) is Phase.WON
    assert contest.may_have_begun(EPOCH - 1, [contest.block, rival]) == ((1, 3), (1, 4))


def test_who_goes_past_an_epoch_takes_everybody_in_its_last_match_for_its_owner() -> None:  # S3.3
    blocks = [None, Match(1, 6, 5, flags=0b01, bits=0), Match(1, 6, 3, flags=0b10, bits=0), Match(1, 7, 2, 0b11, 0)]
    contest = Tournament(0, 1, 7, blocks)
    assert contest.may_have_begun(5, blocks) == ((2, 3),)
    assert contest.may_have_begun(6, blocks) == ()


# -- how long a contender is waited for

TIMING = Timing()
BLOCKS = [None, Match(1, EPOCH, 1, flags=1, bits=0)]


def beat(sequence: int, incarnation: int = 1) -> Heartbeat:
    return Heartbeat(incarnation, sequence, NodeState.JOINED, "none", 1, 0, 3, False)


class Watch:
    """Node 0, held up by life 1 of node 1; reads and ticks every disk period."""

    def __init__(self) -> None:
        self.observer = Observer(0, 2, TIMING)
        self.rivals = Rivals(self.observer, TIMING)
        self.now_ms = 0
        self.beats = 0

    def period(self, *, moves: bool, sequence: int = 1, incarnation: int = 1, rounds_left: int = 0) -> bool:
        """Whether node 1 may be fenced then."""
        self.now_ms += TIMING.disk_heartbeat_ms
        self.beats += moves
        self.observer.read([None, beat(self.beats, incarnation)], self.now_ms)
        self.rivals.tick(TIMING.disk_heartbeat_ms)
        blocks = [None, Match(sequence, EPOCH, 1, flags=1, bits=0)]
        return self.rivals.overdue([(1, 1)], blocks, rounds_left) == (1, 1)

    def patience_ms(self, *, moves: bool, rounds_left: int = 0) -> int:
        begin_ms = self.now_ms
        while not self.period(moves=moves, rounds_left=rounds_left):
            assert self.now_ms < begin_ms + 60_000
        return self.now_ms - begin_ms


def test_a_dead_contender_is_waited_for_from_its_last_heartbeat_and_not_from_the_meeting() -> None:  # S3.2
    watch = Watch()
    for _ in range(3):
        assert not watch.period(moves=True)
    assert TIMING.death_ms <= watch.patience_ms(moves=False) <= TIMING.death_ms + TIMING.disk_heartbeat_ms
    watch.rivals.forget()  # another contest, against the same one
    assert watch.period(moves=False)


def test_one_that_was_never_seen_alive_is_watched_first() -> None:
    watch = Watch()
    assert TIMING.death_ms <= watch.patience_ms(moves=False) <= TIMING.death_ms + 2 * TIMING.disk_heartbeat_ms


def test_the_flag_of_an_earlier_life_holds_nobody_up() -> None:
    watch = Watch()
    assert not watch.period(moves=True)
    assert watch.period(moves=True, incarnation=2)


@pytest.mark.parametrize("rounds_left", [0, 1, 5])
def test_one_that_lives_and_does_nothing_is_waited_for_longer_in_earlier_rounds(rounds_left: int) -> None:
    waited_ms = Watch().patience_ms(moves=True, rounds_left=rounds_left)
    assert (2 + rounds_left) * TIMING.death_ms <= waited_ms
    assert waited_ms <= (2 + rounds_left) * TIMING.death_ms + 2 * TIMING.disk_heartbeat_ms


def test_one_that_moves_on_is_waited_for_anew_and_so_is_one_after_the_disk_was_away() -> None:  # S5.3
    watch = Watch()
    periods = 2 * TIMING.death_ms // TIMING.disk_heartbeat_ms
    assert not any(watch.period(moves=True) for _ in range(periods))
    assert not any(watch.period(moves=True, sequence=2) for _ in range(periods))
    watch.rivals.forget()
    assert not any(watch.period(moves=True, sequence=2) for _ in range(periods))


# -- contenders that stop, in a cluster


def contest_moments() -> range:
    """Of a master that a member has told that it wants to leave: its contest, its commit, and what follows."""
    return range(KINDS["leave"].moments(MASTER, "dekker"))


def moments_of_the_contest() -> list[str]:
    """What they are."""
    world = members(3, "dekker")
    world.at_moment(MASTER, -1, lambda: None)
    KINDS["leave"].begin(world)
    world.run_until(lambda: world.events(MASTER, "elected")[1:])
    return world.moments


def with_moment(at: int, action: str) -> MortalWorld:
    """Three members; that happens to the master at that moment of the contest for the epoch in which node 2 leaves."""
    world = members(3, "dekker")
    world.at_moment(MASTER, at, lambda: getattr(world, action)(MASTER))
    KINDS["leave"].begin(world)
    world.run_until(lambda: len(world.moments) > at)
    return world


def contender_region(world: World) -> bytes:
    start = layout.region_lba(MASTER, 0) * 512
    return bytes(world.disk[start : start + layout.REGION_SIZE])


@pytest.mark.parametrize("at", contest_moments())
def test_wherever_a_contender_freezes_the_others_go_past_it_behind_its_fence(at: int) -> None:  # S3.2, S6.2, A1
    world = with_moment(at, "freeze")
    world.run_until(lambda: world.all_joined(1), within_ms=BOUND_MS)
    assert {"subject": MASTER, "incarnation": 1} in world.events(1, "fenced")
    before = contender_region(world)
    world.thaw(MASTER)
    world.run_until(lambda: world.machines[MASTER].panics)
    assert contender_region(world) == before
    world.run(5000)
    assert world.all_joined(1)
    assert not world.machines[1].panics


@pytest.mark.parametrize("at", contest_moments())
def test_wherever_a_contender_boots_again_its_flag_holds_nobody_up_for_long(at: int) -> None:  # S3.2, A4
    world = with_moment(at, "power_off")
    world.power_on(MASTER)
    took_ms = world.run_until(lambda: world.all_joined(0, 1), within_ms=BOUND_MS)
    assert took_ms < 4 * world.config.timing.death_ms
    assert not any(machine.panics for machine in world.machines)


def test_some_of_these_do_hold_the_others_up() -> None:
    """Else the two tests above would say nothing."""
    held_up = 0
    for at in contest_moments():
        world = with_moment(at, "power_off")
        world.run_until(lambda: world.all_joined(1), within_ms=BOUND_MS)  # noqa: B023 - it is called before it changes
        events = world.events(1, "held-up")
        assert events == [{"epoch": 2, "subject": MASTER, "incarnation": 1}] * len(events)
        held_up += bool(events)
    assert held_up > 5


def test_a_dead_contender_costs_its_successor_no_time_but_its_commands() -> None:  # S3.2
    """Its silence has been counted by then: it is fenced at once."""
    for at in contest_moments():
        world = with_moment(at, "power_off")
        world.run_until(lambda: world.events(1, "bid"))  # noqa: B023 - it is called before it changes
        bid_ms = world.now_ms
        world.run_until(lambda: world.events(1, "elected"))  # noqa: B023
        assert world.now_ms - bid_ms < world.config.timing.death_ms // 4


def living_rival() -> World:
    """Node 1 is held up by node 0, which lives, and whose reads fail."""
    world = World(election="dekker")
    world.power_on()
    world.run_until(world.all_joined)
    world.order(2, "leave")
    world.run_until(lambda: world.events(0, "bid")[1:])
    world.device.blind.add(0)
    world.isolate(0)
    world.run_until(lambda: world.events(1, "bid"))
    return world


def test_a_contender_that_lives_and_reads_nothing_is_fenced_at_last() -> None:  # S3.2, S6.1
    """The master raises its flag, and then its reads fail; its heartbeats go on. The others do not hear it any more."""
    world = living_rival()
    waited_ms = world.run_until(lambda: world.events(1, "held-up"))
    contest_ms = world.config.timing.contest_ms(rounds_left=1)
    assert contest_ms <= waited_ms < contest_ms + world.config.timing.death_ms
    world.run_until(lambda: world.all_joined(1), within_ms=20_000)
    world.run_until(lambda: world.machines[0].panics)
    assert not world.machines[1].panics


def test_time_without_a_disk_is_no_time_in_which_a_contender_was_waited_for() -> None:  # S5.3
    world = living_rival()
    contest_ms = world.config.timing.contest_ms(rounds_left=1)
    world.run(contest_ms // 2)
    world.device.blind.add(1)
    world.run(contest_ms)
    world.device.blind.discard(1)
    assert world.run_until(lambda: world.events(1, "held-up")) >= contest_ms


def dead_rival() -> World:
    """Node 0 has died with its first flag up, and node 1 is about to contend."""
    flag = f"after the write of LBA {layout.region_lba(MASTER, layout.MATCH_SECTOR)}"
    return with_moment(moments_of_the_contest().index(flag), "power_off")


def test_a_flag_is_not_ignored_before_the_fence_is_verified() -> None:  # S3.2, S6.2, A18
    world = dead_rival()
    world.device.broken.add(1)
    world.run_until(lambda: world.events(1, "held-up")[1:])
    world.run(3000)
    assert not world.events(1, "elected", "epoch-not-begun", "fenced")
    world.device.broken.clear()
    world.run_until(lambda: world.all_joined(1))
    assert world.commits[2] == (1, 1)


def test_who_has_lost_its_own_key_when_it_fences_a_contender_panics(monkeypatch: pytest.MonkeyPatch) -> None:  # S6.1
    world = dead_rival()
    reserve = world.device._reserve

    def after_another(node: int, command: ScsiCommand) -> tuple[int, bytes]:
        if node == 1 and command.cdb[:2] == bytes([0x5F, pr.PREEMPT_AND_ABORT]):
            reserve(2, ScsiCommand(0, *pr.out(pr.PREEMPT_AND_ABORT, key_of(2, 1), key_of(1, 1)), 0))
        return reserve(node, command)

    monkeypatch.setattr(world.device, "_reserve", after_another)
    world.run_until(lambda: world.machines[1].panics)
    assert "its key is gone from the disk" in world.machines[1].panics[0]
    assert not world.events(1, "elected")


def match_of(world: World, node: int) -> Match:
    start = layout.region_lba(node, layout.MATCH_SECTOR) * 512
    found = decode_match(world.config.cluster_id, node, bytes(world.disk[start : start + 512]))
    assert found is not None
    return found


def owner_that_gave_up() -> World:
    """Node 0 owns epoch 2, in which it was to force out node 2, which it cannot fence."""
    world = World(election="dekker")
    world.power_on()
    world.run_until(world.all_joined)
    world.device.broken.add(0)
    world.freeze(2)
    world.run_until(lambda: world.events(0, "epoch-not-begun"))
    return world


def test_an_owner_that_could_not_fence_goes_on_with_the_epoch_that_it_owns() -> None:  # S3.2, A18
    world = owner_that_gave_up()
    before = match_of(world, 0)
    world.run(3000)
    assert world.view.epoch == 1
    world.device.broken.clear()
    world.run_until(lambda: world.all_joined(0, 1))
    assert match_of(world, 0) == before  # it did not have to contend again
    assert world.commits[2] == (0, 1)


def test_an_owner_whose_reason_has_gone_begins_its_epoch_all_the_same() -> None:  # S3.2
    """Else its flags would hold up whoever wants that epoch next, and it would be fenced for it."""
    world = owner_that_gave_up()
    epoch = world.view.epoch
    world.thaw(2)
    world.run_until(lambda: world.view.epoch > epoch)
    world.device.broken.clear()
    assert world.events(0, "elected")[-1]["victims"] == []
    world.run_until(world.all_joined)
    world.order(1, "leave")
    world.run_until(lambda: world.all_joined(0, 2))
    assert not world.events(0, "held-up")
    assert not any(machine.panics for machine in world.machines)


def test_an_owner_that_is_itself_cut_off_begins_its_epoch_and_puts_nobody_out() -> None:  # S3.2, S5.2
    """It is not among those who decide who goes; they put it out in the epoch after, and need not wait for its flag."""
    world = owner_that_gave_up()
    world.isolate(0)
    world.thaw(2)
    world.run_until(lambda: world.all_joined(1, 2), within_ms=20_000)
    assert world.commits[2] == (0, 1)
    assert not [e for e in world.events(0, "elected") if 0 in e["victims"]]
    assert not world.events(1, "held-up")
    world.run_until(lambda: world.machines[0].panics)
    assert not world.machines[1].panics
    assert not world.machines[2].panics


@pytest.mark.parametrize(("damaged", "skipped"), [(False, 0), (True, 1)])
def test_who_cannot_read_its_own_block_does_not_contend_for_the_epoch_it_may_have_been_about(  # S2.5, S3.2
    damaged: bool, skipped: int
) -> None:
    world = World(election="dekker")
    world.power_on()
    world.run_until(world.all_joined)
    world.power_off()
    if damaged:
        start = layout.region_lba(2, layout.MATCH_SECTOR) * 512
        world.disk[start : start + 2 * 512] = b"x" * 1024
    world.power_on(2)
    world.run_until(lambda: world.all_joined(2))
    assert world.view.epoch == 2 + skipped


def test_a_life_of_which_only_its_contest_is_left_is_counted() -> None:  # S2.6
    empty = Region(None, None, None, ())
    region = Region(None, None, None, (), match=Match(3, EPOCH, 7, flags=1, bits=0))
    assert next_incarnation(0, [region, empty]) == 8


def test_a_contender_whose_writes_fail_for_a_while_writes_them_again() -> None:  # S3.2
    world = World(election="dekker")
    world.power_on()
    world.run_until(world.all_joined)
    world.order(2, "leave")
    world.run_until(lambda: world.events(0, "bid")[1:])
    world.device.failing.add(0)
    world.run(500)
    assert match_of(world, 0).epoch == 1
    world.device.failing.clear()
    world.run_until(lambda: world.all_joined(0, 1))
    assert len(world.events(0, "bid")) == 2
    assert match_of(world, 0).epoch == 2


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("nodes", [2, 3, 4, 5])
def test_of_all_that_contend_at_once_one_owns_the_epoch_and_only_the_master_makes_room(
    nodes: int, seed: int
) -> None:  # S3.2
    """Everybody bids in the same instant, for an epoch in which nothing is to change."""
    world = World(nodes=nodes, seed=seed, election="dekker")
    world.power_on()
    world.run_until(world.all_joined)
    world.run(seed * 37)
    master = world.view.master
    ended: list[tuple[int, bool]] = []
    for node in range(nodes):
        stack = world.machines[node].stack
        assert stack is not None
        office, life = stack._manager._office, world.machines[node].life
        epoch = world.view.epoch

        def won(is_won: bool, node: int = node) -> None:
            ended.append((node, is_won))

        office._election.start(1, epoch, won)
        for effect in stack._context.take_effects():
            world._carry_out(node, life, effect)
    world.run_until(lambda: any(is_won for _, is_won in ended))
    assert not any(world.events(node, "held-up", "fenced") for node in range(nodes))
    # The winner begins its epoch, although it does not know any more what for.
    (winner,) = {node for node, is_won in ended if is_won}
    world.run_until(lambda: world.view.epoch == epoch + 1)
    # A master that is replaced would go on with its epoch until it sees the next one: it is fenced first.
    replaced = {master} - {winner}
    world.run_until(lambda: world.all_joined(*sorted({*range(nodes)} - replaced)))
    assert {node for node, machine in enumerate(world.machines) if machine.panics} == replaced
