"""Two owners of one epoch never: all interleavings of few steps, and many random ones of more (`contenders.py`)."""

from __future__ import annotations

from guestd.membership.paxos import Bid, Phase
from guestd.membership.records import Ballot
from tests.unit.contenders import Contenders


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
