"""The membership database: whose sectors, in how many copies, and what is believed of a read (S2.5)."""

from __future__ import annotations

import zlib
from typing import Any

from guestd.membership import layout, records, sector
from guestd.membership.database import Database
from hil.checkers.history import History
from hil.checkers.one_writer import OneWriter
from hil.checkers.panics import Panics
from hil.checkers.promise import Promise
from hil.checkers.states import States
from hil.sim.run import NO_FAULT_OF_ITS_OWN
from tests.mutations.mutant import POWER, Mutant
from tests.mutations.patching import Patch


def writes_elsewhere(patch: Patch) -> None:
    """One heartbeat in fifty goes to the region of the next node."""
    write = Database._write

    def astray(self: Database, number: int, data: bytes, then: Any, *, durable: bool) -> None:
        if number == 0 and self._heartbeat_sequence % 50 == 49:
            number = 8
        write(self, number, data, then, durable=durable)

    patch.replace(Database, "_write", astray)


def view_in_one_copy(patch: Patch) -> None:
    """The membership is written to the first of its two sectors only."""
    write = Database._write

    def half(self: Database, number: int, data: bytes, then: Any, *, durable: bool) -> None:
        if number == layout.COMMIT_SECTOR:
            data = data[: sector.SECTOR_SIZE]
        write(self, number, data, then, durable=durable)

    patch.replace(Database, "_write", half)


def view_not_durable(patch: Patch) -> None:
    """The membership may still be in the disk's cache when it is told to others."""
    _not_durable(patch, layout.COMMIT_SECTOR)


def ballot_not_durable(patch: Patch) -> None:
    """A ballot may still be in the disk's cache when all blocks are read."""
    _not_durable(patch, layout.BALLOT_SECTOR)


def _not_durable(patch: Patch, which: int) -> None:
    write = Database._write

    def cached(self: Database, number: int, data: bytes, then: Any, *, durable: bool) -> None:
        write(self, number, data, then, durable=durable and number != which)

    patch.replace(Database, "_write", cached)


def torn_sector_believed(patch: Patch) -> None:
    """The checksum of a sector is not looked at."""

    def gullible(cluster_id: bytes, kind: int, node: int, data: bytes) -> Any:
        if any(data):
            data = data[:-4] + zlib.crc32(data[:-4]).to_bytes(4, "little")
        return sector.unseal(cluster_id, kind, node, data)

    patch.replace(records, "unseal", gullible)


DAMAGE: dict[str, Any] = {"flip_share": 500, "torn_share": 100}

TORN: dict[str, Any] = {
    "weights": (("power-failure", 1),),
    "boot_ms_max": 500,
    "slow_share": 800,
    "slow_ms_max": 200,
    "torn_share": 200,
    "programs": 3,
    "answer_ms_max": 100,
}
"""All lose power again and again, with what they write on its way to the disk."""

MUTANTS = (
    Mutant(writes_elsewhere, (OneWriter.claim,), {"weights": POWER}),
    Mutant(view_in_one_copy, (States.claim, History.claim), TORN),
    Mutant(view_not_durable, (States.claim, History.claim, Panics.claim), {"weights": POWER, "cache_share": 1000}),
    Mutant(ballot_not_durable, (Promise.claim,), {"weights": POWER, "cache_share": 1000}),
    Mutant(torn_sector_believed, (History.claim, Panics.claim, NO_FAULT_OF_ITS_OWN), {"weights": POWER, **DAMAGE}),
)
