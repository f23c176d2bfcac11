"""After a case: nothing is left of it but what the ledger says, and a well-behaved initiator is served as ever."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from hil.scsi.iscsi import pdu as p
from hil.scsi.iscsi.connection import Connection
from hil.scsi.ledger import Entry, NexusName, RegistrationEnded
from hil.scsi.ledger_reader import read_records
from hil.scsi.ledger_records import PowerLost
from hil.scsi.primary_operations import lun_field
from hil.scsi.sense import Status
from tests.fuzz import logins
from tests.fuzz.answers import AnswerReader
from tests.fuzz.units import changes
from tests.fuzz.wire import Wire
from tests.fuzz.wrong import Wrong

if TYPE_CHECKING:
    from hil.scsi.ledger import Record
    from hil.scsi.target import Portal
    from tests.fuzz.world import World

_PERSISTENT_RESERVE_OUT: Final = 0x5F
_CLEAR_RESERVATION: Final = ((6, 0, 9), (3, 9, 0))  # REGISTER AND IGNORE EXISTING KEY, CLEAR: action, key, action key
_LUN_RESET: Final = 5


def check(world: World) -> None:
    """All of it. Raises ``Wrong``."""
    _everybody_leaves(world)
    _reservations_are_saved(world)
    world.turn(lambda: WellBehaved(world, world.nodes[0].portal).use())
    world.turn(lambda: None)
    world.ledger.close()
    records = _whole_ledger(world)
    entries = [record for record in records if isinstance(record, Entry)]
    _orders_ascend(records)
    _answers_are_recorded(world, entries)
    for lun, unit in world.place.units.items():
        unit.check([change for record in records for change in changes(record, lun)])


def _everybody_leaves(world: World) -> None:
    def leave() -> None:
        for node in world.nodes:
            node.wire.read()
            node.wire.reset()
        for wire in world.crowd:
            wire.reset()

    world.turn(lambda: world.bounds.check_all(world.nodes))
    world.turn(leave)
    for _ in range(3):
        world.turn(lambda: None)
    for node in world.nodes:
        world.tally(node)
    target = world.target
    world.turn(lambda: target.faults.heal(None))  # what outlives its session goes on now
    held = target.faults.held_bytes
    if target.sessions or held or target.commands_under_way():
        raise Wrong(f"left behind: {target.sessions}, {target.commands_under_way()} commands, {held} bytes held")
    if target.faults.faults or target.faults.armed:
        raise Wrong("faults that were healed are still there")


def _reservations_are_saved(world: World) -> None:
    """APTPL: a target that starts now knows the same registrations (SPC-4 5.13.5)."""
    for lun, unit in world.target.units.items():
        now = unit.reservations
        saved = unit._file.load()
        wanted = (now.keys, now.type, now.holder) if now.aptpl else ({}, None, None)
        if (saved.keys, saved.type, saved.holder) != wanted:
            raise Wrong(f"LUN {lun}: saved are {saved}, in force {now}")


def _whole_ledger(world: World) -> list[Record]:
    records, end = [], 0
    with world.place.ledger.open("rb") as file:
        for end, record in read_records(file, str(world.place.ledger)):  # noqa: B007
            records.append(record)
        size = file.seek(0, 2)
    if records and end != size:
        raise Wrong(f"the ledger can be read up to byte {end} of {size}")
    return records


def _orders_ascend(records: list[Record]) -> None:
    """By one; the end of a registration is followed by the command that ended it."""
    order = 0
    ended: list[RegistrationEnded] = []
    known: set[NexusName] = set()
    for record in records:
        if isinstance(record, NexusName):
            known.add(record)
            continue
        if isinstance(record, (Entry, RegistrationEnded, PowerLost)) and record.nexus not in known:
            raise Wrong(f"a nexus that was never named: {record}")
        if record.order != order:
            raise Wrong(f"order {order} is due in the ledger: {record}")
        if isinstance(record, RegistrationEnded):
            ended.append(record)
            continue
        if not isinstance(record, Entry):
            continue
        if ended and (record.opcode != _PERSISTENT_RESERVE_OUT or any(end.by != record.nexus for end in ended)):
            raise Wrong(f"{ended} by another command than {record}")
        ended = []
        order += 1
    if ended:
        raise Wrong(f"{ended} by no command")


def _answers_are_recorded(world: World, entries: list[Entry]) -> None:
    """Every status that was sent is in the ledger."""
    recorded = Counter((entry.nexus.initiator, entry.nexus.portal, entry.status) for entry in entries)
    for key, count in world.statuses.items():
        if count > recorded[key]:
            raise Wrong(f"{count} answers {key}, and {recorded[key]} in the ledger")


class WellBehaved:
    """Logs in, takes off what others may have left, writes and reads at the beginning and the end of every unit."""

    def __init__(self, world: World, portal: Portal) -> None:
        self._world = world
        self._cmd_sn = 1
        self._reader = AnswerReader(self._logged_in)
        self._connection = Connection(world.target, portal, world.lobby)
        addresses = {"peername": ("127.0.0.1", 40000), "sockname": (portal.host, portal.port)}
        self._wire = Wire(world.loop, self._connection, self._reader.take, addresses)

    def use(self) -> None:
        """Raises ``Wrong`` when anything is refused or is not as it should be."""
        self._wire.send(logins.proper("iqn.test:well-behaved"), (2**30,))
        if self._connection._session is None:
            raise Wrong(f"login refused: {self._connection._login.refused}")
        for lun, unit in self._world.target.units.items():
            self._take_over(lun)
            read_capacity = bytes((0x9E, 0x10)).ljust(13, b"\0") + b"\x20"
            capacity = int.from_bytes(self._command(lun, read_capacity, read=32)[:8], "big")
            if capacity != unit.blocks - 1:
                raise Wrong(f"LUN {lun}: the last block is {capacity}, it was {unit.blocks - 1}")
            for lba in (0, unit.blocks - 4):
                self._write_and_read(lun, lba)
        logout = p.LogoutRequest(p.Op.LOGOUT_REQUEST, p.FINAL, 0, 1, 0, self._cmd_sn, 0)
        self._wire.send(p.build(logout), (2**30,))
        if not isinstance(self._reader.last, p.LogoutResponse) or not self._wire.is_closing():
            raise Wrong(f"logout answered with {self._reader.last}")

    def _take_over(self, lun: int) -> None:
        """LOGICAL UNIT RESET ends RESERVE (6) and write protection, CLEAR the persistent reservation."""
        code, field = p.Op.TASK_MANAGEMENT_REQUEST | p.IMMEDIATE, int.from_bytes(lun_field(lun), "big")
        reset = p.TaskManagementRequest(code, p.FINAL | _LUN_RESET, 0, field, 2, p.NO_TAG, self._cmd_sn, 0, 0, 0)
        self._wire.send(p.build(reset), (2**30,))
        if not isinstance(self._reader.last, p.TaskManagementResponse) or self._reader.last.response:
            raise Wrong(f"LOGICAL UNIT RESET answered with {self._reader.last}")
        for _ in range(20):  # unit attentions, one at a time
            if self._status(lun, b"\0") == Status.GOOD:
                break
        for action, key, action_key in _CLEAR_RESERVATION:
            cdb = bytes((0x5F, action, 0, 0, 0, 0, 0, 0, 24))
            data = key.to_bytes(8, "big") + action_key.to_bytes(8, "big") + bytes(8)
            if (status := self._status(lun, cdb, write=data)) != Status.GOOD:
                raise Wrong(f"LUN {lun}: PERSISTENT RESERVE OUT {action} ends with status {status:#x}")

    def _write_and_read(self, lun: int, lba: int) -> None:
        """Half of the data is asked for with an R2T."""
        data = self._world.choices.content(2048) or bytes(2048)
        extent = lba.to_bytes(8, "big") + (4).to_bytes(4, "big")
        self._status(lun, b"\x8a\0" + extent, write=data, immediate=1024)
        if not isinstance(r2t := self._reader.last, p.R2T):
            raise Wrong(f"LUN {lun}: a write is answered with {r2t}")
        out = p.DataOut(p.Op.DATA_OUT, p.FINAL, 0, 0, r2t.itt, r2t.ttt, 0, 0, r2t.offset)
        raw = p.build(out, data[r2t.offset : r2t.offset + r2t.desired])
        self._reader.note(raw)
        self._wire.send(raw, (2**30,))
        if not isinstance(done := self._reader.last, p.ScsiResponse) or done.status or done.residual:
            raise Wrong(f"LUN {lun}: a write ends with {done}")
        if self._command(lun, b"\x88\0" + extent, read=2048) != data:
            raise Wrong(f"LUN {lun}: block {lba} does not read as it was written")

    def _command(self, lun: int, cdb: bytes, *, read: int) -> bytes:
        status = self._status(lun, cdb, read=read)
        if status != Status.GOOD:
            raise Wrong(f"LUN {lun}: {cdb.hex()} ends with status {status:#x}")
        return self._reader.last_data

    def _status(self, lun: int, cdb: bytes, *, write: bytes = b"", read: int = 0, immediate: int | None = None) -> int:
        """Sends a command; the status, or -1 when the last answer is none."""
        itt = self._cmd_sn + 16
        flags = p.FINAL | (p.WRITE if write else p.READ if read else 0)
        field = int.from_bytes(lun_field(lun), "big")
        edtl = len(write) or read
        request = p.ScsiCommand(1, flags, 0, field, itt, edtl, self._cmd_sn, 0, cdb.ljust(16, b"\0"))
        raw = p.build(request, write[:immediate])
        self._cmd_sn += 1
        self._reader.note(raw)
        self._wire.send(raw, (2**30,))
        last = self._reader.last
        return last.status if isinstance(last, (p.ScsiResponse, p.DataIn)) and last.itt == itt else -1

    def _logged_in(self, reader: AnswerReader) -> None:
        reader.burst_bytes = 256 * 1024
