"""A run on real guests is captured, bundled, judged anew, and happens again in the simulator."""

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from hil import Cluster
from hil.cli import main
from hil.config import make_config
from hil.evidence import bundle, layout, manifest
from hil.evidence.derive import Derived
from hil.evidence.replay import recorded
from hil.faults.library import check
from hil.faults.plan import FaultPlan, Step
from tests.unit.test_evidence_capture import frames

pytestmark = pytest.mark.lab


def test_a_bundle_of_real_guests_is_judged_and_replayed_in_the_simulator(  # S10.10
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = Cluster.up(make_config(name=f"t-evidence-{os.getpid()}", nodes=3, capture=True))
    try:
        cluster.wait_joined()
        master = cluster.master
        assert master is not None
        victim = cluster.any_other(master)
        cluster.cut_link(victim, "silent")
        cluster.wait_crashed(victim)
        cluster.heal_link(victim)
        cluster.power_cycle([victim])
        cluster.wait_joined()
    finally:
        cluster.down()

    about = manifest.load(cluster.run_dir)
    assert about.backend == "qemu"
    assert about.image is not None
    assert set(about.versions) == {"hil", "guestd", "python", "kernel", "qemu", "libvirt"}
    events = [json.loads(line) for line in (cluster.run_dir / layout.EVENTS).read_text().splitlines()]
    check_capture(cluster.run_dir, events)

    file = tmp_path / "run.tar.zst"
    assert bundle.pack(cluster.run_dir, file) == []
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))  # as on another machine
    assert main.main(["recheck", str(file)]) == 0
    assert " 0 violated, " in capsys.readouterr().out
    assert main.main(["replay", str(file), "--backend", "sim"]) == 0
    told = capsys.readouterr().out
    assert "replay: 2 faults on a fresh cluster of 3 nodes in the simulator, seed 0" in told
    (run,) = (tmp_path / "state/hil/runs" / cluster.name).glob("[0-9]*")
    again = [json.loads(line) for line in (run / layout.EVENTS).read_text().splitlines()]
    assert json.loads((run / layout.VERDICT).read_text())["verdict"] == "passed"
    assert [event["kind"] for event in again if event["kind"] == "machine-crashed"] == ["machine-crashed"]


def check_capture(run_dir: Path, events: list[dict[str, object]]) -> None:
    """Every node's datagrams are there, all the time, also those of the one that is cut."""
    (ended,) = [event for event in events if event["kind"] == "capture-ended"]
    assert ended["dropped"] == 0
    found = list(frames((run_dir / layout.CAPTURE).read_bytes()))
    assert len(found) == ended["frames"]
    sent = {
        number: [
            frame.time_s
            for frame in found
            if frame.data[12:14] == b"\x08\x00"
            and frame.data[29] == number + 1
            and struct.unpack_from("!H", frame.data, 36) == (7400,)
        ]
        for number in range(3)
    }
    ((cut_s, healed_s),) = zip(
        [event["t"] for event in events if event["kind"] == "fault-injected"],
        [event["t"] for event in events if event["kind"] == "fault-healed"],
        strict=True,
    )
    assert isinstance(cut_s, float)
    assert isinstance(healed_s, float)
    for number, times in sent.items():
        assert any(cut_s < time_s < healed_s for time_s in times), f"node {number} said nothing while one was cut"


GIVEN: list[tuple[str, str, dict[str, Any]]] = [
    ("link-silent", "any_other", {"direction": "out"}),
    ("disk-slow", "all", {"ms": 20, "lun": 0}),
    ("freeze-vcpu", "master", {}),
]
APART_MS = 500
"""A look every tenth of a second whether a fault holds or is undone, and processors that others use, too."""


def test_faults_of_real_guests_are_had_again_on_both_back_ends(  # S10.7, S10.10
    capsys: pytest.CaptureFixture[str],
) -> None:
    cluster = Cluster.up(make_config(name=f"t-replay-{os.getpid()}", nodes=3))
    try:
        cluster.wait_joined()
        for name, whom, parameters in GIVEN:
            with cluster.inject(name, whom, **parameters):
                cluster.pass_time(0.2)
        node = cluster.any_other(*cluster.in_role("master"))
        cluster.reset(node)
        cluster.wait_joined()
        cluster.freeze(node, "process")
        cluster.pass_time(0.2)
        cluster.thaw(node)
    finally:
        cluster.down()

    known = derived(cluster.run_dir)
    assert known.left_out == ()
    assert len(known.plan.rejoined_ms) == 1
    assert [step.kind for step in known.plan.steps] == [*(name for name, _, _ in GIVEN), "reset", "freeze-process"]
    for backend in ("qemu", "sim"):
        assert main.main(["replay", str(cluster.run_dir), "--backend", backend]) == 0
        again = Path(capsys.readouterr().out.partition("evidence:  ")[2].partition("\n")[0])
        master = derived(again).master
        assert master is not None
        plan, now = known.with_master(master).plan, derived(again).plan
        with capsys.disabled():
            print(
                backend, *(f"{one}; then {other}" for one, other in zip(plan.steps, now.steps, strict=True)), sep="\n  "
            )
            print(f"  all joined again at {plan.rejoined_ms}; then {now.rejoined_ms} ms")
        assert json.loads((again / layout.VERDICT).read_text())["verdict"] == "passed"
        for one, other in zip(plan.steps, now.steps, strict=True):
            assert (other.kind, other.whom) == (one.kind, one.whom)
            assert check(other.kind, other.parameters) == check(one.kind, one.parameters)
            assert rejoined_before(now, other) == rejoined_before(plan, one)
            assert abs(since(now, other) - since(plan, one)) < APART_MS
            # Until all join anew, nothing comes before it is due; after that, it counts from when they have.
            assert rejoined_before(plan, one) or other.at_ms >= one.at_ms


def derived(run: Path) -> Derived:
    return recorded(run, "").derived


def rejoined_before(plan: FaultPlan, step: Step) -> int:
    """How many times all had joined again before it."""
    return sum(at_ms <= step.at_ms for at_ms in plan.rejoined_ms)


def since(plan: FaultPlan, step: Step) -> int:
    """Milliseconds since the fault before it was healed, or all had joined again; a fault that strikes later is healed
    later.
    """
    before = [*(one.end_ms for one in plan.steps), *plan.rejoined_ms]
    return step.at_ms - max([one for one in before if one <= step.at_ms], default=plan.steps[0].at_ms)
