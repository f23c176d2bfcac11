"""The disk of a simulated cluster is the real target: its faults, ledger and reservations, on the virtual clock."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from guestd.core.config import Config
from guestd.membership import layout
from hil.checkers import fence
from hil.errors import LaboratoryError, UsageError
from hil.scenario import ScenarioCluster
from hil.scsi.faults.kinds import KINDS, REFUSE_LOGIN, VOLATILE_CACHE
from hil.scsi.ledger_records import Entry, RegistrationEnded
from hil.scsi.sense import Status
from hil.sim.backend.world import ScenarioWorld
from hil.sim.claims import every_claim
from hil.sim.options import draw
from hil.sim.run import simulate
from hil.sim.world import CLUSTER_ID
from tests.unit.sim_cluster import plain_node, started, world_of


@pytest.fixture(autouse=True)
def evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def cluster(evidence: Path) -> Iterator[ScenarioCluster]:
    with started(1) as one:
        yield one


def heartbeat_of(node: int) -> tuple[int, int]:
    lba = layout.region_lba(node, layout.HEARTBEAT_SECTOR)
    return lba, lba


HARMLESS: dict[str, dict[str, Any]] = {
    "hang": {"seconds": 0.3},
    "delay-writes": {"seconds": 0.3},
    "slow": {"count": 3, "ms": 50},
    "error": {"count": 1},
    "reset": {"count": 1},
    "offline": {"seconds": 0.3},
    **{kind: {"count": 1, "lba": heartbeat_of(1)} for kind in ("torn", "lost", "flip", "stale")},
    "misdirected": {"count": 1, "lba": heartbeat_of(1), "shift": 5},  # to where nothing lies
}


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {REFUSE_LOGIN, VOLATILE_CACHE}))
def test_every_fault_of_the_disk_strikes_and_is_survived_where_it_is_short(cluster: ScenarioCluster, kind: str) -> None:
    before = cluster.view.n
    fault = cluster.disk.inject(kind, None if kind == "flip" else cluster.nodes[1], **HARMLESS[kind])
    fault.wait_struck()
    cluster.pass_time(3)
    fault.heal()
    told = [event for event in cluster.events(before) if event.get("number") == fault.numbers[0]]
    assert [event["kind"] for event in told] == ["fault-injected", "fault-struck", "fault-healed"]
    assert {event["fault"] for event in told} == {f"disk-{kind}"}
    cluster.wait_joined()
    cluster.check_panics()


def test_a_busy_disk_is_asked_again_and_nobody_notices(cluster: ScenarioCluster) -> None:
    with cluster.disk.inject("error", cluster.nodes[1], sense="busy", seconds=0.5) as fault:
        fault.wait_struck()
    cluster.pass_time(5)
    assert cluster.view.newest.joined() == [0, 1, 2]
    assert [entry.status for entry in cluster.disk.ledger() if entry.status == Status.BUSY] != []


def test_what_hangs_shows_in_the_status_and_goes_on_when_it_is_healed(cluster: ScenarioCluster) -> None:
    fault = cluster.disk.inject("hang", cluster.nodes[1])
    fault.wait_struck()
    (shown,) = cluster.disk.status()["faults"]
    assert (shown["node"], [held["node"] for held in shown["held"]]) == (1, [1])
    assert fault.heal() == 1
    assert cluster.disk.status()["faults"] == []


def test_a_queued_write_of_a_node_that_is_forced_out_is_aborted_by_its_fence(cluster: ScenarioCluster) -> None:  # S6.2
    victim = plain_node(cluster)
    fault = cluster.disk.inject("delay-writes", victim)
    fault.wait_struck()
    with cluster.expecting_panic(victim, because="forced out"):
        cluster.cut_link(victim, "silent")
    records = list(cluster.disk.records())
    (removal,) = [one for one in records if isinstance(one, RegistrationEnded)]
    aborted = [one for one in records if isinstance(one, Entry) and one.status == Status.TASK_ABORTED]
    assert removal.nexus.number == victim.id
    assert [one.nexus.number for one in aborted] == [victim.id]
    assert aborted[0].order < removal.order
    assert fault.heal() == 0
    fence.check(records)


def test_a_queued_write_outlives_its_machine_and_is_aborted_when_the_next_life_begins(
    cluster: ScenarioCluster,
) -> None:  # S6.3, A3
    victim = plain_node(cluster)
    fault = cluster.disk.inject("delay-writes", victim)
    fault.wait_struck()
    cluster.power_off([victim])
    assert [held["node"] for one in cluster.disk.status()["faults"] for held in one["held"]] == [victim.id]
    cluster.power_on([victim])
    cluster.wait(lambda view: None if view.nodes[victim.id].guestd == "running" else "no", about="guestd runs")
    cluster.wait_state(victim, "inactive")
    fault.heal()
    cluster.wait_joined()
    ended = [one for one in cluster.disk.ledger() if one.status == Status.TASK_ABORTED]
    assert [one.nexus.number for one in ended] == [victim.id]


def test_a_machine_that_its_disk_refuses_does_not_start(cluster: ScenarioCluster) -> None:
    victim = plain_node(cluster)
    fault = cluster.disk.inject(REFUSE_LOGIN, victim)
    with pytest.raises(LaboratoryError, match="its disk cannot be reached"):
        cluster.power_cycle([victim])
    cluster.catch_up()
    assert (victim.view.power, "refuse-login" in (victim.view.off_reason or "")) == ("off", True)
    fault.heal()
    cluster.power_on([victim])
    cluster.wait_joined()


def test_a_connection_that_is_not_let_in_again_is_a_path_that_hangs(cluster: ScenarioCluster) -> None:  # A8
    victim = plain_node(cluster)
    refused = cluster.disk.inject(REFUSE_LOGIN, victim)
    with cluster.expecting_panic(victim, because="forced out"):
        cluster.disk.inject("reset", victim, count=1).wait_struck()
    refused.heal()
    cluster.power_cycle([victim])
    cluster.wait_joined()


def test_what_is_in_a_volatile_cache_is_lost_with_the_power_and_the_cluster_comes_back(
    cluster: ScenarioCluster,
) -> None:  # S10.4
    before = cluster.view.n
    with cluster.disk.inject(VOLATILE_CACHE):
        cluster.pass_time(2)
        cluster.power_off()
    (lost,) = [event["cache_blocks_lost"] for event in cluster.events(before) if event["kind"] == "power"]
    assert lost > 0
    cluster.power_on()
    cluster.wait_joined()
    cluster.check_panics()


def test_the_disk_at_each_moment_is_kept_where_the_cluster_file_says_so() -> None:
    with started(keep_data=True) as cluster, cluster.disk.crash_states() as states:
        orders = [entry.order for entry in cluster.disk.ledger() if entry.changed]
        assert len(orders) > 10
        assert len(list(states)) >= len(orders)
    with started() as cluster, pytest.raises(UsageError, match="does not keep what is written"):
        cluster.disk.crash_states()


def test_the_ledger_is_on_the_virtual_clock(cluster: ScenarioCluster) -> None:
    entries = list(cluster.disk.ledger())
    assert [entry.order for entry in entries] == list(range(len(entries)))
    ends = [entry.completion_ns for entry in entries]
    assert ends == sorted(ends)
    assert 0 < ends[-1] <= cluster.clock * 1e9
    assert {entry.nexus.number for entry in entries} == {0, 1, 2}


@pytest.mark.parametrize("kind", ["torn", "lost", "misdirected", "flip", "stale"])
def test_who_makes_the_disk_lie_is_not_told_that_guestd_did_it(cluster: ScenarioCluster, kind: str) -> None:
    cluster.disk.inject(kind, lba=(layout.region_lba(0, 0), layout.region_lba(0, 0)), count=1)
    assert world_of(cluster).checkers == []


@pytest.mark.parametrize("kind", ["hang", "delay-writes", "error", "reset", "offline", VOLATILE_CACHE])
def test_who_does_not_is_watched_on(cluster: ScenarioCluster, kind: str) -> None:
    cluster.disk.inject(kind)
    assert len(world_of(cluster).checkers) == len(every_claim())


@pytest.mark.parametrize("seed", range(3))
def test_random_faults_are_stood_on_the_real_targets_disk_too(tmp_path: Path, seed: int) -> None:  # S6.2, A3, A4, A8
    options = draw(seed, "swarm", 3)
    config = Config(bytes.fromhex(CLUSTER_ID), "demo", 3, options.timing)
    world = ScenarioWorld(options, config, tmp_path, 16, None, keep_data=False, capture=False, checkers=every_claim())
    world.operator_boots = True
    simulate(world)
    world.target_disk.close()
    assert world.faults.counts.total() > 0
