"""A simulated cluster behind the client of real ones: every verb, every wait, on a clock that goes on in a wait."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from hil.checkers import fence, level_order
from hil.checkers.checker import Violation
from hil.errors import BenchDied, ClaimFailed, GuestdExited, LaboratoryError, MachineLost, UnknownNode, UsageError
from hil.scenario import ScenarioCluster
from hil.view import View
from tests.mutations.catalogue import BY_NAME
from tests.unit.sim_cluster import plain_node, started, world_of

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def cluster(evidence: Path) -> Iterator[ScenarioCluster]:
    with started() as one:
        yield one


def kinds(cluster: ScenarioCluster, since: int = 0) -> list[str]:
    return [event["kind"] for event in cluster.events(since)]


# -- power


@pytest.mark.parametrize("nodes", [2, 3, 8])
def test_all_lose_power_at_one_instant_and_join_again(nodes: int) -> None:
    with started(nodes=nodes) as cluster:
        before, at = cluster.view.n, cluster.clock
        done = cluster.power_off()
        assert (done["changed"], cluster.clock) == (list(range(nodes)), at)
        assert {node.view.power for node in cluster.nodes} == {"off"}
        cluster.power_on()
        assert {node.view.power for node in cluster.nodes} == {"running"}
        cluster.wait_joined()
        assert {node.view.incarnation for node in cluster.nodes} == {2}
        level_order.check(cluster.events(before))
        fence.check(cluster.disk.records())
        cluster.check_panics()


def test_what_is_off_stays_off_and_what_is_on_stays_on(cluster: ScenarioCluster) -> None:
    victim = cluster.nodes[1]
    assert cluster.power_on([victim])["changed"] == []
    assert cluster.power_off([victim])["changed"] == [1]
    assert cluster.power_off([victim])["changed"] == []
    cluster.wait_state(victim, "inactive")
    cluster.pass_time(60)
    assert victim.view.power == "off"
    with pytest.raises(UsageError, match="node 1's machine is off; `hil power cycle 1`"):
        cluster.shutdown(victim)


def test_a_machine_that_loses_power_while_it_boots_does_not_boot_any_more(cluster: ScenarioCluster) -> None:
    victim = cluster.nodes[2]
    cluster.power_cycle([victim])
    cluster.power_off([victim])
    before = cluster.view.n
    cluster.pass_time(30)
    assert victim.view.guestd == "absent"
    assert [event for event in cluster.events(before) if event.get("node") == 2] == []


def test_a_reset_is_a_new_life_on_a_machine_that_stays_on(cluster: ScenarioCluster) -> None:
    victim = plain_node(cluster)
    before = cluster.view.n
    cluster.reset(victim)
    cluster.wait_joined()
    assert victim.view.incarnation == 2
    assert "machine-reset" in kinds(cluster, before)
    assert "machine-stopped" not in kinds(cluster, before)


# -- orders and panics


def test_a_shutdown_is_a_graceful_leave(cluster: ScenarioCluster) -> None:
    leaver = plain_node(cluster)
    cluster.shutdown(leaver)
    cluster.wait_off(leaver)
    cluster.wait_state(leaver, "inactive")
    assert "guestd has left the cluster: power off" in leaver.console()
    cluster.check_panics()


def test_an_order_that_comes_before_guestd_waits_for_it(cluster: ScenarioCluster) -> None:
    victim = cluster.nodes[1]
    cluster.power_cycle([victim])
    cluster.panic(victim, "too early")
    cluster.wait_crashed(victim)
    assert victim.view.panic_reason is not None
    assert "too early" in victim.view.panic_reason
    cluster.check_panics()  # the order declares it


def test_a_panic_shows_on_the_console_and_then_the_machine_stands(cluster: ScenarioCluster) -> None:
    victim = plain_node(cluster)
    with cluster.expecting_panic(victim, because="forced out"):
        cluster.cut_link(victim, "silent")
    assert f"PANIC: {victim.view.panic_reason}" in victim.console()
    assert "Kernel panic" in victim.console()
    assert victim.view.power == "crashed"
    assert cluster.power_on([victim])["changed"] == []
    cluster.heal_link(victim)
    cluster.power_cycle([victim])
    cluster.wait_joined()


def test_a_panic_that_nobody_declared_is_a_failed_claim_and_so_is_one_that_does_not_come() -> None:  # S10.8
    with started() as cluster:
        victim = plain_node(cluster)
        cluster.cut_link(victim, "silent")
        cluster.wait_crashed(victim)
        with pytest.raises(ClaimFailed, match="nobody declared that it would"):
            cluster.check_panics()
    with started() as cluster, pytest.raises(ClaimFailed, match=r"was to panic: not within 3 s: node 0 has not"):  # noqa: SIM117
        with cluster.expecting_panic(cluster.nodes[0], within=3):
            pass


# -- links and freezes


def test_a_split_leaves_the_larger_group_and_healing_it_leaves_no_cut(cluster: ScenarioCluster) -> None:  # A6
    alone = cluster.nodes[2]
    with cluster.expecting_panic(alone, because="forced out"):
        cluster.split([cluster.nodes[0], cluster.nodes[1]], [alone])
    assert cluster.view.faults == {0: ["link-silent"], 1: ["link-silent"], 2: ["link-silent"]}
    cluster.heal_link(alone)
    assert not any(cluster.view.faults.values())
    cluster.power_cycle([alone])
    cluster.wait_joined()


@pytest.mark.parametrize("direction", ["in", "out"])
@pytest.mark.parametrize("others", [False, True])
def test_a_cut_of_one_direction_is_a_broken_link_too(direction: str, *, others: bool) -> None:  # A7
    with started() as cluster:
        a, b, c = cluster.nodes
        before = cluster.view.n
        cluster.cut_link(c, "silent", direction, [a, b] if others else None)
        (told,) = [event for event in cluster.events(before) if event["kind"] == "fault-injected"]
        assert told["direction"] == direction
        cluster.expect_panic(c, because="forced out")
        cluster.wait_crashed(c)


def test_a_cut_twice_is_a_cut_once_and_a_carrier_is_another_one(cluster: ScenarioCluster) -> None:
    victim = cluster.nodes[2]
    for _ in range(2):
        cluster.cut_link(victim, "silent")
    cluster.cut_link(victim, "carrier")
    assert cluster.heal_link(victim)["healed"] == [2]
    assert cluster.heal_link(victim)["healed"] == []
    cluster.pass_time(10)
    assert cluster.view.newest.joined() == [0, 1, 2]


@pytest.mark.parametrize("how", ["vcpu", "process"])
def test_a_short_freeze_is_survived_and_a_long_one_is_not(how: str) -> None:  # S10.5, A9
    with started(3) as cluster:
        victim = plain_node(cluster)
        death_s = cluster.settings["settings"]["timing"]["death_ms"] / 1000
        cluster.freeze(victim, how)
        assert victim.view.power == ("paused" if how == "vcpu" else "running")
        with pytest.raises(UsageError, match="is frozen"):
            cluster.panic(victim)
        cluster.pass_time(death_s / 3)
        assert cluster.thaw(victim)["thawed"] == [victim.id]
        cluster.pass_time(5)
        assert cluster.view.newest.joined() == [0, 1, 2]
        cluster.freeze(victim, how)
        cluster.wait_state(victim, "inactive")
        with cluster.expecting_panic(victim):
            cluster.thaw(victim)


def test_a_machine_that_is_frozen_while_it_boots_begins_when_it_goes_on(cluster: ScenarioCluster) -> None:
    victim = cluster.nodes[1]
    cluster.power_cycle([victim])
    cluster.freeze(victim)
    cluster.pass_time(20)
    assert victim.view.guestd == "absent"
    cluster.thaw(victim)
    cluster.wait_joined()


# -- waits


def test_a_wait_takes_virtual_time_and_says_why_it_was_in_vain(cluster: ScenarioCluster) -> None:
    began, at = time.monotonic(), cluster.clock
    with pytest.raises(ClaimFailed, match=r"node 1 off: not within 600 s: node 1's machine is running"):
        cluster.wait_off(cluster.nodes[1], timeout=600)
    assert cluster.clock == pytest.approx(at + 600)
    assert time.monotonic() - began < 100  # no wait of 600 s


def test_a_wait_that_cannot_succeed_ends_at_once(cluster: ScenarioCluster) -> None:
    cluster.power_off([cluster.nodes[0]])
    at = cluster.clock
    with pytest.raises(MachineLost, match="node 0's machine is off"):
        cluster.wait_joined()
    assert cluster.clock - at < 1


def test_guestd_that_must_not_go_on_ends_a_wait_with_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hil.sim.backend.bench.every_claim", lambda **_: [])  # they would say first that it was refused
    with started(joined=False) as cluster:
        size = cluster.settings["config"]["disk_mib"] * 2048
        cluster.disk.inject("flip", lba=(2048, min(size - 1, 2303)), bits=64)
        with pytest.raises(GuestdExited, match="ended with status"):
            cluster.wait_joined()
        (ended, *_) = (node for node in cluster.nodes if node.view.refused)
        assert "stays up for inspection" in ended.console()


def test_the_predicate_is_asked_after_every_single_event(cluster: ScenarioCluster) -> None:
    seen: list[int] = []

    def why_not(view: View) -> str | None:
        seen.append(view.n)
        return None if view.nodes[0].incarnation == 2 and view.newest.joined() == [0, 1, 2] else "not yet"

    cluster.power_cycle([cluster.nodes[0]])
    cluster.wait(why_not, about="back")
    assert sorted(set(seen)) == list(range(min(seen), max(seen) + 1))


def test_events_can_be_followed_and_end_with_the_cluster(cluster: ScenarioCluster) -> None:
    stream = cluster.events(follow=True)
    first = next(stream)
    assert (first["kind"], first["n"], first["t"]) == ("bench-started", 1, 0.0)
    cluster.down()
    *_, last = stream
    assert last["kind"] == "bench-stopping"
    with pytest.raises(BenchDied):
        cluster.power_off()


def test_a_stream_in_which_nothing_comes_any_more_does_not_hang(cluster: ScenarioCluster) -> None:
    cluster.power_off()
    stream = cluster.events(cluster.view.n, follow=True)
    with pytest.raises(LaboratoryError, match="nothing has happened for 3600 s of virtual time"):
        next(stream)


def test_time_passes_only_when_somebody_waits(cluster: ScenarioCluster) -> None:
    at = cluster.clock
    cluster.poll()
    cluster.catch_up()
    list(cluster.events())
    assert cluster.clock == at
    cluster.pass_time(0.25)
    assert cluster.clock == pytest.approx(at + 0.25)


def test_a_node_that_does_not_exist_is_refused_as_on_guests(cluster: ScenarioCluster) -> None:
    with pytest.raises(UnknownNode, match="there are 0 to 2"):
        cluster.caller.call("power_off", nodes=[7])
    with pytest.raises(UsageError, match="nodes = 'all'"):
        cluster.caller.call("power_off", nodes="all")
    with pytest.raises(UsageError, match="no call 'explode'"):
        cluster.caller.call("explode")


# -- what it is made of


@pytest.mark.parametrize("config", [{"election": "dekker"}, {"fence": "panic"}, {"timing": {"death_ms": 3000}}])
def test_the_cluster_file_counts_as_on_guests(config: dict[str, object]) -> None:
    with started(**config) as cluster:  # type: ignore[arg-type]  # keys of a cluster file
        world = world_of(cluster)
        for key, value in config.items():
            found = world.config.timing.death_ms if key == "timing" else getattr(world.config, key)
            assert found == (3000 if key == "timing" else value)
        victim = plain_node(cluster)
        cluster.power_off([victim])
        cluster.wait_state(victim, "inactive")
        cluster.power_on([victim])
        cluster.wait_joined()


def test_the_live_checkers_run_on_a_scenario_too() -> None:
    def story() -> None:
        with started(2, asked={"programs": 3}) as cluster:
            for victim in cluster.nodes:
                cluster.power_cycle([victim])
                cluster.wait_joined()

    with BY_NAME["barrier-skipped"].applied(), pytest.raises(Violation, match="in order"):
        story()


def test_what_guestd_raises_is_a_failed_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    with started() as cluster:
        stack = world_of(cluster).nodes[1].stack
        monkeypatch.setattr(stack, "handle", lambda *_: 1 // 0)
        with pytest.raises(Violation, match="guestd finds no fault of its own: ZeroDivisionError"):
            cluster.pass_time(5)


def documented() -> dict[str, str]:
    """Of docs/events.md: kind to its row, and the rows below it that go on."""
    found: dict[str, str] = {}
    kinds: list[str] = []
    for row in (ROOT / "docs" / "events.md").read_text(encoding="utf-8").splitlines():
        if row.startswith("| `"):
            kinds = re.findall(r"`([a-z-]+)`", row.split("|")[1])
        elif not row.startswith("| |"):
            kinds = []
        for kind in kinds:
            found[kind] = found.get(kind, "") + row
    return found


HEAD = {"n", "t", "kind", "node", "guest_n", "guest_t"}


def test_it_says_nothing_that_the_bench_of_guests_would_not_say() -> None:
    with started(4, asked={"programs": 2}, nodes=4) as cluster:
        a, b, *_ = cluster.nodes
        cluster.freeze(a, "vcpu")
        cluster.thaw(a)
        cluster.cut_link(a, "silent", "in", [b])
        cluster.heal_link(a)
        with cluster.disk.inject("slow", a, ms=5, count=1) as slow:
            slow.wait_struck()
        cluster.shutdown(b)
        cluster.wait_off(b)
        cluster.panic(a)
        cluster.wait_crashed(a)
        cluster.reset(cluster.nodes[2])
        cluster.wait_joined(cluster.nodes[2:])
        events = list(cluster.events())
    assert len({event["kind"] for event in events}) > 25
    rows = documented()
    for event in events:
        assert event["kind"] in rows, event
        assert [field for field in event.keys() - HEAD if field not in rows[event["kind"]]] == [], event
    for node in range(4):  # no event of a guest is lost, and each life begins anew
        numbers = [event["guest_n"] for event in events if event.get("node") == node and "guest_n" in event]
        assert all(after in (1, before + 1) for before, after in pairwise(numbers))
