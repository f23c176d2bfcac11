"""``hil run``: find scenarios by name, run them under pytest, say what came of it as one exit status."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hil.errors import PreflightFailed, UnknownScenario, UsageError
from hil.selection import Shard
from hil.verdict import EXIT_STATUS, Verdict, overall

if TYPE_CHECKING:
    import pytest

QEMU, SIM = "qemu", "sim"
CHECKOUT = Path(__file__).resolve().parents[1]
INTERRUPTED = 130
ALL = "all"
MARKS: dict[str, str | None] = {ALL: None, "quick": "not nightly", "nightly": "nightly"}
"""Profiles, and which tests each has: by pytest's expressions of markers."""
PROPERTY = "hil-verdict"
"""The user property of a test's report that holds its verdict; also in JUnit XML."""
EVIDENCE = "hil-evidence"
"""The same for the directory of its evidence."""


@dataclass(frozen=True)
class Story:
    """One scenario file."""

    name: str
    path: Path
    summary: str


@dataclass(frozen=True)
class Options:
    """What ``hil run`` was asked for besides the scenarios; None: not given."""

    repeat: int | None = None
    until_failure: bool = False
    shard: str | None = None
    """I/N."""
    profile: str = ALL
    nodes: int | None = None
    junit: Path | None = None
    report: Path | None = None
    keep: bool = False
    keep_failed: bool = False
    pause_on_failure: bool = False
    name: str | None = None
    jobs: int | None = 1
    """How many run side by side; None: as many as the machine allows."""
    max_nodes: int | None = None
    """How many nodes may run at once, instead of what is counted."""
    backend: str = QEMU
    seed: int | None = None
    """What simulated clusters follow from, and plans of faults."""
    faults: str | None = None
    """A plan of faults, played beside each scenario: a file, or the name of one in ``scenarios/faults``."""
    capture: bool = False
    """Capture the interconnect."""


def available() -> list[Story]:
    """The scenarios in ``scenarios/`` of the current directory and of the checkout, by name."""
    stories: dict[str, Story] = {}
    for directory in (CHECKOUT / "scenarios", Path.cwd() / "scenarios"):
        for path in sorted(directory.glob("[!_]*.py")):
            if path.stem != "conftest":
                stories[path.stem] = Story(path.stem, path, _summary(path))
    return [stories[name] for name in sorted(stories)]


def _summary(path: Path) -> str:
    """The first line of the module's docstring."""
    try:
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    except (OSError, SyntaxError, UnicodeDecodeError):
        return "(cannot be read)"
    return text.partition("\n")[0]


def find(text: str) -> str:
    """What pytest calls the scenario ``text``: a name, a file, a directory of them, or one of these with ``::TEST``.

    Raises :class:`UnknownScenario` listing the ones that exist.
    """
    base, separator, test = text.partition("::")
    path = Path(base)
    if not path.exists():
        named = {story.name: story.path for story in available()}
        if base not in named:
            there = ", ".join(sorted(named)) or "none"
            raise UnknownScenario(f"no scenario {base!r}, and no such file; there are: {there}")
        path = named[base]
    return f"{path}{separator}{test}"


def plugin_arguments() -> list[str]:
    """What makes pytest load ``hil.plugin``: nothing where hil is installed (entry point), else ``-p``."""
    installed = importlib.metadata.entry_points(group="pytest11", name="hil")
    return [] if installed else ["-p", "hil.plugin"]


def run(targets: Sequence[str], options: Options, collector: Collector | None = None) -> int:
    """Run the scenarios ``targets`` (see :func:`find`); the exit status. ``collector``: hears of each test.

    Raises :class:`hil.errors.BadConfig` for a name or a number of nodes that no cluster can have, and
    :class:`hil.errors.UsageError` for a shard that is none, and for a fixed name of clusters that run side by side.
    """
    if importlib.util.find_spec("pytest") is None:
        raise PreflightFailed("pytest is not installed; `pip install pytest` in hil's environment installs it")
    import pytest

    from hil import capacity
    from hil.config import make_config

    _check_backend(options)
    if options.shard is not None:
        Shard.parse(options.shard)
    # What no scenario could run with is refused here, once, and not by every test with a traceback of its own.
    asked = {"nodes": options.nodes, "name": options.name}
    config = make_config(**{key: value for key, value in asked.items() if value is not None})
    if options.max_nodes is not None:
        # In the environment, so that the workers count by it, too.
        os.environ[capacity.OVERRIDE] = str(options.max_nodes)
    jobs = options.jobs
    if jobs is None:
        jobs = capacity.jobs_allowed(config) if options.backend == QEMU else len(os.sched_getaffinity(0))
    if jobs > 1 and options.name is not None:
        raise UsageError(f"--name {options.name} --jobs {jobs}: clusters that run side by side need a name each")
    if jobs > 1 and importlib.util.find_spec("xdist") is None:
        raise PreflightFailed(
            "pytest-xdist is not installed; `pip install pytest-xdist` installs it; --jobs 1 needs none"
        )
    collector = collector or Collector()
    collector.may_be_empty = options.shard is not None
    if options.pause_on_failure:
        from hil import pause

        if jobs > 1:
            raise UsageError(f"--pause-on-failure --jobs {jobs}: those that run side by side share no terminal")
        pause.check_terminal()
    status = pytest.main(arguments(targets, replace(options, jobs=jobs)), plugins=[collector])
    return exit_status(int(status), collector)


def _check_backend(options: Options) -> None:
    if options.faults is not None:
        from guestd.core.config import NODES_MAX
        from hil.beside import find
        from hil.faults.plan_file import read

        read(find(options.faults), options.seed or 0).check(options.nodes or NODES_MAX, options.backend)
    elif options.backend == QEMU and options.seed is not None:
        raise UsageError(f"--seed {options.seed}: guests follow from no seed; `--backend sim` does")
    if options.backend == SIM and (options.keep or options.keep_failed):
        option = "--keep" if options.keep else "--keep-failed"
        raise UsageError(f"{option}: a simulated cluster ends with the process that simulates it; its seed repeats it")


def arguments(targets: Sequence[str], options: Options) -> list[str]:
    """What pytest is told for ``options``."""
    told = [*plugin_arguments(), "--import-mode=importlib", "-p", "no:cacheprovider", "-v"]
    told += ["-o", "python_files=*.py"]
    told += ["-W", "ignore:Module already imported so cannot be rewritten"]  # of hil itself: this process runs it
    if marks := _marks(targets, options):
        told += ["-m", " and ".join(marks)]
    if options.junit is not None:
        told += [f"--junit-xml={options.junit.absolute()}", "-o", "junit_logging=system-out"]
    values = {
        "--hil-repeat": options.repeat,
        "--hil-shard": options.shard,
        "--hil-backend": None if options.backend == QEMU else options.backend,
        "--hil-seed": options.seed,
        "--hil-faults": options.faults,
        "--hil-nodes": options.nodes,
        "--hil-name": options.name,
        "--hil-report": None if options.report is None else options.report.absolute(),
    }
    told += [f"{name}={value}" for name, value in values.items() if value is not None]
    flags = {
        "--hil-until-failure": options.until_failure,
        "--hil-keep": options.keep,
        "--hil-keep-failed": options.keep_failed,
        "--hil-pause-on-failure": options.pause_on_failure,
        "--hil-capture": options.capture,
    }
    told += [name for name, given in flags.items() if given]
    if options.jobs is not None and options.jobs > 1:
        # A scenario takes half a minute: each is handed out when a worker is free, wherever others of its file run.
        told += ["-n", str(options.jobs), "--dist=load", "--maxschedchunk=1"]
    return [*told, "--", *targets]


def _marks(targets: Sequence[str], options: Options) -> list[str]:
    """What the tests must be marked with. Who asks the simulator for a whole directory gets what it can run."""
    profile = MARKS[options.profile]
    everything = all(Path(target).is_dir() for target in targets)
    return [*([profile] if profile else []), *(["not guests"] if options.backend == SIM and everything else [])]


class Collector:
    """Gathers the verdicts of a pytest session from its reports."""

    def __init__(self, *, may_be_empty: bool = False) -> None:
        """``may_be_empty``: that other shards have all the tests is no mistake."""
        self.may_be_empty = may_be_empty
        self.deselected = False
        self.verdicts: list[Verdict] = []
        self.evidence: list[Path] = []
        self.collected_badly = False
        self.interrupted = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called for setup, call and teardown of every test."""
        self.verdicts += [Verdict(str(value)) for key, value in report.user_properties if key == PROPERTY]
        self.evidence += [Path(str(value)) for key, value in report.user_properties if key == EVIDENCE]

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Called for every file."""
        self.collected_badly |= report.failed

    def pytest_deselected(self) -> None:
        """Called when tests are left out."""
        self.deselected = True

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Called on Ctrl-C; and, with an exception derived from it, when a file cannot be loaded."""
        self.interrupted |= excinfo.type is KeyboardInterrupt


def exit_status(pytest_status: int, collector: Collector) -> int:
    """hil's exit status, from pytest's (0 passed, 1 failed, 2 interrupted, 3 internal, 4 usage, 5 no tests)."""
    if collector.interrupted:
        return INTERRUPTED
    if pytest_status == 5 and collector.deselected and collector.may_be_empty:
        return EXIT_STATUS[Verdict.PASSED]
    if collector.collected_badly or pytest_status in {4, 5}:
        return EXIT_STATUS[Verdict.REFUSED]
    if pytest_status == 3:
        return EXIT_STATUS[Verdict.LABORATORY_BROKE]
    verdict = overall(collector.verdicts)
    if verdict is Verdict.PASSED and pytest_status != 0:  # a test without a cluster failed
        verdict = Verdict.CLAIM_FAILED
    return EXIT_STATUS[verdict]
