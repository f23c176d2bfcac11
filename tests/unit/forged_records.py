"""Recordings that are forged in one record on the disk: a ballot, a match or a commit says what guestd never writes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

import pytest

from guestd.core.value import replace
from guestd.membership.records import Ballot, Commit, Match, encode_ballot, encode_commit, encode_match
from guestd.membership.sector import SECTOR_SIZE
from guestd.membership.states import NodeState
from guestd.membership.view import with_entry
from hil.checkers.records import place_of, record_of
from hil.scsi.ledger_records import Entry
from hil.sim.world import CLUSTER_ID

if TYPE_CHECKING:
    from collections.abc import Callable

    from guestd.membership.view import Entry as NodeEntry
    from tests.unit.sim_recordings import Run

Kind = TypeVar("Kind", Ballot, Match, Commit)

_CLUSTER = bytes.fromhex(CLUSTER_ID)


def written(run: Run, kind: type[Kind]) -> list[tuple[int, Kind]]:
    """(number of the command, record): all of that kind, in the order of the disk."""
    found = []
    for entry in run.records:
        if isinstance(entry, Entry) and entry.order in run.contents:
            ((lba, data),) = run.contents[entry.order]
            record = record_of(_CLUSTER, run.nodes, lba, data)
            if isinstance(record, kind):
                found.append((entry.order, record))
    return found


def writer(run: Run, order: int) -> int:
    """Whose region that command wrote to."""
    return place_of(run.contents[order][0][0])[0]


def pairs(run: Run, kind: type[Kind]) -> Iterator[tuple[int, Kind, int, Kind]]:
    """(command, record, command, record): two that follow one another in the region of one node."""
    newest: dict[int, tuple[int, Kind]] = {}
    for order, record in written(run, kind):
        node = writer(run, order)
        if node in newest:
            before_order, before = newest[node]
            yield before_order, before, order, record
        newest[node] = (order, record)


def rewrite(run: Run, order: int, record: Ballot | Match | Commit) -> None:
    """Let that command have written this, in all copies."""
    ((lba, data),) = run.contents[order]
    node = place_of(lba)[0]
    if isinstance(record, Ballot):
        sector = encode_ballot(_CLUSTER, node, record)
    elif isinstance(record, Match):
        sector = encode_match(_CLUSTER, node, record)
    else:
        sector = encode_commit(_CLUSTER, node, record)
    run.contents[order] = [(lba, sector * (len(data) // SECTOR_SIZE))]


def write_after(run: Run, order: int, record: Ballot | Match) -> None:
    """Let the same node write this next."""
    place, entry = next((n, one) for n, one in enumerate(run.records) if isinstance(one, Entry) and one.order == order)
    new = max(run.contents) + 1
    run.contents[new] = run.contents[order]
    run.records.insert(place + 1, entry._replace(order=new))
    rewrite(run, new, record)


# -- ballots


def last_choice(run: Run) -> tuple[int, Ballot]:
    """The last ballot in which a node has chosen."""
    return next((order, ballot) for order, ballot in reversed(written(run, Ballot)) if ballot.bal)


def ballot_goes_back(run: Run) -> None:
    by_node: dict[int, list[int]] = {}
    for order, _ in written(run, Ballot):
        by_node.setdefault(writer(run, order), []).append(order)
    first, *_, last = max(by_node.values(), key=len)
    run.contents[first], run.contents[last] = run.contents[last], run.contents[first]


def chosen_in_a_ballot_that_was_not_begun(run: Run) -> None:
    order, ballot = last_choice(run)
    rewrite(run, order, replace(ballot, bal=ballot.mbal + 64))


def choice_taken_back(run: Run) -> None:
    """By a ballot that is begun later: the numbers, compared as a whole, do not go back."""
    order, ballot = last_choice(run)
    later = replace(ballot, sequence=ballot.sequence + 1, mbal=ballot.mbal + 64, bal=0, owner=0, owner_incarnation=0)
    write_after(run, order, later)


def two_values_under_one_number(run: Run) -> None:
    order, ballot = last_choice(run)
    other = (ballot.owner + 1) % run.nodes
    write_after(run, order, replace(ballot, sequence=ballot.sequence + 1, owner=other))


# -- matches


def match_goes_back(run: Run) -> None:
    """To an epoch that is over."""
    first, before, second, after = next(pair for pair in pairs(run, Match) if pair[1].epoch < pair[3].epoch)
    rewrite(run, first, replace(before, epoch=after.epoch))
    rewrite(run, second, replace(after, epoch=before.epoch))


def match_is_the_one_before(run: Run) -> None:
    """Its number does not grow, though what it says differs."""
    _, before, second, after = next(pair for pair in pairs(run, Match) if pair[1].epoch < pair[3].epoch)
    rewrite(run, second, replace(after, sequence=before.sequence))


def flag_is_lowered(run: Run) -> None:
    same_contest = (
        pair
        for pair in pairs(run, Match)
        if (pair[1].epoch, pair[1].incarnation) == (pair[3].epoch, pair[3].incarnation) and pair[1].flags
    )
    _, before, second, after = next(same_contest)
    rewrite(run, second, replace(after, flags=after.flags & ~before.flags))


def two_lives(run: Run) -> tuple[int, Match, int, Match]:
    """The last match of a life and the first of the next one, in the same contest."""
    return next(
        (first, before, second, after)
        for first, before, second, after in pairs(run, Match)
        if before.epoch == after.epoch and before.incarnation < after.incarnation
    )


def next_life_has_other_turn_bits(run: Run) -> None:
    _, before, second, after = two_lives(run)
    rewrite(run, second, replace(after, bits=before.bits ^ 1))


def life_before_contends_again(run: Run) -> None:
    first, before, second, after = two_lives(run)
    rewrite(run, first, replace(before, incarnation=after.incarnation))
    rewrite(run, second, replace(after, incarnation=before.incarnation, bits=before.bits))


# -- commits


def change(
    run: Run,
    wanted: Callable[[NodeEntry, NodeEntry], bool],
    to: Callable[[NodeEntry, NodeEntry], NodeEntry],
    *,
    same_epoch: bool,
) -> None:
    """The last commit that changes a node's entry in a way that is ``wanted`` makes another one of it."""
    views = written(run, Commit)
    for (_, before), (order, after) in reversed(list(pairwise(views))):
        if (after.view.epoch == before.view.epoch) is not same_epoch:
            continue
        for subject, (old, new) in enumerate(zip(before.view.entries, after.view.entries, strict=True)):
            if subject != after.view.master and wanted(old, new):
                rewrite(run, order, replace(after, view=with_entry(after.view, subject, to(old, new))))
                return
    pytest.fail("no such commit")


def _goes_up(old: NodeEntry, new: NodeEntry) -> bool:
    return old.state is new.state is NodeState.JOINING and (old.level, new.level) == (0, 10)


def joined_at_once(run: Run) -> None:
    change(run, _goes_up, lambda old, new: replace(new, state=NodeState.JOINED), same_epoch=True)


def level_is_left_out_of_a_join(run: Run) -> None:
    change(run, _goes_up, lambda old, new: replace(new, level=20, reach=20), same_epoch=True)


def leave_goes_up(run: Run) -> None:
    def goes_down(old: NodeEntry, new: NodeEntry) -> bool:
        return old.state is new.state is NodeState.LEAVING and new.level < old.level

    change(run, goes_down, lambda old, new: replace(new, level=old.level + 1), same_epoch=True)


def admitted_above_the_bottom(run: Run) -> None:
    def admitted(old: NodeEntry, new: NodeEntry) -> bool:
        return old.state is NodeState.INACTIVE and new.state is NodeState.JOINING

    change(run, admitted, lambda old, new: replace(new, level=10, reach=10), same_epoch=False)


def forced_leave_goes_less_high_than_the_join(run: Run) -> None:
    def forced(old: NodeEntry, new: NodeEntry) -> bool:
        return old.state.live and new.state is NodeState.FORCED_LEAVING

    change(run, forced, lambda old, new: replace(new, reach=0), same_epoch=False)
