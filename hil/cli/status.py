"""``hil status``: nodes, states, levels, master and epoch of one cluster, once or until it ends."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hil.cli.nodes import connected
from hil.cli.options import AsJson, Name

if TYPE_CHECKING:
    from hil.client import Cluster


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to ``app``."""
    app.command("status")(status)


def status(
    name: Name = None,
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until the cluster ends or Ctrl-C.")] = False,
) -> None:
    """Show a cluster: its nodes, their machines, states and levels, the master, the epoch and the services.

    A level marked with * acknowledges only: its subsystem does no work of its own yet.

    With --json: one object with the keys cluster, run_dir, accelerator, fence and election (as in the cluster file),
    timing (guestd's times in milliseconds), timing_factor (by which its defaults were multiplied on this machine),
    epoch, master (null if none), members, broken (what is gone for good, null if nothing), faults, subsystems ({level:
    {name, real}}; real false: acknowledges only), services ({name: {state, flags, nodes, registration, why}}, those of
    which the events have told something; `hil service list` asks the cluster itself), n and t (number and time of the
    newest event), and nodes: a list of {id, power, guestd, incarnation, state, epoch, levels, waiting, panic_reason,
    refused, silent_luns (data disks that do not answer this node), not_begun (why an epoch that it has won has not
    begun, null if none)}; data_disks (as in the cluster file). With --watch one such object per line, a new one after
    every change.
    """
    with connected(name) as cluster:
        if watch:
            _watch(cluster, as_json)
        elif as_json:
            print(json.dumps(status_object(cluster), indent=2))
        else:
            _print_screen(cluster)


def status_object(cluster: Cluster) -> dict[str, Any]:
    """What ``hil status --json`` prints."""
    settings = cluster.settings["settings"]
    head = {
        "cluster": cluster.name,
        "run_dir": str(cluster.run_dir),
        "accelerator": settings["accelerator"],
        "fence": cluster.config.fence,
        "election": cluster.config.election,
        "data_disks": cluster.config.data_disks,
        "timing": settings["timing"],
        "timing_factor": settings["timing_factor"],
    }
    return head | cluster.view.as_dict()


def _print_screen(cluster: Cluster) -> None:
    from rich.console import Console

    from hil.cli.tables import status_screen

    # Without a terminal nothing is cut to a width: the table is as wide as its text.
    output = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=240)
    with output.capture() as screen:
        output.print(status_screen(cluster.name, cluster.view))
    for line in screen.get().splitlines():
        print(line.rstrip())


def _watch(cluster: Cluster, as_json: bool) -> None:
    from rich.console import Console
    from rich.live import Live

    from hil.cli.lines import step_line
    from hil.cli.tables import headline, status_screen
    from hil.view import View

    view = View(len(cluster.nodes))
    shown = cluster.view.n
    if as_json or not sys.stdout.isatty():
        print(json.dumps(status_object(cluster)) if as_json else headline(cluster.name, cluster.view), flush=True)
        for event in cluster.events(follow=True):
            view.apply(event)
            if event["n"] <= shown:
                continue
            line = json.dumps(status_object(cluster) | view.as_dict()) if as_json else step_line(event)
            if line is not None:
                print(line, flush=True)
        return
    with Live(console=Console(highlight=False), refresh_per_second=8) as live:
        for event in cluster.events(follow=True):
            view.apply(event)
            if event["n"] >= shown:
                live.update(status_screen(cluster.name, view))
