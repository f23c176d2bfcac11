"""Runs a target: listens on its portals until it is told to stop."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

from hil.errors import HilError, UsageError
from hil.scsi.control import control_socket
from hil.scsi.iscsi.connection import Connection
from hil.scsi.iscsi.lobby import PATIENCE_S, Lobby
from hil.scsi.target import Portal, Target

if TYPE_CHECKING:
    from collections.abc import Sequence


_NO_ROOM: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)  # for one more connection
_QUIET_S: Final = 10.0

log = logging.getLogger("hil.scsi")


class TargetBroken(HilError):
    """A bug in the target; its traceback was logged."""


async def serve(
    target: Target,
    portals: Sequence[Portal],
    ready_fd: int | None,
    control_path: str | None = None,
    patience_s: float = PATIENCE_S,
) -> None:
    """Until SIGTERM or SIGINT. Port 0 takes a free one.

    ``patience_s``: with an initiator that does not log in, or whose host does not answer.

    When all portals and the control socket listen, writes ``ready HOST:PORT HOST:PORT…`` and a line feed to
    ``ready_fd`` and closes it. Raises ``UsageError`` for an address that cannot be had, ``LedgerLost`` when the ledger
    cannot be written any more.
    """
    loop = asyncio.get_running_loop()
    target.faults.timers = loop
    stop: asyncio.Future[None] = loop.create_future()
    loop.set_exception_handler(_Troubles(stop))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _finish, stop)
    lobby = Lobby(patience_s)
    async with AsyncExitStack() as stack:
        bound = [await _listen(stack, target, portal, lobby) for portal in portals]
        if control_path is not None:
            await stack.enter_async_context(control_socket(target, control_path))
        if target.ledger is not None:
            target.ledger.flush()
        if ready_fd is not None:
            with os.fdopen(ready_fd, "w", encoding="ascii") as ready:
                ready.write(f"ready {' '.join(portal.address for portal in bound)}\n")
        await stop
        target.stop()
        lobby.close("the target stops")


async def _listen(stack: AsyncExitStack, target: Target, portal: Portal, lobby: Lobby) -> Portal:
    """Binds before it serves: a connection knows by which port it came; a declared portal's nexus exists at once."""
    loop = asyncio.get_running_loop()
    bound: Portal = portal

    def connection() -> Connection:
        return Connection(target, bound, lobby)

    try:
        server = await loop.create_server(connection, portal.host, portal.port, start_serving=False)
    except OSError as error:
        raise UsageError(f"portal {portal.address} cannot be listened on: {error.strerror or error}") from None
    bound = portal._replace(port=server.sockets[0].getsockname()[1])
    target.add_portal(bound)
    if portal.initiator is not None:
        target.nexus(portal.initiator, bound)
    stack.callback(server.close)
    await server.start_serving()
    return bound


def _finish(stop: asyncio.Future[None]) -> None:
    if not stop.done():
        stop.set_result(None)


class _Troubles:
    """Takes exceptions in callbacks: a connection's own trouble is logged, a bug or a lost ledger ends the target.

    asyncio closes the connection in whose callback it came up, but a ledger with a hole would be worse than no target.
    """

    def __init__(self, stop: asyncio.Future[None]) -> None:
        self._stop = stop
        self._quiet_until_s = 0.0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            # asyncio tries again every second, and reports it a hundred times each.
            if loop.time() >= self._quiet_until_s:
                self._quiet_until_s = loop.time() + _QUIET_S
                log.warning("connections wait: %s", error.strerror)
            return
        if not isinstance(error, HilError):
            loop.default_exception_handler(context)
        if error is not None and not isinstance(error, OSError) and not self._stop.done():
            self._stop.set_exception(error if isinstance(error, HilError) else TargetBroken(repr(error)))
