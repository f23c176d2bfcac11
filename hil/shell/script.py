"""Code for a cluster from a command line or from standard input: what a shell does for scripts."""

from __future__ import annotations

import linecache
import sys
import traceback

from hil.client import Cluster
from hil.errors import HilError, UsageError
from hil.shell.names import bound
from hil.verdict import EXIT_STATUS, classify


def execute(cluster: Cluster, source: str, name: str) -> int:
    """Run ``source`` with what the shell binds; the exit status.

    An ``assert`` that fails is a failed claim (1); an exception that nobody foresaw says nothing about the cluster (3).
    Raises :class:`UsageError` for what is no Python, and what hil raises in the code.
    """
    try:
        compiled = compile(source, name, "exec")
    except (SyntaxError, ValueError) as error:  # ValueError: null bytes
        where = f"{name}, line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else name
        raise UsageError(f"{where}: {getattr(error, 'msg', error)}") from None
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    names = bound(cluster) | {"__name__": "__main__"}
    try:
        exec(compiled, names)
    except (HilError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - the code is somebody else's
        error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next  # without this function
        traceback.print_exception(error, file=sys.stderr)
        return EXIT_STATUS[classify(error)]
    finally:
        sys.stdout.flush()
    return 0
