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
from hil.verdict import EXIT_STATUS, Verdict, overall

if TYPE_CHECKING:
    import pytest

QEMU, SIM = "qemu", "sim"
CHECKOUT = Path(__file__).resolve().parents[1]
INTERRUPTED = 130
PROPERTY = "hil-verdict"
"""The user property of a test's report that holds its verdict; also in JUnit XML."""


@dataclass(frozen=True)
class Story:
    """One scenario file."""

    name: str
    path: Path
    summary: str


@dataclass(frozen=True)
class Options:
    """What ``hil run`` was asked for besides the scenarios; None: not given."""

    repeat: int = 1
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
    """What simulated clusters follow from."""


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


def run(targets: Sequence[str], options: Options) -> int:
    """Run the scenarios ``targets`` (see :func:`find`); the exit status.

    Raises :class:`hil.errors.BadConfig` for a name or a number of nodes that no cluster can have, and
    :class:`hil.errors.UsageError` for a fixed name of clusters that run side by side.
    """
    if importlib.util.find_spec("pytest") is None:
        raise PreflightFailed("pytest is not installed; `pip install pytest` in hil's environment installs it")
    import pytest

    from hil import capacity
    from hil.config import make_config

    _check_backend(options)
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
    if options.pause_on_failure:
        from hil import pause

        if jobs > 1:
            raise UsageError(f"--pause-on-failure --jobs {jobs}: those that run side by side share no terminal")
        pause.check_terminal()
    collector = Collector()
    status = pytest.main(arguments(targets, replace(options, jobs=jobs)), plugins=[collector])
    return exit_status(int(status), collector)


def _check_backend(options: Options) -> None:
    if options.backend == QEMU and options.seed is not None:
        raise UsageError(f"--seed {options.seed}: guests follow from no seed; `--backend sim` does")
    if options.backend == SIM and (options.keep or options.keep_failed):
        option = "--keep" if options.keep else "--keep-failed"
        raise UsageError(f"{option}: a simulated cluster ends with the process that simulates it; its seed repeats it")


def arguments(targets: Sequence[str], options: Options) -> list[str]:
    """What pytest is told for ``options``."""
    told = [*plugin_arguments(), "--import-mode=importlib", "-p", "no:cacheprovider", "-v"]
    told += ["-o", "python_files=*.py"]
    told.append(f"--hil-repeat={options.repeat}")
    if options.backend != QEMU:
        told.append(f"--hil-backend={options.backend}")
    if options.seed is not None:
        told.append(f"--hil-seed={options.seed}")
    if options.nodes is not None:
        told.append(f"--hil-nodes={options.nodes}")
    if options.name is not None:
        told.append(f"--hil-name={options.name}")
    if options.keep:
        told.append("--hil-keep")
    if options.keep_failed:
        told.append("--hil-keep-failed")
    if options.pause_on_failure:
        told.append("--hil-pause-on-failure")
    if options.junit is not None:
        told.append(f"--junit-xml={options.junit.absolute()}")
    if options.report is not None:
        told.append(f"--hil-report={options.report.absolute()}")
    if options.jobs is not None and options.jobs > 1:
        # A scenario takes half a minute: each is handed out when a worker is free, wherever others of its file run.
        told += ["-n", str(options.jobs), "--dist=load", "--maxschedchunk=1"]
    return [*told, "--", *targets]


class Collector:
    """Gathers the verdicts of a pytest session from its reports."""

    def __init__(self) -> None:
        self.verdicts: list[Verdict] = []
        self.collected_badly = False
        self.interrupted = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called for setup, call and teardown of every test."""
        self.verdicts += [Verdict(str(value)) for key, value in report.user_properties if key == PROPERTY]

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Called for every file."""
        self.collected_badly |= report.failed

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Called on Ctrl-C; and, with an exception derived from it, when a file cannot be loaded."""
        self.interrupted |= excinfo.type is KeyboardInterrupt


def exit_status(pytest_status: int, collector: Collector) -> int:
    """hil's exit status, from pytest's (0 passed, 1 failed, 2 interrupted, 3 internal, 4 usage, 5 no tests)."""
    if collector.interrupted:
        return INTERRUPTED
    if collector.collected_badly or pytest_status in {4, 5}:
        return EXIT_STATUS[Verdict.REFUSED]
    if pytest_status == 3:
        return EXIT_STATUS[Verdict.LABORATORY_BROKE]
    verdict = overall(collector.verdicts)
    if verdict is Verdict.PASSED and pytest_status != 0:  # a test without a cluster failed
        verdict = Verdict.CLAIM_FAILED
    return EXIT_STATUS[verdict]
