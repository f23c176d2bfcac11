"""Shards, rounds until a failure, profiles: which tests a session runs, and how often."""

import random
from pathlib import Path

import pytest

from hil import runner
from hil.cli import main
from hil.errors import UsageError
from hil.runner import Collector, Options, exit_status, plugin_arguments
from hil.selection import Shard

pytest_plugins = ["pytester"]

IDS = [f"scenarios/{name}.py::test_{number}" for name in "abcdefg" for number in range(7)]


@pytest.mark.parametrize("count", [1, 2, 5, 49, 60])
def test_each_test_is_in_one_shard_whatever_order_they_are_collected_in(count: int) -> None:
    shuffled = random.Random(count).sample(IDS, len(IDS))
    dealt = [Shard(index, count).take(shuffled) for index in range(1, count + 1)]
    assert dealt == [Shard(index, count).take(IDS) for index in range(1, count + 1)]
    assert sorted(one for shard in dealt for one in shard) == sorted(IDS)
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1


@pytest.mark.parametrize("text", ["", "1", "/", "0/3", "4/3", "1/0", "-1/3", "a/b", "1/3/5", "1 /3", "²/3"])
def test_a_shard_that_is_none_is_refused_with_what_is_legal(text: str) -> None:
    with pytest.raises(UsageError, match="legal"):
        Shard.parse(text)
    assert main.main(["run", "mass_reboot", "--shard", text]) == 2


def run(pytester: pytest.Pytester, source: str, *options: str) -> pytest.RunResult:
    pytester.makepyfile(test_it="import pytest\n" + source)
    without = ["cacheprovider", "hypothesispytest", "timeout"]
    others = [argument for name in without for argument in ("-p", f"no:{name}")]
    return pytester.runpytest(*others, *plugin_arguments(), "-v", *options)


FIVE = "@pytest.mark.parametrize('n', range(5))\ndef test_it(n): pass\n"


def test_all_shards_together_run_each_test_once(pytester: pytest.Pytester) -> None:
    ran = []
    for index in (1, 2, 3):
        result = run(pytester, FIVE, f"--hil-shard={index}/3")
        ran += [line.split()[0] for line in result.outlines if " PASSED" in line]
    assert sorted(ran) == [f"test_it.py::test_it[{n}]" for n in range(5)]


def test_a_shard_without_tests_has_passed_and_a_selection_without_any_has_not(pytester: pytest.Pytester) -> None:
    result = run(pytester, FIVE, "--hil-shard=6/6")
    result.assert_outcomes(deselected=5)
    empty, nothing = Collector(may_be_empty=True), Collector()
    empty.pytest_deselected()
    nothing.pytest_deselected()
    assert exit_status(int(result.ret), empty) == 0
    assert exit_status(int(result.ret), nothing) == 2
    assert exit_status(int(result.ret), Collector(may_be_empty=True)) == 2, "there was no test at all"


FAILS_IN_ROUND_3 = """
rounds = []
def test_always():
    rounds.append("always")
def test_later():
    rounds.append("later")
    assert rounds.count("later") < 3, rounds
"""


def test_until_failure_goes_round_by_round_and_ends_with_what_does_not_pass(pytester: pytest.Pytester) -> None:
    result = run(pytester, FAILS_IN_ROUND_3, "--hil-until-failure", "--hil-repeat=5")
    result.assert_outcomes(passed=5, failed=1)
    result.stdout.fnmatch_lines(["*['always', 'later', 'always', 'later', 'always', 'later']*"])


def test_until_failure_has_a_bound_of_its_own(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.selection.ROUNDS_UNTIL_FAILURE", 4)
    run(pytester, "def test_it(): pass\n", "--hil-until-failure").assert_outcomes(passed=4)
    run(pytester, "def test_it(): pass\n", "--hil-until-failure", "--hil-repeat=2").assert_outcomes(passed=2)


def test_the_profiles_are_those_of_the_marker(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    story = tmp_path / "story.py"
    story.write_text("import pytest\ndef test_quick(): pass\n@pytest.mark.nightly\ndef test_long(): pass\n")
    ran = {}
    for profile in runner.MARKS:
        assert runner.run([str(story)], Options(profile=profile)) == 0
        told = capfd.readouterr().out
        ran[profile] = [name for name in ("quick", "long") if f"::test_{name} PASSED" in told]
    assert ran == {"all": ["quick", "long"], "quick": ["quick"], "nightly": ["long"]}


def test_of_a_directory_the_simulator_runs_what_it_can(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    story = tmp_path / "simulated_story.py"  # pytest keeps the modules of a process by name
    story.write_text(
        "import pytest\ndef test_one(): pass\n@pytest.mark.guests('real programs')\ndef test_real(cluster): pass\n"
    )
    assert runner.run([str(tmp_path)], Options(backend="sim")) == 0
    assert "1 passed, 1 deselected" in capfd.readouterr().out
    assert runner.run([f"{story}::test_real"], Options(backend="sim")) == 2
    assert "real programs; `--backend qemu` has them" in capfd.readouterr().out
