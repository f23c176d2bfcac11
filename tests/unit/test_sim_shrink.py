"""Reducing a run that fails: delta debugging alone, and whole runs with a fault put into guestd on purpose."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guestd.fence.fence import Fence, Outcome
from guestd.transition import coordinator
from hil.checkers.fence_first import FenceFirst
from hil.cli import main
from hil.errors import UsageError
from hil.sim.case import Case, from_toml, read
from hil.sim.ddmin import ddmin
from hil.sim.options import calm, changed, differing, draw
from hil.sim.plan import Fault, Plan
from hil.sim.shrink import Shrunk, shrink
from hil.sim.smaller import with_nodes

# -- delta debugging


@pytest.mark.parametrize(
    "culprits", [[0], [7], [19], [3, 4], [0, 19], [2, 9, 17], list(range(20)), list(range(0, 20, 2))]
)
def test_what_is_left_is_what_it_takes(culprits: list[int]) -> None:
    assert ddmin(range(20), lambda part: set(culprits) <= set(part)) == culprits


def test_nothing_is_left_where_nothing_is_to_blame() -> None:
    assert ddmin(range(20), lambda _part: True) == []
    assert ddmin([], lambda _part: True) == []


@pytest.mark.parametrize("seed", range(30))
def test_no_item_of_the_result_can_be_left_out(seed: int) -> None:
    """Also where more is not worse: any function of the parts that holds for the whole."""
    randomness = random.Random(seed)
    whole = list(range(randomness.randint(1, 12)))
    judged: dict[tuple[int, ...], bool] = {tuple(whole): True}

    def fails(part: list[int]) -> bool:
        return judged.setdefault(tuple(part), randomness.random() < 0.3)

    found = ddmin(whole, fails)
    assert fails(found)
    assert found == [] or not any(fails([item for item in found if item != left_out]) for left_out in found)


def test_one_culprit_is_found_by_halving() -> None:
    asked = []

    def fails(part: list[int]) -> bool:
        asked.append(part)
        return 77 in part

    assert ddmin(range(128), fails) == [77]
    assert len(asked) <= 2 * 7 + 1


# -- whole runs

FENCE = FenceFirst.claim


def no_fence(patch: pytest.MonkeyPatch) -> None:
    """Nobody is fenced, and it is said that all are."""
    patch.setattr(Fence, "keep_out", lambda _self, _own, _victims, then: then(Outcome.FENCED))


def crowded() -> Case:
    """Several faults, of which a cut is the one that matters."""
    faults = (
        Fault("loss", 2000, 1500, share=100),
        Fault("leave", 2500, node=0),
        Fault("disk-hang", 4000, 300, node=1),
        Fault("cut-node", 5000, 5000, node=3),
        Fault("power-failure", 6000, nodes=(0, 1)),
        Fault("slow-cpu", 7000, 1000, node=0, cost_us=300),
    )
    chance = {"duplicate_share": 10, "slow_share": 10, "drift_ppm_max": 100, "programs": 1, "boot_ms_max": 1500}
    return Case(changed({"seed": 11, "nodes": 4, **chance}), Plan(12_000, faults))


@pytest.fixture(scope="module")
def shrunk() -> Shrunk:
    """A run that fails because of one fault, reduced."""
    with pytest.MonkeyPatch.context() as patch:
        no_fence(patch)
        return shrink(crowded())


def test_a_run_is_reduced_to_the_one_fault_that_matters(shrunk: Shrunk) -> None:
    after = shrunk.after
    assert shrunk.result.claim == FENCE
    assert [fault.kind for fault in after.plan.faults] == ["cut-node"]
    assert after.options.nodes == 2
    assert set(differing(after.options)) <= {"preset", "seed", "nodes"}
    assert after.plan.until_ms < 5000
    assert after.plan.faults[0].for_ms < 5000
    assert after.options.converge_ms == calm().converge_ms
    assert shrunk.before == crowded()


def test_what_is_left_fails_again_and_passes_without_the_fault_in_guestd(
    shrunk: Shrunk, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shrunk.after.run().passed
    no_fence(monkeypatch)
    again = shrunk.after.run(recording=True)  # as the result, which has its story
    assert (again.claim, again.digest) == (shrunk.result.claim, shrunk.result.digest)
    assert shrunk.result.story != []


def test_nothing_of_it_can_be_left_out(shrunk: Shrunk, monkeypatch: pytest.MonkeyPatch) -> None:
    no_fence(monkeypatch)
    assert shrunk.after.with_faults(()).run().claim is None
    assert replace(shrunk.after, plan=replace(shrunk.after.plan, until_ms=1)).run().claim is None


def test_a_smaller_run_that_breaks_another_claim_is_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the cut the run would fail all the same, for another reason."""
    no_fence(monkeypatch)
    ran = Case.run
    asked: list[tuple[str, ...]] = []

    def another_claim(self: Case, *, recording: bool = False) -> object:
        asked.append(tuple(fault.kind for fault in self.plan.faults))
        result = ran(self, recording=recording)
        return replace(result, claim="another", violation="another") if result.passed else result

    monkeypatch.setattr(Case, "run", another_claim)
    found = shrink(Case(calm(1), Plan(6000, (Fault("cut-node", 2000, 4000, node=1), Fault("leave", 2500, node=0)))))
    assert found.result.claim == FENCE
    assert [fault.kind for fault in found.after.plan.faults] == ["cut-node"]
    assert () in asked


def test_progress_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    no_fence(monkeypatch)
    lines: list[str] = []
    shrink(Case(calm(1, 3), Plan(5000, (Fault("cut-node", 2000, 3000, node=1),))), lines.append)
    assert lines[0].startswith("begun: 1 faults, 3 nodes, 0 options that are not calm, 5000 ms of faults")
    assert any(line.startswith("smaller: 1 faults, 2 nodes") for line in lines)


def test_a_run_that_passes_is_refused() -> None:
    with pytest.raises(UsageError, match="seed 3 passes: there is nothing to shrink"):
        shrink(Case.of(draw(3, "performance")))


def test_nodes_that_are_left_are_numbered_anew() -> None:
    plan = Plan(
        9000,
        (
            Fault("crash", 1, node=4),
            Fault("crash", 2, node=1),
            Fault("crash", 3, node="master"),
            Fault("power-failure", 4, nodes=(0, 2, 4)),
            Fault("split", 5, 9, groups=((0, 1), (2, 4), (3,))),
            Fault("split", 6, 9, groups=((0, 2, 4), (1, 3))),
            Fault("cut-link", 7, 9, node=2, others=(1,)),
        ),
    )
    smaller = with_nodes(Case(calm(0, 5), plan), [4, 2, 0])
    assert smaller.options.nodes == 3
    assert smaller.plan.faults == (
        Fault("crash", 1, node=0),
        Fault("crash", 3, node="master"),
        Fault("power-failure", 4, nodes=(2, 1, 0)),
        Fault("split", 5, 9, groups=((2,), (1, 0))),
    )


# -- as a file


def test_a_case_is_the_same_again_from_its_file(tmp_path: Path) -> None:
    case = Case.of(draw(7))
    assert from_toml(case.toml()) == case
    (tmp_path / "seven.toml").write_text(case.toml(), encoding="utf-8")
    assert read(tmp_path / "seven.toml").run().digest == case.run().digest


def test_what_is_calm_is_left_out_of_the_file() -> None:
    assert Case(calm(), Plan(5000)).toml() == "until_ms = 5000\n\n[options]\n"
    assert differing(changed({"loss_share": 10, "nodes": 4})) == {"nodes": 4, "loss_share": 10}


FAULT = '[[fault]]\nkind = "crash"\nat_ms = 5\nnode = 9\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("until_ms", "not TOML: "),
        ("[options]\n", "until_ms is missing"),
        ("until_ms = 5\nplan = 3\n", "'plan' (legal: until_ms, [options], [[fault]])"),
        ("until_ms = 0\n", "plan: until_ms = 0 (legal: a whole number from 1)"),
        ("until_ms = 5\noptions = 3\n", "options is a table"),
        ("until_ms = 5\nfault = [3]\n", "each fault is a table of its own"),
        ("until_ms = 5\n[options]\nweights = 3\n", "option 'weights' (legal: preset, seed, nodes, "),
        ("until_ms = 5\n[options]\nnodes = 65\n", "nodes = 65 (legal: 2 to 64)"),
        ("until_ms = 5\n[options]\nloss_share = 1001\n", "loss_share = 1001 (legal: 0 to 1000)"),
        ("until_ms = 5\n[options]\nloss_share = 0.5\n", "loss_share = 0.5 (legal: 0 to 1000)"),
        ("until_ms = 5\n[options]\nseed = -1\n", "seed = -1 (legal: 0 to "),
        ("until_ms = 5\n[options]\npreset = 1\n", "preset = 1 (legal: a text)"),
        ("until_ms = 5\n[options]\nboot_ms_max = 100\n", "boot_ms_max = 100 (legal: 300 to "),
        (f"until_ms = 9\n{FAULT}", "fault crash at 5 ms: node 9 (legal: 0 to 2)"),
    ],
)
def test_a_file_that_describes_no_run_is_refused_with_what_is_legal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, told: str
) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(text, encoding="utf-8")
    assert main.main(["sim", "--play", str(file)]) == 2
    refused = capsys.readouterr().err
    assert f"{file}: " in refused
    assert told in refused


# -- hil sim


def failing_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seed 2 of the quick preset fails, by the barrier that is skipped."""
    next_entry = coordinator.next_entry

    def skipping(entry: Any, levels: Any) -> Any:
        following = next_entry(entry, levels)
        return next_entry(following, levels) if following.barrier else following

    monkeypatch.setattr(coordinator, "next_entry", skipping)


def test_a_seed_is_shrunk_written_and_played_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_seed(monkeypatch)
    file = tmp_path / "two.toml"
    assert main.main(["sim", "--shrink", "2", "--preset", "lite", "--write", str(file)]) == 1
    told = capsys.readouterr()
    assert told.out.startswith("seed 2 FAILED: each level sees each transition once, in order (S4.4)\n  reduced from ")
    assert "  options:\n" in told.out
    assert "  plan:\n" in told.out
    assert told.out.endswith(f"  repeat: hil sim --play {file}\n")
    assert "smaller: 0 faults, 2 nodes" in told.err
    assert main.main(["sim", "--play", str(file)]) == 1
    played = capsys.readouterr().out
    assert played.startswith(f"{file} FAILED: each level sees each transition once, in order (S4.4)\n")
    digests = [line for text in (told.out, played) for line in text.splitlines() if line.startswith("  digest: ")]
    assert len(set(digests)) == 1
    monkeypatch.undo()
    assert main.main(["sim", "--play", str(file)]) == 0
    assert capsys.readouterr().out.startswith(f"{file} passed: 0 faults, 2 nodes, ")


def test_a_shrunk_seed_is_written_as_a_scenario_that_is_played_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_seed(monkeypatch)
    file = tmp_path / "two.py"
    assert main.main(["sim", "--shrink", "2", "--preset", "lite", "--write", str(file), "--json"]) == 1
    described = json.loads(capsys.readouterr().out)
    assert described["command"] == f"hil sim --play {file}"
    assert (described["seed"], described["faults"], described["options"]["nodes"]) == (2, [], 2)
    text = file.read_text(encoding="utf-8")
    assert "@pytest.mark.cluster(nodes=2, joined=False)\ndef test_seed_2_of_lite(cluster: ScenarioCluster)" in text
    assert "simulation" not in text  # it takes no chance
    case = read(file)
    assert case.options.nodes == 2
    assert not case.run().passed
    assert main.main(["sim", "--play", str(file), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["digest"] == described["digest"]


def test_without_a_file_it_is_said_how_to_get_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_seed(monkeypatch)
    assert main.main(["sim", "--shrink", "2", "--preset", "lite"]) == 1
    told = capsys.readouterr().out.splitlines()[-1]
    assert told == "  repeat: hil sim --shrink 2 --preset lite --write FILE.toml && hil sim --play FILE.toml"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--shrink 1 --seeds 1:3", "--seeds and --shrink: one of them at a time"),
        ("--shrink 1 --play x.toml", "--play and --shrink: one of them at a time"),
        ("--shrink 1 --coverage", "--coverage: with --seeds only, not with --shrink"),
        ("--shrink 1 --jobs 2", "--jobs: with --seeds only, not with --shrink"),
        ("--play x.toml --minutes 1", "--minutes: with --seeds only, not with --play"),
        ("--play x.toml --nodes 3", "--nodes, --data-disks and --preset: the file of --play says it"),
        ("--seeds 1 --write x.py", "--write: with --shrink only"),
        ("--shrink 1 --write x.json", "--write x.json: legal are FILE.py, a scenario, and FILE.toml"),
        ("--shrink 1 --write no/where/x.py", "--write no/where/x.py: there is no directory no/where"),
        ("--shrink 1 --preset performance", "seed 1 passes: there is nothing to shrink"),
        ("--shrink 1 --preset wild", "preset 'wild' (legal: lite, swarm, quick, performance)"),
        ("--play nowhere.toml", "nowhere.toml: No such file or directory (legal: a .toml file"),
        ("--play nowhere.py", "nowhere.py: no such file (legal: a .toml file"),
        ("--play hil/sim/plan.py", "hil/sim/plan.py: no PLAN, or no SIMULATED, in it"),
    ],
)
def test_what_cannot_be_is_refused(capsys: pytest.CaptureFixture[str], arguments: str, told: str) -> None:
    assert main.main(["sim", *arguments.split()]) == 2
    assert told in capsys.readouterr().err
