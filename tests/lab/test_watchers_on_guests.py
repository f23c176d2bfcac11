"""The watchers that come with the system, on real guests: each detects what it is there for, and the action runs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from guestd.watchers.disk_path import READ_SIZE
from hil.config import make_config
from hil.scenario import ScenarioCluster
from tests.lab.host_programs import shell

pytestmark = pytest.mark.lab

WATCHED = (0, READ_SIZE // 512 - 1)
"""Sectors of the disk: those that its watcher reads."""
ACTION = '["/bin/busybox", "sh", "-c", "echo $$0 $$HIL_NODE $$1 >>/shared/occurred", "{name}", "{out}"]'
EVENTS = {
    "time": ("timer", "every_s = 3", "$OUT.count"),
    "gone": ("process", 'pid_file = "/run/it.pid"\ngrace_s = 0', "$OUT.change"),
    "full": ("file_system_space", 'path = "/shared"\nbelow_percent = 100\nevery_s = 2', "$OUT.path"),
    "down": ("link", 'interface = "lo"\nevery_s = 1', "$OUT.state"),
    "lost": ("disk_path", "within_s = 2", "$OUT.change"),
    "died": ("membership", 'transition = "forced-leave"', "$OUT.node"),
}


def groups() -> str:
    """One group, watched on node 0."""
    text = '[[group]]\nname = "all of them"\nwhere = [0]\n'
    for name, (watcher, inputs, out) in EVENTS.items():
        action = ACTION.format(name=name, out=out)
        text += f'\n[[group.events]]\nname = "{name}"\nwatcher = "{watcher}"\naction = {action}\n'
        text += f"[group.events.in]\n{inputs}\n"
    return text


@pytest.fixture
def cluster() -> Iterator[ScenarioCluster]:
    cluster = ScenarioCluster.up(make_config(name=f"t-watchers-{os.getpid()}", nodes=2))
    try:
        cluster.wait_joined()
        yield cluster
    finally:
        cluster.down()


def occurred(cluster: ScenarioCluster, name: str) -> dict[str, Any]:
    """Wait until that event has occurred; what is told of it."""

    def found() -> list[dict[str, Any]]:
        told = [event for event in cluster.events() if event["kind"] == "occurrence"]
        return [event for event in told if (event["event"], event["what"]) == (name, "occurred")]

    cluster.wait(lambda _: None if found() else f"{name} has not occurred", about=f"the event {name}")
    return found()[0]


def test_each_watcher_detects_what_it_is_there_for(cluster: ScenarioCluster) -> None:  # S8.1 to S8.5
    first, second = cluster.nodes
    cluster.services.wait_ready()
    shell(first, "sleep 100000 >/dev/null 2>&1 & echo $! >/run/it.pid")
    first.send("cat >/tmp/events.toml", groups().encode())
    shell(first, "guestctl event add /tmp/events.toml")

    occurred(cluster, "time")
    occurred(cluster, "full")
    watched = json.loads(shell(first, "guestctl event list --json"))["groups"][0]["events"]
    assert {one["name"]: one["state"] for one in watched} == dict.fromkeys(EVENTS, "watched")

    shell(first, "kill -9 $(cat /run/it.pid)")
    assert occurred(cluster, "gone")["out"]["change"] == "ended"
    shell(first, "ip link set lo down")
    assert occurred(cluster, "down")["out"]["state"] == "down"
    # What the watcher reads, and none of the node's heartbeats: nobody is forced out however long that takes.
    with cluster.disk.inject("hang", first, lba=WATCHED, direction="read"):
        assert occurred(cluster, "lost")["out"]["change"] == "lost"
    cluster.power_off([second])
    assert occurred(cluster, "died")["out"]["node"] == 1

    def lacking(_: object) -> str | None:
        lines = shell(first, "cat /shared/occurred").splitlines()
        said = {line.split()[0] for line in lines}
        return None if said == set(EVENTS) else f"no action of: {', '.join(sorted(set(EVENTS) - said))}"

    cluster.wait(lacking, about="the actions")
    assert "down 0 down" in shell(first, "cat /shared/occurred").splitlines()
