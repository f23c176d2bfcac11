"""``python -m hil.live NAME``: the live view of one cluster for one page of a browser (:mod:`hil.live.serve`)."""

from __future__ import annotations

import ctypes
import signal
import sys

from hil.cli import failure
from hil.client import Cluster
from hil.errors import HilError
from hil.live.app import LiveApp
from hil.live.source import Source

_PR_SET_PDEATHSIG = 1


def main() -> int:
    """The exit status. The kernel ends this process with the one that serves it, whatever became of that."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        with Cluster.connect(sys.argv[1]) as cluster:
            LiveApp(Source(cluster)).run()
    except HilError as error:
        return failure.report(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
