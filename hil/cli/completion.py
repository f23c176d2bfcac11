"""What the shell completes besides commands and options: scenarios, running clusters, their nodes, runs.

A completion never fails and starts nothing: what cannot be told is left out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import typer

from hil.errors import HilError


def scenarios(incomplete: str) -> Iterator[tuple[str, str]]:
    """Names of scenarios, each with its summary. Nothing for what looks like a path: that the shell knows itself."""
    from hil import runner

    yield from ((one.name, one.summary) for one in runner.available() if one.name.startswith(incomplete))


def clusters(incomplete: str) -> Iterator[str]:
    """Names of the running clusters."""
    from hil.bench.address import running_clusters

    yield from (name for name in running_clusters() if name.startswith(incomplete))


def nodes(ctx: typer.Context, incomplete: str) -> Iterator[str]:
    """The nodes of the cluster that was named, or of the only one, and `all`."""
    from hil import paths
    from hil.bench.address import choose
    from hil.client.backend import settings_of

    with contextlib.suppress(HilError, OSError, ValueError, KeyError):
        directory = paths.latest_run_dir(choose(ctx.params.get("name")))
        if directory is not None:
            count = settings_of(directory)["config"]["nodes"]
            yield from (one for one in [*map(str, range(count)), "all"] if one.startswith(incomplete))


def runs(incomplete: str) -> Iterator[str]:
    """Names of the clusters that have left a run."""
    from hil import paths

    yield from sorted(one.parent.name for one in paths.runs_dir().glob(f"{incomplete}*/latest") if one.exists())
