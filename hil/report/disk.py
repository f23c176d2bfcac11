"""Commands of the disk's ledger on the clock of the events.

The target's clock is the host's, that of the events begins with the bench. What ties them together is what both tell:
a node's event comes shortly after the command that it tells of. Of all those pairs the one that came soonest is nearest
to the truth: the others waited for the guest to say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from guestd.fence.keys import life_of
from guestd.membership import layout
from guestd.vdm import layout as volumes
from hil.checkers.records import is_heartbeat
from hil.errors import UsageError
from hil.evidence.layout import LEDGER
from hil.scsi.ledger_reader import read_all
from hil.scsi.ledger_records import Entry, NotALedger, RegistrationEnded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hil.report.run import Run
    from hil.scsi.ledger_records import Record

COMMANDS_MAX: Final = 200_000
"""Of a longer ledger the last ones are drawn, and the page says so: it is to open in a browser."""

_RESERVE_OUT: Final = 0x5F
_NS: Final = 1_000_000_000
WHAT: Final = ("heartbeat", "membership", "volumes", "data", "reservation", "refused")


@dataclass
class Commands:
    """``writes``: (time, node, index in :data:`WHAT`, number, LBA or None, blocks, name, status), ascending."""

    writes: list[tuple[float, int, int, int, int | None, int, str, str]]
    left_out: int = 0
    by_order: dict[int, float] | None = None
    """When each command that is drawn ended, by its number."""


def commands(run: Run) -> Commands:
    """What changed the disk, its registrations, or was refused. Raises :class:`UsageError` for a ledger of another
    version; without one, or without a clock to put it on, there is nothing.
    """
    path = run.directory / LEDGER
    if not path.exists():
        return Commands([])
    try:
        records = [record for record in read_all(path) if isinstance(record, Entry | RegistrationEnded)]
    except NotALedger as error:
        raise UsageError(f"{error}; draw it with the hil that has recorded it") from None
    zero_ns = _zero_ns(run, records)
    entries = [one for one in records if isinstance(one, Entry) and one.nexus.number < run.nodes and _is_shown(one)]
    if zero_ns is None:
        return Commands([], len(entries))
    left_out = max(0, len(entries) - COMMANDS_MAX)
    drawn = [_row(entry, zero_ns) for entry in entries[left_out:]]
    return Commands(sorted(drawn), left_out, {row[3]: row[0] for row in drawn})


def _is_shown(entry: Entry) -> bool:
    return entry.writes or entry.opcode == _RESERVE_OUT or entry.conflict


def _row(entry: Entry, zero_ns: int) -> tuple[float, int, int, int, int | None, int, str, str]:
    from hil.scsi.ledger import status_name

    t = round((entry.completion_ns - zero_ns) / _NS, 4)
    reserves = entry.opcode == _RESERVE_OUT  # its LBA is a key
    extent = (None, 0) if reserves else (entry.lba, entry.blocks)
    status = "" if entry.status == 0 else status_name(entry.status)
    return (t, entry.nexus.number, WHAT.index(_what(entry)), entry.order, *extent, entry.name, status)


def _what(entry: Entry) -> str:
    if entry.conflict:
        return "refused"
    if entry.opcode == _RESERVE_OUT:
        return "reservation"
    if is_heartbeat(entry.lba):
        return "heartbeat"
    if entry.lba < layout.VOLUMES_LBA:
        return "membership"
    return "volumes" if entry.lba < volumes.EXTENTS_LBA else "data"


def _zero_ns(run: Run, records: Sequence[Record]) -> int | None:
    """The host's clock when that of the events was at 0; None: nothing ties them together."""
    if run.started.get("accelerator") == "sim":  # one clock for both
        return round(run.moved * _NS)
    keyed: dict[tuple[int, int] | None, int] = {}
    ended: dict[tuple[int, int] | None, int] = {}
    for record in records:
        if isinstance(record, RegistrationEnded):
            ended.setdefault(life_of(record.key), record.time_ns)
        elif isinstance(record, Entry) and record.opcode == _RESERVE_OUT and record.status == 0:
            keyed.setdefault(life_of(int.from_bytes(record.digest[:8], "big")), record.completion_ns)
    keyed.pop(None, None)
    zeros = []
    for event in run.events:
        if event["kind"] == "registered" and (life := life_of(int(event["key"], 16))) in keyed:
            zeros.append(keyed[life] - round(event["t"] * _NS))
        elif event["kind"] == "preempted" and (life := (event["subject"], event["incarnation"])) in ended:
            zeros.append(ended[life] - round(event["t"] * _NS))
    return max(zeros, default=None)


def as_data(found: Commands) -> dict[str, Any]:
    """For the page."""
    return {"what": WHAT, "writes": found.writes, "left_out": found.left_out}
