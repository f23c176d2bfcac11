"""Faults put into guestd: each applies and is undone, and the claims find them; all of them: ``./run mutations``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from guestd.core.value import replace
from guestd.membership import view
from guestd.membership.states import NODE_STATES, NodeState
from hil.checkers.checker import Checker
from hil.sim.claims import every_claim
from hil.sim.run import CONVERGES, NO_FAULT_OF_ITS_OWN, run
from tests.mutations.__main__ import main
from tests.mutations.catalogue import BY_NAME, MUTANTS
from tests.mutations.mutant import LEAVES, Mutant
from tests.mutations.patching import MutationError, Patch, applied, present

SEEDS_MAX = 20
ALONE = {
    "FilesKept": "forced-leave-acknowledged-at-once",
    "VolumesKept": "volume-stale-tables",
    "OneHistory": "decided-without-the-lock",
    "ServiceStates": "steps-told-twice",
    "OnePlace": "recovery-run-twice",
    "Placed": "maturity-ignored",
    "Grouped": "children-stopped-last",
    "Recovered": "recovery-left-out",
    "NotifiedOfIt": "notified-before-the-start",
    "LocksHeld": "recovery-over-at-once",
    "OneOwner": "nobody-gives-way",
    "OneWriter": "writes-elsewhere",
    "Fence": "preempt-without-abort",
    "Promise": "ballot-forgotten",
    "History": "told-before-written",
    "Steps": "one-not-awaited",
    "Transitions": "barrier-skipped",
    "ProgramsTold": "told-twice",
    "ForcedOut": "forced-out-comes-back",
    "Panics": "panics-when-the-disk-hangs",
    "Choices": "chosen-value-forgotten",
    "Flags": "turn-bits-forgotten",
    "States": "joined-at-once",
    "WorkedOn": "acknowledged-at-once",
    "OwnLevel": "told-before-its-own-join",
    "ProgramStates": "states-of-before",
    "Hung": "files-awaited-in-silence",
    "OneCluster": "second-cluster",
    "Survivors": "one-too-few",
    "Refused": "conflict-ignored",
    "FenceFirst": "no-fence",
    "EveryDisk": "last-disk-not-fenced",
    "Barriers": "one-not-awaited",
    "LevelOrder": "leave-goes-up",
    "JournalFirst": "forced-leave-acknowledged-at-once",
    "Tables": "states-not-looked-at",
    "Incarnations": "same-incarnation-again",
    "OneInstance": "two-of-one-name",
    "Waits": "leave-forgotten",
}
"""Of each checker a mutant that it finds soon, with no other to be quicker."""


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_applies_and_is_undone(mutant: Mutant) -> None:
    with mutant.applied() as patch:
        first = {(id(where), name): (where, name, before) for where, name, before in reversed(patch.replaced)}
        assert first
        assert all(present(where, name) is not before for where, name, before in first.values())
    assert all(present(where, name) is before for where, name, before in first.values())
    assert mutant.about.endswith(".")
    assert "\n" not in mutant.about


@pytest.mark.parametrize("name", ["no-fence", "barrier-skipped"])
def test_a_fault_put_into_guestd_is_found(name: str, capsys: pytest.CaptureFixture[str]) -> None:  # S6.2, S4.5, A3
    assert main(["--only", name, "--seeds", str(SEEDS_MAX), "--jobs", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["survived"] == []
    (found,) = told["mutants"]
    assert (found["name"], found["sound_failed"]) == (name, [])
    assert BY_NAME[name].is_caught_by(found["claim"])


@pytest.mark.parametrize("checker", every_claim(), ids=lambda checker: type(checker).__name__)
def test_each_checker_finds_alone_what_it_is_there_for(checker: Checker) -> None:  # S6.2, S6.3, A3, A4
    mutant = BY_NAME[ALONE[type(checker).__name__]]
    with mutant.applied():
        claims = []
        for seed in range(SEEDS_MAX):
            claims.append(run(mutant.options(seed), checkers=[type(checker)()]).claim)
            if claims[-1] == checker.claim:
                return
    pytest.fail(f"{mutant.name} not found in {SEEDS_MAX} seeds, which broke: {claims}")


def test_what_is_raised_finds_a_mutant_only_that_is_about_that() -> None:
    raised, other = BY_NAME["older-view-taken-in"], BY_NAME["no-fence"]
    assert raised.claims == (NO_FAULT_OF_ITS_OWN,)
    assert [one.is_caught_by(NO_FAULT_OF_ITS_OWN) for one in (raised, other)] == [True, False]
    assert [one.is_caught_by(CONVERGES) for one in (BY_NAME["does-not-panic"], other)] == [True, False]
    assert other.is_caught_by(BY_NAME["ballot-erased"].claims[0])
    assert not other.is_caught_by(None)


def test_what_is_not_there_cannot_be_replaced() -> None:
    with pytest.raises(MutationError, match="has no force_in of its own any more"), applied(_renamed):
        pass


def test_a_mutant_that_replaces_nothing_is_an_error() -> None:
    for broken in (_nothing, _the_same, _the_same_row):
        with pytest.raises(MutationError), applied(broken):
            pass


def test_what_was_replaced_is_put_back_after_an_error() -> None:
    admit, rows = view.admit, NODE_STATES.rows
    with pytest.raises(MutationError, match="has no gone"), applied(_half):
        pass
    assert view.admit is admit
    assert NODE_STATES.rows is rows


def _renamed(patch: Patch) -> None:
    """Of a name that guestd does not have any more."""
    patch.replace(view, "force_in", None)


def _nothing(_patch: Patch) -> None:
    """Does nothing."""


def _the_same(patch: Patch) -> None:
    """Replaces a function by itself."""
    patch.replace(view, "admit", view.admit)


def _the_same_row(patch: Patch) -> None:
    """Replaces a row by itself."""
    patch.row(NODE_STATES, NodeState.INACTIVE, "admit", NodeState.JOINING)


def _half(patch: Patch) -> None:
    """A function and a row, and something that is not there."""
    patch.replace(view, "admit", replace)
    patch.row(NODE_STATES, NodeState.JOINED, "admit", NodeState.JOINING)
    assert present(view, "admit") is replace
    assert NODE_STATES.next(NodeState.JOINED, "admit") is NodeState.JOINING
    patch.replace(view, "gone", None)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--only no-fnce", "no mutant is called no-fnce. What exists: no-fence, "),
        ("--seeds 0", "--seeds 0 (legal: 1 or more)"),
        ("--jobs 0", "--jobs 0 (legal: 1 or more)"),
        ("--only no-fence --write page.md", "--write and --only: "),
    ],
)
def test_what_cannot_be_is_refused_with_what_is_legal(
    capsys: pytest.CaptureFixture[str], arguments: str, told: str
) -> None:
    assert main(arguments.split()) == 2
    assert told in capsys.readouterr().err


def test_a_mutant_that_does_not_fit_any_more_is_named_and_the_status_is_3(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(view, "restart_forced_leave")
    assert main(["--only", "recovery-not-begun-again", "--seeds", "1", "--jobs", "1"]) == 3
    assert "guestd.membership.view has no restart_forced_leave of its own any more" in capsys.readouterr().err


def test_one_that_survives_is_named_and_the_status_is_1(capsys: pytest.CaptureFixture[str]) -> None:
    # It takes a slow owner and one who comes late, of which there are none in the first few dozen seeds.
    assert main(["--only", "slow-owner-left-alone", "--seeds", "1", "--jobs", "1"]) == 1
    told = capsys.readouterr()
    assert "0 of 1 mutants found" in told.out
    assert f"slow-owner-left-alone survives 1 seeds: {BY_NAME['slow-owner-left-alone'].about[:30]}" in told.out
    assert "1/1 slow-owner-left-alone: NOT found in 1 seeds" in told.err


def test_the_page_has_every_mutant() -> None:
    page = (Path(__file__).parents[2] / "docs" / "mutations.md").read_text(encoding="utf-8")
    assert [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")] == list(BY_NAME)
    assert "SURVIVES" not in page


LOCKS_AND_LEAVES = {"weights": LEAVES, "lockers": 3, "programs": 1}


@pytest.mark.parametrize(("changes", "seed"), [(BY_NAME["leave-forgotten"].changes, 0), (LOCKS_AND_LEAVES, 79)])
def test_what_guestd_did_not_stand_once_it_stands_now(changes: dict[str, Any], seed: int) -> None:  # S4.7, S4.8
    """A join that turned round began one epoch after the other; a leave was told that was interrupted already."""
    found = run(Mutant(_renamed, (), changes).options(seed))
    assert found.violation is None, found.details
