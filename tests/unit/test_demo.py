"""The demo's story and its times, with a fake's machines."""

import itertools
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hil.cli import main
from hil.client import Cluster
from hil.config import ClusterConfig, make_config
from hil.demo import NodeTimes, Report, node_times, power_failure, report_lines
from hil.errors import BenchDied, ClaimFailed, LaboratoryError
from hil.view import Event, View
from tests.unit.fake_bench import FakeBench, fake_bench


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

        def up(config: ClusterConfig, *, cold: bool = False, on_event: Any = None, on_image: Any = None) -> Cluster:
            bench = stack.enter_context(fake_bench(config.name, tmp_path / config.name, config.nodes))
            bench.all_joined()

            def react(call: str, _: dict[str, Any]) -> None:
                if call == "power_on":
                    bench.all_joined()

            bench.on_call = react
            started.append(bench)
            cluster = Cluster(config.name)
            cluster.on_event = on_event
            return cluster

        monkeypatch.setattr(Cluster, "up", up)
        yield started


def test_the_story_is_told_and_the_cluster_is_gone_afterwards(name: str, benches: list[FakeBench]) -> None:
    screen = Screen()
    report = power_failure(make_config(name=name), screen)
    assert [call for call, _ in benches[0].calls] == ["power_off", "power_on", "down"]
    assert benches[0].calls[0][1] == {"nodes": [0, 1, 2]}
    assert screen.titles == ["cold start", "power failure", "mass reboot"]
    assert [node.node for node in report.nodes] == [0, 1, 2]
    assert all(0 <= node.guestd <= node.joined <= report.total for node in report.nodes)


def test_a_cluster_that_is_to_be_kept_is_kept(name: str, benches: list[FakeBench]) -> None:
    screen = Screen()
    power_failure(make_config(name=name), screen, keep=True)
    assert [call for call, _ in benches[0].calls] == ["power_off", "power_on"]
    assert screen.lines[-1] == f"cluster {name} stays up; `hil down {name}` ends it"


def test_a_cluster_that_does_not_come_back_is_taken_down_all_the_same(
    name: str, benches: list[FakeBench], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(self: Cluster) -> View:
        raise ClaimFailed("node 1 is inactive")

    monkeypatch.setattr(Cluster, "wait_joined", never)
    with pytest.raises(ClaimFailed):
        power_failure(make_config(name=name), Screen())
    assert [call for call, _ in benches[0].calls] == ["down"]


def test_a_bench_that_dies_is_told_and_not_hidden_by_the_cleaning_up(
    name: str, benches: list[FakeBench], monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(self: Cluster) -> View:
        benches[0].end()
        raise BenchDied("the bench died")

    monkeypatch.setattr(Cluster, "wait_joined", die)
    with pytest.raises(BenchDied):
        power_failure(make_config(name=name), Screen())


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


def test_the_report_has_a_line_per_node_and_the_total() -> None:
    nodes = [NodeTimes(0, 2.0, 3.5, 7.0, 10.25), NodeTimes(1, 2.0, None, 7.5, 11.0)]
    lines = report_lines(Report("demo", "/run", "tcg", 12.0, nodes, 11.0))
    assert [line.split() for line in lines[1:3]] == [
        ["node", "0", "2.00", "3.50", "7.00", "10.25"],
        ["node", "1", "2.00", "-", "7.50", "11.00"],
    ]
    assert max(map(len, lines)) < 80, "a line that wraps is no table any more"
    assert lines[3] == "total: 11.00 s from power on until all 2 nodes have joined"


def test_the_command_prints_progress_on_stderr_and_the_report_on_stdout(
    name: str, benches: list[FakeBench], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["demo", "power-failure", "--name", name, "--json"]) == 0
    out, err = capsys.readouterr()
    assert sorted(json.loads(out)) == ["accelerator", "cluster", "first_join", "nodes", "run_dir", "total"]
    assert "power is off everywhere" in err


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
