"""The election within the bounds of docs/election.md: no claim is broken, in either mode (spec S3.2, S6)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from guestd.core.value import replace
from guestd.membership.dekker import Tournament
from guestd.membership.paxos import PHASES, Bid, Phase
from guestd.membership.records import Match
from tests.model import alone, cases, dekker_model, paxos_model
from tests.model.cases import Case, examined
from tests.model.checker import explore
from tests.model.dekker_model import Dekker
from tests.model.paxos_model import Paxos
from tests.model.protocol import FENCE, MUTUAL_EXCLUSION, Protocol, State
from tests.model.rules import Bounds, Rules

CASES = (*cases.DEFAULT, *(cases.DEEP if cases.DEPTH == "deep" else ()))
LIMIT_S = 7200 if cases.DEPTH == "deep" else 120


@pytest.mark.timeout(LIMIT_S)
@pytest.mark.parametrize("case", CASES, ids=Case.told)
def test_no_interleaving_breaks_a_claim(case: Case) -> None:  # S3.2, S6.2, S6.3, A3
    found = examined(case)
    assert found.trace is None, found.told()
    assert found.traces > 1000


@pytest.mark.parametrize("mode", cases.MODES)
def test_whatever_has_happened_a_node_that_runs_alone_comes_to_own_an_epoch(mode: str) -> None:  # S3.1, S3.3
    protocol = cases.MODES[mode](Rules(), Bounds(epochs=2, rounds=1, restarts=1))
    found = explore(protocol, look=alone.claim(protocol))
    assert found.trace is None, found.told()


def test_who_bids_for_an_epoch_that_another_went_past_and_died_in_would_bid_in_vain_for_ever() -> None:  # S3.3
    protocol = Paxos(Rules(rejoin=False), Bounds(epochs=2, rounds=1))
    found = explore(protocol, look=alone.claim(protocol))
    print(found.told())
    assert found.broken == "n0 alone never comes to own an epoch"


# What a search finds is worth as much as what it goes through: these are ways that the models must be able to go.
REACHED: dict[str, Callable[[State], bool]] = {
    "both epochs are committed": lambda state: all(state.committed),
    "a later life commits": lambda state: any(commit and commit.life == 2 for commit in state.committed),
    "a forced-out node is fenced and its life is over": lambda state: any(
        commit and 0 in commit.members for commit in state.committed
    ),
    "a write of an earlier life is in the queue": lambda state: any(
        one.life < state.nodes[one.node].life for one in state.disk.queue
    ),
    "an epoch is left uncommitted": lambda state: state.committed[0] is None and state.committed[1] is not None,
    "a node has panicked": lambda state: any(node.at == "dead" for node in state.nodes),
}
ONLY_PAXOS = {"an epoch is left uncommitted"}  # in mode `dekker` only if a block was damaged


@pytest.mark.parametrize("mode", cases.MODES)
@pytest.mark.parametrize("what", REACHED)
def test_the_model_comes_to_what_it_is_about(mode: str, what: str) -> None:
    protocol = cases.MODES[mode](Rules(), Bounds(epochs=2, rounds=1, restarts=1))
    found = explore(protocol, look=lambda state: what if REACHED[what](state) else None)
    assert (found.broken == what) == (mode == "paxos" or what not in ONLY_PAXOS)


@pytest.fixture
def fresh() -> Iterator[None]:
    """The models remember what the project's code answered; here it is broken on purpose."""
    caches = (
        *(paxos_model.first_block, paxos_model.after_read),
        *(dekker_model.first_block, dekker_model.after_read, dekker_model.may_have_begun),
    )
    for one in caches:
        one.cache_clear()
    yield
    for one in caches:
        one.cache_clear()


def give_way_to_nobody(bid: Bid, blocks: list[object], unreadable: object = ()) -> Phase:
    bid.phase = PHASES.next(bid.phase, "clear")
    if bid.phase is Phase.WRITING_VALUE:
        bid.block = bid._with_value(blocks)  # type: ignore[arg-type]
    return bid.phase


@pytest.mark.usefixtures("fresh")
def test_a_bid_that_gives_way_to_nobody_is_found_out_so_it_is_the_projects_code_that_is_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Bid, "read", give_way_to_nobody)
    found = explore(Paxos(Rules(), Bounds(), frozenset({MUTUAL_EXCLUSION})))
    assert found.trace is not None
    assert found.broken is not None
    assert found.broken.startswith(MUTUAL_EXCLUSION)


@pytest.mark.usefixtures("fresh")
def test_a_bid_that_forgets_a_value_that_may_be_decided_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with_value = Bid._with_value
    monkeypatch.setattr(Bid, "_with_value", lambda bid, blocks: with_value(bid, [None] * len(blocks)))
    found = explore(Paxos(Rules(), Bounds()))
    assert found.broken is not None
    assert "agreement" in found.broken


def turn_kept(contest: Tournament, blocks: list[Match | None]) -> Match:
    """As if it were given away already."""
    return contest.block


def bits_that_go_on(contest: Tournament, block: Match | None, opponent: int) -> int:
    """From one epoch to the next."""
    return block.bits >> opponent & 1 if block is not None else 0


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("broken", [("_with_turn_given", turn_kept), ("_bit", bits_that_go_on)], ids=lambda one: one[0])
def test_a_tournament_that_gives_the_turn_away_wrongly_is_found_out_so_it_is_the_projects_code_that_is_checked(
    broken: tuple[str, Callable[..., object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    if broken[0] == "_bit":
        begin = Tournament.__init__

        def with_old_bits(contest: Tournament, node: int, life: int, epoch: int, blocks: list[Match | None]) -> None:
            begin(contest, node, life, epoch, blocks)
            own = blocks[node]
            contest.block = replace(contest.block, bits=0 if own is None else own.bits)

        monkeypatch.setattr(Tournament, "__init__", with_old_bits)
    monkeypatch.setattr(Tournament, *broken)
    bounds = Bounds(epochs=2, restarts=1)
    found = explore(Dekker(Rules(records="repaired"), bounds, frozenset({MUTUAL_EXCLUSION})))
    print(found.told())
    assert found.broken is not None
    assert found.broken.startswith(MUTUAL_EXCLUSION)


@pytest.mark.usefixtures("fresh")
def test_a_tournament_that_takes_everybody_for_dead_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tournament, "_held_up_by", lambda contest, blocks: iter(()))
    found = explore(Dekker(Rules(), Bounds(), frozenset({MUTUAL_EXCLUSION})))
    assert found.broken is not None
    assert found.broken.startswith(MUTUAL_EXCLUSION)


@pytest.mark.parametrize("protocol", [Paxos, Dekker])
def test_a_write_of_a_fenced_life_is_what_the_fence_claim_looks_at(protocol: type[Protocol]) -> None:  # S6.2
    found = explore(protocol(Rules(fence="none"), Bounds(), frozenset({FENCE})))
    assert found.trace is not None
    assert "lands" in found.trace[-1]
