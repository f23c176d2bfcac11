"""Each step of the protocol is needed: left out, the checker finds what goes wrong; or it is said that nothing does."""

from __future__ import annotations

import pytest

from tests.model.omissions import OMISSIONS, Omission, tried

BREAKING = [one for one in OMISSIONS if one.breaks]
HARMLESS = [one for one in OMISSIONS if not one.breaks]


@pytest.mark.parametrize("one", BREAKING, ids=Omission.told)
def test_without_it_there_is_a_counter_example(one: Omission) -> None:  # S3.2, S6.2, S6.3
    found = tried(one)
    print(found.told())
    assert found.broken is not None
    assert found.broken.startswith(one.claim)


@pytest.mark.parametrize("one", HARMLESS, ids=Omission.told)
def test_without_it_this_claim_holds_all_the_same(one: Omission) -> None:
    """Why is in docs/election.md, "None found"."""
    found = tried(one)
    assert found.trace is None, found.told()


def test_every_step_that_the_protocol_names_is_left_out_in_both_modes() -> None:
    left_out = {mode: {one.what for one in BREAKING if one.mode == mode} for mode in ("paxos", "dekker")}
    of_paxos_alone = {one.what for one in OMISSIONS if one.what.startswith("bids for an epoch")}
    assert left_out["paxos"] - left_out["dekker"] == of_paxos_alone
    assert left_out["dekker"] <= left_out["paxos"]
