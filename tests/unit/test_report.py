"""What is drawn of a run, before anything is drawn: states, spans, the disk's commands, two runs compared, a trace."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from hil.errors import UsageError
from hil.evidence.layout import EVENTS
from hil.report import disk, lanes, perfetto, spans
from hil.report.compare import comparison, differences
from hil.report.data import whole
from hil.report.run import Run, read
from tests.unit import report_runs
from tests.unit.sim_cluster import plain_node, started


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the story, once for this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        return report_runs.story()


@pytest.fixture(scope="module")
def run(directory: Path) -> Run:
    return read(directory)


def at(lane: list[tuple[float, str]], t: float) -> str:
    return [state for begin, state in lane if begin <= t][-1]


def first(run: Run, kind: str, **fields: Any) -> float:
    return next(
        float(event["t"])
        for event in run.events
        if event["kind"] == kind and all(event.get(key) == value for key, value in fields.items())
    )


def test_the_lanes_are_what_the_events_tell(run: Run) -> None:
    drawn = lanes.lanes(run)
    victim = drawn.nodes[1].lanes
    off, out = first(run, "machine-stopped", node=1), first(run, "elected", victims=[1])
    assert at(victim["machine"], off - 0.001) == "running"
    assert at(victim["machine"], off + 0.001) == "off"
    # The others have not noticed yet; then they force it out, level by level.
    assert {at(victim[level], off + 0.001) for level in ("0", "10", "20", "30", "40")} == {"joined"}
    for level in ("0", "10", "20", "30"):
        assert "forced-leaving" in [state for t, state in victim[level] if t >= out]
    assert drawn.nodes[2].panics
    assert "leaving" in [state for _, state in drawn.nodes[0].lanes["30"]]
    assert drawn.levels == {0: "membership", 10: "DLM", 20: "VDM", 30: "SFS", 40: "event-manager"}
    assert all(
        a[0] <= b[0] and a[1] != b[1] for one in drawn.nodes for lane in one.lanes.values() for a, b in pairwise(lane)
    )


def test_faults_are_spans_with_their_targets(run: Run) -> None:
    found = {(one.kind, one.node): one for one in spans.faults(run)}
    power, cut = found[spans.POWER_OFF, 1], found["link-silent", 2]
    assert power.begin == first(run, "machine-stopped", node=1)
    assert power.end is not None
    assert power.end > power.begin
    assert (cut.begin, cut.end) == (first(run, "fault-injected", node=2), first(run, "fault-healed", node=2))


def test_each_fault_of_the_library_is_one_span(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
    with started() as cluster:
        victim = plain_node(cluster)
        with cluster.inject("freeze-vcpu", [victim]):
            pass
        with cluster.expecting_panic(victim), cluster.inject("panic", [victim]):
            pass
        with cluster.inject("power-cycle", [victim]):
            pass
        directory = cluster.run_dir
    found = spans.faults(read(directory))
    assert [(one.kind, one.node) for one in found] == [
        ("freeze-vcpu", victim.id),
        ("panic", victim.id),
        (spans.POWER_OFF, victim.id),
        (spans.POWER_OFF, victim.id),
    ]
    assert all(one.end is not None for one in found)


def test_a_service_moves_from_node_to_node(run: Run) -> None:
    steps = [(one.state, one.node, one.lost) for one in spans.services(run) if one.service == report_runs.SERVICE]
    assert ("registered", 1, True) in steps  # lost with its node
    registered = [node for state, node, lost in steps if state == "registered" and not lost]
    assert registered[0] == 1
    assert registered[1] != 1


def test_node_0_is_a_node_like_the_others(run: Run) -> None:
    assert 0 in [one.get("node") for one in whole(run)["services"]]
    assert spans.as_data([spans.FaultSpan("freeze", 0, 0.0, 1)]) == [
        {"kind": "freeze", "node": 0, "begin": 0.0, "n": 1}
    ]


def test_messages_go_between_the_master_and_the_others(run: Run) -> None:
    found = spans.messages(run)
    assert {one.what for one in found} >= {"step", "acknowledgement", "silence", "fence", "order"}
    assert {one.what for one in found} <= set(spans.MESSAGES)
    assert all(one.sender != one.receiver for one in found)


def test_the_disk_of_a_simulated_run_is_on_the_clock_of_its_events(run: Run) -> None:
    writes = disk.commands(run).writes
    reservations = [row for row in writes if disk.WHAT[row[2]] == "reservation" and row[1] == 2]
    assert 0 <= first(run, "registered", node=2) - reservations[0][0] < 0.05
    assert {disk.WHAT[row[2]] for row in writes} >= {"heartbeat", "membership", "reservation"}


def test_the_clock_of_a_real_disk_is_found_by_what_both_tell(directory: Path, tmp_path: Path) -> None:
    """The same files, said to be of emulated machines whose bench began somewhen."""
    other = report_runs.copy(directory, tmp_path / "run")
    events = report_runs.events_of(other)
    report_runs.write_events(
        other, [events[0] | {"accelerator": "tcg"}, *({**event, "t": event["t"] + 7} for event in events[1:])]
    )
    plain = {row[3]: row[0] for row in disk.commands(read(directory)).writes}
    found = {row[3]: row[0] for row in disk.commands(read(other)).writes}
    assert plain.keys() == found.keys()
    # It is late by what the quickest event took to be told.
    assert all(-0.001 < found[order] - plain[order] - 7 < 0.05 for order in found)


def test_a_ledger_that_nothing_ties_to_the_events_is_told_and_not_drawn(directory: Path, tmp_path: Path) -> None:
    other = report_runs.copy(directory, tmp_path / "run")
    events = [one for one in report_runs.events_of(other) if one["kind"] not in ("registered", "preempted")]
    report_runs.write_events(other, [events[0] | {"accelerator": "tcg"}, *events[1:]])
    told = whole(read(other))
    assert told["disk"]["writes"] == []
    assert [note for note in told["about"]["notes"] if "no event ties the disk's ledger" in note]


def test_the_first_violation_has_its_place_and_what_led_to_it(directory: Path, tmp_path: Path) -> None:
    forged, number = report_runs.forged(directory, tmp_path / "run")
    claim = whole(read(forged))["claims"][0]
    assert (claim["outcome"], claim["at"]["n"]) == ("violated", number)
    assert claim["at"]["t"] == report_runs.events_of(forged)[number - 1]["t"]
    assert claim["causes"][-1]["n"] == number


def test_consoles_have_the_times_of_the_events(run: Run) -> None:
    console = whole(run)["consoles"][2]
    panics = [t for t, text in console["lines"] if "PANIC" in text]
    assert abs(panics[0] - first(run, "panic", node=2)) < 0.2


def test_a_run_is_equal_to_itself(run: Run) -> None:
    assert differences(run, run) == []
    told = comparison(run, run)
    assert all(one["about"]["title"] == run.title for one in told["runs"])
    assert all(row["cells"][0] == row["cells"][1] for row in told["stages"])
    assert [values for _, values in told["facts"] if values[0] != values[1]] == []


def test_both_runs_are_at_0_when_the_first_fault_begins(run: Run) -> None:
    begins = [min(fault["begin"] for fault in one["faults"]) for one in comparison(run, run)["runs"]]
    assert begins == [0.0, 0.0]


def test_histories_part_where_a_node_says_something_else(directory: Path, run: Run, tmp_path: Path) -> None:
    other = report_runs.copy(directory, tmp_path / "run")
    events = report_runs.events_of(other)
    place = next(k for k, one in enumerate(events) if one["kind"] == "elected" and one["victims"] == [1])
    events[place]["victims"] = [1, 2]
    report_runs.write_events(other, events)
    (found,) = differences(run, read(other))
    assert found.node == events[place]["node"]
    assert found.steps == ["elected epoch=2 victims=[1]", "elected epoch=2 victims=[1, 2]"]
    assert found.times[0] == events[place]["t"]


def test_the_trace_is_what_perfettos_viewer_takes(run: Run) -> None:
    told = json.loads(perfetto.as_text(run))["traceEvents"]
    assert {one["ph"] for one in told} == {"M", "X", "i"}
    assert all({"pid", "tid", "ts", "name"} <= one.keys() for one in told if one["ph"] != "M")
    assert all(one["ts"] >= 0 and one.get("dur", 0) >= 0 for one in told if one["ph"] != "M")
    named = {(one["pid"], one["tid"]) for one in told if one["name"] == "thread_name"}
    assert {(one["pid"], one["tid"]) for one in told if one["ph"] != "M"} <= named
    names = {one["args"]["name"] for one in told if one["name"] in ("process_name", "thread_name")}
    assert {
        "node 0",
        "node 2",
        "services",
        "faults",
        "recovery",
        "machine",
        "30 SFS",
        "messages",
        "disk",
        "web",
    } <= names


def test_slices_of_one_track_lie_within_each_other_or_apart(run: Run) -> None:
    """Else the viewer drops them."""
    tracks: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for one in perfetto.trace(run)["traceEvents"]:
        if one["ph"] == "X":
            tracks.setdefault((one["pid"], one["tid"]), []).append((one["ts"], one["ts"] + one["dur"]))
    for slices in tracks.values():
        open_: list[int] = []
        for begin, end in sorted(slices, key=lambda one: (one[0], -one[1])):
            while open_ and open_[-1] <= begin:
                open_.pop()
            assert not open_ or end <= open_[-1] + 1
            open_.append(end)


@pytest.mark.parametrize(
    ("verdict", "manifest", "title", "word"),
    [
        ("", "", "simulated", "no claim violated"),
        ('{"test": "a::b", "verdict": "invalid"}', "", "a::b", "invalid"),
        ("", '{"scenario": {"test": "c::d"}}', "c::d", "no claim violated"),
        ("no JSON", "[]", "simulated", "no claim violated"),
    ],
)
def test_what_the_scenario_said_is_taken_where_it_is_there(
    directory: Path, tmp_path: Path, verdict: str, manifest: str, title: str, word: str
) -> None:
    other = report_runs.copy(directory, tmp_path / "run")
    (other / "verdict.json").write_text(verdict)
    (other / "manifest.json").write_text(manifest)
    run = read(other)
    assert (run.title, run.verdict) == (title, word)


def test_when_a_run_began_is_in_its_manifest_or_its_directorys_name(directory: Path, tmp_path: Path) -> None:
    assert read(directory).when.strftime("%Y%m%dT%H%M%S") == directory.name[:15]
    other = report_runs.copy(directory, tmp_path / "run")
    (other / "manifest.json").unlink()
    assert read(other).when.timestamp() == pytest.approx((other / EVENTS).stat().st_mtime, abs=1.1)
    (other / "manifest.json").write_text('{"created": "2026-11-30T20:15:00.250+00:00"}')
    assert read(other).when.isoformat() == "2026-11-30T20:15:00+00:00"


# -- bad input


def test_a_last_line_that_is_cut_short_is_left_out_and_told(directory: Path, tmp_path: Path) -> None:
    other = report_runs.copy(directory, tmp_path / "run")
    data = (other / EVENTS).read_bytes()
    (other / EVENTS).write_bytes(data[:-20])
    run = read(other)
    assert len(run.events) == len(report_runs.events_of(directory)) - 1
    assert run.notes == ["the last line of events.jsonl is cut short, and left out"]
    assert whole(run)["about"]["notes"][0] == run.notes[0]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty: nothing was recorded"),
        ('{"n":1,"t":0,"kind":"state"}\n', "does not begin with bench-started"),
        ('{"n":1,"t":0,"kind":"bench-started","recording":99,"nodes":3}\n', "of version 99 (legal: 1)"),
        ("no JSON\n{}\n", "line 1 is no event"),
        ('{"n":1,"t":NaN,"kind":"bench-started","recording":1,"nodes":3}\n', "no number n or no time t"),
        ('{"n":1,"t":0,"kind":"bench-started","recording":1,"nodes":3}\n{"n":2,"t":0}\n', "line 2 is no event"),
        ('{"n":1,"t":0,"kind":"bench-started","recording":1,"nodes":3}\n[]\n', "line 2 is no event"),
        (
            '{"n":1,"t":0,"kind":"bench-started","recording":1,"nodes":3}\n{"kind":"state"}\n',
            "no number n or no time t",
        ),
    ],
)
def test_what_is_no_run_of_this_version_is_refused_by_name(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / EVENTS).write_text(text)
    with pytest.raises(UsageError) as refused:
        read(tmp_path)
    assert why in str(refused.value)
    assert str(tmp_path) in str(refused.value)


def test_an_event_that_says_what_cannot_be_is_named(directory: Path, tmp_path: Path) -> None:
    other = report_runs.copy(directory, tmp_path / "run")
    events = report_runs.events_of(other)
    events[40] |= {"kind": "level-complete", "subject": 9, "level": 0, "transition": "join", "incarnation": 1}
    report_runs.write_events(other, events)
    with pytest.raises(UsageError, match=r"event 41 \(level-complete\) says what cannot be"):
        lanes.lanes(read(other))


def test_a_run_in_which_nothing_has_happened_yet_can_be_drawn(tmp_path: Path) -> None:
    (tmp_path / EVENTS).write_text('{"n":1,"t":0.5,"kind":"bench-started","recording":1,"nodes":3,"cluster":"demo"}\n')
    told = whole(read(tmp_path))
    assert (told["begin"], told["end"], told["faults"], told["recoveries"]) == (0.5, 0.5, [], [])
