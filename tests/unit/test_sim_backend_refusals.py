"""What only one back end can do is refused on the other by name, with why, and with the one that can."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hil.client import Cluster
from hil.client.backend import ONLY_SIMULATED, check_guests
from hil.errors import UsageError
from hil.scenario import ScenarioCluster
from hil.sim.backend.options import SETTABLE, scenario_options
from hil.sim.backend.simulated import REFUSED
from tests.unit.fake_bench import fake_bench
from tests.unit.sim_cluster import plain_node, started, world_of

pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True)
def evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


ONLY_GUESTS: dict[str, Callable[[ScenarioCluster], Any]] = {
    "checkpoint": lambda cluster: cluster.checkpoint("saved"),
    "checkpoint, to go back": lambda cluster: cluster.restore("saved"),
    "save_checkpoint": lambda cluster: cluster.caller.call("save_checkpoint", path="/nowhere", replace=False),
    "open_ssh": lambda cluster: cluster.nodes[0].ssh("true"),
}
ONLY_SIMULATION: dict[str, Callable[[Cluster], Any]] = {
    "simulation.lose_datagrams": lambda cluster: cluster.simulation.lose_datagrams(0.5),
    "simulation.slow_down": lambda cluster: cluster.simulation.slow_down(cluster.nodes, 5),
    "simulation.drift": lambda cluster: cluster.simulation.drift(cluster.nodes[0], 100),
}


@pytest.mark.parametrize("what", ONLY_GUESTS)
def test_what_needs_guests_is_refused_in_a_simulation(what: str) -> None:
    name = what.partition(",")[0]
    with started() as cluster:
        with pytest.raises(UsageError) as refused:
            ONLY_GUESTS[what](cluster)
        assert str(refused.value) == f"{name}: {REFUSED[name]}; guests can (`--backend qemu`)"
        cluster.pass_time(5)  # nothing has happened to it
        assert cluster.view.newest.joined() == [0, 1, 2]


@pytest.mark.parametrize("what", ONLY_SIMULATION)
def test_what_needs_a_simulation_is_refused_on_guests(tmp_path: Path, what: str) -> None:
    with fake_bench(f"refuses-{os.getpid()}", tmp_path / "run") as bench:
        cluster = Cluster(bench.name)
        with pytest.raises(UsageError) as refused:
            ONLY_SIMULATION[what](cluster)
        cluster.close()
        assert bench.calls == []
    assert str(refused.value) == f"{what}: {ONLY_SIMULATED[what]}; `--backend sim` can"


def test_nothing_that_is_refused_is_left_out_here() -> None:
    assert {what.partition(",")[0] for what in ONLY_GUESTS} == set(REFUSED)
    assert set(ONLY_SIMULATION) == set(ONLY_SIMULATED) - {"simulation"}


# -- and what is not refused does happen


def test_datagrams_are_lost_and_heartbeats_on_the_disk_keep_the_cluster_together() -> None:  # S5.1
    with started() as cluster:
        world = world_of(cluster)
        cluster.simulation.lose_datagrams(0.3)
        assert cluster.view.faults == {None: ["datagram-loss"]}
        cluster.pass_time(10)
        assert world.network.counts["lost"] > 30
        cluster.simulation.lose_datagrams(0)
        lost = world.network.counts["lost"]
        cluster.pass_time(10)
        assert world.network.counts["lost"] == lost
        assert cluster.view.newest.joined() == [0, 1, 2]


def test_a_slow_processor_makes_its_node_late() -> None:
    with started() as cluster:
        victim = plain_node(cluster)
        cluster.simulation.slow_down(victim, 1000)
        with cluster.expecting_panic(victim):
            cluster.wait_state(victim, "inactive")
            cluster.simulation.slow_down(victim, 0)
        cluster.power_off([victim])
        assert not any(cluster.view.faults.values())


def test_a_clock_that_drifts_does_so_from_the_next_boot_on() -> None:  # A19
    with started(asked={"drift_ppm_max": 0}) as cluster:
        fast, other = cluster.nodes[0], cluster.nodes[1]
        cluster.simulation.drift(fast, 100_000)
        cluster.power_cycle()
        cluster.wait_joined()
        ran = {node.id: world_of(cluster).nodes[node.id].clock_ms for node in (fast, other)}
        cluster.pass_time(100)
        passed = {node.id: world_of(cluster).nodes[node.id].clock_ms - ran[node.id] for node in (fast, other)}
        assert passed[fast.id] == pytest.approx(110_000, abs=2)
        assert passed[other.id] == pytest.approx(100_000, abs=2)
        assert cluster.view.newest.joined() == [0, 1, 2]


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda cluster: cluster.simulation.lose_datagrams(1.5), "a share of 1.5; legal are 0 to 1"),
        (lambda cluster: cluster.simulation.slow_down(cluster.nodes, -1), "-1 ms; legal are 0 to 1000"),
        (lambda cluster: cluster.simulation.drift(cluster.nodes[0], 200_000), "legal are -100000 to 100000"),
    ],
)
def test_values_that_are_not_legal_are_refused_with_those_that_are(ask: Callable[[Cluster], Any], told: str) -> None:
    with started() as cluster, pytest.raises(UsageError, match=told):
        ask(cluster)


# -- options


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"delay": 3}, "simulation(delay=3): that option does not exist; there are: timing_factor, delay_us_max"),
        ({"torn_share": 3}, "simulation(torn_share=3): that option is not a scenario's to set; there are: "),
        ({"seed": 3}, "simulation(seed=3): that option is not a scenario's to set"),
        ({"loss_share": 1001}, "simulation(loss_share=1001): legal are 0 to 1000"),
        ({"loss_share": True}, "simulation(loss_share=True): legal are 0 to 1000"),
        ({"loss_share": 0.5}, "simulation(loss_share=0.5): legal are 0 to 1000"),
        ({"boot_ms_max": 200}, "simulation(boot_ms_max=200): legal are 300 to "),
        ({"late_ms_max": 300}, "simulation(late_ms_max=300): legal are 0 to 250"),
        ({"timing_factor": 11}, "simulation(timing_factor=11): legal are 1.0 to 10.0"),
        ({"drift_ppm_max": -1}, "simulation(drift_ppm_max=-1): legal are 0 to 100000"),
    ],
)
def test_options_that_cannot_be_are_refused(asked: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as refused:
        scenario_options(0, 3, asked)
    assert told in str(refused.value)


def test_every_option_that_may_be_set_is_one_of_the_worlds_and_counts() -> None:
    for name in SETTABLE:
        value = 3 if name in ("timing_factor", "programs") else 250 if name == "late_ms_max" else 900
        assert getattr(scenario_options(0, 3, {name: value}), name) == value


def test_no_fault_is_drawn_for_a_scenario() -> None:
    drawn = [scenario_options(seed, 3) for seed in range(50)]
    shares = ("loss_share", "torn_share", "lost_share", "stale_share", "flip_share", "cache_share", "attention_share")
    assert {getattr(options, share) for options in drawn for share in shares} == {0}
    assert {options.weights for options in drawn} == {()}
    assert len({(options.delay_us_max, options.latency_us_max, options.boot_ms_max) for options in drawn}) > 10


# -- the plugin


def run(pytester: pytest.Pytester, source: str, *options: str) -> pytest.RunResult:
    pytester.makepyfile(test_it="import pytest\n" + source)
    others = [
        argument for name in ("cacheprovider", "hypothesispytest", "timeout") for argument in ("-p", f"no:{name}")
    ]
    return pytester.runpytest(*others, *options)


EMPTY = "def test_it(cluster): pass\n"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--hil-seed=3", "--hil-seed 3: guests follow from no seed; --hil-backend sim does"),
        ("--hil-backend=sim --hil-seed=-3", "--hil-seed -3: legal are 0 and more"),
        ("--hil-backend=sim --hil-keep", "--hil-keep: a simulated cluster ends with the process"),
        ("--hil-backend=sim --hil-keep-failed", "--hil-keep-failed: a simulated cluster ends with the process"),
    ],
)
def test_options_of_the_other_back_end_are_refused(pytester: pytest.Pytester, options: str, told: str) -> None:
    result = run(pytester, EMPTY, *options.split())
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{told}*"])


def test_a_test_that_asks_for_a_simulated_world_is_refused_on_guests(pytester: pytest.Pytester) -> None:
    result = run(pytester, "@pytest.mark.simulation(drift_ppm_max=900)\n" + EMPTY)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [f"*simulation(drift_ppm_max=900): {ONLY_SIMULATED['simulation']}; `--backend sim` can*"]
    )


def test_a_wrong_option_is_refused_and_a_right_one_obeyed(pytester: pytest.Pytester) -> None:
    source = """
@pytest.mark.simulation(drift_ppm_max=900)
def test_right(cluster): assert cluster.settings["settings"]["simulation"]["drift_ppm_max"] == 900
@pytest.mark.simulation(drift=900)
def test_wrong(cluster): pass
@pytest.mark.simulation(900)
def test_wrong_too(cluster): pass
"""
    result = run(pytester, source, "--hil-backend=sim")
    result.assert_outcomes(passed=1, errors=2)
    result.stdout.fnmatch_lines(["*simulation(drift=900): that option does not exist; there are: *"])
    result.stdout.fnmatch_lines(["*takes keywords only*"])


def test_what_a_test_runs_on_guests_only_says_so(pytester: pytest.Pytester) -> None:
    result = run(pytester, "def test_it(cluster): cluster.nodes[0].ssh('true')\n", "--hil-backend=sim")
    result.stdout.fnmatch_lines([f"*open_ssh: {REFUSED['open_ssh']}; guests can (`--backend qemu`)*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_guests_that_a_test_starts_by_itself_are_refused_and_only_then(pytester: pytest.Pytester) -> None:
    source = """
from hil.config import make_config
from hil.scenario import ScenarioCluster
def test_up(): ScenarioCluster.up(make_config(name="by-itself"))
def test_restored(): ScenarioCluster.restored("saved")
"""
    result = run(pytester, source, "--hil-backend=sim")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*a test that starts guests by itself cannot run with --hil-backend sim*"])
    check_guests()  # the session is over


def test_a_shared_beginning_is_gone_through_again(pytester: pytest.Pytester) -> None:
    source = """
def prepare(cluster):
    cluster.power_off([cluster.nodes[2]])
    cluster.wait_state(cluster.nodes[2], "inactive")

@pytest.mark.parametrize("round", [1, 2])
@pytest.mark.cluster(checkpoint=prepare)
def test_it(cluster, round): assert [node.view.power for node in cluster.nodes] == ["running", "running", "off"]
"""
    run(pytester, source, "--hil-backend=sim").assert_outcomes(passed=2)
