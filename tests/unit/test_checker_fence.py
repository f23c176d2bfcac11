"""The checker of the fence, on ledgers of a real target."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil.checkers import fence
from hil.errors import ClaimFailed
from tests.unit.scsi_fence import VICTIM, out, pair, records, status, write
from tests.unit.scsi_initiator import make_target
from tests.unit.scsi_reserve import CONFLICT, GOOD, PREEMPT, PREEMPT_AND_ABORT, REGISTER_AND_IGNORE, WERO


@pytest.mark.parametrize(("action", "holds"), [(PREEMPT_AND_ABORT, True), (PREEMPT, False)])
def test_a_write_that_was_queued_lands_after_a_preempt_without_abort_and_that_is_found(  # A3
    tmp_path: Path, action: int, holds: bool
) -> None:
    target = make_target(tmp_path, ledger=True)
    master, victim = pair(target)
    target.faults.inject("delay-writes", VICTIM, 1)
    assert write(victim, 7) == []
    assert out(master, action, 0x10, 0x11, WERO) == GOOD
    assert status(write(victim)) == CONFLICT
    target.faults.heal(None)
    if holds:
        assert fence.check(records(target)) == 1  # the queued one was aborted before the registration was gone
    else:
        with pytest.raises(ClaimFailed, match=r"node 1 changed the disk .* WRITE \(10\) at LBA 7\+1 .* key 0x11"):
            fence.check(records(target))
    target.units[0].medium.close()


def test_who_registers_again_may_write(tmp_path: Path) -> None:
    target = make_target(tmp_path, ledger=True)
    master, victim = pair(target)
    assert out(master, PREEMPT_AND_ABORT, 0x10, 0x11, WERO) == GOOD
    victim.nexus.attentions.clear()  # it was told that its registration is gone
    assert out(victim, REGISTER_AND_IGNORE, 0, 0x12) == GOOD
    assert status(write(victim)) == GOOD
    assert fence.check(records(target)) == 0
    target.units[0].medium.close()
