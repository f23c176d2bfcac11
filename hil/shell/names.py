"""What is bound at the prompt, and the banner that says so."""

from __future__ import annotations

from functools import partial
from typing import Any

from hil import errors
from hil.cli.tables import headline
from hil.client import Cluster
from hil.client.backend import Guests


def bound(cluster: Cluster) -> dict[str, Any]:
    """``cluster``, its nodes as n0, n1 ..., what shows it, and the errors that waits raise."""
    names: dict[str, Any] = {"cluster": cluster}
    names |= {"status": partial(show_status, cluster), "live": partial(show_live, cluster)}
    names |= {f"n{node.id}": node for node in cluster.nodes}
    names |= {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.HilError)
    }
    return names


def show_status(cluster: Cluster) -> None:
    """What ``hil status`` prints."""
    from hil.cli.status import print_screen

    cluster.catch_up()
    print_screen(cluster)


def show_live(cluster: Cluster) -> None:
    """The live view, until q. The clock of a simulated cluster goes on meanwhile, at the pace of the host's."""
    from hil.cli.status import check_terminal
    from hil.live.app import LiveApp
    from hil.live.source import Source

    check_terminal("live()", "`status()` shows the cluster once")
    LiveApp(Source(cluster)).run()
    cluster.poll()


def banner(cluster: Cluster) -> str:
    """What is there."""
    last = cluster.nodes[-1].id
    one = min(1, last)
    if isinstance(cluster.backend, Guests):
        of_the_backend = f'             print(n{one}.ssh("uname -r").stdout)'
    else:
        of_the_backend = "             its clock goes on in waits, in cluster.pass_time(5) and in live()"
    return f"""{headline(cluster.name, cluster.view)}
  cluster    cluster.cut_link(n{one}, "silent"); cluster.wait_crashed(n{one})
  n0 to n{last:<4} n{one}.view.state; print(n{one}.console())
{of_the_backend}
  status()   the nodes and their levels
  live()     the same as it changes, with keys
  help(cluster.wait) explains one; Tab completes; Ctrl-D ends"""
