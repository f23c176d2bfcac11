"""The event daemon: groups, watchers, actions; each limit, each failure, and that none harms other events."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guestd.events.daemon import Limits
from guestd.events.effects import RunCommand, StartWatcher
from guestd.events.inputs import TICK_MS
from tests.unit.events_world import World, event

LIMITS = Limits()


def group(name: str, *events: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"name": name, "events": list(events), **fields}


def watched(world: World, *names: str) -> tuple[int, list[int]]:
    """The timer's watcher, and the watches of these events of its."""
    connection = world.timer()
    watches = world.watch(connection)
    return connection, [watches[name] for name in names]


# Events and their actions.


def test_an_occurrence_runs_the_action_with_the_values_in_its_arguments() -> None:  # S8.2, S8.3
    world = World(group("g", event("e", action=["/act", "n=$OUT.count", "$IN.every_s", "$$"])))
    connection, (watch,) = watched(world, "e")
    assert world.shown("e")["state"] == "watched"
    world.say(connection, occurred={"watch": watch, "out": {"count": 7}})
    (run,) = world.runs()
    assert run.arguments == ("/act", "n=7", "1", "$")
    assert run.environment == {"HIL_EVENT": "e", "HIL_EVENT_GROUP": "g", "HIL_NODE": "1", "HIL_OCCURRENCES": "1"}
    assert run.timeout_ms == 20_000
    assert world.shown("e")["action"] == "occurred"
    world.end(run.number)
    shown = world.shown("e")
    assert (shown["action"], shown["occurrences"], shown["runs"], shown["failures"]) == ("idle", 1, 1, 0)
    assert [one["what"] for one in world.emitted("occurrence")] == ["occurred", "ended"]


def test_actions_of_one_event_do_not_overlap_and_the_last_occurrence_is_kept() -> None:  # S8.3
    world = World(group("g", event("e", action=["/act", "$OUT.count"]), event("f")))
    connection, (watch, other) = watched(world, "e", "f")
    for count in (1, 2, 3):
        world.say(connection, occurred={"watch": watch, "out": {"count": count}})
    world.say(connection, occurred={"watch": watch, "out": {"count": 4}, "count": 10})
    (first,) = world.runs()
    assert first.arguments == ("/act", "1")
    assert (world.shown("e")["action"], world.shown("e")["waiting"]) == ("again", 12)
    world.say(connection, occurred={"watch": other, "out": {}})
    assert [run.arguments for run in world.runs()] == [("/act/f",)]  # another event's does not wait
    world.end(first.number)
    (second,) = world.runs()
    assert (second.arguments, second.environment["HIL_OCCURRENCES"]) == (("/act", "4"), "12")
    world.end(second.number)
    assert world.runs() == []
    assert world.shown("e")["occurrences"] == 13


@pytest.mark.parametrize(
    ("ended", "why"),
    [
        ({"status": 3, "output": b"no\nroom\n"}, "exit status 3"),
        ({"status": -11}, "ended by signal 11"),
        ({"status": -9, "timed_out": True}, "killed: it had not ended after 20000 ms"),
        ({"status": 127, "reason": "/act/e: no such file"}, "cannot be started: /act/e: no such file"),
    ],
)
def test_a_failed_action_is_reported_and_the_next_occurrence_runs_it_again(ended: dict[str, Any], why: str) -> None:
    # S8.3
    world = World(group("g", event("e")))
    connection, (watch,) = watched(world, "e")
    world.say(connection, occurred={"watch": watch, "out": {"count": 1}})
    (run,) = world.runs()
    world.end(run.number, **ended)
    told = world.emitted("occurrence")[-1]
    assert (told["what"], told["event"], told["group"], told["why"]) == ("failed", "e", "g", why)
    assert told["output"] == ended.get("output", b"").decode()
    assert (world.shown("e")["failure"], world.shown("e")["failures"]) == (why, 1)
    world.say(connection, occurred={"watch": watch, "out": {"count": 2}})
    (run,) = world.runs()
    world.end(run.number)
    assert (world.shown("e")["failure"], world.shown("e")["failures"]) == ("", 1)


def test_an_out_parameter_that_was_not_filled_is_a_failure_of_the_action() -> None:  # S8.3
    world = World(group("g", event("e", action=["/act", "$OUT.count"]), event("f")))
    connection, (watch, other) = watched(world, "e", "f")
    world.say(connection, occurred={"watch": watch, "out": {}})
    assert world.runs() == []
    (told,) = world.emitted("occurrence")
    assert (told["what"], told["why"]) == ("failed", "not run: there is no value for $OUT.count")
    assert world.shown("e")["failure"] == "not run: there is no value for $OUT.count"
    world.say(connection, occurred={"watch": other, "out": {}})
    world.say(connection, occurred={"watch": watch, "out": {"count": 1}})
    assert [run.arguments for run in world.runs()] == [("/act/f",), ("/act", "1")]


@pytest.mark.parametrize("value", ["7", 1.5, True, None, [1], 1 << 64])
def test_an_out_value_of_the_wrong_kind_is_none_and_the_watcher_is_told(value: object) -> None:  # S8.3
    world = World(group("g", event("e", action=["/act", "$OUT.count"])))
    connection, (watch,) = watched(world, "e")
    world.say(connection, occurred={"watch": watch, "out": {"count": value, "more": 1}})
    assert world.runs() == []
    assert world.shown("e")["failures"] == 1
    errors = [one["error"] for one in world.told(connection) if "error" in one]
    assert len(errors) == 2
    assert errors[0].startswith("out 'count': ")
    assert errors[1] == "out 'more': legal: count"


@pytest.mark.parametrize("value", ["a\0b", "\ud800", "x" * 4097])
def test_text_that_no_argument_can_have_never_reaches_a_command(value: str) -> None:  # S8.3
    world = World(group("g", event("e", "own", action=["/act", "$OUT.text"])))
    connection = world.connect("own", out=["text"], **{"in": [{"name": "every_s", "type": "number"}]})
    watch = world.watch(connection)["e"]
    world.say(connection, occurred={"watch": watch, "out": {"text": value}})
    assert world.runs() == []
    assert world.shown("e")["failures"] == 1


def test_an_event_that_occurs_too_often_is_limited_and_goes_on_later() -> None:  # S8.3
    world = World(group("g", event("e", action=["/act", "$OUT.count"], at_most={"times": 3, "period": 10}), event("f")))
    connection, (watch, other) = watched(world, "e", "f")
    for count in range(1, 9):
        world.say(connection, occurred={"watch": watch, "out": {"count": count}})
        for run in world.runs():
            world.end(run.number)
    shown = world.shown("e")
    assert (shown["action"], shown["runs"], shown["waiting"]) == ("limited", 3, 5)
    told = [one for one in world.emitted("occurrence") if one["what"] == "limited"]
    assert len(told) == 1  # once, not for each occurrence
    assert told[0]["why"] == "its action may run 3 times in 10000 ms: the last occurrence waits"
    world.say(connection, occurred={"watch": other, "out": {}})
    assert [run.arguments for run in world.runs()] == [("/act/f",)]
    world.wait(9_750, connection)
    assert world.runs() == []
    world.wait(TICK_MS, connection)
    (run,) = world.runs()
    assert (run.arguments, run.environment["HIL_OCCURRENCES"]) == (("/act", "8"), "5")
    world.end(run.number)
    assert world.shown("e")["action"] == "idle"


def test_actions_that_cannot_be_filled_are_limited_too() -> None:  # S8.3
    world = World(group("g", event("e", action=["/act", "$OUT.count"], at_most={"times": 2, "period": 10})))
    connection, (watch,) = watched(world, "e")
    for _ in range(50):
        world.say(connection, occurred={"watch": watch, "out": {}})
    assert [one["what"] for one in world.emitted("occurrence")] == ["failed", "failed", "limited"]


# Groups.


def test_the_group_of_a_service_is_enabled_where_it_is_registered() -> None:  # S8.4
    world = World()
    world.service("web", event("web-died"))
    assert world.shown("web-died")["state"] == "disabled"
    assert world.daemon.shown()["groups"][0]["why"] == "service 'web' is not registered here"
    world.registered["web"] = (1,)
    world.groups()
    connection, (watch,) = watched(world, "web-died")
    world.say(connection, occurred={"watch": watch, "out": {}})
    (run,) = world.runs()
    assert (run.environment["HIL_SERVICE"], run.environment["HIL_EVENT_GROUP"]) == ("web", "web")
    world.registered["web"] = (0,)
    world.groups()
    assert {"unwatch": watch} in world.told(connection)
    assert world.shown("web-died")["state"] == "disabled"
    told = world.emitted("event-group")
    assert [(one["what"], one["service"]) for one in told] == [("enabled", "web"), ("disabled", "web")]
    # What the watcher said before it heard of that does not count; the action that runs goes on to its end.
    world.say(connection, occurred={"watch": watch, "out": {}})
    assert world.runs() == []
    assert world.kills() == []
    world.end(run.number)
    assert world.runs() == []


def test_an_occurrence_that_waits_is_dropped_with_its_group() -> None:  # S8.4
    world = World()
    world.service("web", event("web-died"), registered=(1,))
    connection, (watch,) = watched(world, "web-died")
    for _ in range(3):
        world.say(connection, occurred={"watch": watch, "out": {}})
    (run,) = world.runs()
    world.registered["web"] = ()
    world.groups()
    told = world.emitted("occurrence")[-1]
    assert (told["what"], told["count"], told["why"]) == ("dropped", 2, "its group is disabled")
    assert (world.shown("web-died")["action"], world.shown("web-died")["waiting"]) == ("occurred", 0)
    world.end(run.number)
    assert world.runs() == []
    # Enabled again, it is another watch: a late word about the old one is none about the new one.
    world.registered["web"] = (1,)
    world.groups()
    (anew,) = world.watch(connection).values()
    assert anew != watch
    world.say(connection, occurred={"watch": watch, "out": {}})
    assert world.runs() == []
    world.say(connection, occurred={"watch": anew, "out": {}})
    assert len(world.runs()) == 1


def test_an_administrator_enables_and_disables_a_group() -> None:  # S8.4
    world = World(group("g", event("e")))
    key = "group/g"
    world.wanted[key] = (world.wanted[key][0], False)
    world.groups()
    assert world.daemon.shown()["groups"][0]["why"] == "an administrator has disabled it"
    assert world.shown("e")["state"] == "disabled"
    world.wanted[key] = (world.wanted[key][0], True)
    world.groups()
    assert world.shown("e")["state"] == "waiting"


def test_the_conditions_of_a_group_are_looked_at_with_every_change() -> None:  # S8.4
    world = World(group("g", event("e"), conditions={"members_min": 3, "service_registered": "web"}))
    assert world.started() == []
    world.registered["web"] = (0,)
    world.groups()
    assert world.daemon.shown()["groups"][0]["state"] == "enabled"
    world.members = (0, 1)
    world.groups()
    assert world.daemon.shown()["groups"][0]["why"] == "members_min: 2 of 3 nodes are members"


def test_a_group_is_watched_after_a_while_and_for_a_while() -> None:  # S8.4
    world = World(group("g", event("e"), when={"after": 5, "for": 10}))

    def state() -> str:
        return str(world.daemon.shown()["groups"][0]["state"])

    assert state() == "delayed"
    world.wait(4_750)
    assert (state(), world.started()) == ("delayed", [])
    world.wait(TICK_MS)
    assert state() == "enabled"
    connection, (watch,) = watched(world, "e")
    world.wait(9_750, connection)
    assert state() == "enabled"
    world.wait(TICK_MS, connection)
    assert state() == "over"
    assert {"unwatch": watch} in world.told(connection)
    world.members = (1,)
    world.groups()
    assert state() == "over"  # until it is disabled and enabled again
    assert [one["what"] for one in world.emitted("event-group")] == ["delayed", "enabled", "over"]


def test_a_group_that_is_removed_or_defined_anew_leaves_nothing_behind() -> None:  # S8.4
    world = World(group("g", event("e")))
    connection, (watch,) = watched(world, "e")
    world.say(connection, occurred={"watch": watch, "out": {}})
    (run,) = world.runs()
    world.define(group("g", event("e", action=["/new"])))
    told = world.told(connection)
    assert {"unwatch": watch} in told
    (anew,) = [one["watch"]["watch"] for one in told if "watch" in one]
    world.say(connection, occurred={"watch": anew, "out": {}})
    assert world.runs() == []  # the old one still runs: actions of one event do not overlap
    world.end(run.number)
    assert [one.arguments for one in world.runs()] == [("/new",)]
    del world.wanted["group/g"]
    world.groups()
    assert world.daemon.shown()["groups"] == []
    assert {"unwatch": anew} in world.told(connection)


# Watchers: from their start to their end.


def test_a_watcher_of_the_systems_is_started_when_an_event_needs_it_and_ended_when_none_does() -> None:  # S8.1, S8.5
    world = World()
    world.wait(1000)
    assert world.started() == []
    world.service("web", event("e"), registered=(1,))
    (start,) = world.started()
    assert (start.name, world.watcher("timer")["state"], world.shown("e")["state"]) == ("timer", "starting", "waiting")
    connection = world.connect("timer")
    assert world.told(connection) == [
        {"connected": {"node": 1}},
        {"watch": {"watch": 1, "event": "e", "in": {"every_s": 1}}},
    ]
    world.registered["web"] = ()
    world.groups()
    world.wait(LIMITS.idle_ms - TICK_MS, connection)
    assert world.kills() == []
    world.wait(TICK_MS, connection)
    assert (world.kills(), world.hung_up()) == ([start.number], [connection])
    assert world.watcher("timer")["state"] == "leaving"
    world.registered["web"] = (1,)  # needed again, before it has ended
    world.groups()
    assert world.started() == []
    world.end(start.number, -9)
    world.wait(TICK_MS)
    assert [one.name for one in world.started()] == ["timer"]
    assert [one["what"] for one in world.emitted("watcher")] == ["connected", "ended"]


def test_a_watcher_that_is_not_the_systems_is_waited_for() -> None:  # S8.1, S8.6
    world = World(group("g", event("e", "own", {"path": "/x"}, action=["/act", "$IN.path", "$IN.path"])))
    world.wait(60_000)
    assert world.started() == []
    assert world.shown("e")["state"] == "waiting"
    connection = world.connect("own", **{"in": ["path", {"name": "deep", "type": "boolean", "default": False}]})
    assert world.told(connection)[1] == {"watch": {"watch": 1, "event": "e", "in": {"path": "/x", "deep": False}}}
    world.say(connection, occurred={"watch": 1, "out": {}})
    assert world.runs()[0].arguments == ("/act", "/x", "/x")
    world.daemon.gone(connection, world.now_ms)
    assert world.shown("e")["state"] == "waiting"
    assert world.watcher("own")["why"] == "has hung up"
    again = world.connect("own", **{"in": ["path"]})
    assert world.told(again)[1] == {"watch": {"watch": 1, "event": "e", "in": {"path": "/x"}}}
    assert [one["what"] for one in world.emitted("watcher")] == ["connected", "gone"]


def test_an_event_that_does_not_fit_its_watcher_is_not_watched_for_and_harms_no_other() -> None:  # S8.1, S8.2
    world = World(group("g", event("e", "own", {"path": "/x"}, action=["/act", "$OUT.no"]), event("f", "own", {})))
    connection = world.connect("own", out=["entries"], **{"in": [{"name": "path", "required": False}]})
    assert list(world.watch(connection)) == ["f"]
    shown = world.shown("e")
    assert shown["state"] == "unfit"
    world.say(connection, occurred={"watch": 1, "out": {}})  # a number that it was never told
    assert shown["why"] == "action: $OUT.no is none of this event's (legal: $OUT.entries)"
    assert world.shown("e")["occurrences"] == 0
    told = world.emitted("event-group")[-1]
    assert (told["what"], told["event"], told["why"]) == ("unfit", "e", shown["why"])
    world.daemon.gone(connection, world.now_ms)
    connection = world.connect("own", out=["no"], **{"in": [{"name": "path", "required": False}]})
    assert list(world.watch(connection)) == ["e", "f"]
    assert world.shown("e")["why"] == ""


def test_a_watcher_that_is_there_twice_or_declares_nonsense_is_refused() -> None:  # S8.1, S8.6
    world = World(group("g", event("e")))
    first = world.timer()
    second = world.connect("timer")
    assert world.told(second) == [{"refused": "the watcher 'timer' is connected already"}]
    third = world.connect("a b")
    assert world.told(third) == [{"refused": "name 'a b' (legal: 1 to 64 letters, digits, - and _)"}]
    assert world.hung_up() == [second, third]
    assert world.say(second, watcher={"name": "other"})  # what it says after it was cut off is nobody's
    assert world.told(second) == []
    assert world.watcher("timer")["state"] == "connected"
    world.daemon.gone(second, world.now_ms)
    assert list(world.watch(first)) == ["e"]


def test_what_is_no_watchers_is_left_to_others() -> None:
    world = World()
    assert not world.say(7, service={"do": "list"})
    assert not world.say(7, occurred={"watch": 1})
    assert not world.say(7)
    assert world.effects == []


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"pong": 1, "occurred": {}},
        {"no": 1},
        {"watcher": {"name": "own"}},
        {"occurred": 5},
        {"occurred": {"watch": "x"}},
        {"occurred": {"watch": True}},
        {"occurred": {"watch": 99}},
        {"occurred": {"watch": 0}},
        {"trouble": {}},
    ],
)
def test_nonsense_is_answered_with_what_is_legal(message: dict[str, Any]) -> None:  # S8.1
    world = World(group("g", event("e")))
    connection, _ = watched(world, "e")
    assert world.say(connection, **message)
    (told,) = world.told(connection)
    assert "legal: " in told["error"]
    assert world.runs() == []
    assert world.watcher("timer")["state"] == "connected"


def test_a_watch_of_another_watcher_is_none_of_its() -> None:  # S8.1
    world = World(group("g", event("e"), event("f", "own", {})))
    timer, (watch,) = watched(world, "e")
    own = world.connect("own")
    assert world.watch(own) == {"f": 2}
    world.say(own, occurred={"watch": watch, "out": {}})
    assert world.runs() == []
    world.say(timer, occurred={"watch": watch, "out": {}})
    assert len(world.runs()) == 1


@pytest.mark.parametrize("count", [0, -1, True, "3", 1.5, 1 << 40])
def test_a_count_that_is_none_counts_once(count: object) -> None:
    world = World(group("g", event("e")))
    connection, (watch,) = watched(world, "e")
    world.say(connection, occurred={"watch": watch, "out": {}, "count": count})
    assert world.shown("e")["occurrences"] == 1


# Watchers: their limits and failures.


def other_event(world: World) -> tuple[int, int]:
    """A watcher of its own, and the watch of an event that no failure of the timer's may harm."""
    connection = world.connect("own")
    return connection, world.watch(connection)["other"]


def works(world: World, other: tuple[int, int]) -> None:
    world.say(other[0], occurred={"watch": other[1], "out": {}})
    (run,) = world.runs()
    assert run.arguments == ("/act/other",)
    world.end(run.number)


BOTH = (group("g", event("e")), group("h", event("other", "own", {}, at_most={"times": 100, "period": 1})))


def test_a_watcher_that_does_not_answer_is_killed_and_started_again() -> None:  # S8.1
    world = World(*BOTH)
    (start,) = world.started()
    connection = world.connect("timer")
    other = other_event(world)
    world.wait(LIMITS.ping_ms, other[0])
    assert {"ping": 1} in world.told(connection)
    world.wait(LIMITS.answer_ms - TICK_MS, other[0])
    world.say(connection, pong=7)  # not what it was asked
    assert world.kills() == []
    world.wait(TICK_MS, other[0])
    assert (world.kills(), world.hung_up()) == ([start.number], [connection])
    assert (world.watcher("timer")["state"], world.shown("e")["state"]) == ("silent", "waiting")
    works(world, other)
    world.wait(60_000, other[0])
    assert world.started() == []  # the old one has not ended
    world.end(start.number, -9)
    told = world.emitted("watcher")[-1]
    assert (told["what"], told["why"], told["pause_ms"]) == ("failed", "has not answered within 10000 ms", 1000)
    assert world.watcher("timer")["state"] == "paused"
    world.wait(LIMITS.pause_ms, other[0])
    assert [one.name for one in world.started()] == ["timer"]
    assert list(world.watch(world.connect("timer"))) == ["e"]


def test_a_watcher_that_answers_is_left_alone() -> None:  # S8.1
    world = World(*BOTH)
    world.started()
    connection = world.connect("timer")
    other = other_event(world)
    world.wait(200_000, connection, other[0])
    assert (world.kills(), world.hung_up()) == ([], [])


def test_a_node_that_was_frozen_does_not_take_its_watchers_for_silent() -> None:  # S8.1
    world = World(group("g", event("e")))
    connection = world.timer()
    world.wait(LIMITS.ping_ms)
    (ping,) = [one.message["ping"] for one in world.asked(connection)]
    world.now_ms += 3_600_000
    world.daemon.tick(world.now_ms)
    assert world.kills() == []
    world.say(connection, pong=ping)
    world.wait(4 * LIMITS.answer_ms, connection)
    assert world.kills() == []


def test_a_watcher_that_never_connects_is_killed_and_started_again() -> None:  # S8.1
    world = World(group("g", event("e")))
    (start,) = world.started()
    world.wait(LIMITS.start_ms - TICK_MS)
    assert world.kills() == []
    world.wait(TICK_MS)
    assert world.kills() == [start.number]
    late = world.connect("timer")
    assert world.told(late) == [{"refused": "the watcher 'timer' is silent already"}]
    world.end(start.number, -9)
    world.wait(LIMITS.pause_ms)
    assert len(world.started()) == 1


def test_a_watcher_that_crashes_is_started_again_after_a_growing_pause() -> None:  # S8.1
    world = World(*BOTH)
    other = other_event(world)
    pauses = []
    for _ in range(9):
        (start,) = world.started()
        world.connect("timer")
        world.end(start.number, 1, output=b"Traceback\nKeyError: 'x'\n")
        told = world.emitted("watcher")[-1]
        assert told["why"] == "ended with status 1: KeyError: 'x'"
        pauses.append(told["pause_ms"])
        works(world, other)
        world.wait(told["pause_ms"] - TICK_MS, other[0])
        assert world.started() == []
        world.wait(TICK_MS, other[0])
    assert pauses == [1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000]
    (start,) = world.started()
    connection = world.connect("timer")
    world.wait(LIMITS.steady_ms, connection, other[0])
    world.end(start.number, 1)
    assert world.emitted("watcher")[-1]["pause_ms"] == 1000  # it has run for long enough


def test_a_watcher_that_cannot_be_started_is_tried_again() -> None:  # S8.1
    world = World(group("g", event("e")))
    (start,) = world.started()
    world.end(start.number, 127, reason="no such file")
    assert world.watcher("timer") == {
        "name": "timer",
        "state": "paused",
        "why": "no such file",
        "comes_with_the_system": True,
        "failures": 1,
        "events": ["e"],
    }
    world.wait(LIMITS.pause_ms)
    assert len(world.started()) == 1


def test_the_program_of_a_watcher_that_hangs_up_is_ended() -> None:  # S8.1
    world = World(group("g", event("e")))
    (start,) = world.started()
    connection = world.connect("timer")
    world.daemon.gone(connection, world.now_ms)
    assert world.kills() == [start.number]
    assert world.shown("e")["state"] == "waiting"
    world.end(start.number, 1, output=b"oops")
    assert world.watcher("timer")["why"] == "ended with status 1: oops"
    world.wait(LIMITS.pause_ms)
    assert len(world.started()) == 1


def test_a_watcher_that_says_too_much_is_cut_off_and_started_again() -> None:  # S8.1
    world = World(*BOTH)
    (start,) = world.started()
    connection = world.connect("timer")
    other = other_event(world)
    legal = LIMITS.messages + LIMITS.messages_per_watch
    watch = world.watch(connection)["e"]
    for _ in range(legal):
        world.say(connection, occurred={"watch": watch, "out": {}})
    assert world.hung_up() == []
    assert len(world.runs()) == 1
    world.say(connection, occurred={"watch": watch, "out": {}})
    assert (world.hung_up(), world.kills()) == ([connection], [start.number])
    assert (world.watcher("timer")["state"], world.shown("e")["state"]) == ("limited", "waiting")
    for _ in range(1000):
        assert world.say(connection, occurred={"watch": watch, "out": {}})  # what was under way is nobody's
    assert world.shown("e")["occurrences"] == legal
    works(world, other)
    world.end(start.number, -9)
    assert world.emitted("watcher")[-1]["why"] == f"has sent more than {legal} messages in 10000 ms"
    world.wait(LIMITS.pause_ms, other[0])
    assert len(world.started()) == 1


def test_a_watcher_may_say_as_much_in_each_period() -> None:  # S8.1
    world = World(group("g", event("e")))
    connection, (watch,) = watched(world, "e")
    for _ in range(3):
        for _ in range(LIMITS.messages + LIMITS.messages_per_watch - 3):
            world.say(connection, occurred={"watch": watch, "out": {}})
        world.wait(LIMITS.messages_period_ms, connection)
    assert world.hung_up() == []


def test_a_flooding_watcher_that_is_not_the_systems_may_come_back_after_the_pause() -> None:  # S8.1
    world = World(group("g", event("e", "own", {})))
    connection = world.connect("own")
    for _ in range(LIMITS.messages + LIMITS.messages_per_watch + 1):
        world.say(connection, pong=0)
    assert world.hung_up() == [connection]
    assert world.kills() == []
    early = world.connect("own")
    (told,) = world.told(early)
    assert told["refused"].endswith("messages in 10000 ms: legal again in 1000 ms")
    world.wait(LIMITS.pause_ms)
    assert list(world.watch(world.connect("own"))) == ["e"]


def test_trouble_of_a_watcher_is_shown_and_reported_but_not_each_time() -> None:  # S8.3
    world = World(group("g", event("e"), event("f")))
    connection, (watch, _) = watched(world, "e", "f")
    world.emitted("event-group")
    for turn in range(20):
        world.say(connection, trouble={"watch": watch, "why": "no clock" if turn % 2 == 0 else ""})
    world.say(connection, trouble={"watch": watch, "why": "no clock"})
    assert (world.shown("e")["why"], world.shown("f")["why"]) == ("no clock", "")
    assert [one["what"] for one in world.emitted("event-group")] == ["trouble", "fine"]
    world.wait(LIMITS.seldom_ms, connection)
    world.say(connection, trouble={"watch": watch, "why": ""})
    assert [one["what"] for one in world.emitted("event-group")] == ["fine"]


def test_a_watcher_that_comes_and_goes_is_reported_now_and_then() -> None:  # S8.1
    world = World()
    for _ in range(100):
        world.daemon.gone(world.connect("own"), world.now_ms)
    assert [one["what"] for one in world.emitted("watcher")] == ["connected", "gone"]
    world.wait(LIMITS.seldom_ms)
    world.connect("own")
    assert [one["what"] for one in world.emitted("watcher")] == ["connected"]


def test_no_more_watchers_than_there_may_be() -> None:  # S8.1
    world = World(limits=Limits(watchers=2))
    connections = [world.connect(f"own-{number}") for number in range(3)]
    assert world.told(connections[2]) == [{"refused": "2 watchers are connected (legal: at most 2)"}]


# The membership watcher.


def test_the_membership_watcher_is_told_transitions_and_which_watches_they_count_for() -> None:  # S8.5
    world = World(group("g", event("e", "membership", {"transition": "forced-leave"})))
    world.daemon.transition(2, 5, "join", (0, 1, 2), world.now_ms)  # its program has not connected yet
    (start,) = world.started()
    connection = world.connect("membership")
    told = world.told(connection)
    assert [next(iter(one)) for one in told] == ["connected", "watch", "transition"]
    assert told[2] == {
        "transition": {"node": 2, "incarnation": 5, "transition": "join", "members": [0, 1, 2], "watches": [1]}
    }
    world.define(group("h", event("f", "membership", {})))
    world.daemon.transition(2, 5, "forced-leave", (0, 1), world.now_ms)
    assert world.told(connection)[-1]["transition"]["watches"] == [1, 2]
    # While it is away, they are kept.
    world.end(start.number, -11)
    for node in range(100):
        world.daemon.transition(node, 1, "leave", (1,), world.now_ms)
    world.wait(LIMITS.pause_ms)
    assert len(world.started()) == 1
    again = world.told(world.connect("membership"))
    assert [one["transition"]["node"] for one in again if "transition" in one] == list(range(36, 100))


def test_transitions_are_not_kept_for_nobody() -> None:  # S8.5
    world = World(group("g", event("e")))
    connection = world.timer()
    world.told(connection)
    world.daemon.transition(2, 5, "join", (0, 1, 2), world.now_ms)
    assert world.told(connection) == []
    own = world.connect("own", follows=True)
    assert world.told(own) == [{"connected": {"node": 1}}]
    world.daemon.transition(2, 5, "leave", (0, 1), world.now_ms)
    assert world.told(own)[0]["transition"]["watches"] == []


# Anything in any order.

STEPS = st.one_of(
    st.tuples(st.just("wait"), st.sampled_from([250, 1000, 5000, 20_000, 100_000])),
    st.tuples(st.just("register"), st.sampled_from([(), (0,), (1,), (0, 1)])),
    st.tuples(st.just("enable"), st.booleans()),
    st.tuples(st.just("connect"), st.sampled_from(["timer", "own", "membership"])),
    st.tuples(st.just("gone"), st.integers(1, 12)),
    st.tuples(st.just("occurred"), st.tuples(st.integers(1, 12), st.integers(0, 8))),
    st.tuples(st.just("pong"), st.tuples(st.integers(1, 12), st.integers(0, 4))),
    st.tuples(st.just("end"), st.tuples(st.integers(0, 5), st.sampled_from([0, 1, -9]))),
    st.tuples(st.just("transition"), st.sampled_from(["join", "leave", "forced-leave"])),
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(STEPS, max_size=40))
def test_whatever_happens_in_whatever_order_the_rules_hold(steps: list[tuple[str, Any]]) -> None:  # S8.1, S8.3, S8.4
    world = World(group("g", event("e", at_most={"times": 2, "period": 5}), event("m", "membership", {})))
    world.service("web", event("w", "own", {}), registered=())
    running: dict[int, str] = {}
    for what, value in steps:
        if what == "wait":
            world.wait(value)
        elif what == "register":
            world.registered["web"] = value
            world.groups()
        elif what == "enable":
            world.wanted["group/g"] = (world.wanted["group/g"][0], value)
            world.groups()
        elif what == "connect":
            world.connect(value)
        elif what == "gone":
            world.daemon.gone(value, world.now_ms)
        elif what == "occurred":
            world.say(value[0], occurred={"watch": value[1], "out": {}})
        elif what == "pong":
            world.say(value[0], pong=value[1])
        elif what == "transition":
            world.daemon.transition(2, 1, value, (0, 1), world.now_ms)
        elif running:
            number = sorted(running)[value[0] % len(running)]
            del running[number]
            world.end(number, value[1])
        for effect in world.take(RunCommand, StartWatcher):
            name = effect.arguments[0] if isinstance(effect, RunCommand) else effect.name
            assert name not in running.values(), "two at a time"
            assert effect.number not in running
            running[effect.number] = name
        shown = world.daemon.shown()
        alive = {one["name"] for one in shown["watchers"] if one["state"] == "connected"}
        for told in (one for found in shown["groups"] for one in found["events"]):
            assert (told["state"] == "watched") <= (told["watcher"] in alive)
            assert (told["watcher"] in alive) <= (told["state"] != "waiting")
            assert (told["action"] in ("again", "limited")) == (told["waiting"] > 0)
            assert (told["action"] in ("occurred", "again")) == (f"/act/{told['name']}" in running.values())
