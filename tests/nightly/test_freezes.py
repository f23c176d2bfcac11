"""Two hundred freezes of nodes that write at full speed, in both ways, at random moments: no stale write is accepted.

``HIL_FREEZES`` (200) and ``HIL_FREEZE_SEED`` (a new one each time), which decides who is frozen, how and when. Each
freeze begins from one checkpoint of three joined nodes.
"""

from __future__ import annotations

import os
import random
import statistics
from pathlib import Path

import pytest

from hil.config import make_config
from hil.scenario import ScenarioCluster
from tests.freezes.rounds import Round, freeze_once

FREEZES = int(os.environ.get("HIL_FREEZES") or 200)
SEED = int(os.environ.get("HIL_FREEZE_SEED") or random.SystemRandom().randrange(10**6))
LATEST_S = 1.0  # after the writer began
TIMING = {"heartbeat_ms": 250, "disk_heartbeat_ms": 500, "death_ms": 2500, "settle_ms": 600}

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600 + 30 * FREEZES)]


def test_no_write_of_a_frozen_node_is_accepted_after_its_fence(  # A1, A2, S6.2
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def say(text: str) -> None:
        with capsys.disabled():
            print(text, flush=True)

    say(f"\nHIL_FREEZE_SEED={SEED} HIL_FREEZES={FREEZES} ./run nightly tests/nightly/test_freezes.py")
    chance = random.Random(SEED)
    joined = tmp_path / "joined"
    rounds: list[Round] = []
    cluster = ScenarioCluster.up(make_config(name=f"t-freezes-{os.getpid()}", nodes=3, timing=TIMING))
    try:
        cluster.wait_joined()
        cluster.checkpoint(joined)
        for number in range(1, FREEZES + 1):
            how, victim, after_s = chance.choice(("vcpu", "process")), chance.randrange(3), chance.uniform(0, LATEST_S)
            rounds.append(freeze_once(cluster, cluster.nodes[victim], how, after_s=after_s))
            cluster.check_panics()
            done = rounds[-1]
            say(
                f"{number}: node {victim}, {how}, after {after_s:.2f} s: panicked {done.panic_s:.2f} s after the thaw, "
                f"{done.kept_out} writes kept out"
            )
            if number < FREEZES:
                cluster.restore(joined)
    finally:
        cluster.down()
    times = [done.panic_s for done in rounds]
    kept_out = sum(done.kept_out for done in rounds)
    say(
        f"{len(rounds)} freezes, 0 stale writes accepted, {kept_out} kept out; from thaw to panic "
        f"{statistics.median(times):.2f} s (median), {max(times):.2f} s (most)"
    )
    assert kept_out > 0
