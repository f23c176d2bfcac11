"""The demos, told by simulated clusters; what goes wrong on the way, with a fake's machines."""

import itertools
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hil import paths
from hil.bench.address import running_clusters
from hil.checkers.recorded import check
from hil.cli import main
from hil.client import Cluster
from hil.config import ClusterConfig, make_config
from hil.demos import cut_off
from hil.demos.chart import Bar, chart
from hil.demos.cut_off import freeze, split
from hil.demos.power_failure import NodeTimes, node_times, power_failure, replayed
from hil.errors import BenchDied, ClaimFailed, LaboratoryError, UsageError
from hil.view import Event, View
from hil.workloads.workload import Workload
from tests.unit.fake_bench import FakeBench, fake_bench

Story = Callable[..., Any]
STORIES = {"power-failure": power_failure, "split": split, "freeze": freeze}


@dataclass
class Screen:
    """Keeps what the demo shows."""

    title: str | None = None
    lines: list[str] = field(default_factory=list)
    titles: list[str | None] = field(default_factory=list)

    def on_event(self, event: Event, view: View) -> None:
        if self.titles[-1:] != [self.title]:
            self.titles.append(self.title)

    def on_image(self, stage: str, done: int, total: int) -> None:
        """The fake needs no image."""

    def say(self, line: str) -> None:
        self.lines.append(line)

    def leave_table(self, view: View) -> None:
        """Nothing to draw on."""


_numbers = itertools.count()


@pytest.fixture
def name() -> str:
    """Another one for each test: the accepting thread of the last one may hold its name for a moment longer."""
    return f"t-demo-{os.getpid()}-{next(_numbers)}"


@pytest.fixture
def benches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[FakeBench]]:
    """`Cluster.up` starts fakes, which boot and join whenever they are switched on."""
    started: list[FakeBench] = []
    with ExitStack() as stack:

        def up(
            cls: Any, config: ClusterConfig, *, cold: bool = False, on_event: Any = None, on_image: Any = None
        ) -> Cluster:
            bench = stack.enter_context(fake_bench(config.name, tmp_path / config.name, config.nodes))
            bench.all_joined()

            def react(call: str, _: dict[str, Any]) -> None:
                if call == "power_on":
                    bench.all_joined()

            bench.on_call = react
            started.append(bench)
            cluster: Cluster = cls(config.name)
            cluster.on_event = on_event
            return cluster

        monkeypatch.setattr(Cluster, "up", classmethod(up))
        yield started


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.mark.parametrize("nodes", [2, 3, 8])
def test_after_a_power_failure_nothing_that_was_acknowledged_is_lost(nodes: int) -> None:  # A25
    screen = Screen()
    report = power_failure(make_config(nodes=nodes), screen, seed=nodes)
    assert screen.titles[0] == "cold start"
    assert screen.titles[-3:] == ["power failure", "mass reboot", "is everything there?"]
    assert [one.node for one in report.nodes] == list(range(nodes))
    assert all(0 <= one.guestd <= one.joined <= report.total for one in report.nodes)
    assert {one.service for one in report.services} == {"load-0", "load-1", "load-2"}
    assert all(one.registered > 0 for one in report.services)
    assert report.verified > report.acknowledged >= 10
    check(Path(report.run_dir))


@pytest.mark.parametrize("nodes", [2, 3, 8])
@pytest.mark.parametrize("story", [split, freeze])
def test_who_cannot_be_heard_is_fenced_and_panics_and_the_others_go_on(nodes: int, story: Story) -> None:  # S5.2, S6.2
    report = story(make_config(nodes=nodes), Screen(), seed=1)
    victims = [one.node for one in report.victims]
    assert len(victims) == (max(1, (nodes - 1) // 2) if story is split else 1)
    assert sorted([*victims, *report.survivors]) == list(range(nodes))
    for one in report.victims:
        assert one.fenced_by in report.survivors
        assert 0 < one.fenced <= one.panicked < one.joined
        assert "forced out" in one.reason
    assert report.services, "a service ran on one of them"
    assert all(one.before in victims and one.node in report.survivors for one in report.services)
    assert report.verified > report.acknowledged
    check(Path(report.run_dir))


@pytest.mark.parametrize("name", STORIES)
def test_each_is_a_command_with_lines_for_people_and_json_for_programs(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["demo", name, "--backend", "sim", "--nodes", "2", "--seed", "4"]) == 0
    out, err = capsys.readouterr()
    assert "writes that were acknowledged before" in out
    assert "are there; every node has read" in out
    assert max(map(len, out.splitlines())) <= 120 + len(str(paths.runs_dir()))
    assert "programs write to the shared file system" in err
    assert main.main(["demo", name, "--backend", "sim", "--nodes", "2", "--seed", "4", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["cluster"] == "demo"
    assert told["accelerator"] == "sim"
    assert {"run_dir", "services", "acknowledged", "verified"} <= told.keys()


@pytest.mark.parametrize("typed", [["--seed", "1"], ["--nodes", "1"], ["--backend", "sim", "--nodes", "65"]])
def test_what_cannot_be_is_refused_before_anything_starts(typed: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["demo", "freeze", *typed]) == 2
    assert not paths.runs_dir().exists()


def test_a_simulated_cluster_cannot_be_kept(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["demo", "split", "--backend", "sim", "--keep"]) == 2
    assert "leave --backend sim out" in capsys.readouterr().err
    with pytest.raises(UsageError):
        freeze(make_config(nodes=2), Screen(), seed=1, keep=True)


def test_a_write_that_is_lost_fails_the_demo(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lost(self: Workload) -> dict[str, int]:
        raise ClaimFailed("record 7 of n0 was acknowledged, and is not there")

    monkeypatch.setattr("hil.workloads.simulated.SimulatedWorkload.check", lost)
    assert main.main(["demo", "power-failure", "--backend", "sim", "--nodes", "2"]) == 1
    assert "record 7 of n0 was acknowledged, and is not there" in capsys.readouterr().err


def test_a_cluster_that_does_not_join_is_taken_down_all_the_same(
    name: str, benches: list[FakeBench], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(self: Cluster) -> View:
        raise ClaimFailed("node 1 is inactive")

    monkeypatch.setattr(Cluster, "wait_joined", never)
    for story in STORIES.values():
        with pytest.raises(ClaimFailed):
            story(make_config(name=name), Screen())
        assert [call for call, _ in benches[-1].calls] == ["down"]
        assert name not in running_clusters()


def test_a_cluster_that_is_to_be_kept_is_kept_when_it_fails_too(
    name: str, benches: list[FakeBench], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(self: Cluster) -> View:
        raise ClaimFailed("node 1 is inactive")

    monkeypatch.setattr(Cluster, "wait_joined", never)
    screen = Screen()
    with pytest.raises(ClaimFailed):
        power_failure(make_config(name=name), screen, keep=True)
    assert benches[0].calls == []
    assert screen.lines[-1] == f"cluster {name} stays up; `hil down {name}` ends it"


def test_a_bench_that_dies_is_told_and_not_hidden_by_the_cleaning_up(
    name: str, benches: list[FakeBench], monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(self: Cluster) -> View:
        benches[0].end()
        raise BenchDied("the bench died")

    monkeypatch.setattr(Cluster, "wait_joined", die)
    with pytest.raises(BenchDied):
        power_failure(make_config(name=name), Screen())


def test_the_journals_are_those_that_said_something() -> None:
    told = [{"kind": "journal-replayed", "node": 0, "subject": node, "found": node != 1} for node in (2, 1, 2)]
    assert replayed([*told, {"kind": "fenced", "subject": 0}]) == [2]


def test_a_moment_that_the_stream_does_not_tell_is_no_moment() -> None:
    with pytest.raises(LaboratoryError, match="the event stream does not tell: fenced"):
        cut_off.of_kind([{"kind": "fenced", "subject": 1, "t": 1.0}], "fenced", subject=2)


def test_the_chart_has_a_bar_for_each_with_its_stages_in_proportion() -> None:
    bars = [Bar("node 0", (("kernel", 2.0), ("joined", 4.0))), Bar("node 12", (("kernel", 3.0), ("joined", 8.0)))]
    assert chart(bars, width=8) == [
        "node 0  |kkjj    | kernel 2.00  joined 4.00",
        "node 12 |kkkjjjjj| kernel 3.00  joined 8.00",
    ]
    assert chart([Bar("node 0", (("joined", 0.0),))], width=4) == ["node 0 |    | joined 0.00"]
    assert chart([]) == []


def test_the_times_count_from_power_on() -> None:
    view = View(1)
    for event in (
        {"n": 1, "t": 20.0, "kind": "machine-starting", "node": 0},
        {"n": 2, "t": 20.1, "kind": "machine-started", "node": 0},
        {"n": 3, "t": 27.0, "kind": "guestd-started", "node": 0, "guest_t": 5.0, "stages": {"initramfs": 1.5}},
        {"n": 4, "t": 30.0, "kind": "state", "node": 0, "state": "joined", "previous": "joining"},
    ):
        view.apply(event)
    assert node_times(view, 0, off_t=18.0) == NodeTimes(node=0, off=2.0, kernel=3.5, guestd=7.0, joined=10.0)


def test_a_time_that_the_stream_does_not_tell_is_no_time() -> None:
    with pytest.raises(LaboratoryError, match="node 0: the event stream does not tell when: power on"):
        node_times(View(1), 0, off_t=1.0)


def test_up_waits_until_all_have_joined_and_tells_the_steps(
    name: str, benches: list[FakeBench], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["up", "--name", name, "--nodes", "2"]) == 0
    out, err = capsys.readouterr()
    assert out == f"cluster {name} is up: 2 nodes joined, epoch 1, master 0\n"
    assert "node 1: joining -> joined" in err
    assert "without KVM: " in err
    assert benches[0].calls == []


def test_up_warns_of_more_nodes_than_the_machine_carries_and_goes_on(
    name: str, benches: list[FakeBench], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIL_NODES_MAX", "2")
    assert main.main(["up", "--name", name, "--nodes", "3"]) == 0
    assert "nodes at once, and this machine carries 2 (HIL_NODES_MAX=2 is set)" in capsys.readouterr().err


def test_up_takes_down_what_does_not_join_and_names_the_evidence(
    name: str, benches: list[FakeBench], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(self: Cluster) -> View:
        raise ClaimFailed("node 1 is inactive")

    monkeypatch.setattr(Cluster, "wait_joined", never)
    assert main.main(["up", "--name", name]) == 1
    err = capsys.readouterr().err
    assert f"not all nodes joined: taking cluster {name} down; evidence: {benches[0].run_dir}" in err
    assert err.endswith("hil: node 1 is inactive\n")
    assert [call for call, _ in benches[0].calls] == ["down"]
