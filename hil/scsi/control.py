"""The control socket: faults from outside, a line of JSON each way.

    {"fault": "slow", "portal": "127.0.0.1:3260", "count": 2, "parameters": {"ms": 50}}    -> {"ok": true, "fault": 1}
    {"heal": 1} or {"heal": [1, 2]} or {"heal": "all"}      -> {"ok": true, "released": 2}
    {"status": true}                                        -> {"ok": true, "faults": [...], "commands": 4711}
    {"power-loss": ["iqn.2026-11.hil:n0"]}                  -> {"ok": true, "blocks": 3}
    {"checkpoint": "/path/of/a/file"}                       -> {"ok": true, "commands": 4711}
    {"watch": true}                                         -> {"ok": true}, then {"event": "fault-struck", ...}, ...

Which commands a fault is for: ``initiator``, ``portal``, ``lun``, ``direction`` (read, write, flush, reserve, other,
media, any), ``lba`` ([first, last]); how long: ``count`` (commands), ``seconds``. All may be left out: any, and until
healed. ``parameters`` are those of the kind. ``commands`` is the number that the next command will have in the ledger.
What cannot be done is answered with ``{"ok": false, "error": "..."}`` and changes nothing. A fault is in force, a heal
carried out, when it is answered; of what happens meanwhile, a watcher is told first.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from typing import TYPE_CHECKING, Any, Final

from hil.errors import UsageError
from hil.scsi.checkpoint import save
from hil.scsi.faults.selection import Selection, directions
from hil.scsi.operations import NAMES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from hil.scsi.faults.fault import Fault
    from hil.scsi.target import Target

_LINE_BYTES_MAX: Final = 64 * 1024
_NAME_BYTES_MAX: Final = 223  # RFC 7143 4.2.7.1
_UNREAD_BYTES_MAX: Final = 1024 * 1024


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
            found = answer(self._target, line)
            self._send(found)
            if found.pop("watching", False) and self._send not in self._target.events.watchers:
                self._target.events.watchers.append(self._send)
        if len(self._received) > _LINE_BYTES_MAX:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        if self._send in self._target.events.watchers:
            self._target.events.watchers.remove(self._send)

    def _send(self, message: dict[str, Any]) -> None:
        """A watcher that does not read what it is sent is let go, before it fills our memory."""
        assert self._transport is not None
        if self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size() > _UNREAD_BYTES_MAX:
            self._transport.abort()
        else:
            self._transport.write(json.dumps(message).encode() + b"\n")


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


_LEGAL: Final[dict[str, tuple[tuple[type, ...], str]]] = {
    "fault": ((str,), "the name of a kind"),
    "portal": ((str,), "HOST:PORT"),
    "initiator": ((str,), "an iSCSI name"),
    "lun": ((int,), "a number"),
    "direction": ((str,), "a name"),
    "lba": ((list,), "[first, last]"),
    "count": ((int,), "a number"),
    "seconds": ((int, float), "a number"),
    "parameters": ((dict,), "an object"),
}


def _inject(target: Target, request: dict[str, Any]) -> dict[str, Any]:
    for name, value in request.items():
        if name not in _LEGAL:
            raise UsageError(f"{name!r} is not known: {', '.join(_LEGAL)} are legal")
        types, legal = _LEGAL[name]
        if type(value) not in types and not (value is None and name != "fault"):
            raise UsageError(f"{name} {value!r}: {legal} is legal")
    lba = request.get("lba")
    if lba is not None and not (len(lba) == 2 and all(type(number) is int for number in lba)):
        raise UsageError(f"lba {lba!r}: [first, last] is legal")
    direction = request.get("direction")
    selection = Selection(
        request.get("initiator"),
        request.get("portal"),
        request.get("lun"),
        None if direction is None else directions(direction),
        None if lba is None else (lba[0], lba[1]),
    )
    if selection.initiator is not None and len(selection.initiator.encode(errors="replace")) > _NAME_BYTES_MAX:
        raise UsageError(f"initiator {selection.initiator[:40]!r}...: at most {_NAME_BYTES_MAX} bytes are legal")
    if selection.portal is not None and selection.portal not in target.ports:
        raise UsageError(f"portal {selection.portal} does not exist: {', '.join(target.ports)} are legal")
    if selection.lun is not None and selection.lun not in target.units:
        raise UsageError(f"LUN {selection.lun} does not exist: {', '.join(map(str, target.units))} are legal")
    fault = target.faults.inject(
        request["fault"], selection, request.get("count"), request.get("seconds"), request.get("parameters")
    )
    return {"fault": fault.number}


def _heal(target: Target, request: dict[str, Any]) -> dict[str, Any]:
    chosen = request["heal"]
    numbers = None if chosen == "all" else [chosen] if type(chosen) is int else chosen
    if numbers is not None and not (type(numbers) is list and all(type(number) is int for number in numbers)):
        raise UsageError(f'heal {chosen!r}: the number of a fault, a list of such, or "all" is legal')
    released = target.faults.heal(numbers)
    target.flush_ledger()
    return {"released": released}


def _status(target: Target, request: dict[str, Any]) -> dict[str, Any]:
    return {
        "faults": [_describe(fault) for fault in target.faults.faults.values()],
        "commands": target.ledger.order_next if target.ledger else None,
    }


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
    return {**fault.describe(), "held": held}


def _power_loss(target: Target, request: dict[str, Any]) -> dict[str, Any]:
    names = request["power-loss"]
    if type(names) is not list or not all(type(name) is str for name in names):
        raise UsageError(f"power-loss {names!r}: a list of iSCSI names is legal")
    losers = [nexus for nexus in target.nexuses.values() if nexus.initiator in names]
    unknown = sorted(set(names) - {nexus.initiator for nexus in losers})
    if unknown:
        raise UsageError(f"initiator {unknown[0]} was never here")
    try:
        return {"blocks": target.lose_power(losers)}
    except OSError as error:
        raise UsageError(f"power is lost, but blocks keep what was in the cache: {error.strerror}") from None


def _checkpoint(target: Target, request: dict[str, Any]) -> dict[str, Any]:
    path = request["checkpoint"]
    if type(path) is not str or not path.startswith("/"):
        raise UsageError(f"checkpoint {path!r}: the absolute path of a file is legal")
    return {"commands": save(target, path)}


def _watch(target: Target, request: dict[str, Any]) -> dict[str, Any]:
    return {"watching": True}


VERBS: Final[dict[str, Callable[[Target, dict[str, Any]], dict[str, Any]]]] = {
    "fault": _inject,
    "heal": _heal,
    "status": _status,
    "power-loss": _power_loss,
    "checkpoint": _checkpoint,
    "watch": _watch,
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
