"""What a demo needs: something to show itself on, and a cluster that is taken down whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from hil.cli.lines import slowness
from hil.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hil.client import Node
    from hil.config import ClusterConfig
    from hil.scenario import ScenarioCluster
    from hil.view import Event, View

LOAD = ("files", "services")
"""Of :mod:`hil.workloads`: what goes on meanwhile."""


PROGRESS = 10
"""Writes that are acknowledged before anything is done to the cluster, at least."""


class Display(Protocol):
    """What the demo shows itself on; :class:`hil.cli.progress.JoinProgress` is one."""

    title: str | None

    def on_event(self, event: Event, view: View) -> None:
        """Told of every event."""

    def on_image(self, stage: str, done: int, total: int) -> None:
        """Told how far the image's build has come."""

    def say(self, line: str) -> None:
        """One line that stays."""

    def leave_table(self, view: View) -> None:
        """Leave the table as it is now."""


@contextmanager
def shown(config: ClusterConfig, display: Display, *, seed: int | None, keep: bool) -> Iterator[ScenarioCluster]:
    """A cluster, all joined, that tells ``display`` of all; down at the end, whatever happened, unless ``keep``.

    ``seed``: of a simulated one; None: of guests. Raises what the client raises, and :class:`UsageError` for a
    simulated cluster that is to be kept.
    """
    from hil.scenario import ScenarioCluster

    display.title = "cold start"
    if seed is None:
        cluster = ScenarioCluster.up(config, on_event=display.on_event, on_image=display.on_image)
    elif keep:
        raise UsageError("--keep: a simulated cluster ends with the process that simulates it; leave --backend sim out")
    else:
        from hil.sim.backend.simulated import Simulated

        cluster = ScenarioCluster(config.name, Simulated(config, seed))
        cluster.observe_for(display.on_event)
    try:
        if (notice := slowness(cluster.settings["settings"])) is not None:
            display.say(notice)
        cluster.wait_joined()
        display.leave_table(cluster.view)
        yield cluster
    finally:
        if keep:
            cluster.close()
            display.say(f"cluster {cluster.name} stays up; `hil down {cluster.name}` ends it")
        else:
            cluster.down()


def named(nodes: Sequence[Node | int]) -> str:
    """Such as "node 1" and "nodes 0, 2"."""
    return ("node " if len(nodes) == 1 else "nodes ") + ", ".join(str(int(node)) for node in nodes)


def nothing_lost(acknowledged: int, verified: int, fault: str) -> str:
    """What a load's check has shown; one that finds less raises."""
    return f"all {acknowledged} writes that were acknowledged before {fault} are there; every node has read {verified}"
