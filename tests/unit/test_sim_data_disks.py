"""Several LUNs in the simulator: each a disk of its own, faults of one of them, and what it finds out (S6.2, A18)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from guestd.core.effects import ScsiCommand, WriteSectors
from guestd.fence import persistent_reserve as pr
from guestd.fence.keys import key_of
from hil.checkers import fence
from hil.errors import UsageError
from hil.scenario import ScenarioCluster
from hil.scsi.ledger_records import RegistrationEnded
from hil.sim.options import FENCE_FAULTS, Options, calm, draw
from hil.sim.plan import Fault, Plan
from hil.sim.run import run
from hil.sim.world import World
from tests.unit.sim_cluster import plain_node, started

SEEDS = range(200)
LBA = 5000


# -- what is drawn


@pytest.mark.parametrize("preset", ["swarm", "quick"])
def test_seeds_without_data_disks_are_what_they_are_with_nothing_drawn(preset: str) -> None:
    for seed in SEEDS:
        drawn, without = draw(seed, preset), draw(seed, preset, data_disks=0)
        assert not [kind for kind, _ in without.weights if kind in FENCE_FAULTS]
        if drawn.data_disks:
            weights = tuple(one for one in drawn.weights if one[0] not in FENCE_FAULTS)
            assert replace(drawn, data_disks=0, weights=weights) == without
        else:
            assert drawn == without


def test_one_run_in_four_has_data_disks() -> None:
    counts = Counter(draw(seed, "quick").data_disks for seed in SEEDS)
    assert set(counts) == {0, 1, 2}
    assert 0.1 < 1 - counts[0] / len(SEEDS) < 0.4
    assert {draw(seed, preset).data_disks for seed in range(20) for preset in ("lite", "performance")} == {0}


@pytest.mark.parametrize("count", [-1, 8])
def test_a_number_that_cannot_be_is_refused(count: int) -> None:
    with pytest.raises(UsageError, match=rf"{count} data disks \(legal: 0 to 7\)"):
        draw(0, "quick", data_disks=count)


# -- the disks


def quiet(**changes: object) -> Options:
    return replace(calm(1), data_disks=2, **changes)  # type: ignore[arg-type]


def booted(*faults: Fault, options: Options | None = None, until_ms: int = 30_000) -> World:
    made = World(options or quiet(), plan=Plan(until_ms, faults))
    made.begin()
    made.faults.begin()
    return made


def keys(made: World) -> list[list[int]]:
    return [sorted(one.state.keys.values()) for one in (made.disk, *made.disk.further)]


def test_each_lun_has_its_own_contents_and_registrations() -> None:  # S6.2
    made = booted()
    made.queue.run_until(8_000_000)
    assert made.why_not_converged() is None
    assert keys(made) == [[key_of(node, 1) for node in range(3)]] * 3
    assert made.disk_writers.counts["done"] > 100
    assert {bytes(one.medium) for one in made.disk.further} != {bytes(len(made.disk.further[0].medium))}
    outcomes = Counter((entry.lun, entry.what) for entry in made.disk.ledger.entries if entry.outcome == "done")
    assert outcomes[1, "write"] > 50
    assert outcomes[2, "write"] > 50
    assert outcomes[1, "register"] == outcomes[2, "register"] == 3


@pytest.mark.parametrize("lun", [0, 1, 2])
def test_a_command_goes_to_the_lun_that_it_names_and_to_no_other(lun: int) -> None:
    made = booted()
    made.queue.run_until(8_000_000)
    before = [bytes(one.medium[LBA * 512 : LBA * 512 + 512]) for one in (made.disk, *made.disk.further)]
    made.disk.submit(made.nodes[0], WriteSectors(-1, LBA, b"\x77" * 512, lun=lun))
    made.queue.run_until(8_100_000)
    after = [bytes(one.medium[LBA * 512 : LBA * 512 + 512]) for one in (made.disk, *made.disk.further)]
    assert [index for index in range(3) if after[index] != before[index]] == [lun]


def test_a_path_that_hangs_hangs_to_all_luns_and_a_fence_to_one() -> None:  # A18
    made = booted()
    made.queue.run_until(8_000_000)
    told: list[int] = []
    for one in (made.disk, *made.disk.further):
        one.on_raw = lambda node, _life, lun, _ok: told.append(lun) if node.number == 0 else None

    def write_everywhere() -> list[int]:
        told.clear()
        for lun in range(3):
            made.disk.submit(made.nodes[0], WriteSectors(-1, LBA, bytes(512), lun=lun))
        made.queue.run_until(made.queue.now_us + 200_000)
        return sorted(set(told))

    made.disk.hang(0)
    assert write_everywhere() == []
    assert not made.disk.whole
    made.disk.unhang(0)
    made.disk.further[0].hang_fences(0)
    assert not made.disk.whole
    assert write_everywhere() == [0, 1, 2]
    held = len(made.disk.ledger.of(0))
    made.disk.submit(made.nodes[0], ScsiCommand(-1, pr.read_keys(), b"", pr.KEYS_SIZE_MAX, lun=1))
    made.queue.run_until(made.queue.now_us + 100_000)
    assert not [one for one in made.disk.ledger.of(0)[held:] if (one.lun, one.what) == (1, "read-keys")]
    made.disk.further[0].unhang_fences(0)
    made.queue.run_until(made.queue.now_us + 100_000)
    assert [one for one in made.disk.ledger.of(0)[held:] if (one.lun, one.what) == (1, "read-keys")]
    assert made.disk.whole


def test_a_fault_of_a_lun_that_there_is_not_strikes_nothing() -> None:
    made = booted(Fault("fence-hang", 100, 500, node=0, lun=3), Fault("fence-errors", 100, 500, node=0, lun=7, share=9))
    made.queue.run_until(1_000_000)
    assert made.faults.counts == {}


# -- A18


@pytest.mark.parametrize("kind", FENCE_FAULTS)
@pytest.mark.parametrize("lun", [1, 2])
def test_no_recovery_begins_while_one_lun_cannot_be_fenced(kind: str, lun: int) -> None:  # A18
    share = 1000 if kind == "fence-errors" else None
    faults = [Fault(kind, 6000, 14_000, node=node, lun=lun, share=share) for node in (0, 1)]
    made = booted(*faults, Fault("crash", 7000, 20_000, node=2))
    made.queue.run_until(19_900_000)
    epochs = {node.stack.member.view.epoch for node in made.nodes if node.stack}
    assert epochs == {made.epoch()}
    told = [fields["why"] for _, _, event, fields in made.events if event == "epoch-not-begun"]
    assert len(told) > 3
    assert set(told) == {f"the fence could not be verified on LUN {lun}"}
    recovers = [one for _, _, event, one in made.events if event == "notified" and one["transition"] == "forced-leave"]
    assert recovers == []
    made.queue.run_until(24_000_000)
    assert made.epoch() == epochs.pop() + 1
    assert keys(made) == [[key_of(node, 1) for node in (0, 1)]] * 3


@pytest.mark.parametrize("data_disks", [1, 3])
@pytest.mark.parametrize("seed", range(6))
def test_guestd_stands_faults_of_single_luns_and_comes_together_again(seed: int, data_disks: int) -> None:  # A18, A23
    found = run(draw(seed, "quick", data_disks=data_disks))
    assert found.violation is None, "\n".join([f"repeat: {found.command}", *found.details])
    assert f"--data-disks {data_disks}" in found.command


# -- scenarios


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScenarioCluster]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with started(1, data_disks=2) as one:
        yield one


def test_in_a_scenario_the_fence_of_one_lun_is_held_up_and_goes_on(cluster: ScenarioCluster) -> None:  # A18
    victim = plain_node(cluster)
    others = [node for node in cluster.nodes if node is not victim]
    held = cluster.disk.inject("hang", others, direction="reserve", lun=2)
    cluster.power_off([victim])
    cluster.wait(lambda view: None if any(one.not_begun for one in view.nodes) else "not yet", about="it is given up")
    cluster.pass_time(20)
    gone = [one.lun for one in cluster.disk.records() if isinstance(one, RegistrationEnded)]
    assert gone == [0, 1]
    assert [view.silent_luns for view in cluster.view.nodes if view.power == "running"] == [{2}, {2}]
    held.heal()
    cluster.wait_state(victim, "inactive")
    cluster.pass_time(5)
    assert [view.silent_luns for view in cluster.view.nodes] == [set(), set(), set()]
    assert not any(view.not_begun for view in cluster.view.nodes)
    fence.check(cluster.disk.records())
    assert {path.name for path in cluster.run_dir.glob("*.raw")} == {"disk.raw", "disk-1.raw", "disk-2.raw"}
    cluster.power_on([victim])
    cluster.wait_joined()
