"""A claim about every run that a node breaks while a scenario waits ends the wait; the disk's ledger alone shows it."""

import os
import threading
import time
from pathlib import Path

import pytest

from guestd.membership import layout
from hil.config import make_config
from hil.errors import ClaimFailed
from hil.scenario import ScenarioCluster
from hil.view import View

pytestmark = pytest.mark.lab

UNUSED_SECTOR = layout.REGION_SECTORS - 1
"""Of a region: nothing is kept there, so that nothing comes of the write but that it is forbidden."""


def test_a_node_that_writes_into_the_region_of_another_ends_the_wait(runs: dict[Path, int]) -> None:  # S2.5, S10.9
    cluster = ScenarioCluster.up(make_config(name=f"t-claims-{os.getpid()}", nodes=2))
    lba = layout.region_lba(0, UNUSED_SECTOR)
    command = f"dd if=/dev/zero of=/dev/sda bs=512 seek={lba} count=1 conv=notrunc oflag=direct"

    def why_not(view: View) -> str:
        return "nobody breaks a claim"

    try:
        cluster.wait_joined()
        writing = threading.Thread(target=cluster.nodes[1].ssh, args=(command,))
        writing.start()
        with pytest.raises(ClaimFailed, match=f"one_writer: .*VIOLATED .*\n.*node 1 .* wrote LBA {lba}"):
            cluster.wait(why_not, about="what never comes")
        told_ns = time.monotonic_ns()
        writing.join()
        (write,) = [entry for entry in cluster.disk.ledger() if entry.writes and entry.lba == lba]
        print(f"{(told_ns - write.completion_ns) / 1e9:.3f} s from the write to the verdict")
    finally:
        runs.pop(cluster.run_dir)  # it is not to be found honest
        cluster.down()
