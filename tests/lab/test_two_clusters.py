"""Two clusters at once: same addresses, same names inside, and commands to one never reach the other (spec S10.1)."""

import os

import pytest

from hil import Cluster
from hil.config import make_config
from hil.errors import AlreadyUp, UnknownCluster

pytestmark = pytest.mark.lab


def test_two_clusters_join_side_by_side_and_do_not_feel_each_other() -> None:
    first = Cluster.up(make_config(name=f"t-first-{os.getpid()}", nodes=2))
    second = Cluster.up(make_config(name=f"t-second-{os.getpid()}", nodes=2))
    try:
        first.wait_joined()
        second.wait_joined()
        _check_names(first, second)
        before = second.poll().n
        epoch = second.view.epoch

        first.cut_link(first.nodes[1], "silent")
        first.power_off([first.nodes[0]])
        first.nodes[1].ssh("echo only-here | dd of=/dev/sda bs=512 seek=4096 conv=sync oflag=direct")

        mark = second.nodes[1].ssh("dd if=/dev/sda bs=512 skip=4096 count=1 iflag=direct | head -c 9")
        assert "only-here" not in mark.stdout
        second.wait_joined()
        news = [event["kind"] for event in second.events(since=before)]
        assert not [kind for kind in news if kind.startswith(("machine-", "fault-", "power", "silent", "panic"))]
        assert second.view.epoch == epoch
    finally:
        first.down()
        second.down()


def _check_names(first: Cluster, second: Cluster) -> None:
    with pytest.raises(AlreadyUp, match=f"{first.name}.*already up"):
        Cluster.up(make_config(name=first.name))
    with pytest.raises(UnknownCluster, match=f"several clusters.*{first.name}.*{second.name}"):
        Cluster.connect(None)
    with Cluster.connect(second.name) as again:
        assert again.run_dir == second.run_dir
