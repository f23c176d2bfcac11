"""The master, and others, die at every single step of every kind of transition (spec S3.3; A11, A12)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from guestd.membership.position import Position
from tests.unit.guestd_steps import FORCED_LEAVE, JOIN, LEAVE
from tests.unit.guestd_sudden_death import MortalWorld

MASTER = 0
BOUND_MS = 12_000  # for two deaths after one another, each of which is noticed after 3.75 s, and the transitions

Step = tuple[int, int]


def delay_ms(node: int, level: int, position: Position) -> int:
    """Not all at once, and not always the same node first."""
    return 15 * ((node + level // 10) % 3)


def members(count: int, election: str = "paxos") -> MortalWorld:
    """Four configured nodes; the first so many have joined, and node 0 is the master."""
    # At first all acknowledge at once: so each is told of every join of the others.
    world = MortalWorld(4, 7, lambda node, level, position: 0, election=election)
    world.power_on(*range(count))
    world.run_until(lambda: world.all_joined(*range(count)))
    world.delay_ms = delay_ms
    assert world.view.master == MASTER
    return world


def join(world: MortalWorld) -> None:
    world.power_on(3)


def leave(world: MortalWorld) -> None:
    world.order(2, "leave")


def back_at_once(world: MortalWorld) -> None:
    """A forced leave that begins at once, and the next join of the same node after it."""
    world.power_off(2)
    world.power_on(2)


def leave_and_join(world: MortalWorld) -> None:
    leave(world)
    join(world)


def join_that_turns_round(world: MortalWorld) -> None:
    """It is ordered to leave in the middle of its join."""
    join(world)

    def look() -> None:
        if world.state(3) == "joining" and world.view.entries[3].level >= 20:
            world.order(3, "leave")
        elif world.machines[3].running:
            world.after(5, look)

    look()


class Kind:
    """What three members do, who of them it is about, and who is joined at the end."""

    def __init__(self, begin: Callable[[MortalWorld], None], subject: int, after: list[int]) -> None:
        self.begin = begin
        self.subject = subject
        self.after = after

    def moments(self, node: int, election: str = "paxos") -> int:
        """How many moments of that node there are until it is over."""
        world = members(3, election)
        epoch = world.view.epoch
        self.begin(world)
        world.at_moment(node, -1, lambda: None)
        world.run_until(lambda: world.view.epoch > epoch)
        world.run_until(lambda: world.all_joined(*self.after))
        return len(world.moments)


KINDS = {
    "join": Kind(join, 3, [0, 1, 2, 3]),
    "leave": Kind(leave, 2, [0, 1]),
    "forced leave and join": Kind(back_at_once, 2, [0, 1, 2]),
    "join that turns round": Kind(join_that_turns_round, 3, [0, 1, 2]),
    "leave and join": Kind(leave_and_join, 2, [0, 1, 3]),
}
# In mode `dekker` every one of the first kinds, in which the election is, and some of the others.
EVERY = {
    "paxos": dict.fromkeys(KINDS, 1),
    "dekker": dict.fromkeys(KINDS, 5) | {"leave": 1, "forced leave and join": 2},
}
DEATHS_OF_THE_MASTER = [
    (election, kind, at)
    for election, every in EVERY.items()
    for kind, one in KINDS.items()
    for at in range(0, one.moments(MASTER, election), every[kind])
]
DEATHS_OF_THE_SUBJECT = [
    (election, kind, at)
    for election, every in EVERY.items()
    for kind, one in KINDS.items()
    for at in range(0, one.moments(one.subject, election), 2 * every[kind])
]


def steps(world: MortalWorld, node: int, subject: int, incarnation: int) -> dict[str, list[Step]]:
    """What the present life of that node was told of that life of the subject, by type."""
    newest_life = max(index for index, (_, kind, _) in enumerate(world.machines[node].events) if kind == "subsystems")
    found: dict[str, list[Step]] = {"join": [], "leave": [], "forced-leave": []}
    ended = list(found)  # each type may be followed by itself or by a later one
    for _, kind, e in world.machines[node].events[newest_life:]:
        if kind == "notified" and (e["subject"], e["incarnation"]) == (subject, incarnation):
            ended = ended[ended.index(e["transition"]) :]
            found[e["transition"]].append((e["level"], e["barrier"]))
    return found


def check_each_step_once(world: MortalWorld, observer: int) -> None:
    """That node was a member from the beginning: no step of anybody was missed or doubled on it."""
    for subject, entry in enumerate(world.view.entries):
        for incarnation in range(1, entry.incarnation + 1):
            told = steps(world, observer, subject, incarnation)
            is_over = not entry.is_life(incarnation)
            check_life(told, is_over=is_over)


def check_life(told: dict[str, list[Step]], *, is_over: bool) -> None:
    """One life of one node, as another one saw it to the end or to now."""
    join, leave, forced = told["join"], told["leave"], told["forced-leave"]
    assert join == JOIN[: len(join)], told
    if not is_over:
        assert (join, leave, forced) == (JOIN, [], []), told
        return
    # The join ended, or turned round between two levels, or was aborted by the forced leave.
    reached = join[-1][0]
    down = [step for step in LEAVE if step[0] <= reached]
    assert leave == down[: len(leave)], told
    if forced:
        # It goes up to the level that was leaving; or, if all had completed that, to the one below.
        leaving = leave[-1][0] if leave else reached
        below = [*down[len(leave) :], (0, 0)][0][0]
        assert forced in ([step for step in FORCED_LEAVE if step[0] <= top] for top in (leaving, below)), told
    else:
        assert leave == down, told


@pytest.mark.parametrize(("election", "kind", "at"), DEATHS_OF_THE_MASTER)
def test_wherever_the_master_dies_the_next_one_finishes_or_undoes_the_same_transition(  # S3.2, S3.3, A11
    election: str, kind: str, at: int
) -> None:
    world = members(3, election)
    KINDS[kind].begin(world)
    world.doom(MASTER, at)
    world.run_until(lambda: not world.machines[MASTER].running)
    survivors = [node for node in KINDS[kind].after if node != MASTER]
    world.run_until(lambda: world.all_joined(*survivors), within_ms=BOUND_MS)
    assert not any(machine.panics for machine in world.machines)
    check_each_step_once(world, 1)
    for survivor in survivors:
        assert steps(world, survivor, survivor, world.view.entries[survivor].incarnation)["join"] == JOIN


@pytest.mark.parametrize(("election", "kind", "at"), DEATHS_OF_THE_SUBJECT)
def test_wherever_the_subject_dies_its_transition_ends_or_is_aborted(  # S4.7, S4.11
    election: str, kind: str, at: int
) -> None:
    world = members(3, election)
    subject = KINDS[kind].subject
    KINDS[kind].begin(world)
    world.doom(subject, at)
    world.run_until(lambda: not world.machines[subject].running)
    survivors = [node for node in KINDS[kind].after if node != subject]
    world.run_until(lambda: world.all_joined(*survivors), within_ms=BOUND_MS)
    assert not any(machine.panics for machine in world.machines)
    for observer in (0, 1):
        check_each_step_once(world, observer)


RECOVERY = [
    (again, at) for again in (False, True) for at in range(0, KINDS["forced leave and join"].moments(MASTER), 3)
]


@pytest.mark.parametrize(("again", "at"), RECOVERY)
def test_a_second_death_in_the_recovery_of_the_first_while_a_third_node_joins(again: bool, at: int) -> None:
    # S4.10, A9, A12
    world = members(3)

    def second_death_and_join() -> None:
        world.power_off(1)
        world.power_on(3)
        if again:
            world.power_on(1)

    back_at_once(world)
    world.at_moment(MASTER, at, second_death_and_join)
    expected = [0, 1, 2, 3] if again else [0, 2, 3]
    world.run_until(lambda: world.machines[3].life == 1)
    world.run_until(lambda: world.all_joined(*expected), within_ms=BOUND_MS)
    assert not any(machine.panics for machine in world.machines)
    check_each_step_once(world, MASTER)
    dead = {1, 2}
    assert {node for e in world.events(MASTER, "elected") for node in e["victims"]} == dead
    for node in dead:
        assert steps(world, MASTER, node, 1)["forced-leave"] == FORCED_LEAVE
        # The next life is told to nobody before the recovery after the last one has ended everywhere.
        lives = [e["incarnation"] for _, kind, e in world.journal if kind == "notified" and e["subject"] == node]
        assert lives == sorted(lives)
