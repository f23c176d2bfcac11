"""The pytest plugin: a cluster per test, verdicts told apart, evidence in the report.

::

    @pytest.mark.cluster(nodes=3)
    def test_one_node_loses_power(cluster):
        victim = cluster.any_other(cluster.master)
        cluster.power_off([victim])
        ...

A test fails when its claim does (``assert``, :class:`hil.errors.ClaimFailed`), and also when a node panics that the
test did not declare with ``cluster.expecting_panic(node)`` or ``cluster.expect_panic(node)`` (spec S10.8), or when a
claim about every run does not hold (docs/checkers.md); that is looked at while the test waits, and at its end. That
the laboratory broke, or a fault did not take hold, is shown as such, with a word and a user property of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hil import backends, pause, room, selection, troubles
from hil.errors import AlreadyUp, ClaimFailed, HilError, LaboratoryError
from hil.evidence import manifest
from hil.lab import Lab
from hil.parallel import Controller, Worker, is_controller, is_worker
from hil.phases import Phases, label
from hil.runner import CHECKOUT, EVIDENCE, PROPERTY
from hil.shared import MARKER, SharedCheckpoints, Wanted
from hil.verdict import MARK, Verdict, classify

if TYPE_CHECKING:
    from hil.config import ClusterConfig
    from hil.scenario import ScenarioCluster

    StartCluster = Callable[..., ScenarioCluster]
    """Takes a ``ClusterConfig``, and ``cold``."""

LAB: pytest.StashKey[Lab] = pytest.StashKey()
CLUSTER: pytest.StashKey[Any] = pytest.StashKey()
CHECKPOINTS: pytest.StashKey[SharedCheckpoints | backends.PreparedAnew] = pytest.StashKey()
PHASES: pytest.StashKey[Phases] = pytest.StashKey()
WORKER: pytest.StashKey[Worker] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options; ``hil run`` gives them under shorter names."""
    group = parser.getgroup("hil", "clusters of virtual machines")
    backends.add_options(group)
    group.addoption("--hil-keep", action="store_true", help="leave every test's cluster running")
    group.addoption("--hil-keep-failed", action="store_true", help="leave the cluster of a failed test running")
    group.addoption(
        pause.OPTION, action="store_true", help="a prompt on the cluster of a test that has failed (docs/live.md)"
    )
    group.addoption("--hil-report", metavar="DIR", type=Path, help="copy each test's evidence into a directory of DIR")
    group.addoption("--hil-capture", action="store_true", help="capture every cluster's interconnect")
    group.addoption("--hil-nodes", metavar="N", type=int, help="nodes of each cluster, whatever its marker says")
    group.addoption("--hil-name", metavar="NAME", help="name of the cluster, instead of one made from the test's")
    group.addoption("--hil-faults", metavar="PLAN", help="a plan of faults, played beside each test (docs/faults.md)")
    selection.add_options(group)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker and what else belongs to this plugin; refuse what does not exist."""
    config.addinivalue_line("markers", MARKER)
    backends.check(config)
    selection.check(config)
    config.stash[CHECKPOINTS] = backends.PreparedAnew() if backends.is_simulated(config) else SharedCheckpoints()
    config.add_cleanup(config.stash[CHECKPOINTS].remove)
    pause.check(config, side_by_side=is_worker(config) or is_controller(config))
    config.pluginmanager.register(troubles.Troubles(), "hil-troubles")
    if is_worker(config):
        config.stash[WORKER] = Worker(config)
        config.pluginmanager.register(config.stash[WORKER], "hil-worker")
    elif is_controller(config):
        if config.getoption("hil_name") is not None and len(config.getoption("tx")) > 1:
            raise pytest.UsageError("--hil-name: clusters that run side by side need a name each; leave -n out")
        config.pluginmanager.register(Controller(config), "hil-controller")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """``--hil-repeat N``: every test N times."""
    count = selection.rounds(metafunc.config)
    if count > 1:
        metafunc.fixturenames.append("hil_round")
        metafunc.parametrize("hil_round", range(1, count + 1), ids=[f"round{i}" for i in range(1, count + 1)])


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """After what ``-k`` and ``-m`` leave out: the tests of this shard, in the order of the rounds."""
    selection.choose(config, items)


@pytest.fixture(scope="session")
def hil_start() -> StartCluster:
    """How a cluster is started from its configuration; a back end, or a test of this plugin, puts its own in place."""
    from hil.scenario import ScenarioCluster

    return ScenarioCluster.up


@pytest.fixture
def cluster(request: pytest.FixtureRequest, hil_start: StartCluster) -> Iterator[ScenarioCluster]:
    """A fresh cluster, all joined unless ``@pytest.mark.cluster(joined=False)``; taken down after the test."""
    item = request.node
    lab = item.stash[LAB] = Lab(_name_for(item), _repeat_command(item), seed=backends.seed_of(item))
    phases = item.stash[PHASES] = _phases(item)
    turn = contextlib.ExitStack()
    try:
        wanted, shared = Wanted.of(item, lab.name), item.config.stash[CHECKPOINTS]
        start = backends.starter(item, hil_start)
        if lab.seed is None:  # a simulated cluster takes no room
            turn.enter_context(room.turn(wanted.config, _tell_of_waiting(item, phases)))
        with _noted(item, wanted.config, phases):
            started = shared.start(wanted, start)
        lab.run_dir = started.run_dir
        manifest.amend(started.run_dir, repeat=lab.repeat, scenario=_scenario(item, lab))
        try:
            started.observe_for(phases.on_event)
            if wanted.joined:
                started.wait_joined()
            turn.close()
            shared.save(wanted, started)
            phases.running()
            item.stash[CLUSTER] = started
            _begin_plan(item, started)
            yield started
        except Exception as error:
            lab.note(error)
            if pause.is_wanted(item.config):  # it has not joined; no hook of pytest is called while it still runs
                pause.pause(item, started, lab, f"{type(error).__name__}: {error}")
            raise
        finally:
            _finish(item, lab, started)
    except Exception as error:
        lab.note(error)
        raise
    finally:
        turn.close()
        lab.write_verdict(item.nodeid)
        if (directory := item.config.getoption("hil_report")) is not None:
            lab.copy_to(directory, item.nodeid)


def _finish(item: pytest.Item, lab: Lab, started: ScenarioCluster) -> None:
    """Take the cluster down, unless it is to be kept."""
    item.stash[CLUSTER] = None
    if started.beside is not None:
        started.beside.abandon()
    option = item.config.getoption
    lab.kept = option("hil_keep") or (option("hil_keep_failed") and lab.verdict is not Verdict.PASSED)
    if lab.kept:
        started.close()
    else:
        item.stash[PHASES].taking_down()
        started.down()
    if (worker := item.config.stash.get(WORKER, None)) is not None:
        worker.cluster_ended(started.name)


def _phases(item: pytest.Item) -> Phases:
    """Where the test's phases are told: to whoever started this worker; alone, pytest's own lines tell enough."""
    worker = item.config.stash.get(WORKER, None)
    return Phases(label(item), worker.say if worker is not None else lambda line: None)


def _tell_of_waiting(item: pytest.Item, phases: Phases) -> Callable[[str], None]:
    """How it is told that a cluster waits for room: alone, too, for nothing else happens meanwhile."""
    if item.config.stash.get(WORKER, None) is not None:
        return phases.tell

    def tell(text: str) -> None:
        manager = item.config.pluginmanager
        capture: Any = manager.get_plugin("capturemanager")
        reporter: Any = manager.get_plugin("terminalreporter")
        with capture.global_and_fixture_disabled() if capture is not None else contextlib.nullcontext():
            if reporter is not None:
                reporter.ensure_newline()
                reporter.write_line(f"{label(item)}: {text}")

    return tell


@contextlib.contextmanager
def _noted(item: pytest.Item, config: ClusterConfig, phases: Phases) -> Iterator[None]:
    """The block starts the cluster ``config``: whoever started this worker knows of it, should the worker die."""
    phases.starting(config.name, config.nodes)
    worker = item.config.stash.get(WORKER, None)
    if worker is not None:
        worker.cluster_starts(config.name)
    try:
        yield
    except AlreadyUp:  # it is another's
        if worker is not None:
            worker.cluster_ended(config.name)
        raise


def _name_for(item: pytest.Item) -> str:
    given = item.config.getoption("hil_name")
    return given or backends.name_for(item)


def _inside(item: pytest.Item) -> str:
    """The test in its file, whichever round it is."""
    inside = item.nodeid.partition("::")[2]
    return inside.partition("[")[0] if selection.rounds(item.config) > 1 else inside


def _repeat_command(item: pytest.Item) -> str:
    """The command that runs this very test again."""
    path = os.path.relpath(item.path, item.config.invocation_params.dir)
    command = ["hil", "run", f"{path}::{_inside(item)}"]
    if (nodes := item.config.getoption("hil_nodes")) is not None:
        command += ["--nodes", str(nodes)]
    command += ["--capture"] if item.config.getoption("hil_capture") else []
    command += backends.repeat_options(item)
    return shlex.join(command)


def _scenario(item: pytest.Item, lab: Lab) -> manifest.Scenario:
    """What makes a replay run this very test, in another checkout, too."""
    homes = [home for home in (CHECKOUT, item.config.invocation_params.dir) if item.path.is_relative_to(home)]
    path = item.path.relative_to(homes[0]) if homes else item.path
    digest = hashlib.sha256(item.path.read_bytes()).hexdigest()
    option = item.config.getoption
    options: dict[str, Any] = {"capture": True} if option("hil_capture") else {}
    seed = lab.seed
    if (faults := option("hil_faults")) is not None:
        options["faults"], seed = str(faults), backends.plan_seed(item)
    return manifest.Scenario(f"{path}::{_inside(item)}", digest, option("hil_nodes"), seed, options)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """After the test's own claims: an undeclared panic, a declared one that never came, or a violated claim of
    :mod:`hil.checkers` fails it.
    """
    try:
        yield
    except LaboratoryError as error:
        _end_plan(item, error)
        # A wait gave up because a node panicked: if nobody declared that, it is the claim that failed.
        _add_violations(item, error)
        _check_panics(item, error)
        raise
    except Exception as error:
        _end_plan(item, error)
        _add_panics(item, error)
        _add_violations(item, error)
        raise
    _end_plan(item, None)
    _check_panics(item, None)
    _check_claims(item)


def _begin_plan(item: pytest.Item, started: ScenarioCluster) -> None:
    """``--hil-faults``: the plan strikes from now on."""
    if (name := item.config.getoption("hil_faults")) is not None:
        from hil.beside import Beside, find
        from hil.faults.plan_file import read

        Beside(started, read(find(name), backends.plan_seed(item)))


def _end_plan(item: pytest.Item, cause: Exception | None) -> None:
    """The test is over, and so is the plan. A fault that did not take hold counts more than what came of it."""
    started: ScenarioCluster | None = item.stash.get(CLUSTER, None)
    if started is None or started.beside is None:
        return
    problem = started.beside.problem
    try:
        started.beside.finish()
    except HilError as error:
        if cause is None or error is cause:
            raise
        if error is problem:
            raise error from cause
        cause.add_note(f"hil: {error}")


def _check_panics(item: pytest.Item, cause: LaboratoryError | None) -> None:
    started: ScenarioCluster | None = item.stash.get(CLUSTER, None)
    if started is None:
        return
    if cause is None:
        started.check_panics()
        started.check_services()
    elif undeclared := started.panics.undeclared():
        sentences = "; ".join(f"{panic}; nobody declared that it would" for panic in undeclared)
        raise ClaimFailed(f"{sentences}\n{cause}") from cause


def _add_panics(item: pytest.Item, error: Exception) -> None:
    """The test failed for a reason of its own; panics that nobody declared may be why."""
    started: ScenarioCluster | None = item.stash.get(CLUSTER, None)
    if started is not None:
        for panic in started.panics.undeclared():
            error.add_note(f"hil: {panic}; nobody declared that it would")


def _check_claims(item: pytest.Item) -> None:
    """What every run must keep to, by its events and its disk's ledger (docs/checkers.md)."""
    started: ScenarioCluster | None = item.stash.get(CLUSTER, None)
    if started is not None:
        from hil.checkers.recorded import check

        check(started.run_dir)


def _add_violations(item: pytest.Item, error: Exception) -> None:
    """The test failed for a reason of its own; a claim that does not hold may be why."""
    started: ScenarioCluster | None = item.stash.get(CLUSTER, None)
    if started is not None and started.claims is not None and started.claims.violation is error:
        return  # it is the very reason
    try:
        _check_claims(item)
    except HilError as violated:
        error.add_note(f"hil: {violated}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Put the verdict and the evidence into the report of a test that did not pass."""
    report: pytest.TestReport = yield  # type: ignore[assignment]  # what pytest sends is not in its types
    lab = item.stash.get(LAB, None)
    if report.failed and call.excinfo is not None and lab is not None:
        verdict = classify(call.excinfo.value)
        lab.note(call.excinfo.value)
        if verdict is Verdict.REFUSED:  # the message says all; where in hil it was raised helps nobody
            report.longrepr = call.excinfo.getrepr(style="value")
        report.sections += lab.sections()
        item.user_properties.append((PROPERTY, str(verdict)))
        report.user_properties.append((PROPERTY, str(verdict)))
    if lab is not None and report.when == "call":
        lab.judged = True
    if lab is not None and lab.verdict is not Verdict.PASSED:
        troubles.attach(report, lab)
    if lab is not None and report.when == "teardown":
        _link_evidence(item, report, lab)
    if report.when == "teardown" and (phases := item.stash.get(PHASES, None)) is not None and lab is not None:
        phases.ended(str(lab.verdict))
    return report  # type: ignore[return-value]


def _link_evidence(item: pytest.Item, report: pytest.TestReport, lab: Lab) -> None:
    """In JUnit XML: the folder as a property, and the files of a failure as attachments, as CI servers know them."""
    if report.failed:  # after the verdict was written
        lab.write_verdict(item.nodeid)
    if (directory := lab.copied_to or lab.evidence()) is not None:
        report.user_properties.append((EVIDENCE, str(directory)))
    if lab.verdict is not Verdict.PASSED and item.config.getoption("xmlpath", None) is not None:
        lines = "".join(f"[[ATTACHMENT|{path}]]\n" for path in lab.attachments())
        report.sections.append(("Captured stdout: hil's evidence", f"\n{lines}"))


def pytest_exception_interact(
    node: pytest.Item | pytest.Collector, report: pytest.CollectReport | pytest.TestReport
) -> None:
    """A test has failed, and its cluster still runs."""
    started: ScenarioCluster | None = node.stash.get(CLUSTER, None)
    if started is not None and isinstance(node, pytest.Item) and pause.is_wanted(node.config):
        pause.pause(node, started, node.stash[LAB], report.longreprtext)


def pytest_report_teststatus(report: pytest.CollectReport | pytest.TestReport) -> tuple[str, str, str] | None:
    """A word of its own for each verdict that is not a failed claim; pytest still counts it as a failure."""
    properties = getattr(report, "user_properties", [])
    verdicts = [Verdict(value) for key, value in properties if key == PROPERTY]
    if not report.failed or not verdicts or verdicts[-1] not in MARK:
        return None
    letter, word = MARK[verdicts[-1]]
    category = "failed" if getattr(report, "when", "call") == "call" else "error"
    return category, letter, word
