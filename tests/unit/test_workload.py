"""Loads and expectations on a simulated cluster: what holds passes, and what does not is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.checkers.checker import Violation
from hil.errors import ClaimFailed, UnknownNode, UsageError
from hil.evidence.layout import DISK
from hil.scenario import ScenarioCluster
from hil.sim.claims.files import FilesKept
from hil.sim.filers import LOGS
from tests.unit.sim_cluster import plain_node, started, world_of

COMMANDS = {"start_command": ["/bin/true"], "stop_command": ["/bin/true"]}


@pytest.fixture(autouse=True)
def evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def cluster(evidence: Path) -> Iterator[ScenarioCluster]:
    with started() as one:
        yield one


# -- loads


@pytest.mark.parametrize(("kinds", "told"), [(["file"], "'file' is none"), ([], "nothing is none")])
def test_a_load_of_no_kind_is_refused_with_what_is_legal(cluster: ScenarioCluster, kinds: list[str], told: str) -> None:
    with pytest.raises(UsageError, match=f"workload: {told}; there are: files, locks, volumes, services"):
        cluster.workload(*kinds)


def test_a_load_goes_on_through_a_power_failure_and_ends_with_its_block(cluster: ScenarioCluster) -> None:
    with cluster.workload("files", "locks", "volumes", "services") as load:
        load.wait_progress()
        cluster.power_cycle()
        cluster.wait_joined()
        load.resume()
        before = load.acknowledged()
        load.wait_progress()
        found = load.check()
    assert all(found[kind] >= before[kind] + 3 for kind in ("files", "locks", "volumes"))
    assert found["services"] == 3
    cluster.pass_time(30)  # whoever was at something has done it
    ended = load.acknowledged()
    cluster.pass_time(30)
    assert load.acknowledged() == ended
    assert world_of(cluster).lockers.left() is None


def test_one_load_at_a_time_and_another_one_after_it(cluster: ScenarioCluster) -> None:
    for _ in range(2):
        with cluster.workload("files", "services") as load:
            load.wait_progress()
            with pytest.raises(UsageError, match="a load of this cluster goes on"):
                cluster.workload("locks").__enter__()
    with cluster.workload("locks") as other:
        other.wait_progress()


def test_without_a_load_nothing_goes_on(cluster: ScenarioCluster) -> None:
    cluster.pass_time(30)
    assert cluster.caller.call("load_counts") == {"files": 0, "locks": 0, "volumes": 0}
    assert cluster.in_role("holder_of(queue)") == []


def test_a_load_that_hangs_is_told(cluster: ScenarioCluster) -> None:
    with cluster.workload("files") as load:
        faults = [cluster.disk.inject("hang", node) for node in cluster.nodes]
        with pytest.raises(ClaimFailed, match=r"the load goes on: not within 20 s: files: \d of 50"):
            load.wait_progress(50, timeout=20)
        for fault in faults:
            fault.heal()


def test_what_nobody_has_read_since_is_read_by_the_check(cluster: ScenarioCluster) -> None:
    """A record that was acknowledged, and is gone."""
    with cluster.workload("files") as load:
        load.wait_progress(10)
        (claim,) = (one for one in world_of(cluster).checkers if isinstance(one, FilesKept))
        claim._acknowledged[LOGS[0]].add(999_999)
        with pytest.raises(Violation, match="which were acknowledged"):
            load.check()
        claim._acknowledged[LOGS[0]].remove(999_999)


def test_whoever_leaves_the_block_has_had_it_checked(cluster: ScenarioCluster) -> None:
    def story() -> None:
        with cluster.workload("services"):
            cluster.services.stop("load-1")
            cluster.services.wait_deregistered("load-1")

    with pytest.raises(ClaimFailed, match="service load-1 registered: not within"):
        story()


def test_an_exception_in_the_block_is_not_hidden_by_a_check(cluster: ScenarioCluster) -> None:
    def story() -> None:
        with cluster.workload("files"):
            raise UsageError("of the scenario")

    with pytest.raises(UsageError, match="of the scenario"):
        story()


def test_a_file_system_that_is_not_sound_fails_the_check(cluster: ScenarioCluster) -> None:
    with cluster.workload("locks") as load:
        first, last = cluster.disk.journal(cluster.nodes[1])
        assert last > first
        with (cluster.run_dir / DISK).open("r+b") as image:
            image.seek(first * 512)
            whole = image.read(512)
            image.seek(first * 512)
            image.write(bytes(reversed(whole)))
            image.flush()
            with pytest.raises(ClaimFailed, match="fsck: "):
                load.check()
            image.seek(first * 512)
            image.write(whole)


# -- who


def test_roles_are_nodes_of_the_cluster(cluster: ScenarioCluster) -> None:
    (master,) = cluster.in_role("master")
    assert master is cluster.master
    assert cluster.any_other(master) is cluster.in_role("any_other")[0]
    assert cluster.minority() == [[node for node in cluster.nodes if node is not master][-1]]
    assert cluster.in_role(2) == [cluster.nodes[2]]
    with pytest.raises(ClaimFailed, match=r"no node is runs\(web\)"):
        cluster.runs("web")
    with pytest.raises(ClaimFailed, match="nobody holds lock 'queue': not within 1 s"):
        cluster.holder_of("queue", timeout=1)


def test_a_holder_is_found_also_when_it_stands_still(cluster: ScenarioCluster) -> None:
    with cluster.workload("locks") as load:
        load.wait_progress(10)
        holder = cluster.holder_of("queue")
        assert holder in cluster.nodes
        cluster.freeze(holder)
        assert holder.id not in cluster.locks()
        cluster.expect_members(node for node in cluster.nodes if node is not holder)
        with cluster.expecting_panic(holder):
            cluster.thaw(holder)


# -- expectations


def test_members_are_waited_for_and_none_may_be_missing_or_too_many(cluster: ScenarioCluster) -> None:
    cluster.expect_members([0, 1, 2], within=1)
    with pytest.raises(ClaimFailed, match=r"the members are nodes 0, 1: not within 5 s: node 0 sees node 2 as joined"):
        cluster.expect_members({0, 1}, within=5)
    victim = plain_node(cluster)
    cluster.power_off([victim])
    others = [node for node in cluster.nodes if node is not victim]
    cluster.expect_members(others)
    with pytest.raises(UnknownNode, match="there are 0 to 2"):
        cluster.expect_members([7])


def test_a_panic_that_comes_too_late_is_none_that_was_expected(cluster: ScenarioCluster) -> None:  # S10.8
    victim = plain_node(cluster)
    declared = cluster.expect_panic(victim, because="forced out", within=0.5)
    cluster.cut_link(victim, "silent")
    cluster.wait_crashed(victim)
    assert declared.by_t == pytest.approx(cluster.clock, abs=60)
    with pytest.raises(ClaimFailed, match=rf"nobody declared .*node {victim.id} was to panic by \d+\.\d+ s because"):
        cluster.check_panics()


def test_a_panic_in_its_time_is(cluster: ScenarioCluster) -> None:  # S10.8
    victim = plain_node(cluster)
    cluster.pass_time(100)  # the time counts from now, not from the last event
    cluster.expect_panic(victim, because="forced out", within=30)
    cluster.cut_link(victim, "silent")
    cluster.wait_crashed(victim)
    cluster.check_panics()


def test_a_service_that_is_waited_for_is_expected_to_the_end(cluster: ScenarioCluster) -> None:
    cluster.services.wait_ready()
    cluster.services.add({"name": "a", "node_preferences": [1], **COMMANDS})
    cluster.expect_service("a", on=cluster.nodes[1], within=30)
    cluster.check_services()
    cluster.services.move("a", 2)
    cluster.services.wait_registered("a", on=2)
    with pytest.raises(ClaimFailed, match="service a was to be registered on node 1"):
        cluster.check_services()
    with pytest.raises(ClaimFailed, match="not within 1 s"):
        cluster.expect_service("a", on=cluster.nodes[0], within=1)


def test_that_nothing_stale_was_written_is_shown_only_where_somebody_was_fenced(cluster: ScenarioCluster) -> None:
    with pytest.raises(ClaimFailed, match="no node was fenced: that it has written nothing since shows nothing"):
        cluster.expect_no_stale_writes()
    victim = plain_node(cluster)
    with cluster.expecting_panic(victim):
        cluster.cut_link(victim, "silent")
    cluster.wait_state(victim, "inactive")
    assert cluster.expect_no_stale_writes() > 0
