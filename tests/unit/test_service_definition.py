"""What an administrator says of client services, checked: all problems at once, each at its place (spec S9.2, S8.2)."""

from __future__ import annotations

from typing import Any

import pytest

from guestd.services.definition import DefinitionErrors, checked, of_table

NODES = 3
WATCHED = {"name": "full", "watcher": "timer", "in": {"every_s": 1}, "action": ["/bin/true", "$OUT.nothing"]}


def problems(*tables: object) -> list[tuple[int, str, str]]:
    with pytest.raises(DefinitionErrors) as caught:
        checked(tables, {"there": of_table({"name": "there"})}, NODES)
    return [(one.index, one.field, one.why) for one in caught.value.problems]


def test_what_is_left_out_is_as_the_page_says() -> None:  # S9.2
    ((one, table),) = checked([{"name": "web"}], {}, NODES)
    assert table == {"name": "web"}
    assert (one.allowable, one.preferences, one.disallowable) == (None, (), ())
    assert (one.on_all, one.free_transfer, one.awaits_maturity, one.auto_register) == (False, False, False, "auto")
    assert one.commands == {}
    assert set(one.timeouts_ms.values()) == {20_000}


def test_what_is_stored_is_read_again_as_it_was() -> None:  # S9.2
    given: dict[str, Any] = {
        "name": "web",
        "allowable_nodes": [0, 1],
        "node_preferences": {"unordered": [1, 0]},
        "placement_policy": "register_on_all",
        "maturity_time": 1.5,
        "start_command": "/web 'start it'",
        "stop_timeout": 2,
    }
    ((one, table),) = checked([given], {}, NODES)
    assert table["start_command"] == ["/web", "start it"]
    assert of_table(table) == one
    assert (one.maturity_ms, one.timeouts_ms["stop"], one.ordered, one.primary) == (1500, 2000, False, None)


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("name", "", "legal: 1 to 64"),
        ("name", "a/b", "legal: 1 to 64"),
        ("allowable_nodes", [], "empty"),
        ("allowable_nodes", [3], "3 is no node of the cluster (legal: 0 to 2)"),
        ("allowable_nodes", [1, 1], "names a node twice"),
        ("allowable_nodes", "all", "legal: a list of nodes"),
        ("node_preferences", {"ordered": [1]}, "unordered"),
        ("auto_register", "always", "legal: auto, manual, previous"),
        ("placement_policy", "both", "legal: register_on_one, register_on_all"),
        ("transfer_cost", 0, "legal: costly, free"),
        ("maturity_count", 1.5, "a whole number"),
        ("maturity_time", -1, "seconds"),
        ("maturity_time", True, "seconds"),
        ("start_command", "relative/path", "full path"),
        ("start_command", "/x 'open", "No closing quotation"),
        ("start_command", [], "a list of words"),
        ("start_timeout", 0, "seconds, 0.1 to 86400"),
        ("events", "none", "no list of tables"),
        ("recover_command", ["/x"], "did you mean recovery_command?"),
        ("something", 1, "legal: name, parent"),
    ],
)
def test_a_wrong_field_is_told_with_what_is_legal(field: str, value: object, why: str) -> None:
    found = problems({"name": "good"}, {"name": "web", field: value})
    assert [(index, at) for index, at, _ in found] == [(1, field)]
    assert why in found[0][2]


def test_problems_of_many_tables_are_told_at_once_each_with_the_place_of_its_table() -> None:  # S8.2, S9.4
    found = problems(
        "no table",
        {"name": "there"},
        {"name": "web", "events": [WATCHED]},
        {"name": "a", "parent": "b"},
        {"name": "b", "parent": "a"},
        {"name": "a"},
        {"name": "child", "parent": "nobody", "transfer_cost": "free"},
    )
    assert [(index, field) for index, field, _ in found] == [
        (0, ""),
        (0, "name"),
        (1, "name"),
        (2, "events.action"),
        (3, "parent"),
        (4, "parent"),
        (5, "name"),
        (6, "transfer_cost"),
    ]
    assert found[3][2].startswith("event 'full': ")
    assert found[4][2] == "a cycle: a -> b -> a"


def test_events_of_two_services_may_not_have_one_name() -> None:  # S8.2
    event = {**WATCHED, "action": ["/bin/true"]}
    found = problems({"name": "one", "events": [event]}, {"name": "two", "events": [event]})
    assert [(index, field) for index, field, _ in found] == [(1, "events.name")]
    assert "service 'one'" in found[0][2]
