"""Event groups as an administrator writes them: what is taken, what is refused, and how it is said."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guestd.events.conditions import Circumstances, why_not
from guestd.events.declaration import BadDeclaration, declared, given_problems
from guestd.events.definition import DefinitionErrors, Group, checked, fit_problems, of_service, of_table
from guestd.events.substitution import BadReference, CannotFill, filled, parts, references
from guestd.events.watchers import WATCHERS

FULL = """
[[group]]
name = "housekeeping"
where = [0, 2]
when = { after = 30, for = 3600 }
conditions = { members_min = 2, service_registered = "web" }

[[group.events]]
name = "shared-full"
watcher = "file_system_space"
in = { path = "/shared", below_percent = 5 }
action = ["/shared/clean-up", "$OUT.path", "free=$OUT.bytes_free", "below $IN.below_percent"]
action_timeout = 2.5
at_most = { times = 3, period = 600 }

[[group.events]]
name = "queue-long"
watcher = "queue-length"
in = { path = "/var/spool" }
action = "/shared/alarm 'a queue' $IN.path $OUT.entries"
"""


def tables(text: str) -> list[dict[str, Any]]:
    return list(tomllib.loads(text)["group"])


def group(name: str = "g", **fields: Any) -> dict[str, Any]:
    return {"name": name, "events": [event()], **fields}


def event(name: str = "e", given: object = None, **fields: Any) -> dict[str, Any]:
    inputs = {"every_s": 1} if given is None else given
    return {"name": name, "watcher": "timer", "in": inputs, "action": ["/bin/true"], **fields}


def problems(*given: object, known: dict[str, Group] | None = None) -> list[str]:
    with pytest.raises(DefinitionErrors) as refused:
        checked(given, known or {}, nodes=3)
    assert str(refused.value) == "; ".join(map(str, refused.value.problems))
    return [str(problem) for problem in refused.value.problems]


def test_a_group_with_everything() -> None:  # S8.2, S8.4
    (found,) = checked(tables(FULL), {}, nodes=3)
    assert (found.where, found.nodes, found.after_ms, found.for_ms) == ("nodes", (0, 2), 30_000, 3_600_000)
    assert (found.members_min, found.service_registered) == (2, "web")
    full, queue = found.events
    assert full.inputs == {"path": "/shared", "below_percent": 5, "every_s": 10}  # with the watcher's defaults
    assert (full.timeout_ms, full.times, full.period_ms) == (2500, 3, 600_000)
    assert queue.action == ("/shared/alarm", "a queue", "$IN.path", "$OUT.entries")
    assert (queue.timeout_ms, queue.times, queue.period_ms) == (20_000, 10, 60_000)


def test_a_table_that_was_stored_gives_the_same_group() -> None:
    for table in [*tables(FULL), group()]:
        (found,) = checked([table], {}, nodes=3)
        assert of_table(table) == found
    service = of_service("web", [event()], {}, nodes=3)
    assert of_table({"name": "web", "events": [event()]}, "web") == service


def test_the_group_of_a_service_is_watched_where_that_is_registered() -> None:  # S8.4
    found = of_service("web", [event("web-died")], {}, nodes=3)
    assert (found.name, found.service, found.where) == ("web", "web", "registered")
    assert of_service("idle", [], {}, nodes=3).events == ()
    with pytest.raises(DefinitionErrors, match="event 'web-died': name: is the name of an event of service 'web'"):
        of_service("mail", [event("web-died")], {"service/web": found}, nodes=3)
    # An event group of its own may have the name of a service.
    assert checked([group("web")], {"service/web": found}, nodes=3)[0].name == "web"


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (7, "event group number 1: no table"),
        ({}, "event group number 1: name: None (legal: 1 to 64 letters, digits, - _ . and blanks)"),
        (group(nmae="x"), "nmae: there is no such field (legal: name, where, when, conditions, events)"),
        (group(where="registered"), "conditions.service_registered names one"),
        (group(where=[0, 3]), 'where: [0, 3] (legal: "all", or a list of nodes of 0 to 2'),
        (group(where=[]), "where: [] (legal"),
        (group(where=[True]), "where: [True] (legal"),
        (group(when=5), "when: 5 is no table (legal: after, for)"),
        (group(when={"after": -1}), "when.after: -1 (legal: seconds, 0 to 86400)"),
        (group(when={"for": 0}), "when.for: 0 (legal: seconds, 0.1 to 86400)"),
        (group(when={"at": 3}), "when.at: there is no such field (legal: after, for)"),
        (group(when={"after": float("nan")}), "when.after: nan (legal"),
        (group(conditions={"members_min": 4}), "conditions.members_min: 4 (legal: a whole number, 1 to 3)"),
        (group(conditions={"members_min": True}), "conditions.members_min: True (legal"),
        (group(conditions={"service_registered": 1}), "conditions.service_registered: 1 (legal"),
        (group(events={}), "events: no list of tables"),
        (group(events=[]), "events: 0 events (legal: 1 to 64)"),
        (group(events=[event(f"e{n}") for n in range(65)]), "events: 65 events (legal: 1 to 64)"),
        (group(events=[event("")]), "event 'number 1': name: '' (legal"),
        (group(events=[event(wacher="x")]), "event 'e': wacher: there is no such field (legal: name, watcher, in,"),
        (group(events=[event(watcher=None)]), "watcher: lacking (legal: membership, process, file_system_space,"),
        (group(events=[event(watcher="a b")]), "watcher: 'a b' (legal"),
        (group(events=[event(watcher="Disk-Path")]), "did you mean 'disk_path'?"),
        (group(events=[event(given={})]), "in.every_s: lacking: timer needs it (number: seconds from one"),
        (group(events=[event(given={"every_s": 0.01})]), "in.every_s: 0.01 (legal: a number, at least 0.1)"),
        (group(events=[event(given={"every_s": "1"})]), "in.every_s: '1' (legal: a number"),
        (group(events=[event(given={"every_s": 1, "x": 1})]), "in.x: no IN parameter of timer (legal: every_s)"),
        (group(events=[event(given={"every_s": [1]})]), "in.every_s: [1] (legal: a string, a number, true, false)"),
        (group(events=[event(given=3)]), "in: 3 is no table"),
        (group(events=[event(watcher="process", given={})]), "legal: exactly one of pid_file, name"),
        (
            group(events=[event(watcher="process", given={"pid_file": "/a", "name": "b"})]),
            "in.pid_file: legal: exactly one of pid_file, name",
        ),
        (
            group(events=[event(watcher="link", given={"interface": "eth0", "change": "x"})]),
            "in.change: 'x' (legal: down, up, any)",
        ),
        (group(events=[event(watcher="own", given={"a": "b\0"})]), "in.a: a zero byte in it"),
        (group(events=[event(watcher="own", given={"a": "x" * 4097})]), "in.a: 4097 bytes (legal: at most 4096)"),
        (group(events=[event(action=None)]), "action: lacking (legal: a list of words such as"),
        (group(events=[event(action=[])]), "action: [] (legal"),
        (group(events=[event(action=["/bin/a", 1])]), "action: ['/bin/a', 1] (legal"),
        (group(events=[event(action="/bin/a 'b")]), "No closing quotation"),
        (group(events=[event(action=["a"])]), "action: 'a' is no fixed path of a file"),
        (group(events=[event(action=["/$OUT.count"])]), "action: '/$OUT.count' is no fixed path of a file"),
        (group(events=[event(action=["/a", "b\0"])]), "action: a zero byte in it"),
        (group(events=[event(action=["/a", *["b"] * 64])]), "action: 65 words (legal: at most 64"),
        (group(events=[event(action=["/a", "$HOME"])]), "action: '$HOME' in '$HOME' (legal: $IN.name, $OUT.name, or"),
        (group(events=[event(action=["/a", "$IN.x"])]), "$IN.x is none of this event's (legal: $IN.every_s)"),
        (group(events=[event(action=["/a", "$OUT.x"])]), "$OUT.x is none of this event's (legal: $OUT.count)"),
        (group(events=[event(watcher="own", action=["/a", "$IN.x"])]), "$IN.x is none of this event's (legal: $IN.ev"),
        (group(events=[event(action_timeout=0)]), "action_timeout: 0 (legal: seconds, 0.1 to 86400)"),
        (group(events=[event(at_most={"times": 0})]), "at_most.times: 0 (legal: a whole number, 1 to 1000)"),
        (group(events=[event(at_most={"often": 1})]), "at_most.often: there is no such field (legal: times, period)"),
    ],
)
def test_what_is_refused_names_the_place_and_what_is_legal(table: object, expected: str) -> None:  # S8.2, S8.4
    (told,) = problems(table)
    assert expected in told


def test_all_problems_come_at_once() -> None:
    told = problems(
        group("a", where=5, events=[event(action=["/a", "$IN.no", "$OUT.no"]), event("f", watcher="Timer")]),
        group("b", when={"after": "x"}, events=[event("g", given={})]),
    )
    assert [line.partition(" (")[0] for line in told] == [
        "event group 'a': where: 5",
        "event group 'a', event 'e': action: $IN.no is none of this event's",
        "event group 'a', event 'e': action: $OUT.no is none of this event's",
        "event group 'a', event 'f': watcher: there is no watcher 'Timer': did you mean 'timer'?",
        "event group 'b': when.after: 'x'",
        "event group 'b', event 'g': in.every_s: lacking: timer needs it",
    ]


def test_the_name_of_an_event_is_unique_in_the_cluster() -> None:  # S8.2
    (known,) = checked([group("old", events=[event("there")])], {}, nodes=3)
    assert problems(
        group("new", events=[event("there"), event("x")]), group("more", events=[event("x")]), known={"k": known}
    ) == [
        f"event group {group!r}, event {name!r}: name: is the name of an event of event group {other!r} "
        "(legal: one that no event has)"
        for group, name, other in [("new", "there", "old"), ("more", "x", "new")]
    ]


def test_the_name_of_a_group_is_taken_once() -> None:
    (known,) = checked([group("old", events=[event("there")])], {}, nodes=3)
    assert problems(group("old"), known={"k": known}) == [
        "event group 'old': name: there is such a group already (remove it first)"
    ]
    assert problems(group("a"), group("a", events=[event("f")])) == [
        "event group 'a': name: is the name of group number 1 too"
    ]


def test_a_watcher_that_is_not_the_systems_is_looked_at_when_it_connects() -> None:  # S8.1
    own = event(watcher="queue-length", given={"path": "/x"}, action=["/a", "$IN.path", "$OUT.entries"])
    (found,) = checked([group(events=[own])], {}, nodes=3)
    fits = declared({"name": "queue-length", "in": ["path"], "out": [{"name": "entries", "type": "integer"}]})
    assert fit_problems(found.events[0], fits) == []
    other = declared({"name": "queue-length", "in": [{"name": "path", "type": "integer"}, "queue"], "out": []})
    assert fit_problems(found.events[0], other) == [
        ("in.path", "'/x' (legal: a whole number)"),
        ("in.queue", "lacking: queue-length needs it (string: )"),
        ("action", "$OUT.entries is none of this event's (legal: no $OUT parameter)"),
    ]


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"name": "a b"},
        {"name": 5},
        {"name": "a", "more": 1},
        {"name": "a", "in": "x"},
        {"name": "a", "in": ["x", "x"]},
        {"name": "a", "in": ["x-y"]},
        {"name": "a", "in": [{"name": "x", "type": "list"}]},
        {"name": "a", "in": [{"name": "x", "kind": "string"}]},
        {"name": "a", "in": [{"name": "x", "type": "integer", "default": "1"}]},
        {"name": "a", "out": [5]},
        {"name": "a", "out": [f"p{n}" for n in range(33)]},
        {"name": "a", "follows": 1},
    ],
)
def test_a_declaration_that_cannot_be(said: dict[str, Any]) -> None:  # S8.6
    with pytest.raises(BadDeclaration, match=r"legal|default"):
        declared(said)


def test_the_watchers_of_the_system_declare_what_can_be() -> None:  # S8.5
    assert list(WATCHERS) == ["membership", "process", "file_system_space", "link", "disk_path", "timer"]
    for name, declaration in WATCHERS.items():
        sides = {
            side: [{"name": one.name, "type": one.type} for one in parameters]
            for side, parameters in (("in", declaration.inputs), ("out", declaration.outputs))
        }
        assert declared({"name": name, **sides}).name == name
        assert all(one.about for one in (*declaration.inputs, *declaration.outputs))
        defaults = {one.name: one.default for one in declaration.inputs if one.default is not None}
        wrong = dict(given_problems(declaration, defaults))
        assert set(wrong) <= {one.name for one in declaration.inputs if one.required or one.name in declaration.one_of}


def test_substitution_fills_whole_references_inside_one_argument() -> None:  # S8.2
    inputs: dict[str, Any] = {"a": "x y; rm -rf $IN.b", "b": 3, "on": True}
    words = ("/a", "$IN.a", "<$IN.b$OUT.free.$IN.b>", "$$IN.a costs $$5", "$IN.on", "")
    assert filled(words, inputs, {"free": 1.5}) == (
        "/a",
        "x y; rm -rf $IN.b",  # neither split, nor filled again, nor seen by a shell
        "<31.5.3>",
        "$IN.a costs $5",
        "true",
        "",
    )
    with pytest.raises(CannotFill, match=r"there is no value for \$OUT.free"):
        filled(words, inputs, {})
    with pytest.raises(CannotFill, match="legal: at most 65536"):
        filled(["$IN.a" * 20], {"a": "x" * 4096}, {})


@pytest.mark.parametrize("wrong", ["$", "a$", "$x", "$IN", "$IN.", "$IN.5", "$in.a", "$OUT .a", "$IN.-", "$$$"])
def test_a_dollar_that_begins_nothing_is_refused(wrong: str) -> None:  # S8.2
    with pytest.raises(BadReference, match=r"legal: \$IN.name, \$OUT.name, or \$\$ for a dollar"):
        parts(wrong)


@settings(deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(["$IN.a", "$OUT.b", "$$", "x", ".", " ", "é", "'", "\\"]).map(str), max_size=8))
def test_what_is_parsed_is_what_was_written(pieces: list[str]) -> None:
    # A name would go on in the next letter.
    argument = "".join(piece + ("-" if piece[0] == "$" and piece != "$$" else "") for piece in pieces)
    found = parts(argument)
    assert "".join(part.replace("$", "$$") if isinstance(part, str) else str(part) for part in found) == argument
    assert len(references([argument])) == sum(piece in ("$IN.a", "$OUT.b") for piece in pieces)


def test_where_and_under_what_conditions() -> None:  # S8.4
    def reason(table: dict[str, Any], node: int, members: int, registered: dict[str, tuple[int, ...]]) -> str:
        return why_not(
            of_table(table, table.pop("service", "")), node, Circumstances(tuple(range(members)), registered)
        )

    assert reason(group(), 1, 1, {}) == ""
    assert reason(group(where=[0, 2]), 1, 3, {}) == "where: nodes 0, 2"
    assert reason(group(where=[0, 2]), 2, 3, {}) == ""
    assert reason(group(conditions={"members_min": 3}), 0, 2, {}) == "members_min: 2 of 3 nodes are members"
    assert reason(group(conditions={"members_min": 3}), 0, 3, {}) == ""
    web = {"service_registered": "web"}
    assert reason(group(conditions=web), 0, 1, {"web": ()}) == "service_registered: 'web' is registered nowhere"
    assert reason(group(conditions=web), 0, 1, {"web": (2,)}) == ""
    assert reason(group("web", service="web"), 1, 1, {"web": (2,)}) == "service 'web' is not registered here"
    assert reason(group("web", service="web"), 2, 1, {"web": (0, 2)}) == ""
