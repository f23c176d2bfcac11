"""Every command against every type of reservation, by holder, registrant and other (SPC-4 table 65, SBC-3 table 9).

The tables are written down here a second time, as the standard prints them, a letter per column: any other nexus with
Write Exclusive, with Exclusive Access; a registered one with the four shared types; one that is not registered with the
shared types of Write Exclusive, of Exclusive Access. A: allowed, C: conflict.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.scsi import sense
from hil.scsi.operations import OPERATIONS
from hil.scsi.reservation_access import ACCESS, ALLOWED, BY_SERVICE_ACTION, Relation
from hil.scsi.reservations import ALL_REGISTRANTS, Type
from hil.scsi.target import Target
from tests.unit.scsi_initiator import make_target, read_10, write_10
from tests.unit.scsi_reserve import CONFLICT, GOOD, REGISTER, RESERVE, WERO, Node, in_cdb

ALWAYS, READS, WRITES = "AAAAA", "ACAAC", "CCACC"

TABLE = [
    ("TEST UNIT READY", "00 00 00 00 00 00", ALWAYS),
    ("REQUEST SENSE", "03 00 00 00 ff 00", ALWAYS),
    ("READ (6)", "08 00 00 00 01 00", READS),
    ("WRITE (6)", "0a 00 00 00 01 00", WRITES),
    ("INQUIRY", "12 00 00 00 ff 00", ALWAYS),
    ("MODE SELECT (6)", "15 10 00 00 00 00", WRITES),
    ("MODE SENSE (6)", "1a 08 3f 00 ff 00", READS),
    ("START STOP UNIT, start", "1b 00 00 00 01 00", ALWAYS),
    ("START STOP UNIT, stop", "1b 00 00 00 00 00", WRITES),
    ("START STOP UNIT, power condition", "1b 00 00 00 11 00", WRITES),
    ("READ CAPACITY (10)", "25 00 00000000 0000 00 00", ALWAYS),
    ("READ (10)", "28 00 00000000 00 0001 00", READS),
    ("WRITE (10)", "2a 00 00000000 00 0001 00", WRITES),
    ("WRITE AND VERIFY (10)", "2e 00 00000000 00 0001 00", WRITES),
    ("VERIFY (10)", "2f 00 00000000 00 0001 00", READS),
    ("PRE-FETCH (10)", "34 00 00000000 00 0001 00", READS),
    ("SYNCHRONIZE CACHE (10)", "35 00 00000000 00 0001 00", WRITES),
    ("READ DEFECT DATA (10)", "37 00 08 00000000 0008 00", READS),
    ("WRITE SAME (10)", "41 00 00000000 00 0001 00", WRITES),
    ("UNMAP", "42 00 00000000 00 0008 00", WRITES),
    ("MODE SELECT (10)", "55 10 0000000000 0000 00", WRITES),
    ("MODE SENSE (10)", "5a 08 3f 00 000000 00ff 00", READS),
    ("PERSISTENT RESERVE IN", "5e 00 0000000000 00ff 00", ALWAYS),
    ("READ (16)", "88 00 0000000000000000 00000001 00 00", READS),
    ("COMPARE AND WRITE", "89 00 0000000000000000 000000 01 00 00", WRITES),
    ("WRITE (16)", "8a 00 0000000000000000 00000001 00 00", WRITES),
    ("ORWRITE (16)", "8b 00 0000000000000000 00000001 00 00", WRITES),
    ("WRITE AND VERIFY (16)", "8e 00 0000000000000000 00000001 00 00", WRITES),
    ("VERIFY (16)", "8f 00 0000000000000000 00000001 00 00", READS),
    ("PRE-FETCH (16)", "90 00 0000000000000000 00000001 00 00", READS),
    ("SYNCHRONIZE CACHE (16)", "91 00 0000000000000000 00000001 00 00", WRITES),
    ("WRITE SAME (16)", "93 00 0000000000000000 00000001 00 00", WRITES),
    ("WRITE ATOMIC (16)", "9c 00 0000000000000000 0000 0001 00 00", WRITES),
    ("READ CAPACITY (16)", "9e 10 0000000000000000 00000020 00 00", ALWAYS),
    ("GET LBA STATUS", "9e 12 0000000000000000 00000020 00 00", READS),
    ("REPORT LUNS", "a0 00 00 000000 00000100 00 00", ALWAYS),
    ("REPORT SUPPORTED OPERATION CODES", "a3 0c 00 00 0000 00001000 00 00", READS),
    ("READ (12)", "a8 00 00000000 00000001 00 00", READS),
    ("WRITE (12)", "aa 00 00000000 00000001 00 00", WRITES),
    ("WRITE AND VERIFY (12)", "ae 00 00000000 00000001 00 00", WRITES),
    ("READ DEFECT DATA (12)", "b7 08 00000000 00000008 00 00", READS),
    ("VERIFY (12)", "af 00 00000000 00000001 00 00", READS),
]
WRITE_EXCLUSIVE = {1, 5, 7}
JUDGED_ELSEWHERE = {0x16, 0x17, 0x5F}  # RESERVE, RELEASE, PERSISTENT RESERVE OUT: rules of their own


def column(kind: Type, relation: Relation) -> int | None:
    """None: a holder, who may do everything."""
    if relation is Relation.HOLDER or (relation is Relation.REGISTRANT and kind in ALL_REGISTRANTS):
        return None
    if kind in (Type.WRITE_EXCLUSIVE, Type.EXCLUSIVE_ACCESS):
        return 0 if kind in WRITE_EXCLUSIVE else 1
    if relation is Relation.REGISTRANT:
        return 2
    return 3 if kind in WRITE_EXCLUSIVE else 4


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    target = make_target(tmp_path)
    yield target
    target.units[0].medium.close()


def test_every_operation_of_the_target_has_a_row_here_and_in_the_table_of_the_target() -> None:
    assert sorted(set(OPERATIONS) - set(ACCESS)) == []
    tested = {bytes.fromhex(cdb)[0] for _, cdb, _ in TABLE} | JUDGED_ELSEWHERE
    assert sorted(set(OPERATIONS) - tested) == []
    assert {code for code, _ in BY_SERVICE_ACTION} <= set(ACCESS)


def test_every_type_has_a_row_for_everybody_that_can_be() -> None:
    registrants_hold = {(kind, Relation.REGISTRANT) for kind in ALL_REGISTRANTS}
    assert set(ALLOWED) == {(kind, relation) for kind in Type for relation in Relation} - registrants_hold


@pytest.mark.parametrize("kind", Type)
@pytest.mark.parametrize("relation", Relation)
def test_what_a_reservation_lets_through(target: Target, kind: Type, relation: Relation) -> None:
    holder, node = Node(target, "a"), Node(target, "b")
    holder.register(0x10)
    holder.out(RESERVE, 0x10, kind=kind)
    if relation is Relation.REGISTRANT:
        node.register(0x11)
    if relation is Relation.HOLDER:
        node = holder
    judged = column(kind, relation)
    wrong = []
    for name, text, row in TABLE:
        cdb = bytes.fromhex(text)
        if cdb[0] not in OPERATIONS:
            continue
        conflict = node.execute(cdb, bytes(1024)).status == CONFLICT
        if conflict != (judged is not None and row[judged] == "C"):
            wrong.append(name)
    assert wrong == []


def test_a_command_that_does_not_exist_is_refused_as_such_by_any_reservation(target: Target) -> None:
    holder, other = Node(target, "a"), Node(target, "b")
    holder.register(0x10)
    holder.out(RESERVE, 0x10, kind=Type.EXCLUSIVE_ACCESS)
    outcome = other.execute(b"\xff")
    assert (outcome.sense[12], outcome.sense[13]) == sense.INVALID_OPERATION_CODE[1:]


def test_a_conflict_comes_before_a_unit_attention_which_stays(target: Target) -> None:  # SAM-5 5.3.3
    holder, other = Node(target, "a"), Node(target, "b")
    holder.register(0x10)
    holder.out(RESERVE, 0x10, kind=WERO)
    target.tell(other.nexus.identity, 0, sense.LUN_RESET)
    assert other.execute(write_10(0, 1), bytes(512)).status == CONFLICT
    assert other.attentions() == [sense.LUN_RESET]


def test_each_logical_unit_has_its_own_reservations(target: Target, tmp_path: Path) -> None:
    from hil.scsi.command import Command
    from hil.scsi.medium import Medium

    target.add_unit(1, Medium(str(tmp_path / "second.raw"), 1024 * 1024), "00112233445566ab")
    holder, other = Node(target, "a"), Node(target, "b")
    holder.register(0x10)
    holder.out(RESERVE, 0x10, kind=Type.EXCLUSIVE_ACCESS)
    for lun, status in ((0, CONFLICT), (1, GOOD)):
        outcome = target.execute(Command(other.nexus, lun, read_10(0, 1), b"", 0))
        assert outcome is not None
        assert outcome.status == status
    outcome = target.execute(Command(other.nexus, 1, in_cdb(0), b"", 0))
    assert outcome is not None
    assert outcome.data == bytes(8)
    target.units[1].medium.close()


def test_a_node_that_unregistered_is_refused_at_once(target: Target) -> None:
    holder, other = Node(target, "a"), Node(target, "b")
    holder.register(0x10)
    other.register(0x11)
    holder.out(RESERVE, 0x10, kind=WERO)
    assert other.execute(write_10(0, 1), bytes(512)).status == GOOD
    assert other.out(REGISTER, 0x11, 0) == GOOD
    assert other.execute(write_10(0, 1), bytes(512)).status == CONFLICT
