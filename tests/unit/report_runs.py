"""Runs to draw: a simulated cluster through a story with everything in it, and what can be made of its files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from hil.evidence.layout import EVENTS
from hil.scenario import ScenarioCluster
from tests.unit.sim_cluster import started

SERVICE = "web"


def story(seed: int = 0) -> Path:
    """Of three nodes one with a service loses power, one is cut off and panics, one leaves; the run's directory."""
    with started(seed=seed) as cluster:
        cluster.wait_joined()
        cluster.services.wait_ready()
        commands = {"start_command": ["/bin/true"], "stop_command": ["/bin/true"]}
        cluster.services.add({"name": SERVICE, "node_preferences": [1], **commands})
        cluster.services.wait_registered(SERVICE, 1)
        cluster.pass_time(1.0)
        lose_power(cluster, 1)
        cut_off(cluster, 2)
        cluster.shutdown(cluster.nodes[0])
        cluster.wait_off(cluster.nodes[0])
        return cluster.run_dir


def lose_power(cluster: ScenarioCluster, node: int) -> None:
    """Until its service runs elsewhere, and it has joined again."""
    cluster.power_off([cluster.nodes[node]])
    cluster.services.wait_registered(SERVICE)
    cluster.wait_state(cluster.nodes[node], "inactive")
    cluster.power_on([cluster.nodes[node]])
    cluster.wait_joined()


def cut_off(cluster: ScenarioCluster, node: int) -> None:
    """Silently, until it has panicked; healed and switched on, until it has joined."""
    victim = cluster.nodes[node]
    with cluster.expecting_panic(victim, because="forced out"):
        cluster.cut_link(victim, how="silent")
        cluster.wait_crashed(victim)
    cluster.heal_link(victim)
    cluster.power_cycle([victim])
    cluster.wait_joined()


def copy(run: Path, to: Path) -> Path:
    """Without the disk, which is large and drawn by nobody."""
    return Path(shutil.copytree(run, to, ignore=shutil.ignore_patterns("disk.raw")))


def events_of(run: Path) -> list[dict[str, Any]]:
    """All of them."""
    return [json.loads(line) for line in (run / EVENTS).read_text(encoding="utf-8").splitlines()]


def write_events(run: Path, events: list[dict[str, Any]]) -> None:
    """Numbered anew."""
    lines = [json.dumps(event | {"n": number}) + "\n" for number, event in enumerate(events, 1)]
    (run / EVENTS).write_text("".join(lines), encoding="utf-8")


def forged(run: Path, to: Path) -> tuple[Path, int]:
    """The same run in which a node says that it was elected for an epoch of another one's; and that event's number."""
    copy(run, to)
    events = events_of(to)
    elected = next(event for event in events if event["kind"] == "elected")
    place = next(
        place for place, event in enumerate(events)
        if event["kind"] == "state" and event["state"] == "joined" and event["node"] != elected["node"]
    )  # fmt: skip
    own = {key: events[place][key] for key in ("t", "node", "guest_n", "guest_t")}
    events[place] = elected | own
    write_events(to, events)
    return to, place + 1


def long(run: Path, to: Path, count: int) -> Path:
    """A run of at least ``count`` events: the story again and again, each time in new epochs and incarnations."""
    copy(run, to)
    first, *story_ = events_of(to)
    story_ = [event for event in story_ if event["kind"] != "bench-stopping"]
    length = max(event["t"] for event in story_) + 1.0
    epochs = max(event["epoch"] for event in story_ if "epoch" in event)
    lives = max(event["incarnation"] for event in story_ if "incarnation" in event)
    told = [first]
    turn = 0
    while len(told) < count:
        told += [_later(event, turn * length, turn * epochs, turn * lives) for event in story_]
        turn += 1
    write_events(to, told)
    (to / "ledger.bin").unlink()
    return to


def _later(event: dict[str, Any], seconds: float, epochs: int, lives: int) -> dict[str, Any]:
    changed = event | {"t": round(event["t"] + seconds, 4)}
    if "epoch" in event:
        changed["epoch"] = event["epoch"] + epochs
    if "incarnation" in event:
        changed["incarnation"] = event["incarnation"] + lives
    if isinstance(event.get("nodes"), dict):
        changed["nodes"] = {
            node: entry | {"incarnation": entry["incarnation"] + lives} for node, entry in event["nodes"].items()
        }
    if "registration" in event:
        changed["registration"] = event["registration"] + epochs * 10
    return changed
