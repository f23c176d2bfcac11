"""What the end of a target, by a signal or by SIGKILL, leaves in its files, and how the next one goes on with them."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from hil.scsi.iscsi import pdu as p
from hil.scsi.ledger import Ledger, read_all, read_ledger
from hil.scsi.ledger_records import FaultHealed, FaultInjected
from hil.scsi.sense import Status
from tests.unit.scsi_initiator import write_10
from tests.unit.scsi_process import running
from tests.unit.test_scsi_command_line import portals
from tests.unit.test_scsi_control import Control, node, send_write, wait_until_held


def test_a_delayed_write_is_in_the_ledger_when_the_target_was_told_to_end(tmp_path: Path) -> None:
    with running(*portals(tmp_path), "--control", f"{tmp_path}/control") as target:
        with Control(tmp_path / "control") as control, node(target, 0) as client:
            control.ask({"fault": "delay-writes"})
            send_write(client)
            wait_until_held(control)
        assert target.end() == (0, "")
    *_, last = read_ledger(tmp_path / "ledger.bin")
    assert (last.name, last.status, last.changed, last.faults) == ("WRITE (10)", Status.TASK_ABORTED, False, (1,))


def numbers_and_ends(path: Path) -> tuple[list[tuple[int, str]], list[tuple[int, int, str]]]:
    records = list(read_all(path))
    injected = [(record.number, record.about["fault"]) for record in records if isinstance(record, FaultInjected)]
    healed = [(record.number, record.struck, record.why) for record in records if isinstance(record, FaultHealed)]
    return injected, healed


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_fault_number_is_never_used_twice_and_the_end_of_the_target_ends_its_faults(
    tmp_path: Path, number: signal.Signals
) -> None:
    path = tmp_path / "ledger.bin"
    for kinds in (("lost", "stale"), ("torn",)):
        with running(*portals(tmp_path), "--control", f"{tmp_path}/control") as target:
            with Control(tmp_path / "control") as control, node(target, 0) as client:
                for kind in kinds:
                    control.ask({"fault": kind, "direction": "read" if kind == "stale" else "write"})
                client.command(write_10(0, 1), b"x" * 512, edtl=512, flags=p.FINAL | p.WRITE)
                if kinds == ("torn",):
                    control.ask({"heal": 3})
            target.end(number)
    Ledger(path).close()
    injected, healed = numbers_and_ends(path)
    assert injected == [(1, "lost"), (2, "stale"), (3, "torn")]
    assert healed == [(1, 1, "end"), (2, 0, "end"), (3, 1, "asked")]
