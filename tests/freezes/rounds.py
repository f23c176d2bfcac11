"""One freeze: a node that writes at full speed stands still, is forced out, goes on, and must not have changed a byte.

The disk's ledger is the verdict (:mod:`hil.checkers.fence`): not one write of a node took effect after its registration
had been removed (spec S6.2; A1 with the virtual processors stopped, A2 with the emulator stopped).
"""

from __future__ import annotations

import time
from typing import NamedTuple

from hil.checkers import fence
from hil.client.node import Node
from hil.errors import ClaimFailed
from hil.scenario import ScenarioCluster
from hil.scsi.ledger_records import Entry

FIRST_BLOCK = 80_000  # far from the membership database
BLOCKS = 64

# A pipe of direct writes that never ends; what is in flight at the freeze is cut off anywhere.
WRITER = (
    f"setsid sh -c 'while dd if=/dev/zero of=/dev/sda bs=4096 count={BLOCKS} seek={FIRST_BLOCK // 8} oflag=direct; do "
    ":; done' </dev/null >/dev/null 2>&1 &"
)


class Round(NamedTuple):
    """What one freeze came to: seconds from the thaw to the panic, and writes that the disk refused or aborted."""

    panic_s: float
    kept_out: int


def start_writer(cluster: ScenarioCluster, node: Node) -> None:
    """Returns when the disk has had writes of it. Raises ClaimFailed if it has none within a while."""
    since = cluster.disk.status()["commands"]
    node.ssh(WRITER)
    deadline = time.monotonic() + 30
    while not any(_is_of_writer(record, node, since) for record in cluster.disk.ledger()):
        if time.monotonic() > deadline:
            raise ClaimFailed(f"the writer on node {node.id} wrote nothing within 30 s")
        time.sleep(0.05)


def _is_of_writer(record: Entry, node: Node, since: int) -> bool:
    return record.order >= since and record.nexus.number == node.id and record.lba >= FIRST_BLOCK


def freeze_once(cluster: ScenarioCluster, victim: Node, how: str, *, after_s: float) -> Round:
    """Freeze ``victim``, which writes, ``after_s`` from now; wait until it is forced out; thaw; it must panic."""
    start_writer(cluster, victim)
    time.sleep(after_s)  # at a random moment of its writing: that is the experiment
    before = cluster.catch_up().n
    cluster.freeze(victim, how)
    cluster.wait_state(victim, "inactive")
    with cluster.expecting_panic(victim, "forced out"):
        cluster.thaw(victim)
    kept_out = fence.check(cluster.disk.records())
    at = {event["kind"]: event["t"] for event in cluster.events(since=before) if event.get("node") == victim.id}
    return Round(at["panic"] - at["fault-healed"], kept_out)
