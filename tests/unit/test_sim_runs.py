"""The simulator: the same seed is the same run, every fault that it has does happen, and guestd stands them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from guestd.core.value import Value
from guestd.membership import datagram
from guestd.membership.view import View, empty
from hil.cli import main
from hil.sim import speed
from hil.sim.checkers.survivors import only_cuts
from hil.sim.options import FAULTS, draw
from hil.sim.run import Result, run
from tests.mutations.catalogue import BY_NAME

ROOT = Path(__file__).parents[2]
SEEDS = range(100)


@cache
def result(seed: int) -> Result:
    return run(draw(seed))


@pytest.mark.parametrize("seed", SEEDS)
def test_guestd_stands_every_fault_and_comes_together_again(seed: int) -> None:  # S3.2, S4.5, S5.2, S6.2, A17, A23
    found = result(seed)
    assert found.violation is None, "\n".join([f"repeat: {found.command}", *found.details])


def test_every_fault_does_happen() -> None:
    struck: Counter[str] = Counter()
    for seed in SEEDS:
        struck.update(result(seed).faults)
    wanted = set(FAULTS) | {f"datagram-{kind}" for kind in ("cut", "duplicated", "late", "lost")}
    wanted |= {f"sector-{kind}" for kind in ("cache-lost", "flipped", "lost", "stale", "torn")}
    assert {kind for kind in wanted if struck[kind] < 20} == set()
    rare = {"sector-both-flipped"} | {f"program-{kind}" for kind in ("closed", "died", "hung", "refused")}
    assert {kind for kind in rare if struck[kind] < 5} == set()
    assert sum(result(seed).panics for seed in SEEDS) > 100  # they do hurt


DIGESTS = (
    "from hil.sim.options import draw; from hil.sim.run import run; print([run(draw(n)).digest for n in (1, 3, 8)])"
)


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_the_same_seed_is_the_same_run_in_another_process(hash_seed: str) -> None:
    told = subprocess.run(
        [sys.executable, "-c", DIGESTS],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    assert told == f"{[result(seed).digest for seed in (1, 3, 8)]}\n"


def test_both_ways_to_an_owner_are_simulated_and_cuts_alone_and_contention() -> None:  # S3.2, S5.2
    options = [draw(seed) for seed in SEEDS]
    dekker = sum(one.election == "dekker" for one in options)
    assert 10 <= dekker <= 40
    assert sum(only_cuts(one) for one in options) >= 2
    assert sum(one.slow_share == 800 for one in options) >= 4
    assert {draw(1, preset).election for preset in ("lite", "performance")} == {"paxos"}


def test_another_seed_is_another_run() -> None:
    assert len({result(seed).digest for seed in SEEDS}) == len(SEEDS)


@pytest.mark.parametrize("seed", [1, 3])
def test_what_makes_it_fast_changes_nothing(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = result(seed)
    monkeypatch.setattr(speed, "installed", contextlib.nullcontext)
    plain = run(draw(seed))
    assert (plain.digest, plain.events, plain.faults) == (quick.digest, quick.events, quick.faults)


def test_what_makes_it_fast_is_undone_afterwards() -> None:
    decode = datagram.decode
    with speed.installed():
        assert View.__init__ is not Value.__init__
        assert datagram.decode is not decode
        assert empty(3) == empty(3)
        assert hash(empty(3)) == hash(empty(3))
        assert empty(3) != empty(2)
    assert View.__init__ is Value.__init__
    assert View.__eq__ is Value.__eq__
    assert datagram.decode is decode


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--seeds 5:5", "--seeds 5:5: empty (legal: A:B with 0 <= A < B"),
        ("--seeds 5:4", "--seeds 5:4: reversed"),
        ("--seeds x:4", "--seeds x:4: no range of seeds"),
        ("--seeds -1:4", "--seeds -1:4: no range of seeds"),
        ("--seeds 5:", "--seeds 5:: without end"),
        ("--jobs 0", "--jobs 0 (legal: 1 or more)"),
        ("--minutes 0", "--minutes 0 (legal: more than 0)"),
        ("--preset wild", "preset 'wild' (legal: lite, swarm, performance)"),
        ("--nodes 65", "65 nodes (legal: 2 to 64)"),
    ],
)
def test_what_cannot_be_is_refused_with_what_is_legal(
    capsys: pytest.CaptureFixture[str], arguments: str, told: str
) -> None:
    assert main.main(["sim", *arguments.split()]) == 2
    assert told in capsys.readouterr().err


def test_a_campaign_ends_with_what_it_has_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["sim", "--seeds", "0:3", "--preset", "lite", "--jobs", "2"]) == 0
    assert capsys.readouterr().out.startswith("3 seeds passed: ")


def test_a_seed_that_fails_is_told_with_its_claim_its_options_what_led_to_it_and_what_repeats_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with BY_NAME["barrier-skipped"].applied():
        assert main.main(["sim", "--seeds", "2", "--preset", "lite", "--jobs", "1"]) == 1
    told = capsys.readouterr().out
    assert "seed 2 FAILED: " in told
    assert "  repeat: hil sim --seeds 2:3 --preset lite --nodes 3" in told
    assert "    weights = crash:1 doom:1 power-failure:1 leave:1" in told
    assert told.split("what led to it:")[1].split("digest:")[0].count("\n") > 10
    assert told.splitlines()[-2].startswith("1 of 1 seeds failed: ")
