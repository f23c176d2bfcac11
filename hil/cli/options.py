"""Options that several verbs share, so that they read the same everywhere."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from hil.cli import completion
from hil.errors import UsageError


class Backend(StrEnum):
    """What the nodes are: real machines or simulated ones."""

    QEMU = "qemu"
    SIM = "sim"


Name = Annotated[
    str | None,
    typer.Option(
        "--name",
        metavar="NAME",
        help="The cluster; default: the only running one.",
        autocompletion=completion.clusters,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output, for programs; its keys are stable.")]
BackendOption = Annotated[Backend, typer.Option("--backend", help="Real machines (qemu) or simulated ones (sim).")]
Nodes = Annotated[
    int | None, typer.Option("--nodes", metavar="N", help="How many nodes, 2 to 64; default: the file's, or 3.")
]
Capture = Annotated[
    bool, typer.Option("--capture", help="Capture the interconnect, for tcpdump and Wireshark: interconnect.pcap.")
]
NodeArgument = Annotated[
    str,
    typer.Argument(
        metavar="NODE", help="A node's number, from 0; `n0` is understood too.", autocompletion=completion.nodes
    ),
]
NodeArguments = Annotated[
    list[str],
    typer.Argument(
        metavar="NODE...|all", help="Numbers of nodes, from 0; or `all` of them.", autocompletion=completion.nodes
    ),
]


def check_backend(backend: Backend) -> None:
    """Refuse the simulator where a cluster is to stay; raises :class:`UsageError`."""
    if backend is not Backend.QEMU:
        raise UsageError(
            f"--backend {backend.value}: a simulated cluster lives in the process that simulates it and cannot stay up;"
            " `hil run SCENARIO --backend sim` runs one, `hil sim` thousands"
        )
