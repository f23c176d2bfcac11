"""What is kept of a run: the stream of events, the ledger of the shared disk, and, if asked for, what was written.

All of it lies in the directory of the run: ``events.jsonl``, ``ledger.bin``, ``kept.data``, ``cluster.json``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hil.checkers.disk_order import Contents, concerns
from hil.errors import UsageError
from hil.evidence.layout import CLUSTER, EVENTS, KEPT_DATA, LEDGER
from hil.scsi.kept_data import NotKeptData, read_frames, read_header
from hil.scsi.ledger_reader import read_all
from hil.scsi.ledger_records import HEADER, RECORD_BYTES, NotALedger
from hil.view import RECORDING

if TYPE_CHECKING:
    from hil.scsi.ledger_records import Record
    from hil.view import Event


NODES_MAX: Final = 64


@dataclass
class Recording:
    """One run. ``records``: None without a ledger; ``contents``: None if what was written was not kept."""

    nodes: int
    events: list[Event]
    records: Sequence[Record] | None = None
    contents: Contents | None = None
    fence: str = "scsi"
    election: str = "paxos"
    cluster_id: bytes = b""
    timing: dict[str, int] = field(default_factory=dict)
    where: str = ""
    """The directory, for people."""


def load(directory: Path) -> Recording:
    """The run in ``directory``; it may still go on. Raises :class:`UsageError` for what is none of this version."""
    events = _events(directory)
    if not events:
        raise UsageError(f"{directory / EVENTS} is empty: the run ended before it had told anything")
    first = events[0]
    if first.get("kind") != "bench-started":
        raise UsageError(f"{directory / EVENTS} does not begin with bench-started: no recording of a run")
    if first.get("recording") != RECORDING:
        told = f"of version {first['recording']}" if "recording" in first else "of a version before there were numbers"
        raise UsageError(
            f"{directory} is a recording {told} (legal: {RECORDING}); check it with the hil that has recorded it"
        )
    if type(first.get("nodes")) is not int or not 1 <= first["nodes"] <= NODES_MAX:
        raise UsageError(f"{directory / EVENTS}: nodes = {first.get('nodes')!r} (legal: 1 to {NODES_MAX})")
    return Recording(
        nodes=first["nodes"],
        events=events,
        records=_records(directory, ended=any(event.get("kind") == "bench-stopping" for event in events)),
        contents=_contents(directory),
        fence=_config(directory).get("fence", "scsi"),
        election=_config(directory).get("election", "paxos"),
        cluster_id=bytes.fromhex(first.get("cluster_id", "")),
        timing=first.get("timing", {}),
        where=str(directory),
    )


def _events(directory: Path) -> list[Event]:
    try:
        lines = (directory / EVENTS).read_bytes().split(b"\n")
    except OSError as error:
        raise UsageError(f"{directory} is no recording of a run: {EVENTS}: {error.strerror}") from None
    events = []
    for number, line in enumerate(lines, 1):
        try:
            if line.strip():
                events.append(_event(line))
        except ValueError:
            if number < len(lines):  # the last line of a bench that was killed may be torn
                raise UsageError(f"{directory / EVENTS}: line {number} is no event: {line[:80]!r}") from None
    return events


def _event(line: bytes) -> Event:
    """Raises ``ValueError`` for what is none."""
    event = json.loads(line)
    if not isinstance(event, dict) or not isinstance(event.get("kind"), str):
        raise ValueError("no object with a kind")
    return event


def _config(directory: Path) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads((directory / CLUSTER).read_text(encoding="utf-8"))["config"]
    except (OSError, ValueError, KeyError):
        return {}
    return told


def _records(directory: Path, *, ended: bool) -> list[Record] | None:
    """A target that was killed may leave a last record that is not whole, one that has ended does not."""
    path = directory / LEDGER
    if not path.exists():
        return None
    if ended and (path.stat().st_size - HEADER.size) % RECORD_BYTES:
        raise UsageError(f"{path} is cut short: its last record is not whole, though the run has come to its end")
    try:
        return [record for record in read_all(path) if concerns(record)]
    except NotALedger as error:
        raise UsageError(f"{error}; check it with the hil that has recorded it") from None


def _contents(directory: Path) -> Contents | None:
    path = directory / KEPT_DATA
    if not path.exists():
        return None
    found: dict[int, list[tuple[int, bytes]]] = {}
    try:
        if read_header(path).order_first != 0:  # what was written before is not known
            return None
        for frame in read_frames(path):
            piece = frame.piece
            if frame.lun == 0 and piece.data is not None and not (frame.power_loss or frame.found):
                found.setdefault(frame.order, []).append((piece.lba, bytes(piece.data)))
    except NotKeptData as error:
        raise UsageError(f"{error}; check it with the hil that has recorded it") from None
    return found
