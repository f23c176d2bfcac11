"""One cluster of two real guests per module, for tests that leave it in a state that a power cycle mends.

After each test every cluster that it had, however it was started, is judged by what was recorded of it
(docs/checkers.md).
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hil import Cluster
from hil.checkers.recorded import check
from hil.config import make_config
from hil.evidence.layout import EVENTS


@pytest.fixture(scope="session", autouse=True)
def runs() -> Iterator[dict[Path, int]]:
    """The directory of each run that a test has connected to, with the size of the events that have been judged."""
    known: dict[Path, int] = {}
    begin = Cluster.__init__

    def noting(self: Cluster, *arguments: Any, **named: Any) -> None:
        begin(self, *arguments, **named)
        known.setdefault(self.run_dir, 0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Cluster, "__init__", noting)
        yield known


@pytest.fixture(autouse=True)
def every_run_is_judged(runs: dict[Path, int]) -> Iterator[None]:
    """Set up first, so that it ends last: when the test's own clusters are down."""
    yield
    for directory, judged in list(runs.items()):
        events = directory / EVENTS
        size = events.stat().st_size if events.exists() else judged  # of a run that a test has removed nothing is left
        if size != judged:
            runs[directory] = size
            check(directory)


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    name = request.module.__name__.rpartition(".")[2].removeprefix("test_").replace("_", "-")
    cluster = Cluster.up(make_config(name=f"t-{name[:20]}-{os.getpid()}", nodes=2))
    try:
        yield cluster
    finally:
        cluster.down()


@pytest.fixture
def cluster(shared: Cluster) -> Cluster:
    """The module's cluster, mended and all joined; it takes the place of the plugin's, which is new for each test."""
    for node in shared.nodes:
        shared.heal_link(node)
        if node.view.power not in ("running", "off") or node.view.guestd == "exited":
            shared.power_off([node])
    shared.power_on()
    shared.wait_joined()
    return shared
