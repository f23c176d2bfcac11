"""A run as a trace that Perfetto's viewer opens: Chrome's trace event format, JSON.

One process for the cluster with the faults and the recoveries, one per node with a track for its machine and for each
level, one for the services. What nodes told each other, panics and the events themselves are instants. A trace counts
in microseconds.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from hil.report import disk, lanes, spans
from hil.report.lanes import MACHINE, STATE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hil.recovery import Recovery
    from hil.report.run import Run

Slice = dict[str, Any]

_CLUSTER: Final = 1
_SERVICES: Final = 2
_NODES: Final = 10
"""The process of node i is this and i."""
_MESSAGES, _EVENTS, _DISK = 1000, 1001, 1002
"""Tracks of a node below those of its levels."""


def trace(run: Run) -> dict[str, Any]:
    """Plain data. Raises :class:`hil.errors.UsageError` for what cannot be drawn."""
    begin = min(float(event["t"]) for event in run.events)
    found = [*_names(run), *_cluster(run), *_nodes(run), *_services(run), *_messages(run), *_events(run), *_disk(run)]
    for one in found:
        if "ts" in one:
            one["ts"] = round((one["ts"] - begin) * 1e6)
    return {"traceEvents": found, "displayTimeUnit": "ms", "otherData": {"run": str(run.directory), "title": run.title}}


def as_text(run: Run) -> str:
    """The file."""
    return json.dumps(trace(run), separators=(",", ":"))


def _names(run: Run) -> Iterator[Slice]:
    nodes = [(_NODES + node, f"node {node}") for node in range(run.nodes)]
    processes = [(_CLUSTER, f"cluster {run.started.get('cluster', '')}"), *nodes, (_SERVICES, "services")]
    for place, (process, name) in enumerate(processes):
        yield {"ph": "M", "pid": process, "name": "process_name", "args": {"name": name}}
        yield {"ph": "M", "pid": process, "name": "process_sort_index", "args": {"sort_index": place}}


def _thread(process: int, track: int, name: str) -> Iterator[Slice]:
    yield {"ph": "M", "pid": process, "tid": track, "name": "thread_name", "args": {"name": name}}
    yield {"ph": "M", "pid": process, "tid": track, "name": "thread_sort_index", "args": {"sort_index": track}}


def _slice(process: int, track: int, name: str, begin: float, end: float, **told: Any) -> Slice:
    seconds = max(0.0, end - begin)
    return {
        "ph": "X", "pid": process, "tid": track, "name": name, "ts": begin, "dur": round(seconds * 1e6), "args": told,
    }  # fmt: skip


def _instant(process: int, track: int, name: str, t: float, **told: Any) -> Slice:
    return {"ph": "i", "s": "t", "pid": process, "tid": track, "name": name, "ts": t, "args": told}


def _cluster(run: Run) -> Iterator[Slice]:
    """Slices of one track must lie within each other or apart: what overlaps gets tracks of its own."""
    faults = spans.faults(run)
    ends = [fault.end if fault.end is not None else run.end_t for fault in faults]
    for fault, end, track in zip(faults, ends, _stacked([fault.begin for fault in faults], ends), strict=True):
        whom = "all" if fault.node is None else f"n{fault.node}"
        yield from _thread(_CLUSTER, 1 + track, "faults")
        yield _slice(_CLUSTER, 1 + track, f"{whom} {fault.kind}", fault.begin, end, **fault.about)
    found = run.recoveries
    for recovery, track in zip(
        found, _stacked([one.begun_t for one in found], [max(one.ends.values()) for one in found]), strict=True
    ):
        yield from _thread(_CLUSTER, 100 + track, "recovery")
        yield from _stages(recovery, 100 + track)


def _stages(recovery: Recovery, track: int) -> Iterator[Slice]:
    whole = f"recovery after n{recovery.victim}"
    yield _slice(_CLUSTER, track, whole, recovery.begun_t, max(recovery.ends.values()), why=recovery.why)
    begin = recovery.begun_t
    for stage, end in recovery.ends.items():
        yield _slice(_CLUSTER, track, stage, begin, end)
        begin = end


def _stacked(begins: Sequence[float], ends: Sequence[float]) -> list[int]:
    """For each span the first track that is free by then."""
    free: list[float] = []
    tracks = []
    for begin, end in zip(begins, ends, strict=True):
        track = next((number for number, over in enumerate(free) if over <= begin), len(free))
        free[track : track + 1] = [end]
        tracks.append(track)
    return tracks


def _nodes(run: Run) -> Iterator[Slice]:
    drawn = lanes.lanes(run)
    for one in drawn.nodes:
        process = _NODES + one.node
        tracks = {MACHINE: (1, "machine"), STATE: (2, "node")}
        tracks |= {str(level): (10 + level, f"{level} {name}") for level, name in drawn.levels.items()}
        for key, (track, name) in tracks.items():
            yield from _thread(process, track, name)
            lane = one.lanes.get(key, [])
            ends = [*(t for t, _ in lane[1:]), run.end_t]
            for (t, state), end in zip(lane, ends, strict=False):
                if state not in ("inactive", "off"):
                    yield _slice(process, track, state, t, end)
        for t, number, reason in one.panics:
            yield _instant(process, 1, "panic", t, n=number, reason=reason)


def _services(run: Run) -> Iterator[Slice]:
    found = spans.services(run)
    tracks = {name: 1 + place * 100 for place, name in enumerate(sorted({one.service for one in found}))}
    for name, first in tracks.items():
        own = [one for one in found if one.service == name]
        ends = [one.end if one.end is not None else run.end_t for one in own]
        for one, end, track in zip(own, ends, _stacked([one.begin for one in own], ends), strict=True):
            where = "" if one.node is None else f" n{one.node}"
            yield from _thread(_SERVICES, first + track, name)
            yield _slice(
                _SERVICES, first + track, f"{'lost' if one.lost else one.state}{where}", one.begin, end, why=one.why
            )


def _messages(run: Run) -> Iterator[Slice]:
    for node in range(run.nodes):
        yield from _thread(_NODES + node, _MESSAGES, "messages")
    for message in spans.messages(run):
        sender = "bench" if message.sender is None else f"n{message.sender}"
        name = f"{message.what} from {sender}"
        yield _instant(_NODES + message.receiver, _MESSAGES, name, message.t, n=message.n)


def _events(run: Run) -> Iterator[Slice]:
    for node in range(run.nodes):
        yield from _thread(_NODES + node, _EVENTS, "events")
    yield from _thread(_CLUSTER, _EVENTS, "events of the bench")
    for event in run.events:
        teller = event.get("node")
        process = _NODES + teller if isinstance(teller, int) else _CLUSTER
        told = {key: value for key, value in event.items() if key not in ("t", "kind", "node")}
        yield _instant(process, _EVENTS, event["kind"], event["t"], **told)


def _disk(run: Run) -> Iterator[Slice]:
    for node in range(run.nodes):
        yield from _thread(_NODES + node, _DISK, "disk")
    for t, writer, what, order, lba, blocks, name, status in disk.commands(run).writes:
        told = {"order": order, "lba": lba, "blocks": blocks, "operation": name, "status": status or "GOOD"}
        yield _instant(_NODES + writer, _DISK, disk.WHAT[what], t, **told)
