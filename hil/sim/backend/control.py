"""Faults of the shared disk, asked for at a target in the same process."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hil.bench.disk_control import Event, FaultControl
from hil.errors import UsageError
from hil.scsi.control import answer
from hil.scsi.target import Target


class DirectControl(FaultControl):
    """The requests and answers of the control socket, without the socket."""

    def __init__(self, target: Target, on_event: Callable[[Event], None]) -> None:
        super().__init__(on_event)
        self._target = target
        target.events.watchers.append(self.tell)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The target's answer. Raises :class:`UsageError` for a request that it refuses."""
        answered = answer(self._target, json.dumps(request).encode())
        if not answered.pop("ok"):
            raise UsageError(answered["error"])
        return answered
