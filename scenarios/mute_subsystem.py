"""A subsystem never acknowledges its level, on a plain node and on the master: its node is forced out (A14).

The cluster goes on (spec S4.13). The subsystem is a program that registers at a level of its own (docs/programs.md).
"""

import pytest

from hil.client import Node
from hil.client.running import Running
from hil.scenario import ScenarioCluster

pytestmark = [pytest.mark.lab, pytest.mark.nightly, pytest.mark.guests("the mute subsystem is a program")]

MUTE = """
import signal
from guestd.client import register
with register("mute", order=50) as subsystem:
    while notification := subsystem.wait():
        if any(one.transition == "leave" for one in notification.transitions):
            signal.pause()
        subsystem.acknowledge(notification)
        print("acknowledged", flush=True)
"""


def start_mute(node: Node) -> Running:
    """It has been taken through the joins of all nodes when this returns."""
    program = Running(node, f"PYTHONPATH=/usr/lib/hil exec python3 -S -c '{MUTE}'")
    program.wait_lines(1, "acknowledged")
    return program


@pytest.mark.case("A14")
@pytest.mark.parametrize("whose", ["a plain node's", "the master's"])
@pytest.mark.cluster(nodes=3, timing={"subsystem_ms": 6000})
def test_a_node_whose_subsystem_is_mute_is_forced_out(cluster: ScenarioCluster, whose: str) -> None:
    (master,) = cluster.in_role("master")
    leaver, plain = (node for node in cluster.nodes if node is not master)
    victim, stays = (master, plain) if whose == "the master's" else (plain, master)
    mute = start_mute(victim)
    with cluster.expecting_panic(victim, because="subsystem mute did not acknowledge within 6000 ms"):
        cluster.shutdown(leaver)
    mute.abandon()
    cluster.wait_off(leaver)  # its leave has come to its end all the same
    cluster.expect_members([stays])
