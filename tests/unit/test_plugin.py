"""The pytest plugin: clusters per test, verdicts, declared panics, evidence; the machines are a fake's."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

import hil.scenario  # noqa: F401 - loaded here once: each inner session forgets what it has loaded itself
import tests.unit.fake_bench  # noqa: F401
from hil.lab import NAME_LENGTH_MAX, cluster_name
from hil.runner import plugin_arguments

pytest_plugins = ["pytester"]

CONFTEST = """
import contextlib, os, pytest
from hil.errors import PreflightFailed
from hil.scenario import ScenarioCluster
from tests.unit.fake_bench import fake_bench

@pytest.fixture(scope="session")
def hil_start(tmp_path_factory):
    with contextlib.ExitStack() as stack:
        def start(config):
            if os.environ.get("FAKE_PREFLIGHT"):
                raise PreflightFailed("no /dev/net/tun")
            run_dir = tmp_path_factory.mktemp("run")
            bench = stack.enter_context(fake_bench(config.name, run_dir, config.nodes))
            for name in ("console-n0.log", "console-n1.log"):
                (run_dir / name).write_text(f"last line of {name}\\n")
            (run_dir / "id_ed25519").write_text("secret")
            (run_dir / "disk.raw").write_bytes(b"disk")
            bench.boot(0)
            if not config.name.startswith("never-joins"):
                bench.all_joined()
            cluster = ScenarioCluster(config.name)
            cluster.fake = bench
            return cluster
        yield start
"""


@pytest.fixture
def lab(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("XDG_STATE_HOME", str(pytester.path / "state"))
    # Real clusters of this user take nothing from those of a fake, and do not keep them waiting.
    monkeypatch.setenv("XDG_CACHE_HOME", str(pytester.path / "cache"))
    monkeypatch.setenv("HIL_NODES_MAX", "1000")
    pytester.makeconftest(CONFTEST)
    return pytester


def run(lab: pytest.Pytester, source: str, *options: str, **how: bool) -> pytest.RunResult:
    header = "import pytest\nfrom hil.errors import *\n"
    lab.makepyfile(test_it=header + source)
    # Other plugins would be loaded anew, with all their libraries, in each inner session.
    without = ["cacheprovider", "hypothesispytest", "timeout"]
    others = [argument for name in without for argument in ("-p", f"no:{name}")]
    return lab.runpytest(*others, *plugin_arguments(), *options, **how)


PASSES = "def test_it(cluster): assert len(cluster.nodes) == 3\n"
FAILS = "def test_it(cluster): assert cluster.view.epoch == 7\n"


def test_a_test_gets_a_cluster_of_its_own_all_joined_and_taken_down_afterwards(lab: pytest.Pytester) -> None:
    source = """
from hil.bench.address import running_clusters
names = []
def test_first(cluster):
    assert cluster.view.why_not_joined([0, 1, 2]) is None
    names.append(cluster.name)
def test_second(cluster):
    names.append(cluster.name)
    assert names[0] != names[1]
    assert cluster.name in running_clusters()
    assert names[0] not in running_clusters()
"""
    run(lab, source).assert_outcomes(passed=2)


def test_the_name_tells_which_test_it_is_of() -> None:
    assert cluster_name("test_silent_cut", "4711") == "silent-cut-4711"
    assert cluster_name("test_2_nodes[a b]", "1") == "t-2-nodes-a-b-1"
    long = cluster_name("test_" + "very_" * 20, "4711")
    assert (len(long) <= NAME_LENGTH_MAX, long[-5:]) == (True, "-4711")


@pytest.mark.parametrize(
    ("mark", "options", "nodes"), [("nodes=2", [], 2), ("", [], 3), ("nodes=2", ["--hil-nodes=5"], 5)]
)
def test_the_marker_says_how_many_nodes_and_the_command_line_wins(
    lab: pytest.Pytester, mark: str, options: list[str], nodes: int
) -> None:
    source = f"@pytest.mark.cluster({mark})\ndef test_it(cluster): assert len(cluster.nodes) == {nodes}\n"
    run(lab, source, *options).assert_outcomes(passed=1)


def test_the_marker_takes_what_a_cluster_file_takes(lab: pytest.Pytester) -> None:
    source = """
@pytest.mark.cluster(nodes=2, timing={"death_ms": 9000}, joined=False)
def test_it(request, cluster): pass
@pytest.mark.cluster(node=2)
def test_wrong(cluster): pass
"""
    result = run(lab, source)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*node: no such key; there are: name, nodes, *"])


def test_a_name_may_be_given(lab: pytest.Pytester) -> None:
    source = "def test_it(cluster): assert cluster.name == 'my-lab'\n"
    run(lab, source, "--hil-name=my-lab").assert_outcomes(passed=1)


def test_every_test_may_be_repeated(lab: pytest.Pytester) -> None:
    run(lab, PASSES, "--hil-repeat=3").assert_outcomes(passed=3)


def test_who_runs_alone_is_told_too_that_a_cluster_waits_for_room(
    lab: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([("6 of 6 nodes are running (other)", ["other"]), None])
    monkeypatch.setattr("hil.room._why_not_now", lambda _: next(answers))
    monkeypatch.setattr("hil.room.await_end_of_any", lambda names: names)
    result = run(lab, PASSES)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["test_it: waiting for room: 6 of 6 nodes are running (other)"])


def test_a_failed_claim_shows_events_consoles_and_the_command_that_repeats_it(lab: pytest.Pytester) -> None:
    result = run(lab, FAILS, "--hil-nodes=4")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*hil: verdict*",
            "claim failed",
            "repeat it: hil run test_it.py::test_it --nodes 4",
            "*hil: last events*",
            "*n3 membership *",
            "*end of console-n0.log*",
            "last line of console-n0.log",
            "FAILED test_it.py::test_it*",
        ]
    )


@pytest.mark.parametrize(
    ("error", "word"),
    [
        ("InvalidRun('the cut did not take hold')", "INVALID"),
        ("MachineLost('node 2 is off')", "LABORATORY BROKE"),
        ("KeyError('a fault of the scenario')", "LABORATORY BROKE"),
        ("UnknownNode('no node 9')", "REFUSED"),
        ("ClaimFailed('not joined')", "FAILED"),
    ],
)
def test_each_verdict_has_a_word_of_its_own(lab: pytest.Pytester, error: str, word: str) -> None:
    result = run(lab, f"def test_it(cluster): raise {error}\n")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"{word} test_it.py::test_it*"])


def test_the_verdict_is_in_the_junit_file(lab: pytest.Pytester) -> None:
    run(lab, "def test_it(cluster): raise InvalidRun('no')\n", "--junit-xml=out.xml")
    document = ElementTree.parse(lab.path / "out.xml")
    values = [(p.get("name"), p.get("value")) for p in document.iter("property")]
    assert ("hil-verdict", "invalid") in values


def test_the_summary_counts_each_verdict(lab: pytest.Pytester) -> None:
    source = """
def test_passes(cluster): pass
def test_fails(cluster): raise ClaimFailed("no")
def test_breaks(cluster): raise BenchDied("no")
def test_breaks_too(cluster): raise MachineLost("no")
def test_is_invalid(cluster): raise InvalidRun("no")
"""
    told = run(lab, source).outlines
    assert "verdicts: 1 passed, 1 claim failed, 2 laboratory broke, 1 invalid" in told


def test_a_cluster_that_never_joins_fails_in_the_fixture_and_is_taken_down(lab: pytest.Pytester) -> None:
    source = """
from hil.bench.address import running_clusters
@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr("hil.client.cluster.Cluster.default_timeout_s", 0.05)
def test_never_joins(cluster): pass
def test_after(): assert not [name for name in running_clusters() if name.startswith("never-joins")]
"""
    result = run(lab, source)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*not within 0 s: node 0 is inactive*", "claim failed: *"])


def test_a_refusal_by_preflight_is_told_as_such(lab: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_PREFLIGHT", "1")
    result = run(lab, PASSES)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["REFUSED *no /dev/net/tun*"])
    assert "hil_start(config)" not in result.stdout.str(), "a traceback through hil is no help against a missing device"


def test_a_refusal_is_told_whole(lab: pytest.Pytester) -> None:
    result = run(lab, "@pytest.mark.cluster(node=2)\ndef test_it(cluster): pass\n")
    result.stdout.fnmatch_lines(
        ["refused: the request:", "  node: no such key; there are: name, nodes, *", "repeat it:*"]
    )


def test_the_run_of_another_cluster_of_that_name_is_no_evidence(
    lab: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_PREFLIGHT", "1")
    runs = lab.path / "state/hil/runs/taken"
    (runs / "20260101T000000Z").mkdir(parents=True)
    (runs / "latest").symlink_to("20260101T000000Z")
    (runs / "latest/console-n0.log").write_text("of another cluster\n")
    result = run(lab, PASSES, "--hil-name=taken", "--hil-report=copies")
    result.stdout.fnmatch_lines(["evidence: *copies/*"])
    assert "of another cluster" not in result.stdout.str()
    assert list(lab.path.rglob("copies/**/console-n0.log")) == []


def test_a_panic_that_nobody_declared_fails_a_test_whose_own_claims_hold(lab: pytest.Pytester) -> None:
    result = run(lab, "def test_it(cluster): cluster.fake.panic_node(2, 'surprise')\n")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*node 2 panicked at * s: surprise; nobody declared that it would"])


def test_a_wait_that_ends_because_of_an_undeclared_panic_is_a_failed_claim(lab: pytest.Pytester) -> None:
    source = """
def test_it(cluster):
    cluster.fake.panic_node(2, 'surprise')
    cluster.wait_crashed(cluster.nodes[2])
    cluster.wait_joined()
"""
    result = run(lab, source)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["claim failed: node 2 panicked *surprise; nobody declared that it would"])


def test_a_failed_claim_also_tells_of_undeclared_panics(lab: pytest.Pytester) -> None:
    source = """
def test_it(cluster):
    cluster.fake.panic_node(2, 'surprise')
    cluster.wait_crashed(cluster.nodes[2])
    assert cluster.view.epoch == 7
"""
    run(lab, source).stdout.fnmatch_lines(["*hil: node 2 panicked *surprise; nobody declared that it would"])


ELECTED_TWICE = """
def test_it(cluster):
    for node in (0, 1):
        cluster.fake.log.emit("elected", node=node, epoch=2, ballot=64 + node, victims=[])
"""


def test_a_claim_about_every_run_fails_a_test_whose_own_claims_hold(lab: pytest.Pytester) -> None:  # S3.2
    result = run(lab, ELECTED_TWICE)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*one_owner: an epoch has one owner (S3.2): VIOLATED (event *",
            "*  epoch 2 is node 0's (2), and node 1's (1) too",
            "*    event *: node 0 elected epoch=2 ballot=64 victims=*",
            "*    event *: node 1 elected epoch=2 ballot=65 victims=*",
            "*hil recheck /*",
            "claim failed: one_owner: *",
        ]
    )


@pytest.mark.parametrize("own", ["assert cluster.view.epoch == 7", "raise MachineLost('node 2 is off')"])
def test_a_test_that_fails_also_tells_which_claim_about_every_run_does_not_hold(lab: pytest.Pytester, own: str) -> None:
    run(lab, f"{ELECTED_TWICE}    {own}\n").stdout.fnmatch_lines(["*hil: one_owner: an epoch has one owner*VIOLATED*"])


def test_what_was_recorded_by_another_version_is_not_judged_but_refused(lab: pytest.Pytester) -> None:
    source = """
def test_it(cluster):
    events = cluster.run_dir / "events.jsonl"
    events.write_text(events.read_text().replace('"recording":1', '"recording":99'))
"""
    run(lab, source).stdout.fnmatch_lines(["*is a recording of version 99 (legal: 1)*"])


@pytest.mark.parametrize(
    "body",
    [
        "with cluster.expecting_panic(cluster.nodes[2], because='forced out'):\n        panic()",
        "cluster.expect_panic(cluster.nodes[2])\n    panic()",
    ],
)
def test_a_declared_panic_is_what_was_wanted(lab: pytest.Pytester, body: str) -> None:
    source = (
        f"def test_it(cluster):\n    panic = lambda: cluster.fake.panic_node(2, 'forced out in epoch 5')\n    {body}\n"
    )
    run(lab, source).assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("cluster.expect_panic(node, because='forced out')", "node 2 was to panic because of 'forced out', but it did"),
        (
            "with cluster.expecting_panic(node, within=0.05): pass",
            "node 2 was to panic: not within 0 s: node 2 has not panicked",
        ),
        (
            "with cluster.expecting_panic(node): cluster.power_off([node])",
            "node 2 was to panic, but its machine is off: node 2 has not panicked",
        ),
    ],
)
def test_a_declared_panic_that_does_not_come_fails(lab: pytest.Pytester, body: str, told: str) -> None:
    result = run(lab, f"def test_it(cluster):\n    node = cluster.nodes[2]\n    {body}\n")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"claim failed: {told}*"])


def test_the_evidence_of_each_test_is_copied_with_its_verdict(lab: pytest.Pytester) -> None:
    source = PASSES + FAILS.replace("test_it", "test_fails")
    run(lab, source, "--hil-report=reports").assert_outcomes(passed=1, failed=1)
    passed, failed = (lab.path / "reports" / f"test_it.py-{name}" for name in ("test_it", "test_fails"))
    assert verdict(passed) == ("passed", "hil run test_it.py::test_it")
    assert verdict(failed) == ("claim failed", "hil run test_it.py::test_fails")
    for directory in (passed, failed):
        names = {path.name for path in directory.iterdir()}
        assert {"events.jsonl", "console-n0.log", "cluster.json"} <= names
        assert "id_ed25519" not in names
    assert not (passed / "disk.raw").exists()
    assert (failed / "disk.raw").read_bytes() == b"disk"


def verdict(directory: Path) -> tuple[str, str]:
    told = json.loads((directory / "verdict.json").read_text())
    return told["verdict"], told["repeat"]


@pytest.mark.parametrize(
    ("source", "options", "kept"),
    [
        (PASSES, [], False),
        (FAILS, [], False),
        (PASSES, ["--hil-keep"], True),
        (PASSES, ["--hil-keep-failed"], False),
        (FAILS, ["--hil-keep-failed"], True),
    ],
)
def test_a_cluster_is_kept_only_when_asked(lab: pytest.Pytester, source: str, options: list[str], kept: bool) -> None:
    after = """
from hil.bench.address import running_clusters
def test_after(): print("kept:", "kept-or-not" in running_clusters())
"""
    result = run(lab, source + after, "--hil-name=kept-or-not", "-s", *options)
    result.stdout.fnmatch_lines([f"*kept: {kept}*"])


@pytest.mark.parametrize("copied", [True, False])
def test_junit_links_each_test_to_its_evidence_and_a_failure_to_its_files(lab: pytest.Pytester, copied: bool) -> None:
    source = PASSES + FAILS.replace("test_it", "test_fails")  # S10.10
    options = ["--junit-xml=junit.xml", "-o", "junit_logging=system-out", *(["--hil-report=reports"] * copied)]
    run(lab, source, *options).assert_outcomes(passed=1, failed=1)
    passed, failed = ElementTree.parse(lab.path / "junit.xml").iter("testcase")
    for case in (passed, failed):
        properties = {one.get("name"): one.get("value") for one in case.iter("property")}
        directory = Path(properties["hil-evidence"] or "")
        assert json.loads((directory / "verdict.json").read_text())["test"].endswith(str(case.get("name")))
        assert (directory.parent == lab.path / "reports") is copied
        told = "".join(case.findtext("system-out") or "")
        attached = {Path(path).name for path in re.findall(r"^\[\[ATTACHMENT\|(/.+)\]\]$", told, re.MULTILINE)}
        expected = {"events.jsonl", "console-n0.log", "console-n1.log", "cluster.json", "verdict.json"}
        assert attached == (expected if case is failed else set())


def test_who_is_interrupted_is_not_taken_for_passed(lab: pytest.Pytester) -> None:
    result = run(lab, "def test_it(cluster): raise KeyboardInterrupt\n", "--hil-report=reports", no_reraise_ctrlc=True)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    told = json.loads((lab.path / "reports" / "test_it.py-test_it" / "verdict.json").read_text())
    assert (told["verdict"], told["problem"]) == ("laboratory broke", "interrupted before it came to its end")


def test_what_fails_after_the_verdict_was_written_changes_it(lab: pytest.Pytester) -> None:
    source = """
@pytest.fixture
def other():
    yield
    raise BenchDied("too late")
def test_it(other, cluster): told.append(cluster.run_dir)
told = []
def test_after():
    import json
    assert json.loads((told[0] / "verdict.json").read_text())["verdict"] == "laboratory broke"
"""
    run(lab, source).assert_outcomes(passed=2, errors=1)


def test_a_test_without_a_cluster_is_none_of_the_plugins_business(lab: pytest.Pytester) -> None:
    result = run(lab, "def test_it(): raise KeyError('x')\n")
    result.assert_outcomes(failed=1)
    result.stdout.no_fnmatch_line("*hil:*")
