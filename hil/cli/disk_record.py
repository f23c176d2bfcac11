"""``hil disk ledger`` and ``hil disk at``: what was done with the disk, and the disk as it was; of past runs, too."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hil.cli.options import AsJson, Name
from hil.errors import UsageError
from hil.evidence import layout
from hil.scsi.ledger_records import (
    Entry,
    FaultHealed,
    FaultInjected,
    Found,
    PowerLost,
    Record,
    RegistrationEnded,
    Reverted,
)

if TYPE_CHECKING:
    from hil.scsi.crash_states import Unflushed

RunDir = Annotated[
    Path | None, typer.Option("--run", metavar="DIR", help="The evidence of a run that is over, instead of a cluster.")
]


def register(disk: typer.Typer) -> None:
    """Add the verbs of this file to ``hil disk``."""
    disk.command("ledger")(ledger)
    disk.command("at")(at)


def ledger(
    *,
    writes: Annotated[bool, typer.Option("--writes", help="Only commands that were to change the medium.")] = False,
    fenced: Annotated[
        bool, typer.Option("--fenced", help="Only writes of nodes after their registration was removed (S6.2).")
    ] = False,
    node: Annotated[str | None, typer.Option("--node", metavar="NODE", help="Only commands of this node.")] = None,
    lba: Annotated[
        str | None, typer.Option("--lba", metavar="A[-B]", help="Only commands that touch these blocks.")
    ] = None,
    lun: Annotated[int | None, typer.Option("--lun", metavar="N", min=0, help="Only commands to this LUN.")] = None,
    since: Annotated[int, typer.Option("--since", metavar="N", min=0, help="Only from command N on.")] = 0,
    last: Annotated[
        int | None, typer.Option("--last", "-n", metavar="N", min=1, help="Only the last N of what is shown.")
    ] = None,
    run: RunDir = None,
    name: Name = None,
    as_json: AsJson = False,
) -> None:
    """Show the ledger: every command of every node, in the order in which they took effect, and the faults.

    With --json: one object per line. A command has order, node, t_ns (arrival, the host's monotonic clock), took_ns,
    operation, lun, lba, blocks, digest (XXH3-128 of the data), status, sense (null, or key, asc, ascq), changed (data
    of it reached the medium), faults (numbers of those that struck it) and placed (null, or where its data went).
    Other lines have a key `event`.
    """
    from hil.cli.disk import parse_lba
    from hil.cli.nodes import parse_node
    from hil.scsi.fenced_writes import writes_after_removal
    from hil.scsi.ledger_reader import read_all, read_nexuses

    path = _run_dir(run, name) / layout.LEDGER
    if not path.is_file():
        raise UsageError(f"{path} does not exist")
    blocks = parse_lba(lba)
    number = None if node is None else parse_node(node, len(read_nexuses(path)))

    def wanted(record: Record) -> bool:
        if not isinstance(record, Entry):
            order = getattr(record, "order", -1)
            return node is None and blocks is None and lun is None and not writes and order >= since
        return (
            record.order >= since
            and (not writes or record.writes)
            and number in (None, record.nexus.number)
            and lun in (None, record.lun)
            and (blocks is None or _touches(record, *blocks))
        )

    records = read_all(path)
    if fenced:
        records = (found.write for found in writes_after_removal(records))
    found: Iterator[Record] = (record for record in records if wanted(record))
    show: Callable[[Record], str | None] = _as_json if as_json else _as_text
    lines = (line for record in found if (line := show(record)) is not None)
    for line in deque(lines, last) if last is not None else lines:
        print(line)


def _touches(entry: Entry, first: int, last: int) -> bool:
    """Whether its CDB or what it really did is about one of these blocks."""
    extents = [(entry.lba, entry.blocks)] + [(piece.lba, piece.length // 512) for piece in entry.placed or ()]
    return any(blocks and lba <= last and first < lba + blocks for lba, blocks in extents)


def _as_text(record: Record) -> str | None:
    """A line for people; None: nothing to be said."""
    if isinstance(record, Entry):
        return _command_text(record)
    event = _event(record)
    if event is None:
        return None
    about = " ".join(f"{key}={value}" for key, value in event.items() if key not in ("event", "order", "t_ns"))
    return f"{record_order(record):>8}           -- {event['event']} {about}"


def _command_text(entry: Entry) -> str:
    from hil.scsi.ledger import status_name

    took_ms = (entry.completion_ns - entry.arrival_ns) / 1e6
    extent = f"LBA {entry.lba}+{entry.blocks}" if entry.blocks else ""
    extent = f"LUN {entry.lun} {extent}".rstrip() if entry.lun else extent
    told = []
    if entry.status:
        told.append(status_name(entry.status))
    if any(entry.sense):
        told.append(f"sense {entry.sense.key:x}/{entry.sense.asc:02x}/{entry.sense.ascq:02x}")
    if entry.writes and not entry.changed:
        told.append("not written")
    if entry.faults:
        told.append(f"struck by fault {', '.join(map(str, entry.faults))}")
        told += [f"placed LBA {piece.lba}+{piece.length // 512}" for piece in entry.placed or ()]
    line = (
        f"{entry.order:>8} {took_ms:9.3f} ms n{entry.nexus.number:<3} {entry.name:<22} {extent:<18} {'; '.join(told)}"
    )
    return line.rstrip()


def _as_json(record: Record) -> str | None:
    if not isinstance(record, Entry):
        event = _event(record)
        return None if event is None else json.dumps(event)
    from hil.scsi.ledger import status_name

    placed = None if record.placed is None else [_placed(piece) for piece in record.placed]
    return json.dumps(
        {
            "order": record.order,
            "node": record.nexus.number,
            "t_ns": record.arrival_ns,
            "took_ns": record.completion_ns - record.arrival_ns,
            "operation": record.name,
            "lun": record.lun,
            "lba": record.lba,
            "blocks": record.blocks,
            "digest": record.digest.hex(),
            "status": status_name(record.status),
            "sense": list(record.sense) if any(record.sense) else None,
            "changed": record.changed,
            "faults": list(record.faults),
            "placed": placed,
        }
    )


def _placed(piece: Any) -> dict[str, Any]:
    return {"lba": piece.lba, "blocks": piece.length // 512, "digest": piece.digest.hex(), "unmapped": piece.unmapped}


def record_order(record: Record) -> int:
    """The number of the command that it belongs to, or comes before."""
    return int(getattr(record, "order", 0))


def _event(record: Record) -> dict[str, Any] | None:
    """A record that is no command as plain data; None for what is told with every command, names."""
    if isinstance(record, FaultInjected):
        about = {key: value for key, value in record.about.items() if value not in (None, [], {}) and key != "struck"}
        return {"event": "fault-injected", "order": record.order, "t_ns": record.time_ns, **about}
    if isinstance(record, FaultHealed):
        return {
            "event": "fault-healed", "order": record.order, "t_ns": record.time_ns, "number": record.number,
            "struck": record.struck, "why": record.why,
        }  # fmt: skip
    if isinstance(record, RegistrationEnded):
        return {
            "event": "registration-ended", "order": record.order, "t_ns": record.time_ns, "node": record.nexus.number,
            "lun": record.lun, "key": f"{record.key:#x}", "by": record.by.number,
        }  # fmt: skip
    if isinstance(record, PowerLost):
        return {
            "event": "power-lost", "order": record.order, "t_ns": record.time_ns, "node": record.nexus.number,
            "lun": record.lun,
        }  # fmt: skip
    if isinstance(record, Found):
        return {"event": "found", "order": record.order, "lun": record.piece.lun, **_placed(record.piece)}
    if isinstance(record, Reverted):
        return {"event": "reverted", "order": record.order, "lun": record.piece.lun, **_placed(record.piece)}
    return None


def _unflushed(text: str) -> Unflushed:
    from hil.scsi.crash_states import Unflushed

    try:
        return Unflushed(text)
    except ValueError:
        raise UsageError(f"--unflushed {text!r}: {', '.join(Unflushed)} are legal") from None


def at(
    order: Annotated[int, typer.Argument(metavar="N", min=0, help="A command of the ledger.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The disk, a raw sparse file.")],
    unflushed: Annotated[
        str,
        typer.Option(
            "--unflushed", metavar="HOW", help="Data not flushed by then: lost, kept, or random block by block."
        ),
    ] = "lost",
    seed: Annotated[int, typer.Option("--seed", metavar="S", help="For random: the same seed, the same disk.")] = 0,
    lun: Annotated[int, typer.Option("--lun", metavar="N", min=0, help="The logical unit.")] = 0,
    run: RunDir = None,
    name: Name = None,
) -> None:
    """Write the disk as it would be if all nodes had lost power right after command N took effect.

    Needs `hil up --keep-data`. Everything that was flushed by then, or written with FUA, is on it.
    """
    from hil.scsi.crash_states import CrashStates

    how = _unflushed(unflushed)
    directory = _run_dir(run, name)
    if not out.parent.is_dir():
        raise UsageError(f"--out {out}: its directory does not exist")
    if out.exists():
        raise UsageError(f"--out {out}: it exists; name another file, or remove it")
    beside = out.with_name(f".{out.name}.part")
    with CrashStates(directory / layout.LEDGER, directory / layout.KEPT_DATA, lun) as states:
        state = states.at(order)
        try:
            state.write_to(beside, how, seed)
            os.replace(beside, out)
        finally:
            beside.unlink(missing_ok=True)
        print(f"{out}: LUN {lun} after command {order}; {state.unflushed_blocks} blocks were not flushed ({how})")


def _run_dir(run: Path | None, name: str | None) -> Path:
    """Of a run that is over, or of a running cluster. Raises :class:`UsageError`."""
    if run is None:
        from hil.client import Cluster

        with Cluster.connect(name) as cluster:
            return cluster.run_dir
    if name is not None:
        raise UsageError("--run and --name: a run that is over, or a cluster that runs")
    if not run.is_dir():
        raise UsageError(f"--run {run}: no such directory")
    return run
