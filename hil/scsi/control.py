"""The control socket: faults from outside, a line of JSON each way.

    {"fault": "delay-writes", "portal": "127.0.0.1:3260", "count": 2}      -> {"ok": true, "fault": 1}
    {"heal": 1} or {"heal": "all"}                                          -> {"ok": true, "released": 2}
    {"status": true}                                                        -> {"ok": true, "faults": [...]}

``portal``, ``initiator``, ``lun`` and ``count`` may be left out: any, and until healed. What cannot be done is
answered with ``{"ok": false, "error": "..."}`` and changes nothing. A fault is in force, a heal carried out, when it is
answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from typing import TYPE_CHECKING, Any, Final

from hil.errors import UsageError
from hil.scsi.faults import Selection
from hil.scsi.operations import NAMES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from hil.scsi.faults import Fault
    from hil.scsi.target import Target

_LINE_BYTES_MAX: Final = 64 * 1024


class ControlProtocol(asyncio.Protocol):
    """One connection."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            self._transport.write(json.dumps(answer(self._target, line)).encode() + b"\n")
        if len(self._received) > _LINE_BYTES_MAX:
            self._transport.abort()


def answer(target: Target, line: bytes) -> dict[str, Any]:
    """Carries out one request."""
    try:
        request = _parse(line)
        [verb] = [verb for verb in VERBS if verb in request]
        return {"ok": True, **VERBS[verb](target, request)}
    except UsageError as error:
        return {"ok": False, "error": str(error)}


def _parse(line: bytes) -> dict[str, Any]:
    """An object with exactly one of ``VERBS``."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"request {line[:200]!r} is no JSON: {error}") from None
    if not isinstance(request, dict) or sum(verb in request for verb in VERBS) != 1:
        raise UsageError(f"request {line[:200]!r}: an object with one of {', '.join(VERBS)} is legal")
    return request


def _inject(target: Target, request: dict[str, Any]) -> dict[str, Any]:
    legal: dict[str, type] = {"fault": str, "portal": str, "initiator": str, "lun": int, "count": int}
    for name, value in request.items():
        if name not in legal:
            raise UsageError(f"{name!r} is not known: {', '.join(legal)} are legal")
        if type(value) is not legal[name] and not (value is None and name != "fault"):
            raise UsageError(f"{name} {value!r}: {legal[name].__name__} is legal")
    selection = Selection(request.get("initiator"), request.get("portal"), request.get("lun"))
    if selection.portal is not None and selection.portal not in target.ports:
        raise UsageError(f"portal {selection.portal} does not exist: {', '.join(target.ports)} are legal")
    if selection.lun is not None and selection.lun not in target.units:
        raise UsageError(f"LUN {selection.lun} does not exist: {', '.join(map(str, target.units))} are legal")
    return {"fault": target.faults.inject(request["fault"], selection, request.get("count")).number}


def _heal(target: Target, request: dict[str, Any]) -> dict[str, Any]:
    number = request["heal"]
    if number != "all" and type(number) is not int:
        raise UsageError(f'heal {number!r}: the number of a fault or "all" is legal')
    return {"released": target.heal(None if number == "all" else number)}


def _status(target: Target, request: dict[str, Any]) -> dict[str, Any]:
    return {"faults": [_describe(fault) for fault in target.faults.faults.values()]}


def _describe(fault: Fault) -> dict[str, Any]:
    held = [
        {
            "initiator": command.nexus.initiator,
            "portal": command.nexus.portal,
            "lun": command.lun,
            "operation": NAMES.get(command.cdb[0], f"opcode {command.cdb[0]:02x}h"),
            "lba": command.lba,
            "blocks": command.blocks,
        }
        for command in fault.held
    ]
    about = {"number": fault.number, "fault": fault.name, "left": fault.left, "struck": fault.struck, "held": held}
    return {**about, **fault.selection._asdict()}


VERBS: Final[dict[str, Callable[[Target, dict[str, Any]], dict[str, Any]]]] = {
    "fault": _inject,
    "heal": _heal,
    "status": _status,
}


@contextlib.asynccontextmanager
async def control_socket(target: Target, path: str) -> AsyncIterator[None]:
    """Listens at ``path``, for this user only. Raises ``UsageError`` when it cannot."""
    loop = asyncio.get_running_loop()
    if _in_use(path):
        raise UsageError(f"control socket {path} is in use by another target")
    mask = os.umask(0o177)
    try:
        server = await loop.create_unix_server(lambda: ControlProtocol(target), path)
    except (OSError, ValueError) as error:
        raise UsageError(f"control socket {path} cannot be made: {error}") from None
    finally:
        os.umask(mask)
    try:
        yield
    finally:
        server.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _in_use(path: str) -> bool:
    """A socket that a killed target left behind is none, and is replaced."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True
