"""The pytest plugin: a cluster per test, verdicts told apart, evidence in the report.

::

    @pytest.mark.cluster(nodes=3)
    def test_one_node_loses_power(cluster):
        victim = cluster.any_other(cluster.master)
        cluster.power_off([victim])
        ...

A test fails when its claim does (``assert``, :class:`hil.errors.ClaimFailed`), and also when a node panics that the
test did not declare with ``cluster.expecting_panic(node)`` or ``cluster.expect_panic(node)`` (spec S10.8), or when a
claim about every run does not hold (docs/checkers.md). A laboratory that broke and a fault that did not take hold are
shown as such, with a word and a user property of their own.
"""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hil import backends, pause, room, troubles
from hil.errors import AlreadyUp, ClaimFailed, HilError, LaboratoryError
from hil.lab import Lab
from hil.parallel import Controller, Worker, is_controller, is_worker
from hil.phases import Phases, label
from hil.runner import PROPERTY
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
    group.addoption("--hil-nodes", metavar="N", type=int, help="nodes of each cluster, whatever its marker says")
    group.addoption("--hil-name", metavar="NAME", help="name of the cluster, instead of one made from the test's")
    group.addoption("--hil-repeat", metavar="N", type=int, default=1, help="run each test N times")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker and what else belongs to this plugin; refuse what does not exist."""
    config.addinivalue_line("markers", MARKER)
    backends.check(config)
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
    count = metafunc.config.getoption("hil_repeat")
    if count > 1:
        metafunc.fixturenames.append("hil_round")
        metafunc.parametrize("hil_round", range(1, count + 1), ids=[f"round{i}" for i in range(1, count + 1)])


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
        try:
            started.observe_for(phases.on_event)
            if wanted.joined:
                started.wait_joined()
            turn.close()
            shared.save(wanted, started)
            phases.running()
            item.stash[CLUSTER] = started
            yield started
        except Exception as error:
            _note_verdict(lab, error)
            if pause.is_wanted(item.config):  # it has not joined; no hook of pytest is called while it still runs
                pause.pause(item, started, lab, f"{type(error).__name__}: {error}")
            raise
        finally:
            _finish(item, lab, started)
    except Exception as error:
        _note_verdict(lab, error)
        raise
    finally:
        turn.close()
        if (directory := item.config.getoption("hil_report")) is not None:
            lab.copy_to(directory, item.nodeid)


def _finish(item: pytest.Item, lab: Lab, started: ScenarioCluster) -> None:
    """Take the cluster down, unless it is to be kept."""
    item.stash[CLUSTER] = None
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


def _repeat_command(item: pytest.Item) -> str:
    """The command that runs this very test again."""
    path = os.path.relpath(item.path, item.config.invocation_params.dir)
    inside = item.nodeid.partition("::")[2]
    if item.config.getoption("hil_repeat") > 1:
        inside = inside.partition("[")[0]
    command = ["hil", "run", f"{path}::{inside}"]
    if (nodes := item.config.getoption("hil_nodes")) is not None:
        command += ["--nodes", str(nodes)]
    command += backends.repeat_options(item)
    return shlex.join(command)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """After the test's own claims: an undeclared panic, a declared one that never came, or a violated claim of
    :mod:`hil.checkers` fails it.
    """
    try:
        yield
    except LaboratoryError as error:
        # A wait gave up because a node panicked: if nobody declared that, it is the claim that failed.
        _add_violations(item, error)
        _check_panics(item, error)
        raise
    except Exception as error:
        _add_panics(item, error)
        _add_violations(item, error)
        raise
    _check_panics(item, None)
    _check_claims(item)


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
        _note_verdict(lab, call.excinfo.value)
        if verdict is Verdict.REFUSED:  # the message says all; where in hil it was raised helps nobody
            report.longrepr = call.excinfo.getrepr(style="value")
        report.sections += lab.sections()
        item.user_properties.append((PROPERTY, str(verdict)))
        report.user_properties.append((PROPERTY, str(verdict)))
    if lab is not None and lab.verdict is not Verdict.PASSED:
        troubles.attach(report, lab)
    if report.when == "teardown" and (phases := item.stash.get(PHASES, None)) is not None and lab is not None:
        phases.ended(str(lab.verdict))
    return report  # type: ignore[return-value]


def pytest_exception_interact(
    node: pytest.Item | pytest.Collector, report: pytest.CollectReport | pytest.TestReport
) -> None:
    """A test has failed, and its cluster still runs."""
    started: ScenarioCluster | None = node.stash.get(CLUSTER, None)
    if started is not None and isinstance(node, pytest.Item) and pause.is_wanted(node.config):
        pause.pause(node, started, node.stash[LAB], report.longreprtext)


def _note_verdict(lab: Lab, error: BaseException) -> None:
    """Keep the first thing that went wrong: what follows may come of it."""
    if lab.verdict is Verdict.PASSED:
        lab.verdict, lab.problem = classify(error), str(error)


def pytest_report_teststatus(report: pytest.CollectReport | pytest.TestReport) -> tuple[str, str, str] | None:
    """A word of its own for each verdict that is not a failed claim; pytest still counts it as a failure."""
    properties = getattr(report, "user_properties", [])
    verdicts = [Verdict(value) for key, value in properties if key == PROPERTY]
    if not report.failed or not verdicts or verdicts[-1] not in MARK:
        return None
    letter, word = MARK[verdicts[-1]]
    category = "failed" if getattr(report, "when", "call") == "call" else "error"
    return category, letter, word
