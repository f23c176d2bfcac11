"""Verbs that look into a cluster: ``console``, ``ssh``, ``events``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hil.cli.nodes import connected_node
from hil.cli.options import AsJson, Name, NodeArgument

if TYPE_CHECKING:
    from hil.client import Cluster, Node


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to ``app``."""
    app.command("console")(console)
    app.command("ssh")(ssh)
    app.command("events")(events)


Follow = Annotated[
    bool, typer.Option("-f", "--follow", help="Go on with what comes, until the cluster ends or Ctrl-C.")
]


def console(node: NodeArgument, follow: Follow = False, name: Name = None) -> None:
    """Show what a node's console has shown, over all its boots."""
    with connected_node(name, node) as target:
        if follow:
            raise typer.Exit(_follow_file(target.console_path, target.cluster))
        sys.stdout.write(target.console())


def _follow_file(path: Path, cluster: Cluster) -> int:
    """Show a growing file until its cluster ends; tail(1) is told by the kernel when it grows."""
    path.touch()
    tail = subprocess.Popen(["tail", "-n", "+1", "-f", str(path)])

    def end_with_the_cluster() -> None:
        for _ in cluster.events(follow=True):
            pass
        tail.terminate()

    threading.Thread(target=end_with_the_cluster, daemon=True).start()
    status = tail.wait()
    return max(0, status)  # below 0: ended by our signal


def ssh(
    node: NodeArgument,
    command: Annotated[
        list[str] | None, typer.Argument(metavar="[-- COMMAND]", help="A shell command; none: a session for people.")
    ] = None,
    name: Name = None,
) -> None:
    """Open a shell on a node, or run a command on it; its exit status is passed through (255: SSH itself failed)."""
    from hil.errors import PreflightFailed, UsageError

    with connected_node(name, node) as target:
        if target.view.power != "running":
            verb = "on" if target.view.power == "off" else "cycle"
            hint = f"`hil power {verb} {target.id}` starts it"
            raise UsageError(f"node {target.id}'s machine is {target.view.power}; {hint}")
    program = shutil.which("ssh")
    if program is None:
        raise PreflightFailed("ssh is not installed; `sudo apt-get install openssh-client` installs it")
    arguments = ssh_command(target, target.cluster.run_dir, command or [])
    sys.stdout.flush()
    os.execve(program, arguments, os.environ | {"PYTHONPATH": python_path()})


def ssh_command(node: Node, run_dir: Path, command: list[str]) -> list[str]:
    """The command line of OpenSSH for ``node``.

    The node's address exists in the bench's network only: a helper asks the bench for a connected socket and hands the
    socket itself to ssh (``ProxyUseFdpass``), so that no bytes are copied by anybody in between.
    """
    from hil.bench.namespace import MANAGEMENT_PREFIX
    from hil.client.node import SSH_USER
    from hil.evidence import layout

    options = {
        "ProxyCommand": f"'{sys.executable}' -m hil.cli.proxy {node.cluster.name} {node.id}",
        "ProxyUseFdpass": "yes",
        "IdentityFile": f'"{run_dir / layout.KEY}"',
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "UserKnownHostsFile": f'"{run_dir / layout.KNOWN_HOSTS}"',
        "GlobalKnownHostsFile": "none",
        "StrictHostKeyChecking": "yes",
        "PasswordAuthentication": "no",
        "LogLevel": "ERROR",
    }
    arguments = ["ssh", "-F", "none"]
    for key, value in options.items():
        arguments += ["-o", f"{key}={value}"]
    return [*arguments, f"{SSH_USER}@{MANAGEMENT_PREFIX}{node.id + 1}", *(["--", *command] if command else [])]


def python_path() -> str:
    """For a process of ours that another program starts: the checkout that this code runs from."""
    root = str(Path(__file__).resolve().parents[2])
    inherited = os.environ.get("PYTHONPATH", "")
    return f"{root}:{inherited}" if inherited else root


def events(
    follow: Follow = False,
    as_json: AsJson = False,
    since: Annotated[int, typer.Option("--since", metavar="N", min=0, help="Only events after number N.")] = 0,
    name: Name = None,
) -> None:
    """Show the event stream: number, seconds since the bench started, node, kind, fields.

    With --json: one object per line with n (1, 2, 3 without a gap), t (seconds), kind, node if it concerns one, and the
    fields of its kind; events of a guest also have guest_n and guest_t, its own number and time.
    """
    from hil.cli.lines import event_line
    from hil.client import Cluster

    with Cluster.connect(name) as cluster:
        for event in cluster.events(since, follow=follow):
            print(json.dumps(event) if as_json else event_line(event), flush=follow)
