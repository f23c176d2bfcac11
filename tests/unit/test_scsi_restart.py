"""What the end of a target, by a signal or by SIGKILL, leaves in its files, and how the next one goes on with them."""

from __future__ import annotations

from pathlib import Path

from hil.scsi.ledger import read_ledger
from hil.scsi.sense import Status
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
