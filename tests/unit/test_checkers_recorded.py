"""Recorded runs: an honest one is never found wrong, in whatever order its lines were read; a forged one is."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from guestd.membership import layout
from guestd.membership.records import Ballot, Match
from hil.checkers.judgement import Judgement
from hil.checkers.recorded import judge
from hil.scsi.ledger_records import Entry, RegistrationEnded
from hil.sim.options import draw
from tests.mutations.catalogue import BY_NAME
from tests.unit.forged_records import (
    admitted_above_the_bottom,
    ballot_goes_back,
    choice_taken_back,
    chosen_in_a_ballot_that_was_not_begun,
    flag_is_lowered,
    forced_leave_goes_less_high_than_the_join,
    joined_at_once,
    leave_goes_up,
    level_is_left_out_of_a_join,
    life_before_contends_again,
    match_goes_back,
    match_is_the_one_before,
    next_life_has_other_turn_bits,
    two_values_under_one_number,
    written,
)
from tests.unit.sim_recordings import RESERVE_OUT, WRITE_10, Run, record

SEEDS_MAX = 12
ORDERS = range(3)
"""In which the lines of the nodes are read."""


@pytest.fixture(scope="module")
def simulated() -> Run:
    """Everything happens in it: forced leaves, graceful ones, boots, programs at several barriers."""
    weights = (("crash", 3), ("cut-node", 2), ("leave", 3), ("freeze-vcpu", 1), ("delay-writes", 1))
    drawn = draw(1, "swarm", 4)
    usual = replace(drawn, election="paxos", programs=3, timing_factor=1.0, lockers=0, filers=0, volume_users=0)
    usual = replace(usual, services=0)
    return record(replace(usual, weights=weights, fault_every_ms=2000))


@pytest.fixture(scope="module")
def simulated_contest() -> Run:
    """Of mode ``dekker``: nodes that come one after the other, at a slow disk, contend for an epoch and die of it."""
    drawn = replace(draw(1, "swarm", 4), election="dekker", timing_factor=1.0, programs=0, services=0, faults_ms=30_000)
    slow = replace(drawn, slow_share=800, slow_ms_max=200, boot_ms_max=800)
    return record(replace(slow, weights=(("power-failure", 1), ("crash", 1)), fault_every_ms=3000))


@pytest.fixture(scope="module")
def simulated_luns() -> Run:
    """Three LUNs, programs that write to them, and nodes that are fenced."""
    drawn = replace(
        draw(1, "swarm", 4, 2), election="paxos", timing_factor=1.0, programs=0, services=0, faults_ms=30_000
    )
    weights = (("cut-node", 2), ("freeze-vcpu", 1), ("delay-writes", 1), ("crash", 1))
    return record(replace(drawn, filers=0, volume_users=0, weights=weights, fault_every_ms=3000))


@pytest.fixture
def luns(simulated_luns: Run) -> Run:
    """To be forged."""
    return copy.deepcopy(simulated_luns)


@pytest.fixture
def run(simulated: Run) -> Run:
    """To be forged."""
    return copy.deepcopy(simulated)


@pytest.fixture
def contest(simulated_contest: Run) -> Run:
    """To be forged."""
    return copy.deepcopy(simulated_contest)


def outcomes(run: Run, **without: bool) -> dict[str, str]:
    """By claim; in each order the same ones must be found, or it would be chance."""
    found = [judge(run.recording(order, **without)) for order in ORDERS]
    told = [{ruling.name: ruling.outcome for ruling in one.rulings} for one in found]
    assert all(one == told[0] for one in told), [one.failure() for one in found]
    return told[0]


# -- honest runs


LESS: list[dict[str, bool]] = [{}, {"contents": False}, {"contents": False, "ledger": False}]
"""What a recording may not have."""


@pytest.mark.parametrize("seed", range(6))
def test_an_honest_run_is_never_found_wrong(seed: int) -> None:  # S4.4, S4.5, S6.2, S3.2
    run = record(draw(seed, nodes=2 + seed))
    for order, without in enumerate(LESS * 2):
        judgement = judge(run.recording(order, **without))
        assert judgement.violated == [], judgement.failure()


def test_the_run_that_is_forged_below_has_everything_in_it(run: Run) -> None:
    for transition in ("join", "leave", "forced-leave"):
        assert run.events("notified", transition=transition)
    for kind in ("fenced", "elected", "left", "program", "level-complete", "panic"):
        assert run.events(kind), kind
    assert run.events("notified", late=True)
    assert any(event["barrier"] for event in run.events("notified"))


def test_the_contest_that_is_forged_below_goes_on_in_the_next_life(contest: Run) -> None:
    matches = [match for _, match in written(contest, Match)]
    assert len({(match.epoch, match.incarnation) for match in matches}) > len({match.epoch for match in matches}) > 1
    assert any(match.bits for match in matches)
    assert written(contest, Ballot) == []


def test_what_cannot_be_judged_is_told_with_what_is_lacking(run: Run) -> None:
    def lacking(judgement: Judgement) -> dict[str, tuple[str, ...]]:
        return {ruling.name: ruling.lacks for ruling in judgement.rulings if ruling.lacks}

    acknowledged = "at the moment of each commit what every node has acknowledged"
    heard = "what a program hears over its connection"
    inside = "what only a simulator sees: that a node runs on though the disk refused its write, say"
    disk = "writes, registrations and removals in the order of the disk"
    contents = "what the writes wrote (keep_data = true in the cluster file keeps it)"
    always = {
        "steps": (acknowledged,),
        "programs": (heard,),
        "program_states": (heard,),
        "refused": (inside,),
        "worked_on": (inside,),
        "hung": (inside,),
        "one_cluster": (inside,),
        "survivors": (inside,),
        "locks": (inside,),
        "files": (inside,),
        "volumes": (inside,),
        "one_history": (inside,),
        "service_states": (inside,),
        "one_place": (inside,),
        "placed": (inside,),
        "grouped": (inside,),
        "recovered": (inside,),
        "notified": (inside,),
        "table: bid (Disk Paxos)": ("the phases of a bid",),
        "table: match (mode dekker)": ("the phases of a contest",),
    }
    assert lacking(judge(run.recording())) == always
    less = judge(run.recording(contents=False))
    by_contents = dict.fromkeys(("promise", "choices", "flags", "states"), (contents,))
    assert lacking(less) == always | by_contents | {"steps": (contents, acknowledged)}
    assert any(line.startswith("held       history: ") and line.endswith(contents) for line in less.lines())
    least = lacking(judge(run.recording(contents=False, ledger=False)))
    by_disk = {"one_writer", "fence", "every_disk", "panics", "choices", "flags", "states"}
    assert {name for name, lacks in least.items() if disk in lacks} == by_disk


def test_a_wait_is_judged_only_where_a_run_has_come_to_rest(run: Run) -> None:
    recording = run.recording()
    recording.events[-1]["t"] = recording.events[-2]["t"]
    (waits,) = [ruling for ruling in judge(recording).rulings if ruling.name == "waits"]
    assert waits.outcome == "not judged"
    assert "an end at which nothing is wrong any more" in waits.lacks[0]


def test_where_the_disk_fences_nobody_the_claims_of_the_fence_do_not_stand(run: Run) -> None:  # S6.5
    recording = run.recording()
    recording.fence = "panic"
    assert not {"fence", "fence_first", "every_disk"} & {ruling.name for ruling in judge(recording).rulings}


@pytest.mark.parametrize(
    ("fault", "judged"),
    [
        ({"fault": "disk-lost", "lba": None}, False),
        ({"fault": "disk-stale", "lba": [2304, 2304]}, False),
        ({"fault": "disk-misdirected", "lba": [4096, 4200], "parameters": {"shift": -1500}}, False),
        ({"fault": "disk-misdirected", "lba": [4096, 4200], "parameters": {"shift": 5}}, True),
        ({"fault": "disk-lost", "lba": [40_000, 40_999]}, True),
        ({"fault": "disk-lost", "lba": None, "lun": 1}, True),
        ({"fault": "disk-hang", "lba": None}, True),
    ],
)
def test_where_the_disk_was_made_to_lie_about_the_database_nothing_is_judged(  # S2.5
    run: Run, fault: dict[str, Any], judged: bool
) -> None:
    recording = run.recording()
    recording.events.insert(1, {"n": 2, "t": 0.0, "kind": "fault-injected", "node": 0, **fault})
    judgement = judge(recording)
    assert judgement.violated == []
    held = [ruling for ruling in judgement.rulings if ruling.outcome == "held"]
    assert bool(held) is judged
    lies = [
        ruling for ruling in judgement.rulings if any("a disk that does what it says" in one for one in ruling.lacks)
    ]
    assert bool(lies) is not judged


# -- forged runs


def line_of(run: Run, event: dict[str, Any]) -> tuple[list[dict[str, Any]], int]:
    """Its node's line, and its place there."""
    line = run.lines[event["node"]]
    return line, next(place for place, one in enumerate(line) if one is event)


def last_life(run: Run, node: int, kind: str, **fields: Any) -> list[dict[str, Any]]:
    """The events of that kind since the node's last boot."""
    line = run.lines[node]
    start = max(place for place, event in enumerate(line) if event["kind"] == "guestd-started")
    return [event for event in run.events(kind, **fields) if line_of(run, event)[1] > start and event["node"] == node]


def two_are_elected(run: Run) -> None:
    event = run.events("elected")[-1]
    other = next(node for node in range(run.nodes) if node != event["node"])
    run.lines[other].append(event | {"node": other})


def another_master(run: Run) -> None:
    event = run.events("membership")[-1]
    event["master"] = next(node for node in range(run.nodes) if node != event["master"])


def writes_elsewhere(run: Run) -> None:
    place, entry = next((n, one) for n, one in enumerate(run.records) if isinstance(one, Entry) and one.changed)
    foreign = layout.region_lba((entry.nexus.number + 1) % run.nodes, layout.HEARTBEAT_SECTOR)
    run.records[place] = entry._replace(lba=foreign)


def removal(run: Run) -> tuple[int, RegistrationEnded]:
    """One by another node, and where."""
    return next(
        (place, one)
        for place, one in enumerate(run.records)
        if isinstance(one, RegistrationEnded) and one.by != one.nexus
    )


def writes_after_its_fence(run: Run) -> None:
    place, ended = removal(run)
    number = ended.nexus.number
    write = next(e for e in run.records if isinstance(e, Entry) and e.opcode == WRITE_10 and e.nexus.number == number)
    run.records.insert(place + 2, write._replace(order=ended.order, arrival_ns=ended.time_ns))


def life_before_writes(run: Run) -> None:
    """A write that came before the node's next life had registered lands after it."""
    keys = [
        (place, one) for place, one in enumerate(run.records) if isinstance(one, Entry) and one.opcode == RESERVE_OUT
    ]
    place, key = next((p, k) for p, k in reversed(keys) if any(k.nexus == other.nexus for _, other in keys[:4]))
    write = next(
        entry
        for entry in reversed(run.records[:place])
        if isinstance(entry, Entry) and entry.opcode == WRITE_10 and entry.nexus == key.nexus
    )
    run.records.insert(place + 1, write)


def not_fenced(run: Run) -> None:
    place, _ = removal(run)
    del run.records[place]


def never_fenced(run: Run) -> None:
    """The victim does not come back, so nothing else ends its key."""
    place, ended = next(
        (place, one)
        for place, one in reversed(list(enumerate(run.records)))
        if isinstance(one, RegistrationEnded) and one.by != one.nexus
    )
    del run.records[place]
    run.records = [
        one
        for number, one in enumerate(run.records)
        if not (number >= place and isinstance(one, Entry) and one.nexus == ended.nexus)
    ]


def not_verified(run: Run) -> None:
    elected = next(event for event in run.events("elected") if event["victims"])
    line, place = line_of(run, elected)
    line[:place] = [event for event in line[:place] if event["kind"] != "fenced"]


def two_histories(run: Run) -> None:
    event = next(
        event
        for event in run.events("membership")
        if len(run.events("membership", epoch=event["epoch"], step=event["step"])) > 1
        and event["nodes"][str(event["node"])]["state"] == "joined"
    )
    other = next(number for number in event["nodes"] if int(number) != event["node"])
    event["nodes"][other]["incarnation"] += 1


def never_committed(run: Run) -> None:
    run.events("membership")[-1]["step"] += 1000


def goes_back(run: Run) -> None:
    line, place = line_of(run, run.events("membership")[-1])
    line.append(line[place])


def level_left_out(run: Run) -> None:
    """At a node that was joined from the first level on."""
    for told in run.events("notified", transition="forced-leave", level=30):
        about = {key: told[key] for key in ("node", "subject", "incarnation", "transition")}
        line, place = line_of(run, run.events("notified", **about)[0])
        states = [one for one in line[:place] if one["kind"] in ("state", "guestd-started")]
        if states[-1].get("state") == "joined":
            for kind in ("notified", "acknowledged"):
                for event in run.events(kind, **about, level=20):
                    del line[line_of(run, event)[1]]
            return
    pytest.fail("no such forced leave")


def level_left_out_of_the_own_join(run: Run) -> None:
    for kind in ("notified", "acknowledged"):
        for event in last_life(run, 0, kind, subject=0, transition="join", level=20):
            line, place = line_of(run, event)
            del line[place]


def same_incarnation_again(run: Run) -> None:
    first, *_, last = [event for event in run.events("incarnation") if event["node"] == 0]
    line, place = line_of(run, last)
    line[place] = {**last, "incarnation": first["incarnation"]}


def told_twice(run: Run) -> None:
    event = run.events("notified", level=10, transition="forced-leave")[-1]
    line, place = line_of(run, event)
    line[place + 2 : place + 2] = [dict(event)]


def acknowledged_later(run: Run) -> None:
    """Node and level such that another node was told of the next level with a view that this one had, too."""
    for event in reversed(run.events("acknowledged", subsystem="VDM", transition="join")):
        line, place = line_of(run, event)
        later = [number for number, one in enumerate(line[place:], place) if one["kind"] == "membership"]
        told = run.events("notified", subject=event["subject"], incarnation=event["incarnation"], transition="join")
        others = [one for one in told if one["node"] != event["node"] and one["level"] > event["level"]]
        if later and others and event["subject"] != event["node"]:
            line.insert(later[0] + 1, line.pop(place))
            line[later[0]], line[later[0] - 1] = line[later[0] - 1], line[later[0]]
            line.insert(later[0] + 1, line.pop(later[0] - 1))
            return
    pytest.fail("no such step")


def levels_swapped_on_one_node(run: Run) -> None:
    node = next(n for n in range(run.nodes) if last_life(run, n, "notified", level=20, transition="join"))
    subject = last_life(run, node, "notified", level=20, transition="join")[-1]["subject"]
    about = {"subject": subject, "transition": "join"}
    for event in [*last_life(run, node, "notified", **about), *last_life(run, node, "acknowledged", **about)]:
        if event["level"] in (10, 20):
            event["level"] = 30 - event["level"]


def registered_twice(run: Run) -> None:
    line, place = line_of(run, run.events("program", state="registered")[-1])
    line.insert(place + 1, dict(line[place]))


def comes_back(run: Run) -> None:
    out = next(
        (number, entry["incarnation"])
        for event in run.events("membership")
        for number, entry in event["nodes"].items()
        if entry["state"] == "forced-leaving"
    )
    for event in run.events("membership"):
        entry = event["nodes"][out[0]]
        if entry == {"state": "inactive", "incarnation": out[1]}:
            entry["state"] = "joined"


def panics_for_nothing(run: Run) -> None:
    run.lines[0].append({"kind": "panic", "node": 0, "cause": "key-gone", "reason": "its key is gone"})


def hangs_for_nothing(run: Run) -> None:
    run.lines[0].append({"kind": "panic", "node": 0, "cause": "subsystem-hung", "reason": "DLM"})


def hangs_for_a_program_that_has_ended(run: Run) -> None:
    """What it had not acknowledged counts as acknowledged."""
    done = run.events("acknowledged", subsystem="service")[-1]
    line, place = line_of(run, done)
    told = {key: done[key] for key in ("node", "subsystem", "level", "subject", "incarnation", "transition", "barrier")}
    ended = {"kind": "program", "node": done["node"], "program": "service", "level": done["level"], "state": "ended"}
    reason = "subsystem service did not acknowledge within 10000 ms"
    panic = {"kind": "panic", "node": done["node"], "cause": "subsystem-hung", "reason": reason}
    line[place:] = [told | {"kind": "notified"}, ended | {"why": "closed"}, panic]


def expels_without_a_program(run: Run) -> None:
    for line in run.lines[:1]:
        line[:] = [event for event in line if event["kind"] != "program"]
    run.lines[0].append(
        {"kind": "panic", "node": 0, "cause": "expelled-by-program", "reason": "the stop command failed"}
    )


def waits_for_ever(run: Run) -> None:
    run.lines[0].append({"kind": "waiting", "node": 0, "for": "the end of the world"})


def late_join_is_not_acknowledged(run: Run) -> None:
    event = next(event for node in range(run.nodes) for event in last_life(run, node, "acknowledged", late=True))
    line, place = line_of(run, event)
    del line[place]


def state_out_of_nothing(run: Run) -> None:
    run.events("state", state="joined")[-1]["previous"] = "leaving"


def leave_becomes_join(run: Run) -> None:
    """In the same epoch, of the same life."""
    for event in run.events("membership"):
        for entry in event["nodes"].values():
            if entry["state"] == "leaving":
                entry["state"] = "joining"


def announced_twice(run: Run) -> None:
    line, place = line_of(run, run.events("incarnation")[-1])
    line.append(line[place])


def left_and_goes_on(run: Run) -> None:
    line, place = line_of(run, run.events("membership")[0])
    line.insert(place, {"kind": "left", "node": line[place]["node"], "epoch": 1})


def leaves_before_it_joins(run: Run) -> None:
    """At a node that was joined all the time."""
    for event in run.events("notified", transition="join", level=0):
        line, place = line_of(run, event)
        states = [one for one in line[:place] if one["kind"] in ("state", "guestd-started")]
        if states[-1].get("state") == "joined" and event["subject"] != event["node"]:
            line.insert(place, event | {"transition": "leave"})
            return
    pytest.fail("no such join")


def told_after_its_own_leave(run: Run) -> None:
    """A level that has acknowledged it with its last barrier."""
    done = run.events("acknowledged", subsystem="DLM", transition="leave", barrier=1)
    event = next(one for one in reversed(done) if one["subject"] == one["node"])
    line, place = line_of(run, event)
    told = [one for one in line[:place] if one["kind"] == "notified" and one["subsystem"] == "DLM"]
    line.insert(place + 1, dict(told[-1]))


def told_after_its_end(run: Run) -> None:
    """A program that has closed its connection."""
    done = run.events("acknowledged", subsystem="service")[-1]
    line, place = line_of(run, done)
    ended = {"kind": "program", "node": done["node"], "program": "service", "level": done["level"], "state": "ended"}
    line[place + 1 :] = [ended | {"why": "closed"}, done | {"kind": "notified"}]


def barrier_of_nothing(run: Run) -> None:
    event = run.events("notified", transition="join", barrier=0, late=True)[0]
    line, place = line_of(run, event)
    line.insert(place, event | {"barrier": 1})


def program_ends_before_it_begins(run: Run) -> None:
    event = run.events("program", state="registered")[0]
    event["why"], event["state"] = "left", "ended"


def journal_forgotten(run: Run) -> None:
    """Of a node that has its file system mounted."""
    event = run.events("acknowledged", subsystem="SFS", transition="forced-leave")[-1]
    line, place = line_of(run, event)
    kept = [one for one in line[:place] if one["kind"] != "journal-replayed"]
    line[:place] = [*kept, {"kind": "file-system", "state": "mounted", "node": event["node"]}]


FORGED: list[tuple[str, Callable[[Run], None], dict[str, bool]]] = [
    ("one_owner", two_are_elected, {"contents": False, "ledger": False}),
    ("one_owner", another_master, {"contents": False, "ledger": False}),
    ("one_writer", writes_elsewhere, {"contents": False}),
    ("fence", writes_after_its_fence, {"contents": False}),
    ("fence", life_before_writes, {"contents": False}),
    ("fence_first", not_fenced, {}),
    ("incarnations", same_incarnation_again, {"contents": False, "ledger": False}),
    ("fence_first", not_verified, {"contents": False, "ledger": False}),
    ("fence_first", never_fenced, {"contents": False}),
    ("promise", ballot_goes_back, {}),
    ("choices", chosen_in_a_ballot_that_was_not_begun, {}),
    ("choices", choice_taken_back, {}),
    ("choices", two_values_under_one_number, {}),
    ("states", joined_at_once, {}),
    ("states", level_is_left_out_of_a_join, {}),
    ("states", leave_goes_up, {}),
    ("states", admitted_above_the_bottom, {}),
    ("states", forced_leave_goes_less_high_than_the_join, {}),
    ("history", two_histories, {"contents": False, "ledger": False}),
    ("history", never_committed, {}),
    ("history", goes_back, {"contents": False}),
    ("transitions", level_left_out, {"contents": False}),
    ("transitions", level_left_out_of_the_own_join, {"contents": False}),
    ("transitions", told_twice, {"contents": False}),
    ("own_level", told_after_its_own_leave, {"contents": False, "ledger": False}),
    ("own_level", told_after_its_end, {"contents": False, "ledger": False}),
    ("barriers", acknowledged_later, {"contents": False, "ledger": False}),
    ("level_order", levels_swapped_on_one_node, {"contents": False, "ledger": False}),
    ("journal_first", journal_forgotten, {"contents": False, "ledger": False}),
    ("one_instance", registered_twice, {"contents": False, "ledger": False}),
    ("forced_out", comes_back, {"contents": False, "ledger": False}),
    ("panics", panics_for_nothing, {"contents": False}),
    ("panics", hangs_for_nothing, {"contents": False}),
    ("panics", hangs_for_a_program_that_has_ended, {"contents": False}),
    ("panics", expels_without_a_program, {"contents": False}),
    ("waits", waits_for_ever, {}),
    ("waits", late_join_is_not_acknowledged, {}),
    ("tables", state_out_of_nothing, {"contents": False, "ledger": False}),
    ("tables", leave_becomes_join, {"contents": False, "ledger": False}),
    ("tables", announced_twice, {"contents": False, "ledger": False}),
    ("tables", left_and_goes_on, {"contents": False, "ledger": False}),
    ("tables", leaves_before_it_joins, {"contents": False, "ledger": False}),
    ("tables", barrier_of_nothing, {"contents": False, "ledger": False}),
    ("tables", program_ends_before_it_begins, {"contents": False, "ledger": False}),
]


def last_removal(run: Run, lun: int) -> tuple[int, RegistrationEnded]:
    """From that LUN, by another node, and where."""
    return next(
        (place, one)
        for place, one in reversed(list(enumerate(run.records)))
        if isinstance(one, RegistrationEnded) and one.lun == lun and one.by != one.nexus
    )


def one_lun_is_left_out(run: Run) -> None:
    place, _ = last_removal(run, 2)
    del run.records[place]


def lun_0_comes_last(run: Run) -> None:
    first, ended = last_removal(run, 0)
    last, _ = last_removal(run, 2)
    run.records.insert(last + 1, ended)
    del run.records[first]


def writes_to_a_lun_after_its_fence(run: Run) -> None:
    place, ended = last_removal(run, 1)
    write = next(
        one
        for one in run.records
        if isinstance(one, Entry) and (one.opcode, one.lun, one.nexus) == (WRITE_10, 1, ended.nexus)
    )
    run.records.insert(place + 2, write._replace(order=ended.order, arrival_ns=ended.time_ns))


FORGED_LUNS: list[tuple[str, Callable[[Run], None], dict[str, bool]]] = [
    ("every_disk", one_lun_is_left_out, {}),
    ("every_disk", lun_0_comes_last, {"contents": False}),
    ("every_disk", writes_to_a_lun_after_its_fence, {"contents": False}),
]

FORGED_CONTESTS: list[tuple[str, Callable[[Run], None]]] = [
    ("flags", match_goes_back),
    ("flags", match_is_the_one_before),
    ("flags", flag_is_lowered),
    ("flags", next_life_has_other_turn_bits),
    ("flags", life_before_contends_again),
]


@pytest.mark.parametrize(
    ("claim", "forge", "without"), [pytest.param(*one, id=f"{one[0]}: {one[1].__name__}") for one in FORGED]
)
def test_a_forged_recording_is_found(  # S2.4, S2.5, S2.6, S3.2, S3.3, S4.4, S4.5, S4.7, S6.1, S6.2, S6.3
    run: Run, claim: str, forge: Callable[[Run], None], without: dict[str, bool]
) -> None:
    forge(run)
    assert outcomes(run, **without)[claim] == "violated"


@pytest.mark.parametrize(
    ("claim", "forge"), [pytest.param(*one, id=f"{one[0]}: {one[1].__name__}") for one in FORGED_CONTESTS]
)
def test_a_forged_contest_is_found(contest: Run, claim: str, forge: Callable[[Run], None]) -> None:  # S3.2
    forge(contest)
    assert outcomes(contest)[claim] == "violated"


@pytest.mark.parametrize(
    ("claim", "forge", "without"), [pytest.param(*one, id=f"{one[1].__name__} {one[2]}") for one in FORGED_LUNS]
)
def test_a_forged_recording_of_several_luns_is_found(  # S6.2, A18
    luns: Run, claim: str, forge: Callable[[Run], None], without: dict[str, bool]
) -> None:
    forge(luns)
    assert outcomes(luns, **without)[claim] == "violated"


@pytest.mark.parametrize(
    ("forge", "told"),
    [
        (joined_at_once, "it has not come to the end"),
        (level_is_left_out_of_a_join, "were left out"),
        (leave_goes_up, "in the wrong direction (S4.4)"),
        (admitted_above_the_bottom, "who is admitted begins at the bottom"),
        (forced_leave_goes_less_high_than_the_join, "and goes as far as the join had come"),
    ],
)
def test_a_forged_commit_is_found_for_what_it_says(  # S2.4, S4.4, S4.8, S4.11
    run: Run, forge: Callable[[Run], None], told: str
) -> None:
    forge(run)  # the commit after it does not follow either, so that something is wrong is not enough
    (ruling,) = [ruling for ruling in judge(run.recording()).rulings if ruling.name == "states"]
    assert told in (ruling.violation or "")


@pytest.mark.parametrize("forge", [choice_taken_back, two_values_under_one_number])
def test_of_a_choice_the_promise_tells_nothing(run: Run, forge: Callable[[Run], None]) -> None:  # S3.2
    forge(run)
    assert outcomes(run)["promise"] == "held"


@pytest.mark.parametrize("without", LESS)
def test_before_it_is_forged_it_is_not(run: Run, contest: Run, luns: Run, without: dict[str, bool]) -> None:
    assert "violated" not in outcomes(run, **without).values()
    assert "violated" not in outcomes(luns, **without).values()
    assert "violated" not in outcomes(contest, **without).values()


def test_every_claim_that_can_be_judged_has_been_forged(run: Run) -> None:
    judged = {name for name, outcome in outcomes(run).items() if outcome == "held"}
    assert judged == {claim for claim, _, _ in (*FORGED, *FORGED_LUNS)} | {claim for claim, _ in FORGED_CONTESTS}


# -- recordings of a guestd that is broken on purpose


@pytest.mark.parametrize(
    ("mutant", "claim"),
    [
        ("no-fence", "fence_first"),
        ("preempt-without-abort", "fence"),
        ("barrier-skipped", "transitions"),
        ("one-not-awaited", "barriers"),
        ("ballot-forgotten", "promise"),
        ("chosen-value-forgotten", "choices"),
        ("turn-bits-forgotten", "flags"),
        ("joined-at-once", "states"),
        ("told-after-its-own-leave", "own_level"),
        ("left-program-waited-for", "own_level"),
        ("told-before-written", "history"),
        ("forced-leave-acknowledged-at-once", "journal_first"),
        ("writes-elsewhere", "one_writer"),
        ("panics-when-the-disk-hangs", "panics"),
        ("forced-out-comes-back", "forced_out"),
    ],
)
def test_what_is_found_live_is_found_in_a_recording_too(  # S3.2, S3.3, S4.5, S6.1, S6.2, A3
    mutant: str, claim: str
) -> None:
    broken = BY_NAME[mutant]
    found = []
    with broken.applied():
        for seed in range(SEEDS_MAX):
            found.append(outcomes(record(broken.options(seed)))[claim])
            if found[-1] == "violated":
                break
    assert found[-1] == "violated"
