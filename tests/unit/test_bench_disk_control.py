"""The bench's connection to a real SCSI target: faults verified, told as events, and what a target that dies does."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hil.bench.disk_control import DiskControl
from hil.errors import LaboratoryError, UsageError
from hil.scsi.iscsi import pdu as p
from hil.scsi.sense import Status
from hil.view import View
from tests.unit.scsi_initiator import write_10
from tests.unit.scsi_process import TargetProcess, running
from tests.unit.test_scsi_command_line import Client, portals

F, W = p.FINAL, p.WRITE


@pytest.fixture
def target(tmp_path: Path) -> Iterator[TargetProcess]:
    with running(*portals(tmp_path), "--control", f"{tmp_path}/control") as process:
        yield process


@pytest.fixture
def told() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def disk(target: TargetProcess, tmp_path: Path, told: list[dict[str, Any]]) -> Iterator[DiskControl]:
    control = DiskControl(tmp_path / "control", told.append)
    yield control
    control.close()


def node(target: TargetProcess, number: int) -> Client:
    client = Client(target.addresses[number])
    assert client.log_in(f"iqn.2026-11.hil:n{number}") == 0
    client.command(b"\0")
    return client


def write(client: Client) -> int:
    answer, _ = client.command(write_10(0, 1), b"x" * 512, edtl=512, flags=F | W)
    assert isinstance(answer, p.ScsiResponse)
    return answer.status


def test_what_happens_is_told_before_the_answer_that_it_belongs_to(
    disk: DiskControl, told: list[dict[str, Any]]
) -> None:
    number = disk.inject({"fault": "hang"})
    assert [(event["event"], event["number"]) for event in told] == [("fault-injected", number)]
    assert disk.heal([number]) == 0
    assert [(event["event"], event.get("why")) for event in told][1:] == [("fault-healed", "asked")]


def test_a_fault_strikes_and_ends_by_itself_and_both_are_told(
    target: TargetProcess, disk: DiskControl, told: list[dict[str, Any]]
) -> None:
    number = disk.inject({"fault": "error", "portal": target.addresses[1], "count": 1})
    with node(target, 1) as client:
        assert write(client) == Status.CHECK_CONDITION
        assert write(client) == Status.GOOD
    assert disk.status()["faults"] == []
    assert [(event["event"], event["struck"]) for event in told] == [
        ("fault-injected", 0), ("fault-struck", 1), ("fault-healed", 1),
    ]  # fmt: skip
    assert disk.heal([number]) == 0  # fine if it is over


def test_a_fault_that_the_target_refuses_is_not_there(disk: DiskControl, told: list[dict[str, Any]]) -> None:
    with pytest.raises(UsageError, match="fault slow needs ms"):
        disk.inject({"fault": "slow"})
    assert disk.status()["faults"] == told == []


def test_a_target_that_dies_is_a_broken_laboratory_and_nobody_waits(target: TargetProcess, disk: DiskControl) -> None:
    target.process.send_signal(signal.SIGKILL)
    target.process.wait()
    for _ in range(3):
        with pytest.raises(LaboratoryError, match="does not answer at its control socket"):
            disk.status()


def test_the_view_shows_each_disk_fault_by_its_number_until_it_is_healed() -> None:
    view = View(2)
    for number, about in ((1, {"node": 1}), (2, {"node": 1}), (3, {})):
        view.apply({"kind": "fault-injected", "fault": "disk-hang", "number": number, **about})
    view.apply({"kind": "fault-injected", "fault": "link-silent", "node": 1})
    view.apply({"kind": "fault-injected", "fault": "link-silent", "node": 1})
    assert view.as_dict()["faults"] == {
        "1": ["disk-hang #1", "disk-hang #2", "link-silent"], "all": ["disk-hang #3"],
    }  # fmt: skip
    view.apply({"kind": "fault-struck", "fault": "disk-hang", "number": 2, "node": 1})
    assert view.struck == {2}
    for number, about in ((2, {"node": 1}), (3, {})):
        view.apply({"kind": "fault-healed", "fault": "disk-hang", "number": number, **about})
    assert view.as_dict()["faults"] == {"1": ["disk-hang #1", "link-silent"]}
