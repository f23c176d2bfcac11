"""Runs a target: listens on its portals until it is told to stop."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from hil.errors import HilError, UsageError
from hil.scsi.control import control_socket
from hil.scsi.iscsi.connection import Connection
from hil.scsi.target import Portal, Target

if TYPE_CHECKING:
    from collections.abc import Sequence


class TargetBroken(HilError):
    """A bug in the target; its traceback was logged."""


async def serve(
    target: Target, portals: Sequence[Portal], ready_fd: int | None, control_path: str | None = None
) -> None:
    """Until SIGTERM or SIGINT. Port 0 takes a free one.

    When all portals and the control socket listen, writes ``ready HOST:PORT HOST:PORT…`` and a line feed to
    ``ready_fd`` and closes it. Raises ``UsageError`` for an address that cannot be had, ``LedgerLost`` when the ledger
    cannot be written any more.
    """
    loop = asyncio.get_running_loop()
    target.faults.timers = loop
    stop: asyncio.Future[None] = loop.create_future()
    loop.set_exception_handler(functools.partial(_fail, stop))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _finish, stop)
    async with AsyncExitStack() as stack:
        bound = [await _listen(stack, target, portal) for portal in portals]
        if control_path is not None:
            await stack.enter_async_context(control_socket(target, control_path))
        if target.ledger is not None:
            target.ledger.flush()
        if ready_fd is not None:
            with os.fdopen(ready_fd, "w", encoding="ascii") as ready:
                ready.write(f"ready {' '.join(portal.address for portal in bound)}\n")
        await stop
        target.stop()


async def _listen(stack: AsyncExitStack, target: Target, portal: Portal) -> Portal:
    """Binds before it serves: a connection knows by which port it came; a declared portal's nexus exists at once."""
    loop = asyncio.get_running_loop()
    bound: Portal = portal

    def connection() -> Connection:
        return Connection(target, bound)

    try:
        server = await loop.create_server(connection, portal.host, portal.port, start_serving=False)
    except OSError as error:
        raise UsageError(f"portal {portal.address} cannot be listened on: {error.strerror or error}") from None
    bound = portal._replace(port=server.sockets[0].getsockname()[1])
    target.port_number(bound.address)
    if portal.initiator is not None:
        target.nexus(portal.initiator, bound)
    stack.callback(server.close)
    await server.start_serving()
    return bound


def _finish(stop: asyncio.Future[None]) -> None:
    if not stop.done():
        stop.set_result(None)


def _fail(stop: asyncio.Future[None], loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An exception in a callback: a connection's own trouble is logged, a bug or a lost ledger ends the target.

    asyncio closes the connection in whose callback it came up, but a ledger with a hole would be worse than no target.
    """
    error = context.get("exception")
    if not isinstance(error, HilError):
        loop.default_exception_handler(context)
    if error is not None and not isinstance(error, OSError) and not stop.done():
        stop.set_exception(error if isinstance(error, HilError) else TargetBroken(repr(error)))
