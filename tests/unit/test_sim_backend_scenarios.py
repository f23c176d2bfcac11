"""The scenarios, unchanged, in the simulator: they pass, the same seed is the same run, failures are told."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from hil.runner import Options, arguments

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
SEEDS = 20
ALL = sorted((ROOT / "scenarios").glob("[!_]*.py"))
NEED_GUESTS = [path.stem for path in ALL if "pytest.mark.guests(" in path.read_text(encoding="utf-8")]
LONG = [path.stem for path in ALL if re.search(r"mark\.nightly|workload\(", path.read_text(encoding="utf-8"))]
"""On guests, and here too: tests/unit/test_sim_backend_long_scenarios.py."""
SCENARIOS = [path.stem for path in ALL if path.stem not in NEED_GUESTS]


@pytest.fixture(autouse=True)
def evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def check_passes(name: str, seeds: int, junit: Path) -> None:
    """Every test of that scenario, for so many seeds; none is left out."""
    told = arguments([f"scenarios/{name}.py"], Options(repeat=seeds, backend="sim", junit=junit))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *told], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    cases = list(ET.parse(junit).iter("testcase"))
    text = (ROOT / "scenarios" / f"{name}.py").read_text(encoding="utf-8")
    assert len(cases) >= seeds * len(re.findall(r"^def test_", text, re.MULTILINE))
    assert [case for case in cases if list(case.iter("skipped"))] == []


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [name for name in SCENARIOS if name not in LONG])
def test_every_scenario_passes_for_twenty_seeds(tmp_path: Path, name: str) -> None:  # S10.9
    check_passes(name, SEEDS, tmp_path / "junit.xml")


@pytest.mark.parametrize("name", NEED_GUESTS)
def test_a_scenario_that_needs_guests_is_refused_and_says_why(tmp_path: Path, name: str) -> None:  # S10.9
    told = arguments([f"scenarios/{name}.py"], Options(backend="sim"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *told], cwd=ROOT, capture_output=True, text=True, check=False
    )
    tests = re.findall(r"^def test_", (ROOT / "scenarios" / f"{name}.py").read_text(encoding="utf-8"), re.MULTILINE)
    assert done.stdout.count("`--backend qemu` has them") >= len(tests), done.stdout[-3000:] + done.stderr
    assert " passed" not in done.stdout


def test_no_scenario_asks_for_the_hosts_time_or_its_back_end() -> None:
    banned = re.compile(r"^\s*(?:import|from) (?:time|hil\.sim|hil\.bench)\b|backend", re.MULTILINE)
    texts = {
        name: (ROOT / "scenarios" / f"{name}.py").read_text(encoding="utf-8") for name in [*SCENARIOS, *NEED_GUESTS]
    }
    assert [name for name, text in texts.items() if banned.search(text)] == []


STORY = """
import hashlib, sys
from pathlib import Path
from hil.config import make_config
from hil.scenario import ScenarioCluster
from hil.sim.backend.simulated import Simulated

simulated = Simulated(make_config(name="same", nodes=4), int(sys.argv[1]), {"programs": 2})
cluster = ScenarioCluster("same", simulated)
cluster.wait_joined()
a, b, c, d = cluster.nodes
cluster.split([a, b], [c])
cluster.disk.inject("slow", d, ms=20, spread="exponential", seconds=1)
cluster.freeze(d, "process")
cluster.pass_time(3)
cluster.thaw(d)
cluster.pass_time(5)
cluster.power_cycle()
for node in cluster.nodes:
    cluster.heal_link(node)
cluster.wait_joined()
cluster.down()
names = sorted(path.name for path in cluster.run_dir.iterdir() if path.is_file())
for name in names:
    if name != "manifest.json":  # it tells when and where it ran
        print(name, hashlib.sha256((cluster.run_dir / name).read_bytes()).hexdigest())
print("digest", simulated.bench.world.trace.hexdigest())
"""


def story(seed: int, hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        [sys.executable, "-c", STORY, str(seed)], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_the_same_seed_leaves_the_same_evidence_byte_by_byte_in_any_process() -> None:
    first, second, other = story(5, "1"), story(5, "2"), story(6, "1")
    assert first == second
    told = dict(line.split() for line in first.splitlines())
    assert {"events.jsonl", "ledger.bin", "disk.raw", "cluster.json", "console-n0.log", "digest"} <= set(told)
    others = dict(line.split() for line in other.splitlines())
    assert told["events.jsonl"] != others["events.jsonl"]
    assert told["digest"] != others["digest"]


# -- failures


def run(pytester: pytest.Pytester, source: str, *options: str) -> pytest.RunResult:
    pytester.makepyfile(test_it="import pytest\nfrom hil.errors import *\n" + source)
    without = ["cacheprovider", "hypothesispytest", "timeout"]
    others = [argument for name in without for argument in ("-p", f"no:{name}")]
    return pytester.runpytest(*others, "--hil-backend=sim", *options)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("cluster.power_cycle(); assert cluster.view.epoch == 77", "assert*== 77"),
        (
            "cluster.cut_link(cluster.nodes[2], 'silent'); cluster.wait_crashed(cluster.nodes[2])",
            "*node 2 panicked at*nobody declared that it would*",
        ),
        ("cluster.expect_panic(cluster.nodes[2])", "*node 2 was to panic, but it did not*"),
        ("cluster.wait_state(cluster.nodes[2], 'inactive', 9)", "*not within 9 s: node 0 sees node 2 as joined*"),
    ],
)
def test_a_scenario_that_must_fail_fails_and_says_what_repeats_it(
    pytester: pytest.Pytester, source: str, told: str
) -> None:
    result = run(pytester, f"def test_it(cluster):\n    {source}\n", "--hil-seed=41")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*{told}*"])
    result.stdout.fnmatch_lines(["claim failed*", "seed:      41", "repeat it: hil run test_it.py::test_it*"])
    result.stdout.fnmatch_lines(["repeat it: hil run test_it.py::test_it --backend sim --seed 41"])
    result.stdout.fnmatch_lines(["*end of console-n2.log*", "*guestd: node 2 begins*"])


def test_each_round_has_the_next_seed_and_its_own_command(pytester: pytest.Pytester) -> None:
    source = "def test_it(cluster): assert cluster.settings['settings']['seed'] != 12\n"
    result = run(pytester, source, "--hil-repeat=4", "--hil-seed=10", "--hil-nodes=2")
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["repeat it: hil run test_it.py::test_it --nodes 2 --backend sim --seed 12"])


def test_the_evidence_tells_the_seed_too(pytester: pytest.Pytester) -> None:
    run(pytester, "def test_it(cluster): assert False\n", "--hil-report=report", "--hil-seed=3")
    (verdict,) = (pytester.path / "report").glob("*/verdict.json")
    told = json.loads(verdict.read_text(encoding="utf-8"))
    assert (told["seed"], told["verdict"]) == (3, "claim failed")
    assert (verdict.parent / "ledger.bin").stat().st_size > 1000
    events = (verdict.parent / "events.jsonl").read_bytes()
    run(pytester, "def test_it(cluster): assert False\n", "--hil-report=again", "--hil-seed=3")
    (again,) = (pytester.path / "again").glob("*/events.jsonl")
    assert again.read_bytes() == events


def test_a_guestd_that_is_wrong_is_found_by_a_scenario(pytester: pytest.Pytester) -> None:
    source = """
from tests.mutations.catalogue import BY_NAME
@pytest.fixture(autouse=True)
def mutant():
    with BY_NAME["former-life-not-aborted"].applied():
        yield
def test_it(cluster):
    victim = cluster.nodes[2]
    cluster.disk.inject("delay-writes", victim).wait_struck()
    cluster.power_off([victim])
    cluster.power_on([victim])
    cluster.pass_time(4)  # it boots, and its next life registers; its writes wait behind the old one
    cluster.disk.heal()
    cluster.pass_time(5)
"""
    result = run(pytester, source, "--hil-seed=1", "--hil-repeat=6")  # some power off before the write is on its way
    result.stdout.fnmatch_lines(["*a life that is over writes nothing any more*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED
