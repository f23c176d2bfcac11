"""Reservations on real guests: the disk itself refuses a preempted node (spec S6.2), and the ledger tells."""

import os

import pytest

from hil import Cluster
from hil.checkers import fence
from hil.config import make_config
from hil.scsi.ledger import read_ledger

pytestmark = pytest.mark.lab

BLOCK = 40_000
WRITE = f"echo from-here | dd of=/dev/sda bs=512 seek={BLOCK} conv=sync oflag=direct"


def test_a_preempted_guest_is_refused_by_the_disk_and_forced_out_of_the_cluster() -> None:
    cluster = Cluster.up(make_config(name=f"t-fence-{os.getpid()}", nodes=2))
    try:
        cluster.wait_joined()
        survivor, victim = cluster.nodes
        for node, key in ((survivor, "0xa1"), (victim, "0xb1")):
            assert node.ssh(f"sg_persist --out --register --param-sark={key} /dev/sda").exited == 0
        reserve = "sg_persist --out --reserve --param-rk=0xa1 --prout-type=5 /dev/sda"
        assert survivor.ssh(reserve).exited == 0
        assert victim.ssh(WRITE).exited == 0  # type 5: registrants write

        preempt = "sg_persist --out --preempt-abort --param-rk=0xa1 --param-sark=0xb1 --prout-type=5 /dev/sda"
        assert survivor.ssh(preempt).exited == 0
        refused = victim.ssh(WRITE)
        assert refused.exited != 0
        assert "Invalid exchange" in refused.stderr  # how Linux says RESERVATION CONFLICT
        assert survivor.ssh(WRITE).exited == 0
        keys = survivor.ssh("sg_persist --in --read-keys /dev/sda").stdout
        assert "0xa1" in keys
        assert "0xb1" not in keys

        # Its heartbeats are refused as well: the survivor forces it out, and it panics.
        cluster.wait_crashed(victim)
        assert "found itself forced out" in victim.console()
        path = cluster.run_dir / "ledger.bin"
        late = [entry for entry in read_ledger(path) if entry.nexus.number == victim.id and entry.conflict]
        assert late
        assert not any(entry.changed for entry in late)
        assert fence.check(cluster.disk.records()) >= len(late)
    finally:
        cluster.down()
