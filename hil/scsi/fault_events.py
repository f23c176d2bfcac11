"""Who is told of faults: the ledger, and whoever watches at the control socket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from hil.scsi.faults.fault import Fault
    from hil.scsi.ledger import Ledger


class FaultEvents:
    """``watchers`` are called with plain data, when the ledger has it already."""

    def __init__(self, ledger: Ledger | None) -> None:
        self.watchers: list[Callable[[dict[str, Any]], None]] = []
        self._ledger = ledger

    def injected(self, fault: Fault) -> None:
        """It is in force."""
        if self._ledger is not None:
            self._ledger.fault_injected(fault.number, fault.describe())
            self._ledger.flush()
        self._tell({"event": "fault-injected", **fault.describe()})

    def struck(self, fault: Fault) -> None:
        """Its first command is being struck."""
        self._tell({"event": "fault-struck", **fault.describe()})

    def healed(self, fault: Fault, why: str) -> None:
        """It is over. ``why``: asked, time, count."""
        if self._ledger is not None:
            self._ledger.fault_healed(fault.number, fault.struck, why)
            self._ledger.flush()
        self._tell({"event": "fault-healed", "why": why, **fault.describe()})

    def _tell(self, event: dict[str, Any]) -> None:
        for watcher in list(self.watchers):
            watcher(event)
