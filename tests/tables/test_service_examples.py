"""The two worked examples of spec S9.9, line by line, as the document prints them (its tables 2 and 3).

A line is: when, what happens, the service's state and flags after it, and what each node shows. Where the next line
follows by itself (a service in transfer goes on at once, spec S9.7) there is no time to look at a line: it is found in
the events, before that of the next line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from guestd.services.database import Database
from guestd.services.shown import summary
from guestd.services.view import View
from tests.unit.services_world import World

Event = Callable[[World], None]
Line = tuple[str, Event | None, str, str, str, str, str]
"""No event: it follows from the line before by itself."""

COMMANDS = {"start_command": ["/web", "start"], "stop_command": ["/web", "stop"]}
A = {"name": "web", "allowable_nodes": [0, 1], "maturity_count": 2, "maturity_time": 300, **COMMANDS}
B = {
    "name": "web",
    "node_preferences": [0],
    "maturity_count": 2,
    "auto_register": "auto",
    "placement_policy": "register_on_one",
    "transfer_cost": "free",
    "notify_command": ["/web", "notify"],
    **COMMANDS,
}
NOTHING: Event = lambda _world: None  # noqa: E731


def boots(node: int) -> Event:
    return lambda world: world.join(node)


def leaves(node: int) -> Event:
    return lambda world: world.leave(node)


def ends(action: str) -> Event:
    def event(world: World) -> None:
        world.end("web", action)

    return event


def time_passes(seconds: float) -> Event:
    return lambda world: world.wait(seconds)


def notified(node: int) -> Event:
    """It boots, and its notify command ends."""

    def event(world: World) -> None:
        world.join(node)
        world.settle()
        world.end("web", "notify", node=node)

    return event


def _left(world: World) -> None:
    """N0 leaves, and the service is transferred: t4 to t7 in one."""
    world.leave(0)
    world.settle()
    world.end("web", "stop")
    world.end("web", "start")


EXAMPLE_A: tuple[Line, ...] = (
    ("t0", NOTHING, "-", "", "down", "down", "down"),
    ("t1", boots(2), "-", "", "down", "down", "up"),
    ("t2", boots(0), "-", "M", "up", "down", "up"),
    ("t3", time_passes(300), "starting", "", "starting", "down", "up"),
    ("t4", ends("start"), "registered", "", "registered", "down", "up"),
    ("t5", boots(1), "registered", "", "registered", "up", "up"),
    ("t6", leaves(2), "registered", "", "registered", "up", "down"),
    ("t7", leaves(0), "stopping", "T", "stopping", "up", "down"),
    ("t8", ends("stop"), "-", "T", "-", "up", "down"),
    ("t9", None, "starting", "T", "-", "starting", "down"),
    ("t10", ends("start"), "registered", "", "-", "registered", "down"),
    ("t11", None, "registered", "", "down", "registered", "down"),
    ("t12", leaves(1), "stopping", "T", "down", "stopping", "down"),
    ("t13", ends("stop"), "-", "", "down", "-", "down"),
)

EXAMPLE_B: tuple[Line, ...] = (
    ("t0", NOTHING, "-", "N", "down", "down", "down"),
    ("t1", boots(0), "starting", "N", "starting", "down", "down"),
    ("t2", ends("start"), "registered", "N", "registered", "down", "down"),
    ("t3", notified(1), "registered", "N", "registered", "notified", "down"),
    ("t4-t7", _left, "registered", "N", "down", "registered", "down"),
    ("t8", notified(2), "registered", "N", "down", "registered", "notified"),
    ("t9", boots(0), "registered", "N", "notified", "registered", "notified"),
    ("t10", ends("notify"), "stopping", "TN", "-", "stopping", "-"),
    ("t11", ends("stop"), "-", "TN", "-", "-", "-"),
    ("t12", None, "starting", "TN", "starting", "-", "-"),
    ("t13", ends("start"), "registered", "N", "registered", "notified", "notified"),
)


def columns_of(world: World, shown: dict[str, Any]) -> list[str]:
    """What the table has for each node."""
    found = []
    for node in range(world.nodes):
        manager = world.managers.get(node)
        if str(node) in shown["nodes"]:
            found.append(str(shown["nodes"][str(node)]))
        elif manager is None:
            found.append("down")
        elif shown["state"] == "registered" and manager.services.notified_of("web") == shown["registration"]:
            found.append("notified")
        else:
            found.append("up")
    return found


def shown_by(world: World) -> dict[str, Any]:
    """The service, as the database has it, and a node if there is one."""
    if world.managers:
        found: dict[str, Any] = world.shown("web")
        return {**found, "state": "-" if found["state"] == "awaiting maturity" else found["state"]}
    if world.file is None:
        return {"state": "-", "flags": "N" if "notify_command" in world.table else "", "nodes": {}}
    database = Database()
    database.take(1, bytes(world.file))
    return summary(database.services["web"], database, View(world.nodes))


def check(lines: tuple[Line, ...], table: dict[str, Any]) -> None:
    world = World(3)
    world.table = table
    for line, after in zip(lines, (*lines[1:], None), strict=True):
        when, event, state, flags, *columns = line
        seen = len(world.events)
        if event is not None:
            event(world)
            if world.managers and world.number == 0:  # it was defined in an earlier life of the cluster
                assert "error" not in world.ask(next(iter(world.managers)), do="add", services=[table])
                world.number = 1
            world.settle()
        shown = shown_by(world)
        if after is not None and after[1] is None:  # it goes on by itself
            steps = [
                ("-" if fields["state"] == "de-registered" else fields["state"], fields["flags"])
                for _, kind, fields in world.events[seen:]
                if kind == "service"
            ]
            assert (when, *steps[0]) == (when, state, flags)
            continue
        assert (when, shown["state"], shown["flags"]) == (when, state, flags)
        found = columns_of(world, shown)
        # The document prints a dash for a node that is up, or goes down in this moment, and has nothing of the service.
        assert (when, found) == (
            when,
            [at if one == "-" and at in ("up", "down") else one for one, at in zip(columns, found, strict=True)],
        )


def test_example_a() -> None:  # S9.9, S9.3, S9.6
    """Maturity by time, a graceful leave with a transfer, and the last node's leave."""
    check(EXAMPLE_A, A)


def test_example_b() -> None:  # S9.9, S9.2, S9.5
    """The primary makes it mature; notify commands; a free transfer back to the preferred node."""
    check(EXAMPLE_B, B)


def with_wrong(lines: tuple[Line, ...], at: int, field: int) -> tuple[Line, ...]:
    wrong: list[Any] = list(lines[at])
    wrong[field] = "recovering"
    return (*lines[:at], tuple(wrong), *lines[at + 1 :])


@pytest.mark.parametrize("at", range(len(EXAMPLE_A)))
def test_a_wrong_state_in_any_line_is_found(at: int) -> None:
    with pytest.raises(AssertionError):
        check(with_wrong(EXAMPLE_A, at, 2), A)


@pytest.mark.parametrize("at", range(len(EXAMPLE_B)))
def test_a_wrong_flag_in_any_line_is_found(at: int) -> None:
    with pytest.raises(AssertionError):
        check(with_wrong(EXAMPLE_B, at, 3), B)
