"""``--hil-pause-on-failure``: a prompt on the cluster of a test that has failed, before it is taken down.

The prompt is that of ``hil shell`` (:mod:`hil.shell`). When it ends the session goes on: the test has failed all the
same, and its cluster goes the way of every other.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from hil.errors import UsageError
from hil.lab import Lab

if TYPE_CHECKING:
    from hil.scenario import ScenarioCluster

OPTION = "--hil-pause-on-failure"
INSTEAD = (
    "`hil run --keep-failed` leaves the cluster of a scenario that has failed running, and `hil shell NAME` opens a"
    " prompt on it"
)


def is_wanted(config: pytest.Config) -> bool:
    """Whether this session was asked to pause."""
    return bool(config.getoption("hil_pause_on_failure"))


def check_terminal(option: str = "--pause-on-failure") -> None:
    """Raises :class:`UsageError` where nobody could type anything."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(f"{option} needs a terminal; {INSTEAD}")


def check(config: pytest.Config, *, side_by_side: bool) -> None:
    """Raises pytest's ``UsageError`` for a session that cannot pause."""
    if not is_wanted(config):
        return
    if side_by_side:
        raise pytest.UsageError(f"{OPTION}: tests that run side by side share no terminal; leave -n out, or {INSTEAD}")
    _release_terminal(config)
    try:
        check_terminal(OPTION)
    except UsageError as refusal:
        raise pytest.UsageError(str(refusal)) from None


def pause(item: pytest.Item, cluster: ScenarioCluster, lab: Lab, failure: str) -> None:
    """A prompt on ``cluster``, after what is to be said of the failure.

    Raises ``KeyboardInterrupt`` when the session is to end (SIGTERM).
    """
    from hil.shell.prompt import interact

    # A person takes longer than a test may.
    if (cancel := getattr(item.ihook, "pytest_timeout_cancel_timer", None)) is not None:
        cancel(item=item)
    _release_terminal(item.config)
    reporter: Any = item.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.ensure_newline()
        reporter.section(f"{item.nodeid}: {lab.verdict}")
        reporter.write_line(failure)
        reporter.flush()
    interact(cluster, head=f"paused; the run goes on when this prompt ends (Ctrl-D). Evidence: {cluster.run_dir}")


def _release_terminal(config: pytest.Config) -> None:
    """Standard input and output are the session's own, until pytest captures again what the next phase says."""
    capture: Any = config.pluginmanager.get_plugin("capturemanager")
    if capture is not None:
        capture.suspend(in_=True)
