"""Two owners of one epoch never: all interleavings of few steps, and many random ones of more."""

from __future__ import annotations

import random

import pytest

from guestd.membership.paxos import Bid, Phase
from guestd.membership.records import Ballot

WRITING = (Phase.WRITING_MBAL, Phase.WRITING_VALUE)


class Contenders:
    """Nodes that bid for one epoch on a disk in memory; each write and each read of all blocks is one atomic step."""

    def __init__(self, nodes: int, lives: int = 1) -> None:
        self.disk: list[Ballot | None] = [None] * nodes
        self.bids: list[Bid | None] = [None] * nodes
        self.seen: list[list[Ballot | None]] = [[None] * nodes for _ in range(nodes)]
        self.incarnations = [1] * nodes
        self.lives_left = lives
        self.decided: set[tuple[int, int]] = set()
        self.winners: set[tuple[int, int]] = set()

    def step(self, node: int) -> None:
        bid = self.bids[node]
        if bid is None or bid.phase in (Phase.LOST, Phase.DECIDED):
            self.bids[node] = Bid(node, self.incarnations[node], 7, self.seen[node])
            return
        if bid.phase in WRITING:
            self.disk[node] = bid.block
            self.seen[node][node] = bid.block
            bid.written()
            return
        self.seen[node] = [block if other != node else bid.block for other, block in enumerate(self.disk)]
        if bid.read(self.seen[node]) is Phase.DECIDED:
            self.decided.add((bid.block.owner, bid.block.owner_incarnation))
            if bid.won:
                self.winners.add((node, self.incarnations[node]))
        assert len(self.decided) <= 1, f"two values: {self.decided}"
        assert len(self.winners) <= 1, f"two owners: {self.winners}"

    def crash(self, node: int) -> None:
        """The node boots again and reads all blocks, its own among them, before it bids."""
        self.bids[node] = None
        self.incarnations[node] += 1
        self.seen[node] = list(self.disk)


def copy(world: Contenders) -> Contenders:
    twin = Contenders(len(world.disk))
    twin.disk = list(world.disk)
    twin.seen = [list(seen) for seen in world.seen]
    twin.incarnations = list(world.incarnations)
    twin.lives_left = world.lives_left
    twin.decided = set(world.decided)
    twin.winners = set(world.winners)
    for node, bid in enumerate(world.bids):
        if bid is not None:
            other = Bid(node, 0, 0, [None] * len(world.disk))
            other.phase, other.block, other.lost_to = bid.phase, bid.block, bid.lost_to
            twin.bids[node] = other
    return twin


def key(world: Contenders) -> object:
    bids = tuple(None if bid is None else (bid.phase.value, bid.block) for bid in world.bids)
    seen = tuple(map(tuple, world.seen))
    decided = (tuple(sorted(world.decided)), tuple(sorted(world.winners)))
    return bids, tuple(world.disk), seen, tuple(world.incarnations), world.lives_left, decided


@pytest.mark.parametrize(("nodes", "crashes", "depth"), [(2, 0, 26), (2, 1, 18), (3, 0, 13)])
def test_no_interleaving_gives_an_epoch_two_owners(nodes: int, crashes: int, depth: int) -> None:  # S3.2
    reached = {key(Contenders(nodes, crashes))}
    front = [Contenders(nodes, crashes)]
    won = False
    for _ in range(depth):
        following = []
        for world in front:
            for node in range(nodes):
                for crashed in (False, True):
                    if crashed and world.lives_left == 0:
                        continue
                    twin = copy(world)
                    if crashed:
                        twin.lives_left -= 1
                        twin.crash(node)
                    else:
                        twin.step(node)
                    if key(twin) not in reached:
                        reached.add(key(twin))
                        following.append(twin)
                        won = won or bool(twin.winners)
        front = following
    assert won
    assert len(reached) > 100


@pytest.mark.parametrize("seed", range(300))
def test_random_interleavings_with_crashes_give_an_epoch_one_owner_at_most(seed: int) -> None:  # S3.2
    randomness = random.Random(seed)
    world = Contenders(3)
    for _ in range(150):
        node = randomness.randrange(3)
        if randomness.random() < 0.03:
            world.crash(node)
        else:
            world.step(node)


def test_who_bids_alone_owns_the_epoch_after_two_writes_and_two_reads() -> None:
    world = Contenders(3)
    for _ in range(5):
        world.step(1)
    assert world.winners == {(1, 1)}
    assert world.disk[1] == Ballot(2, 7, 1, mbal=65, bal=65, owner=1, owner_incarnation=1)


def test_a_value_that_may_be_decided_is_taken_over() -> None:
    world = Contenders(3)
    for _ in range(4):
        world.step(0)  # dies after its second write
    for _ in range(5):
        world.step(2)
    assert world.decided == {(0, 1)}
    assert world.winners == set()


def test_a_block_of_a_later_epoch_makes_a_bid_give_way() -> None:
    bid = Bid(0, 1, 7, [None, None])
    bid.written()
    assert bid.read([bid.block, Ballot(9, 8, 1, mbal=1, bal=0, owner=0, owner_incarnation=0)]) is Phase.LOST
    assert bid.lost_to == 1


def test_a_block_that_cannot_be_read_is_no_answer() -> None:  # S2.5, S3.2
    bid = Bid(0, 1, 7, [None, None])
    bid.written()
    assert bid.read([bid.block, None], unreadable=[1]) is Phase.READING_MBAL
    assert bid.read([bid.block, None]) is Phase.WRITING_VALUE
