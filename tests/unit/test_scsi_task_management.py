"""Task management (RFC 7143 11.5, SAM-5 7): whose commands at which unit end, who is told, nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hil.scsi.faults.selection import Selection
from hil.scsi.iscsi import pdu as p
from hil.scsi.ledger import read_ledger
from hil.scsi.medium import Medium
from hil.scsi.sense import COMMANDS_CLEARED, LUN_RESET, NEXUS_LOSS, Sense, Status
from hil.scsi.target import Target
from tests.unit.scsi_initiator import Initiator, make_target, write_10
from tests.unit.scsi_process import running
from tests.unit.test_scsi_command_line import Client

F, W = p.FINAL, p.WRITE
ABORT_TASK, ABORT_TASK_SET, CLEAR_TASK_SET, RESET_UNIT, WARM_RESET, COLD_RESET = 1, 2, 4, 5, 6, 7
LUN_1 = 1 << 48


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    """LUN 0 and LUN 1."""
    target = make_target(tmp_path, ledger=True)
    target.add_unit(1, Medium(str(tmp_path / "second.raw"), 1024 * 1024), "00112233445566ab")
    yield target
    for unit in target.units.values():
        unit.medium.close()
    assert target.ledger is not None
    target.ledger.close()


def begin_write(initiator: Initiator, lun: int = 0, itt: int = 0) -> p.R2T:
    """Of one block; it waits for its data."""
    initiator.itt = itt or initiator.itt + 1
    request = p.ScsiCommand(0x41, F | W, 0, lun, initiator.itt, 512, 1, 0, write_10(0, 1))
    [(answer, _)] = initiator.send(request)
    assert isinstance(answer, p.R2T)
    return answer


def begin_held_write(initiator: Initiator, lun: int = 0) -> None:
    """With its data; a fault holds it."""
    initiator.itt += 1
    request = p.ScsiCommand(0x41, F | W, 0, lun, initiator.itt, 512, 1, 0, write_10(0, 1))
    assert initiator.send(request, b"h" * 512) == []


def waiting(*initiators: Initiator) -> list[list[int]]:
    """The LUNs of the commands that each of them has pending."""
    return [sorted(task.command.lun for task in one.session.tasks.by_itt.values()) for one in initiators]


def told(initiator: Initiator, lun: int = 0) -> list[Sense]:
    return initiator.nexus.attentions.get(lun, [])


# Function: what the asking and the other initiator have left, of a write at LUN 0 and one at LUN 1 each, and what the
# other is told at LUN 0.
EFFECTS = [
    (ABORT_TASK_SET, [1], [0, 1], []),
    (CLEAR_TASK_SET, [1], [1], [COMMANDS_CLEARED]),
    (RESET_UNIT, [1], [1], [LUN_RESET]),
    (WARM_RESET, [], [], [LUN_RESET]),
]


@pytest.mark.parametrize(("function", "own", "others", "attention"), EFFECTS)
@pytest.mark.parametrize("held", [False, True], ids=["waits for data", "held by a fault"])
def test_a_function_ends_the_commands_that_it_is_for_and_no_others(
    target: Target, function: int, own: list[int], others: list[int], attention: list[Sense], held: bool
) -> None:
    asking, other = Initiator(target), Initiator(target, "iqn.test:b")
    if held:
        target.faults.inject("delay-writes", Selection())
    for initiator in (asking, other):
        for lun in (0, LUN_1):
            (begin_held_write if held else begin_write)(initiator, lun)
    assert asking.manage(function) == 0
    assert waiting(asking, other) == [own, others]
    assert told(other) == attention
    target.faults.heal(None)
    assert target.faults.held_bytes == 0
    assert target.ledger is not None
    target.ledger.flush()
    ended = [entry for entry in read_ledger(target.ledger.path) if entry.status == Status.TASK_ABORTED]
    assert len(ended) == 4 - len(own) - len(others)
    assert not any(entry.changed for entry in ended)
    untouched = [lun for lun in (0, 1) if lun not in own + others]
    assert all(target.units[lun].medium.read(0, 1) == bytes(512) for lun in untouched)


def test_clear_task_set_tells_only_who_lost_something_and_never_who_asked(target: Target) -> None:
    asking, loser, idle = (Initiator(target, f"iqn.test:{name}") for name in "abc")
    begin_write(asking)
    begin_write(loser)
    assert asking.manage(CLEAR_TASK_SET) == 0
    assert [told(one) for one in (asking, loser, idle)] == [[], [COMMANDS_CLEARED], []]


def test_abort_task_needs_the_unit_of_the_task(target: Target) -> None:
    initiator = Initiator(target)
    begin_write(initiator, LUN_1)
    assert initiator.manage(ABORT_TASK, initiator.itt) == 1
    assert initiator.manage(ABORT_TASK, initiator.itt, lun=LUN_1) == 0


def test_data_for_what_a_reset_ended_are_dropped_and_those_of_another_unit_arrive(target: Target) -> None:
    initiator = Initiator(target)
    first, second = begin_write(initiator, 0, 5), begin_write(initiator, LUN_1, 6)
    initiator.manage(RESET_UNIT)
    initiator.itt = 5
    assert initiator.data_out(0, b"a" * 512, ttt=first.ttt) == []
    initiator.itt = 6
    [(answer, _)] = initiator.data_out(0, b"b" * 512, ttt=second.ttt)
    assert isinstance(answer, p.ScsiResponse)
    assert answer.status == Status.GOOD
    assert target.units[0].medium.read(0, 1) == bytes(512)
    assert target.units[1].medium.read(0, 1) == b"b" * 512


def test_sessions_have_task_tags_of_their_own(target: Target) -> None:
    one, two = Initiator(target), Initiator(target, "iqn.test:b")
    begin_write(one, 0, 7)
    ttt = begin_write(two, LUN_1, 7).ttt
    assert one.manage(ABORT_TASK, 7) == 0
    two.data_out(0, b"b" * 512, ttt=ttt)
    assert target.units[1].medium.read(0, 1) == b"b" * 512


def test_a_cold_reset_ends_every_session_and_the_asking_one_with_an_answer(tmp_path: Path) -> None:  # RFC 7143 11.5.1
    with running(f"--lun={tmp_path}/d:1M", "--listen=127.0.0.1:0") as process, ExitStack() as stack:
        asking, other = (stack.enter_context(Client(process.addresses[0])) for _ in range(2))
        for name, client in (("a", asking), ("b", other)):
            client.log_in(f"iqn.test:{name}")
            client.command(b"\0")
        cold = p.TaskManagementRequest(0x42, F | COLD_RESET, 0, 0, 99, p.NO_TAG, asking.cmd_sn, 0, 0, 0)
        answer, _ = asking.send(cold)
        assert isinstance(answer, p.TaskManagementResponse)
        assert answer.response == 0
        for client in (asking, other):
            with pytest.raises(EOFError):
                client.receive()
        again = stack.enter_context(Client(process.addresses[0]))
        assert again.log_in("iqn.test:b") == 0
        _, first = again.command(b"\0")
        _, second = again.command(b"\0")
        said = [Sense(data[4], data[14], data[15]) for data in (first, second)]
        assert said == [LUN_RESET, NEXUS_LOSS]
        answer, _ = again.command(b"\0")
        assert isinstance(answer, p.ScsiResponse)
        assert answer.status == Status.GOOD
        assert process.end() == (0, "")
