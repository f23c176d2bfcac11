"""Three LUNs on real guests: each is fenced, LUN 0 first, before anything is done in a victim's place (S6.2, A18)."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.checkers import fence
from hil.client import Node
from hil.config import make_config
from hil.scenario import ScenarioCluster
from hil.scsi.ledger_records import Entry, RegistrationEnded

pytestmark = pytest.mark.lab

DATA_DISKS = 2
LUNS = range(1 + DATA_DISKS)
FIRST_BLOCK = 110_000  # behind the shared file system

WRITERS = """
guestctl disks | while read -r _ lun device _; do
    setsid sh -c "while dd if=/dev/zero of=$device bs=4096 count=64 seek={place} oflag=direct; do :; done" \
        </dev/null >/dev/null 2>&1 &
done
""".replace("{place}", str(FIRST_BLOCK // 8))
"""A pipe of direct writes to each LUN that never ends."""


def started() -> ScenarioCluster:
    return ScenarioCluster.up(make_config(name=f"t-luns-{os.getpid()}", nodes=3, data_disks=DATA_DISKS))


@pytest.fixture
def cluster() -> Iterator[ScenarioCluster]:
    """Three joined nodes; at the end no write of a fenced node may have changed a byte on any LUN."""
    cluster = started()
    try:
        cluster.wait_joined()
        yield cluster
        cluster.check_panics()
        fence.check(cluster.disk.records())
    finally:
        cluster.down()


def keys(node: Node, device: str) -> list[str]:
    lines = node.ssh(f"sg_persist --in --read-keys {device}").stdout.splitlines()
    return sorted(line.strip() for line in lines if line.strip().startswith("0x"))


def devices(node: Node) -> list[str]:
    """By LUN."""
    told = json.loads(node.ssh("guestctl disks --json").stdout)["disks"]
    assert [disk["lun"] for disk in told] == list(LUNS)
    return [str(disk["device"]) for disk in told]


def writes(cluster: ScenarioCluster, node: Node, since: int) -> dict[int, list[Entry]]:
    """Of the writers of that node, by LUN."""
    entries = [one for one in cluster.disk.ledger() if one.order >= since and one.nexus.number == node.id]
    return {lun: [one for one in entries if one.lun == lun and one.writes and one.lba >= FIRST_BLOCK] for lun in LUNS}


def test_while_one_of_three_disks_cannot_be_fenced_no_recovery_begins_and_it_is_tried_again(  # A18, A1, S6.2
    cluster: ScenarioCluster,
) -> None:
    victim = cluster.nodes[2]
    others = [node for node in cluster.nodes if node is not victim]
    for device in devices(victim):
        assert keys(victim, device) == ["0x484c000000000001", "0x484c000100000001", "0x484c000200000001"]
    before, event = cluster.disk.status()["commands"], cluster.catch_up().n
    victim.ssh(WRITERS)
    deadline = time.monotonic() + 60
    while not all(writes(cluster, victim, before).values()):
        assert time.monotonic() < deadline, "the writers have not begun"
        time.sleep(0.1)

    held = cluster.disk.inject("hang", others, direction="reserve", lun=2)
    cluster.freeze(victim, "vcpu")
    cluster.wait(
        lambda view: None if any(node.not_begun for node in view.nodes) else "the epoch has begun, or nobody bids",
        about="the fence of LUN 2 is given up",
    )
    times = cluster.settings["settings"]["timing"]
    cluster.pass_time(times["death_ms"] / 1000)
    told = list(cluster.events(since=event))
    reasons = {one["why"] for one in told if one["kind"] == "epoch-not-begun"}
    assert reasons == {"the fence could not be verified on LUN 2"}
    assert len([one for one in told if one["kind"] == "epoch-not-begun"]) > 1, "it is tried again"
    assert not [one for one in told if one["kind"] == "notified" and one["transition"] == "forced-leave"]
    gone = [record for record in cluster.disk.records() if isinstance(record, RegistrationEnded)]
    assert [record.lun for record in gone] == [0, 1], "LUN 0 first, LUN 2 not yet"
    assert [node.view.state for node in others] == ["joined", "joined"]

    held.heal()
    cluster.wait_state(victim, "inactive")
    gone = [record for record in cluster.disk.records() if isinstance(record, RegistrationEnded)]
    assert [record.lun for record in gone] == [0, 1, 2]
    healed = cluster.disk.status()["commands"]
    with cluster.expecting_panic(victim, "forced out"):
        cluster.thaw(victim)
    for lun, late in writes(cluster, victim, healed).items():
        assert not [one for one in late if one.changed], f"LUN {lun}"
    assert fence.check(cluster.disk.records()) > 0
    cluster.power_cycle([victim])
    cluster.wait_joined()
    for device in devices(others[0]):
        assert keys(others[0], device) == ["0x484c000000000001", "0x484c000100000001", "0x484c000200000002"]


def save(cluster: ScenarioCluster, place: Path) -> tuple[Path, int]:
    """The checkpoint, and the epoch of that time; on LUN 2 there is something to be known again."""
    cluster.wait_joined()
    device = devices(cluster.nodes[0])[2]
    text = "echo of the first cluster"
    assert cluster.nodes[0].ssh(f"{text} | dd of={device} bs=512 seek=4096 conv=sync oflag=direct").exited == 0
    return cluster.checkpoint(place), cluster.view.epoch


def test_a_cluster_with_data_disks_is_saved_and_goes_on_with_all_of_them(tmp_path: Path) -> None:  # S6.3
    """And it has begun from saved machines, where there are some: of these each has found its disks by their names."""
    cluster = started()
    try:
        saved, before = save(cluster, tmp_path / "saved")
    finally:
        cluster.down()
    with ScenarioCluster.restored(saved, f"t-luns-again-{os.getpid()}") as again:
        try:
            assert again.view.epoch == before
            for device in devices(again.nodes[1]):
                assert len(keys(again.nodes[1], device)) == len(again.nodes)
            place = devices(again.nodes[1])[2]
            read = again.nodes[1].ssh(f"dd if={place} bs=512 skip=4096 count=1 iflag=direct 2>/dev/null")
            assert read.stdout.startswith("of the first cluster")
            victim = again.nodes[2]
            again.power_off([victim])
            again.wait_state(victim, "inactive")
            again.power_on([victim])
            again.wait_joined()
        finally:
            again.down()
