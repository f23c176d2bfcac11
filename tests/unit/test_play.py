"""Playing a plan on a cluster: what the bench is asked for, when, and what is refused before anything has happened.

The bench writes down what it is asked for; the client, its connection and the event stream are the real ones, and the
clock is one that the test moves.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from guestd.core.timing import Timing
from hil.errors import ClaimFailed, UsageError
from hil.play import Fault, Plan, play
from hil.scenario import ScenarioCluster
from hil.view import View
from tests.unit.fake_bench import FakeBench, fake_bench

NUMBERS = itertools.count(1)


class Timed(ScenarioCluster):
    """A cluster whose time passes when it is told to."""

    now_s = 0.0

    @property
    def clock(self) -> float:
        """Seconds."""
        return self.now_s

    def pass_time(self, seconds: float) -> View:
        """At once."""
        self.now_s += seconds
        return self.poll()


class Bench(FakeBench):
    """Also has a disk whose faults are noted."""

    def inject_disk_fault(
        self,
        nodes: list[int] | None,
        kind: str,
        direction: str | None,
        lba: list[int] | None,
        lun: int | None,
        count: int | None,
        seconds: float | None,
        parameters: dict[str, Any],
    ) -> dict[str, Any]:
        assert (direction, lba, lun, count, seconds, parameters) == (None, None, None, None, None, {})
        self._note("inject_disk_fault", nodes=nodes, kind=kind)
        return {"faults": [10 + node for node in nodes or []]}

    def heal_disk(self, nodes: list[int] | None, fault: int | None = None) -> dict[str, Any]:
        self._note("heal_disk", fault=fault)
        return {"healed": [fault], "released": 0}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBench]:
    """Three nodes, all joined, node 0 the master."""
    monkeypatch.setattr("tests.unit.fake_bench.FakeBench", Bench)
    with fake_bench(f"t-play-{next(NUMBERS)}", tmp_path / "run") as made:
        made.all_joined()
        yield made


@pytest.fixture
def cluster(bench: FakeBench) -> Iterator[Timed]:
    with Timed(bench.name) as connected:
        connected.catch_up()
        yield connected


def asked(bench: FakeBench, cluster: Timed, *faults: Fault, until_ms: int = 9000) -> list[tuple[float, str, Any]]:
    """What the bench was asked for, and at which second."""
    noted: list[tuple[float, str, Any]] = []
    bench.on_call = lambda call, arguments: noted.append((round(cluster.now_s, 3), call, arguments))
    play(cluster, Plan(until_ms, faults))
    bench.on_call = None
    return noted


def test_each_fault_begins_and_ends_at_its_time(bench: FakeBench, cluster: Timed) -> None:  # S10.7
    assert asked(
        bench,
        cluster,
        Fault("freeze-process", 1200, 700, node=1, drops=True),
        Fault("cut-one-way", 2000, 1000, node=2, others=(0, 1), direction="in"),
        Fault("leave", 4000, node="other"),
    ) == [
        (1.2, "freeze", {"nodes": [1], "how": "process"}),
        (1.9, "thaw", {"nodes": [1]}),
        (2.0, "cut_link", {"nodes": [2], "how": "silent", "direction": "in", "others": [0, 1]}),
        (3.0, "heal_link", {"nodes": [0]}),
        (3.0, "heal_link", {"nodes": [1]}),
        (3.0, "heal_link", {"nodes": [2]}),
        (4.0, "shutdown", {"nodes": [1]}),
    ]


def test_it_ends_when_nobody_can_be_forced_out_for_it_any_more(bench: FakeBench, cluster: Timed) -> None:
    asked(bench, cluster, until_ms=5000)
    times = Timing(**cluster.settings["settings"]["timing"])
    assert cluster.now_s == pytest.approx(5 + (times.death_ms + times.agreed_ms_max) / 1000)


def test_who_has_no_power_gets_it_back_at_its_time_and_not_before(bench: FakeBench, cluster: Timed) -> None:
    noted = asked(bench, cluster, Fault("power-failure", 1000, 3000, nodes=(0, 2)))
    assert [one for one in noted if one[0] <= 4.0] == [
        (1.0, "power_off", {"nodes": [0, 2]}),
        (4.0, "power_on", {"nodes": [0, 2]}),
    ]


def test_somebody_switches_on_who_has_panicked_or_left(bench: FakeBench, cluster: Timed) -> None:
    def hurt(call: str, arguments: dict[str, Any]) -> None:
        if call == "panic":
            bench.panic_node(arguments["nodes"][0], "ordered")
        elif call == "power_cycle":
            bench.boot(arguments["nodes"][0])

    bench.on_call = hurt
    play(cluster, Plan(9000, (Fault("panic", 1000, node=2),)))
    assert [call for call, _ in bench.calls] == ["panic", "power_cycle"]


def test_a_cut_that_others_share_is_made_anew_when_one_of_them_ends(bench: FakeBench, cluster: Timed) -> None:
    noted = asked(
        bench,
        cluster,
        Fault("split", 1000, 2000, groups=((0,), (1, 2))),
        Fault("cut-link", 1500, 4000, node=2, others=(0,)),
    )
    assert noted[:2] == [
        (1.0, "split", {"groups": [[0], [1, 2]]}),
        (1.5, "cut_link", {"nodes": [2], "how": "silent", "others": [0]}),
    ]
    assert [one for one in noted if one[0] == 3.0 and one[1] == "cut_link"] == [
        (3.0, "cut_link", {"nodes": [0], "how": "silent", "direction": "out", "others": [2]}),
        (3.0, "cut_link", {"nodes": [2], "how": "silent", "direction": "out", "others": [0]}),
    ]
    assert [one[1] for one in noted if one[0] == 5.5] == ["heal_link", "heal_link"]


def test_disk_faults_are_those_of_the_target(bench: FakeBench, cluster: Timed) -> None:
    assert asked(
        bench,
        cluster,
        Fault("disk-hang-all", 1000, 500),
        Fault("delay-writes", 2000, 500, node="master"),
        Fault("disk-errors", 3000, 500, node=2, share=1000),
    ) == [
        (1.0, "inject_disk_fault", {"nodes": [0, 1, 2], "kind": "hang"}),
        *((1.5, "heal_disk", {"fault": number}) for number in (10, 11, 12)),
        (2.0, "inject_disk_fault", {"nodes": [0], "kind": "delay-writes"}),
        (2.5, "heal_disk", {"fault": 10}),
        (3.0, "inject_disk_fault", {"nodes": [2], "kind": "error"}),
        (3.5, "heal_disk", {"fault": 12}),
    ]


def test_all_is_healed_when_the_plan_ends(bench: FakeBench, cluster: Timed) -> None:
    noted = asked(bench, cluster, Fault("disk-hang", 1000, 60_000, node=1), until_ms=4000)
    assert noted[-1] == (4.0, "heal_disk", {"fault": 11})


def test_what_finds_nothing_to_strike_is_passed_over_and_told(bench: FakeBench, cluster: Timed) -> None:
    frozen = Fault("freeze-vcpu", 1000, 3000, node=1, drops=False)
    again, orders = Fault("freeze-process", 2000, 500, node=1, drops=False), Fault("leave", 2200, node=1)
    assert play(cluster, Plan(5000, (frozen, again, orders))) == [again, orders]
    assert [call for call, _ in bench.calls] == ["freeze", "thaw"]


def test_a_node_may_panic_while_a_plan_is_played_and_not_before(bench: FakeBench, cluster: Timed) -> None:  # S10.8
    bench.panic_node(1, "for nothing")
    cluster.catch_up()
    bench.boot(1)
    play(cluster, Plan(1000))
    bench.panic_node(2, "forced out")
    cluster.catch_up()
    with pytest.raises(ClaimFailed, match="node 1 panicked") as refused:
        cluster.check_panics()
    assert "node 2" not in str(refused.value)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Fault("doom", 5, 100, node=0, effects=3), "fault doom at 5 ms: no machine can be stopped between two effects"),
        (Fault("slow-cpu", 5, 100, node=0, cost_us=9), "fault slow-cpu at 5 ms: no machine takes a given time"),
        (Fault("loss", 5, 100, share=9), "fault loss at 5 ms: the bench's switch drops all or nothing; only `hil sim"),
        (Fault("disk-errors", 5, 100, node=0, share=300), "fault disk-errors at 5 ms: share = 300 (legal: 1000)"),
        (Fault("crash", 5, node=3), "fault crash at 5 ms: node 3 (legal: 0 to 2)"),
    ],
)
def test_what_no_bench_can_do_is_refused_by_name_before_anything_starts(
    bench: FakeBench, cluster: Timed, fault: Fault, told: str
) -> None:
    with pytest.raises(UsageError) as refused:
        play(cluster, Plan(9000, (Fault("panic", 1, node=0), fault)))
    assert told in str(refused.value)
    assert bench.calls == []
    assert cluster.now_s == 0.0
