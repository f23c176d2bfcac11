"""A recorded run happens again: the very run with its seed, its faults without its scenario, and a broken guestd fails
again where a sound one passes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hil.evidence import layout, manifest
from hil.scenario import ScenarioCluster
from tests.unit.sim_cluster import started

ROOT = Path(__file__).parents[2]
BROKEN = "no-fence"
SEED = 3
DRIVER = """
import sys
from hil.cli import main
from tests.mutations.catalogue import BY_NAME
broken, *arguments = sys.argv[1:]
if broken == "sound":
    sys.exit(main.main(arguments))
with BY_NAME[broken].applied():
    status = main.main(arguments)
sys.exit(status)
"""
"""``hil`` with a guestd that is sound, or broken in one place."""


def hil(home: Path, guestd: str, *arguments: str, status: int) -> str:
    """What it says; its evidence is in ``home``."""
    environment = os.environ | {"XDG_STATE_HOME": str(home / "state"), "XDG_CACHE_HOME": str(home / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, guestd, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, f"hil {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def newest(home: Path) -> Path:
    return max((home / "state/hil/runs").glob("*/[0-9]*"), key=lambda path: path.name)


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a scenario that a broken guestd has failed."""
    home = tmp_path_factory.mktemp("failed")
    hil(home, BROKEN, "run", "node_power_loss", "--backend", "sim", "--seed", str(SEED), status=1)
    return newest(home)


@pytest.fixture
def copied(failed: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    copy = tmp_path / "run"
    shutil.copytree(failed, copy)
    return copy


def amend(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    told = json.loads((run / layout.MANIFEST).read_text())
    change(told)
    (run / layout.MANIFEST).write_text(json.dumps(told))


def verdict(run: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((run / layout.VERDICT).read_text())
    return told


def test_the_run_says_what_it_was_and_how_it_is_repeated(failed: Path, tmp_path: Path) -> None:  # S10.10
    about = manifest.load(failed)
    assert about.scenario is not None
    assert about.scenario.test == (
        "scenarios/node_power_loss.py::test_a_node_without_power_is_forced_out_and_joins_again"
    )
    assert about.scenario.seed == about.seed == SEED
    assert verdict(failed)["verdict"] == "claim failed"
    assert verdict(failed)["repeat"] == about.repeat
    assert about.repeat is not None
    assert about.repeat.startswith("hil run scenarios/node_power_loss.py::")
    hil(tmp_path, BROKEN, *about.repeat.split()[1:], status=1)  # as it is typed
    assert verdict(newest(tmp_path)) == verdict(failed)


def test_a_seed_is_the_very_run_and_a_broken_guestd_fails_in_the_same_way(failed: Path, tmp_path: Path) -> None:
    told = hil(tmp_path, BROKEN, "replay", str(failed), status=1)
    count = len((failed / layout.EVENTS).read_text().splitlines())
    assert f"events:    the very run again, all {count} are the same" in told
    assert verdict(newest(tmp_path)) == verdict(failed)
    assert (newest(tmp_path) / layout.EVENTS).read_bytes() == (failed / layout.EVENTS).read_bytes()


def test_a_sound_guestd_passes_where_a_broken_one_has_failed(failed: Path, tmp_path: Path) -> None:
    told = hil(tmp_path, "sound", "replay", str(failed), status=0)
    assert "recorded:  claim failed: " in told
    assert "replayed:  passed" in told
    assert "events:    another run from event " in told


def test_a_bundle_fails_in_the_same_way_where_there_is_nothing_but_a_checkout(failed: Path, tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    shutil.copytree(failed.parents[3], there / "state")
    file = tmp_path / "ticket.tar.zst"
    hil(there, "sound", "bundle", f"{failed.parent.name}/{failed.name}", "-o", str(file), status=0)
    told = hil(here, BROKEN, "replay", str(file), status=1)
    assert "the very run again" in told
    assert "replayed:  passed" in hil(here, "sound", "replay", str(file), status=0)
    assert list((here / "cache/hil").glob("bundle-*")) == []


def test_the_recording_itself_is_judged_anew(failed: Path, tmp_path: Path) -> None:
    told = hil(tmp_path, "sound", "recheck", str(failed), status=1)
    assert "VIOLATED" in told


@pytest.mark.parametrize(("guestd", "status"), [(BROKEN, 1), ("sound", 0)])
def test_its_faults_alone_fail_the_broken_one_too(failed: Path, tmp_path: Path, guestd: str, status: int) -> None:
    told = hil(tmp_path, guestd, "replay", "--faults-only", str(failed), status=status)
    assert "replay: 1 faults on a fresh cluster of 3 nodes in the simulator, seed 3" in told
    run = newest(tmp_path)
    assert verdict(run)["verdict"] == ("claim failed" if status else "passed")
    again = manifest.load(run).repeat
    assert again is not None
    assert hil(tmp_path, guestd, *again.split()[1:], status=status)  # as it is typed


def test_a_scenario_that_is_not_here_leaves_its_faults_and_that_is_told(copied: Path, tmp_path: Path) -> None:
    amend(copied, lambda told: told["scenario"].update(test="scenarios/of_others.py::test_it"))
    told = hil(tmp_path, "sound", "replay", str(copied), status=0)
    assert "the scenario scenarios/of_others.py::test_it is not here" in told
    assert "replay: 1 faults on a fresh cluster" in told


def test_what_is_not_as_it_was_is_told(copied: Path, tmp_path: Path) -> None:
    def change(told: dict[str, Any]) -> None:
        told["guestd"] = "f" * 64
        told["scenario"]["digest"] = "0" * 64

    amend(copied, change)
    told = hil(tmp_path, BROKEN, "replay", str(copied), status=1)
    assert f"replay: guestd is another one here: {manifest.guestd_digest()[:12]}; ffffffffffff has run" in told
    assert "node_power_loss.py is not as it was when it ran" in told


@pytest.mark.parametrize("way", ["{there}", "../../../../../../..{there}"])
def test_a_file_outside_of_the_checkout_is_not_executed(copied: Path, tmp_path: Path, way: str) -> None:
    there = tmp_path / "evil.py"
    there.write_text("raise SystemExit('executed')\n")
    amend(copied, lambda told: told["scenario"].update(test=f"{way.format(there=there)}::test_it"))
    told = hil(tmp_path, "sound", "replay", str(copied), status=0)
    assert "is not here: what its programs did is not part of this" in told
    assert "executed" not in told


def test_an_option_that_no_replay_takes_is_named(copied: Path, tmp_path: Path) -> None:
    amend(copied, lambda told: told["scenario"].update(options={"junit": str(tmp_path / "junit.xml")}))
    told = hil(tmp_path, "sound", "replay", str(copied), status=2)
    assert "the run had an option that no replay takes: junit = " in told
    assert "(legal: capture (bool), faults (str))" in told
    assert not (tmp_path / "junit.xml").exists()


def test_guests_follow_from_no_seed(failed: Path, tmp_path: Path) -> None:
    told = hil(tmp_path, "sound", "replay", "--backend", "qemu", "--seed", "4", str(failed), status=2)
    assert "--seed 4: guests follow from no seed" in told


def test_the_plan_is_shown_and_nothing_is_done(failed: Path, tmp_path: Path) -> None:
    told = hil(tmp_path, "sound", "replay", "--plan", str(failed), status=0)
    assert "milliseconds since all had joined, node " in told
    assert "\n    0  power-off    1" in told
    shown = json.loads(hil(tmp_path, "sound", "replay", "--plan", "--json", str(failed), status=0))
    assert set(shown) == {"begins", "master", "until_ms", "faults", "config", "left_out"}
    assert [(fault["fault"], fault["whom"]) for fault in shown["faults"]] == [("power-off", "0")]
    assert shown["config"]["timing"]["death_ms"] == manifest.load(failed).timing["death_ms"]
    assert not (tmp_path / "state").exists()


# -- runs that were of no scenario


def record(home: Path, do: Callable[[ScenarioCluster], object], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "recorded"))
    with started(5) as cluster:
        do(cluster)
    return cluster.run_dir


def cut_and_mended(cluster: ScenarioCluster) -> None:
    victim = cluster.nodes[2]
    cluster.cut_link(victim, "silent")
    cluster.wait_crashed(victim)
    cluster.heal_link(victim)
    cluster.power_cycle([victim])
    cluster.wait_joined()


def test_what_somebody_did_by_hand_happens_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = record(tmp_path, cut_and_mended, monkeypatch)
    told = hil(tmp_path, "sound", "replay", str(run), status=0)
    assert "replay: 2 faults on a fresh cluster of 3 nodes in the simulator, seed 5" in told
    events = [json.loads(line) for line in (newest(tmp_path) / layout.EVENTS).read_text().splitlines()]
    kinds = [(event["kind"], event.get("node")) for event in events]
    assert kinds.count(("machine-crashed", 2)) == 1  # forced out, and down until it was cycled
    assert [event["node"] for event in events if event["kind"] == "fault-injected"] == [2]
    last = [event for event in events if event["kind"] == "state" and event["node"] == 2][-1]
    assert last["state"] == "joined"


def test_a_fault_that_finds_nothing_to_strike_makes_the_replay_invalid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # S10.7
    run = record(tmp_path, lambda cluster: cluster.power_off([cluster.nodes[1]]), monkeypatch)
    lines = (run / layout.EVENTS).read_text().splitlines()
    place = next(number for number, line in enumerate(lines) if '"bench-stopping"' in line)
    off_s = json.loads(lines[place - 1])["t"]
    order = {"n": place, "t": off_s + 0.2, "kind": "order-sent", "node": 1, "order_n": 1, "order": "panic"}
    (run / layout.EVENTS).write_text("\n".join([*lines[:place], json.dumps(order), *lines[place:]]) + "\n")
    told = hil(tmp_path, "sound", "replay", str(run), status=4)
    assert "the replay went another way, so that these faults had nothing to strike: panic 1 at " in told
    assert verdict(newest(tmp_path))["verdict"] == "invalid"


def test_a_run_that_was_cut_short_happens_again_as_far_as_it_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = record(tmp_path, cut_and_mended, monkeypatch)
    text = (run / layout.EVENTS).read_text()
    (run / layout.EVENTS).write_text(text[: text.index('"kind":"machine-crashed"') + 10])
    ledger = (run / layout.LEDGER).read_bytes()
    (run / layout.LEDGER).write_bytes(ledger[:-7])  # what its target was writing
    told = hil(tmp_path, "sound", "replay", str(run), status=0)
    assert "replay: 1 faults on a fresh cluster" in told
    assert "note: there is no end: the run goes on, or was cut short" in hil(
        tmp_path, "sound", "recheck", str(run), status=0
    )
