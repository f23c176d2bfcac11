"""The target's ledger on the virtual clock, with a word to whoever watches what reaches the medium.

Whatever ends a command, it comes here last: what a fault has held, and what outlived its session, too.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from hil.scsi.ledger import Ledger

if TYPE_CHECKING:
    from hil.scsi.command import Command, Nexus, Outcome
    from hil.scsi.kept_data import KeptData
    from hil.scsi.reservations import Identity


class WatchedLedger(Ledger):
    """``on_end`` hears of every command, ``on_removed`` (LUN, key, by) of registrations that others ended."""

    def __init__(self, path: Path, data: KeptData | None, clock: Callable[[], int]) -> None:
        super().__init__(path, data, clock=clock, real_ns=0)
        self.on_end: Callable[[Command], None] = lambda _command: None
        self.on_removed: Callable[[int, int, Nexus], None] = lambda _lun, _key, _by: None

    def record(self, nexus: Nexus, command: Command, outcome: Outcome) -> None:
        """As of ``Ledger``, then told."""
        super().record(nexus, command, outcome)
        self.on_end(command)

    def registration_ended(self, nexus: Identity, lun: int, key: int, by: Nexus) -> None:
        """As of ``Ledger``, then told."""
        super().registration_ended(nexus, lun, key, by)
        self.on_removed(lun, key, by)
