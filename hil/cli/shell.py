"""``hil shell``: a Python prompt on a cluster, or code for it from a script."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from hil.cli import completion
from hil.cli.options import Backend, BackendOption, Name, Nodes
from hil.errors import UsageError

if TYPE_CHECKING:
    from hil.scenario import ScenarioCluster


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to ``app``."""
    app.command("shell")(shell)


def shell(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]", help="The cluster; default: the only one.", autocompletion=completion.clusters
        ),
    ] = None,
    name_option: Name = None,
    code: Annotated[str | None, typer.Option("-c", metavar="CODE", help="Run this and end.")] = None,
    backend: BackendOption = Backend.QEMU,
    nodes: Nodes = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="S", min=0, help="Of a simulated cluster; default: 0.")
    ] = None,
) -> None:
    """Open a Python prompt with `cluster` and its nodes n0, n1 ... bound; what a scenario may do works there.

    With -c, or where standard input is no terminal, the code given there runs, and nothing else is printed.

    With --backend sim the cluster is simulated in this process, and ends with it.

    Exit status of code: that of `exit(N)`; 1 a claim failed (assert), 2 no Python, 3 any other exception.
    """
    if name and name_option and name != name_option:
        raise UsageError(f"shell {name} --name {name_option}: these are two names")
    if backend is Backend.QEMU and (nodes is not None or seed is not None):
        option = "--nodes" if nodes is not None else "--seed"
        raise UsageError(f"{option} is for --backend sim; a cluster that runs is as it is")
    if code is None and not sys.stdin.isatty():
        code, origin = sys.stdin.read(), "<stdin>"
    else:
        origin = "<command line>"
    with _cluster(name or name_option, backend, nodes, seed) as cluster:
        if code is None:
            from hil.shell.prompt import interact

            raise typer.Exit(interact(cluster))
        from hil.shell.script import execute

        raise typer.Exit(execute(cluster, code, origin))


@contextlib.contextmanager
def _cluster(name: str | None, backend: Backend, nodes: int | None, seed: int | None) -> Iterator[ScenarioCluster]:
    """The running cluster, or a simulated one, which has joined."""
    from hil.scenario import ScenarioCluster

    if backend is Backend.QEMU:
        with ScenarioCluster.connect(name) as cluster:
            yield cluster
        return
    from hil.config import make_config
    from hil.sim.backend.simulated import Simulated

    asked = {"name": name or "simulated", "nodes": nodes}
    config = make_config(**{key: value for key, value in asked.items() if value is not None})
    simulated = ScenarioCluster(config.name, Simulated(config, seed or 0))
    try:
        simulated.wait_joined()
        yield simulated
    finally:
        simulated.down()
