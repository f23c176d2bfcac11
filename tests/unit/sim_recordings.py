"""Recordings as the bench makes them, of simulated runs: a stream whose order between nodes says nothing, and a ledger.

Two hundred nodes' worth of faults in a second, where real guests would take a quarter of an hour; and a recording that
is forged in one place shows whether a checker looks.
"""

from __future__ import annotations

import contextlib
import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guestd.fence.keys import key_of
from guestd.membership.sector import SECTOR_SIZE
from hil.checkers.checker import Checker, Violation
from hil.checkers.recording import Recording
from hil.config import make_config
from hil.evidence.layout import EVENTS, KEPT_DATA, LEDGER
from hil.scsi import ledger_records
from hil.scsi.digest import digest
from hil.scsi.kept_data import KeptData
from hil.scsi.ledger_records import Entry, NexusName, RegistrationEnded
from hil.scsi.placement import Piece
from hil.scsi.sense import Sense
from hil.sim import speed
from hil.sim.run import simulate
from hil.sim.world import CLUSTER_ID, World
from hil.view import RECORDING

if TYPE_CHECKING:
    from hil.checkers.observation import Life, Removal
    from hil.scsi.ledger_records import Record
    from hil.sim.options import Options
    from hil.view import Event

NO_SENSE = Sense(0, 0, 0)
WRITE_10, RESERVE_OUT, REGISTER_AND_IGNORE = 0x2A, 0x5F, 0x06


class Recorder(Checker):
    """Takes down what a bench and a SCSI target would."""

    def begin(self, bench: Any) -> None:
        self.world: World = bench
        self.marks: list[tuple[int, int, str]] = []  # (events before it, node, kind)
        self.records: list[Record] = []
        self.contents: dict[int, list[tuple[int, bytes]]] = {}
        self._ended_us: dict[tuple[int, int], int] = {}  # (node, life)
        self._commands = 0
        nodes = len(bench.nodes)
        self.names = [NexusName(node, f"iqn.2026-11.hil:n{node}", f"127.0.0.1:{3260 + node}") for node in range(nodes)]

    def booted(self, node: Life) -> None:
        self.marks.append((len(self.world.events), node.number, "guestd-started"))

    def ended(self, node: Life) -> None:
        self._ended_us[node.number, node.life] = self.world.queue.now_us
        self.marks.append((len(self.world.events), node.number, "machine-stopped"))

    def landed(self, node: Life, life: int, lba: int, data: bytes) -> None:
        arrived_us = self._ended_us.get((node.number, life), self.world.queue.now_us)
        blocks = len(data) // SECTOR_SIZE
        self.contents[self._commands] = [(lba, bytes(data))]
        self._enter(node.number, WRITE_10, 0, lba, blocks, digest(data), arrived_us=arrived_us, changed=True)

    def keyed(self, node: int, incarnation: int) -> None:
        key = key_of(node, incarnation).to_bytes(8, "big")
        self._enter(node, RESERVE_OUT, REGISTER_AND_IGNORE, 0, 0, key + bytes(8))

    def removed(self, removal: Removal) -> None:
        self.data_removed(0, removal)

    def data_landed(self, lun: int, node: Life, life: int, lba: int, data: bytes) -> None:
        arrived_us = self._ended_us.get((node.number, life), self.world.queue.now_us)
        blocks = len(data) // SECTOR_SIZE
        self._enter(node.number, WRITE_10, 0, lba, blocks, digest(data), arrived_us=arrived_us, changed=True, lun=lun)

    def data_keyed(self, lun: int, node: int, incarnation: int) -> None:
        key = key_of(node, incarnation).to_bytes(8, "big")
        self._enter(node, RESERVE_OUT, REGISTER_AND_IGNORE, 0, 0, key + bytes(8), lun=lun)

    def data_removed(self, lun: int, removal: Removal) -> None:
        key = key_of(removal.node, removal.incarnation)
        now_ns = self.world.queue.now_us * 1000
        names = self.names
        self.records.append(RegistrationEnded(self._commands, now_ns, names[removal.node], lun, key, names[removal.by]))

    def _enter(
        self, node: int, opcode: int, action: int, lba: int, blocks: int, data: bytes, *,
        arrived_us: int | None = None, changed: bool = False, lun: int = 0,
    ) -> None:  # fmt: skip
        now_ns = self.world.queue.now_us * 1000
        arrived_ns = now_ns if arrived_us is None else arrived_us * 1000
        self.records.append(
            Entry(
                self._commands, arrived_ns, now_ns, self.names[node], lun, opcode, action, lba, blocks, data, 0,
                NO_SENSE, changed,
            )
        )  # fmt: skip
        self._commands += 1


@dataclass
class Run:
    """What was recorded of a simulated run. ``lines``: by node, in its own order."""

    nodes: int
    lines: list[list[Event]]
    records: list[Record]
    contents: dict[int, list[tuple[int, bytes]]]
    timing: dict[str, int] = field(default_factory=dict)
    election: str = "paxos"

    def recording(self, seed: int = 0, *, ledger: bool = True, contents: bool = True) -> Recording:
        """A bench's: the lines of the nodes come in any order, each in its own."""
        return Recording(
            self.nodes,
            self.stream(seed),
            list(self.records) if ledger else None,
            dict(self.contents) if contents else None,
            election=self.election,
            cluster_id=bytes.fromhex(CLUSTER_ID),
            timing=self.timing,
            where="somewhere",
        )

    def stream(self, seed: int = 0) -> list[Event]:
        """One order of all events, with numbers and times."""
        told: list[Event] = [
            {"kind": "bench-started", "recording": RECORDING, "nodes": self.nodes, "cluster_id": CLUSTER_ID}
        ]
        told[0]["timing"] = self.timing
        waiting = [list(reversed(line)) for line in self.lines]
        randomness = random.Random(seed)
        while any(waiting):
            # By weights that change: now one node is far ahead, now another.
            weights = [(10.0 ** randomness.randint(0, 3)) * bool(line) for line in waiting]
            drawn = randomness.choices(waiting, weights, k=20)
            told += [line.pop() for line in drawn if line]
        told.append({"kind": "bench-stopping", "reason": "down"})
        stream = [{"n": number, "t": number / 1000} | event for number, event in enumerate(told, 1)]
        stream[-1]["t"] += 2 * self.timing["subsystem_ms"] / 1000  # the run ends when nothing has happened for a while
        return stream

    def events(self, kind: str, **fields: Any) -> list[Event]:
        """Those of that kind with these fields, node by node."""
        return [
            event
            for line in self.lines
            for event in line
            if event["kind"] == kind and all(event.get(key) == value for key, value in fields.items())
        ]

    def ledger_head(self) -> bytes:
        """What the ledger's file begins with: its header, and who the nexuses are."""
        names = [NexusName(node, f"iqn.2026-11.hil:n{node}", f"127.0.0.1:{3260 + node}") for node in range(self.nodes)]
        return b"".join([ledger_records.header(0, 0), *map(ledger_records.pack_nexus, names)])

    def keep(self, directory: Path, *, contents: bool = True) -> Path:
        """As files, the way in which a bench leaves them."""
        directory.mkdir(parents=True, exist_ok=True)
        with (directory / EVENTS).open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(event) + "\n" for event in self.stream())
        config = make_config(name="demo", nodes=self.nodes, election=self.election).model_dump()
        (directory / "cluster.json").write_text(json.dumps({"config": config, "settings": {}}), encoding="utf-8")
        (directory / LEDGER).write_bytes(self.ledger_head() + b"".join(map(packed, self.records)))
        if contents:
            kept = KeptData(directory / KEPT_DATA)
            kept.follow(str(directory / LEDGER), bytes(16), 0)
            for order, pieces in self.contents.items():
                for lba, data in pieces:
                    kept.add(order, 0, Piece(lba, data, len(data)))
            kept.flush()
            kept.close()
        return directory


def record(options: Options) -> Run:
    """Simulate that run to its end, the good or the bad one, and hand over what a bench would have of it."""
    recorder = Recorder()
    world = World(options, [recorder])
    with speed.installed(), contextlib.suppress(Violation):
        simulate(world)
    lines: list[list[Event]] = [[] for _ in world.nodes]
    marks = iter([*recorder.marks, (len(world.events), -1, "")])
    place, node, kind = next(marks)
    for number, (_, who, what, fields) in enumerate([*world.events, (0, -1, "", {})]):
        while place == number and node >= 0:
            if kind == "guestd-started":
                lines[node].append({"kind": "machine-started", "node": node})
            lines[node].append({"kind": kind, "node": node})
            place, node, kind = next(marks)
        if who >= 0:
            # Through JSON, as over a guest's line.
            lines[who].append({"kind": what, "node": who, **json.loads(json.dumps(fields))})
    timing = {"subsystem_ms": options.timing.subsystem_ms}
    return Run(len(lines), lines, recorder.records, recorder.contents, timing, options.election)


def packed(record: Record) -> bytes:
    """As in the ledger's file."""
    if isinstance(record, RegistrationEnded):
        return ledger_records.pack_ended(record.order, record.nexus.number, record.lun, record.key, record.by.number, 0)
    assert isinstance(record, Entry)
    kind = ledger_records.Kind.COMMAND
    return ledger_records.COMMAND.pack(
        kind, int(record.changed), record.nexus.number, record.lun, record.opcode, record.service_action,
        record.order, record.arrival_ns, record.completion_ns, record.lba, record.blocks, record.status, record.digest,
    )  # fmt: skip
