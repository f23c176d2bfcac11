"""An initiator with a session for each of its disks, as QEMU has: one nexus, none takes the place of another."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil.scsi import identity
from hil.scsi.faults.selection import Selection
from hil.scsi.iscsi import pdu as p
from hil.scsi.iscsi.login import LoginRefused
from hil.scsi.medium import Medium
from hil.scsi.sense import NEXUS_LOSS
from hil.scsi.target import TARGET_NAME, Portal, Target
from tests.unit.scsi_initiator import SERIAL, SIZE_BYTES, Initiator, make_target, read_10

PORTAL = Portal("127.0.0.1", 3260, "iqn.test:a")


@pytest.fixture
def target(tmp_path: Path) -> Target:
    made = make_target(tmp_path)
    made.add_unit(1, Medium(str(tmp_path / "disk-1.raw"), SIZE_BYTES), identity.following(SERIAL, 1))
    return made


@pytest.mark.parametrize(
    ("name", "lun"),
    [
        (TARGET_NAME, None),
        (f"{TARGET_NAME}:lun0", 0),
        (f"{TARGET_NAME}:lun1", 1),
        (f"{TARGET_NAME}:lun2", None),
        (f"{TARGET_NAME}:lun01", None),
        (f"{TARGET_NAME}:lun-1", None),
        (f"{TARGET_NAME}:lun", None),
        (f"{TARGET_NAME}:lun1:lun1", None),
        ("", None),
    ],
)
def test_there_is_a_name_for_each_lun_that_there_is(target: Target, name: str, lun: int | None) -> None:
    assert target.lun_of(name) == lun


def test_only_names_of_luns_that_there_are_let_in(target: Target) -> None:
    for name in (TARGET_NAME, f"{TARGET_NAME}:lun0", f"{TARGET_NAME}:lun1"):
        target.admit(PORTAL, "iqn.test:a", name)
    with pytest.raises(LoginRefused, match=r"target .*:lun2: only"):
        target.admit(PORTAL, "iqn.test:a", f"{TARGET_NAME}:lun2")


def test_sessions_of_different_luns_live_side_by_side_and_are_one_nexus(target: Target) -> None:  # S6.2
    first, second = Initiator(target), Initiator(target, session_of=1)
    assert first.nexus is second.nexus
    assert (first.dropped, second.dropped) == ([], [])
    again = Initiator(target, session_of=1)
    assert (first.dropped, len(second.dropped), again.dropped) == ([], 1, [])
    assert [session for _, session in target.all_sessions()] == [first.session, again.session]


def test_the_end_of_one_session_is_told_at_its_lun_only(target: Target) -> None:  # SAM-5 6.3.4
    first, second = Initiator(target), Initiator(target, session_of=1)
    target.detach(second.nexus, second.session)
    assert first.nexus.attentions == {1: [NEXUS_LOSS]}
    target.detach(first.nexus, first.session)
    assert first.nexus.attentions == {0: [NEXUS_LOSS], 1: [NEXUS_LOSS]}
    assert target.all_sessions() == []


@pytest.mark.parametrize("session_of", [None, 1])
def test_what_a_nexus_has_queued_at_a_lun_is_aborted_in_whichever_session_it_came(  # A3, S6.2
    target: Target, session_of: int | None
) -> None:
    others = Initiator(target, session_of=None if session_of else 1)
    holder = Initiator(target, session_of=session_of)
    target.faults.timers = None
    fault = target.faults.inject("hang", Selection(lun=0))
    holder.command(read_10(0, 1), edtl=512, flags=p.FINAL | p.READ)
    assert (target.commands_under_way(), others.session.commands_under_way()) == (1, 0)
    target.abort_task_set(others.nexus, 0)
    assert target.commands_under_way() == 0
    assert target.faults.heal(fault.number) == 0, "nothing is held any more"


def test_when_the_target_stops_all_sessions_end(target: Target) -> None:
    first, second = Initiator(target), Initiator(target, session_of=1)
    target.stop()
    assert (len(first.dropped), len(second.dropped)) == (1, 1)
