"""The fence on real guests: the disk itself refuses whoever is forced out (spec S6.2), and the ledger tells."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

import pytest

from guestd.membership import layout
from hil.checkers import disk_commands, fence
from hil.client import Node
from hil.config import make_config
from hil.scenario import ScenarioCluster
from hil.scsi.ledger_records import Entry
from hil.scsi.sense import Status
from tests.freezes.rounds import BLOCKS, FIRST_BLOCK, WRITER, freeze_once

pytestmark = pytest.mark.lab


@contextlib.contextmanager
def running(how: str = "scsi", **timing: int) -> Iterator[ScenarioCluster]:
    """Three joined nodes of this test's own; at the end the fence must have held and every panic been declared."""
    cluster = ScenarioCluster.up(make_config(name=f"t-fence-{os.getpid()}", nodes=3, fence=how, timing=timing))
    try:
        cluster.wait_joined()
        yield cluster
        cluster.check_panics()
        fence.check(cluster.disk.records())
    finally:
        cluster.down()


@pytest.fixture
def cluster() -> Iterator[ScenarioCluster]:
    with running() as cluster:
        yield cluster


def records(cluster: ScenarioCluster, sector: int) -> list[Entry]:
    """The writes of one kind of record, of all nodes."""
    places = {layout.region_lba(node.id, sector) for node in cluster.nodes}
    return [entry for entry in cluster.disk.ledger() if entry.writes and entry.lba in places]


def keys(cluster: ScenarioCluster, through: int) -> list[str]:
    lines = cluster.nodes[through].ssh("sg_persist --in --read-keys /dev/sda").stdout.splitlines()
    return sorted(line.strip() for line in lines if line.strip().startswith("0x"))


def test_every_life_has_a_key_of_its_own_and_a_victim_has_none(cluster: ScenarioCluster) -> None:  # S6.2, S6.3
    assert keys(cluster, 0) == ["0x484c000000000001", "0x484c000100000001", "0x484c000200000001"]
    reservation = cluster.nodes[0].ssh("sg_persist --in --read-reservation /dev/sda").stdout
    assert "type: Write Exclusive, all registrants" in reservation

    victim = cluster.nodes[2]
    cluster.power_off([victim])
    cluster.wait_state(victim, "inactive")
    assert keys(cluster, 0) == ["0x484c000000000001", "0x484c000100000001"]

    cluster.power_on([victim])
    cluster.wait_joined()
    assert keys(cluster, 0) == ["0x484c000000000001", "0x484c000100000001", "0x484c000200000002"]


def test_a_node_sends_two_commands_in_every_period_and_an_election_is_six_and_one_for_each_victim(  # S3.2
    cluster: ScenarioCluster,
) -> None:
    period_s = cluster.settings["settings"]["timing"]["disk_heartbeat_ms"] / 1000
    first = cluster.disk.status()["commands"]
    time.sleep(10 * period_s)
    last = cluster.disk.status()["commands"]
    for node in cluster.nodes:
        quiet = disk_commands.count(cluster.disk.ledger(), node.id, first, last)
        assert quiet.per_round == 2.0, quiet
        beats_s = [
            entry.arrival_ns / 1e9
            for entry in cluster.disk.ledger()
            if first <= entry.order < last and entry.writes and entry.nexus.number == node.id
            if entry.lba == layout.region_lba(node.id, layout.HEARTBEAT_SECTOR)
        ]
        # It is the mean that keeps to the period; on a busy host it may be longer, and is never much shorter.
        periods = (beats_s[-1] - beats_s[0]) / period_s
        assert len(beats_s) - 1 == quiet.rounds
        assert 0.7 * periods <= quiet.rounds <= periods + 1.5

    def election(victim: Node) -> disk_commands.Commands:
        before, event = cluster.disk.status()["commands"], cluster.catch_up().n
        time.sleep(2 * period_s)
        cluster.power_off([victim])
        cluster.wait_state(victim, "inactive")
        time.sleep(2 * period_s)
        (winner,) = {event["node"] for event in cluster.events(since=event) if event["kind"] == "elected"}
        return disk_commands.count(cluster.disk.ledger(), winner, before, cluster.disk.status()["commands"])

    master = cluster.master
    assert master is not None
    found = election(cluster.any_other(master))
    assert (found.election, found.fences, found.others) == (6, 1, 0), found
    found = election(master)  # its last commit may have come after the last read: one read more
    assert (found.election, found.fences, found.others) == (7, 1, 0), found


def test_what_must_not_be_forgotten_is_written_through_every_cache(cluster: ScenarioCluster) -> None:  # S2.5
    """Ballots, commit records and new incarnations are written with FUA; a lost heartbeat is only late."""
    for sector in (layout.BALLOT_SECTOR, layout.COMMIT_SECTOR):
        assert records(cluster, sector)
        assert all(entry.flushed for entry in records(cluster, sector))
    beats = records(cluster, layout.HEARTBEAT_SECTOR)
    assert sum(entry.flushed for entry in beats) == len(cluster.nodes)
    assert len(beats) > len(cluster.nodes)


@pytest.mark.parametrize("how", ["vcpu", "process"])
def test_a_frozen_node_that_wakes_changes_not_a_byte_and_panics(  # A1, A2, S6.4
    cluster: ScenarioCluster, how: str, request: pytest.FixtureRequest
) -> None:
    master = cluster.master
    assert master is not None
    for victim in (cluster.any_other(master), master):
        done = freeze_once(cluster, victim, how, after_s=0.0)
        request.node.user_properties.append((f"node {victim.id}: seconds from thaw to panic", f"{done.panic_s:.2f}"))
        cluster.power_cycle([victim])
        cluster.wait_joined()


def test_what_a_life_has_queued_is_gone_before_the_next_one_begins() -> None:  # A4, S6.3
    """A write of it is held at the disk while it loses power and boots again, before anybody misses it: never lands."""
    with running(death_ms=60_000) as cluster:
        victim = cluster.nodes[2]
        fault = cluster.disk.inject("delay-writes", victim, lba=(FIRST_BLOCK, FIRST_BLOCK + 8 * BLOCKS - 1))
        victim.ssh(WRITER)
        fault.wait_struck()
        cluster.power_cycle([victim])
        cluster.wait(lambda view: None if victim.view.incarnation == 2 else "no second life", about="the second life")
        told = [event["key"] for event in cluster.events() if event["kind"] == "earlier-life-aborted"]
        assert told == ["0x484c000200000001"]
        held = [entry for entry in cluster.disk.ledger() if (entry.lba, entry.nexus.number) == (FIRST_BLOCK, victim.id)]
        assert [entry.status for entry in held] == [Status.TASK_ABORTED]
        assert not held[0].changed
        fault.heal()
        cluster.wait_joined()


def test_without_reservations_a_node_ends_by_itself_before_anything_is_done_in_its_place() -> None:  # S6.5
    with running(how="panic") as cluster:
        assert keys(cluster, 0) == []
        victim = cluster.nodes[2]
        before = cluster.catch_up().n
        with cluster.expecting_panic(victim, "forced out"):
            cluster.cut_link(victim, "silent")
        cluster.wait_state(victim, "inactive")
        events = list(cluster.events(since=before))
        (panicked_t,) = (event["t"] for event in events if event["kind"] == "panic")
        recovers = [
            event["t"]
            for event in events
            if event["kind"] == "notified" and event["transition"] == "forced-leave" and event["level"] > 0
        ]
        assert recovers
        assert min(recovers) > panicked_t
