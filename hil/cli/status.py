"""``hil status``: nodes, states, levels, master and epoch of one cluster, once, live, or for a browser."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hil.cli.nodes import connected
from hil.cli.options import AsJson, Name
from hil.errors import UsageError

if TYPE_CHECKING:
    from hil.client import Cluster


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to ``app``."""
    app.command("status")(status)


def status(
    name: Name = None,
    as_json: AsJson = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="The live view, with keys for faults; q quits. With --json: every change.")
    ] = False,
    serve: Annotated[
        int | None,
        typer.Option(
            "--serve",
            metavar="PORT",
            min=0,
            max=65535,
            help="The live view for browsers of this machine; 0: a free port. Ctrl-C ends it.",
        ),
    ] = None,
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
    if serve is not None and (watch or as_json):
        raise UsageError(f"--serve {serve} --{'watch' if watch else 'json'}: these are two; leave one out")
    if watch and not as_json:
        check_terminal("--watch", "`hil status --json` shows the cluster once, `hil events -f` tells what happens")
    with connected(name) as cluster:
        if serve is not None:
            from hil.live.serve import serve as serve_view

            serve_view(cluster.name, serve)
        elif watch and as_json:
            _tell_changes(cluster)
        elif watch:
            _live(cluster)
        elif as_json:
            print(json.dumps(status_object(cluster), indent=2))
        else:
            print_screen(cluster)


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


def print_screen(cluster: Cluster) -> None:
    """What ``hil status`` prints."""
    from rich.console import Console

    from hil.cli.tables import status_screen

    # Without a terminal nothing is cut to a width: the table is as wide as its text.
    output = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=240)
    with output.capture() as screen:
        output.print(status_screen(cluster.name, cluster.view))
    for line in screen.get().splitlines():
        print(line.rstrip())


def check_terminal(what: str, instead: str) -> None:
    """Raises :class:`UsageError` where there is no terminal for people; ``instead``: what to type then."""
    # textual draws on standard error.
    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)) or os.environ.get("TERM") == "dumb":
        raise UsageError(f"{what} needs a terminal; {instead}")


def _live(cluster: Cluster) -> None:
    from hil.live.app import LiveApp
    from hil.live.source import Source

    app = LiveApp(Source(cluster))
    app.run()
    if app.ended is not None:
        print(f"cluster {cluster.name}: {app.ended}; evidence: {cluster.run_dir}")


def _tell_changes(cluster: Cluster) -> None:
    from hil.view import View

    view = View(len(cluster.nodes))
    shown = cluster.view.n
    print(json.dumps(status_object(cluster)), flush=True)
    for event in cluster.events(follow=True):
        view.apply(event)
        if event["n"] > shown:
            print(json.dumps(status_object(cluster) | view.as_dict()), flush=True)
