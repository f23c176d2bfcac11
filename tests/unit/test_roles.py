"""Whom a fault strikes, by role."""

from __future__ import annotations

import random
from typing import Any

import pytest

from hil import roles
from hil.errors import UsageError
from hil.view import Membership, View


def view_of(states: str, master: int | None) -> View:
    """j: joined, p: joined and paused, b: boots."""
    view = View(len(states))
    nodes = {i: ("joined" if state in "jp" else "inactive", 1) for i, state in enumerate(states)}
    for node, state in zip(view.nodes, states, strict=True):
        node.power, node.guestd = "paused" if state == "p" else "running", "running"
        node.state = nodes[node.id][0]
        node.membership = Membership(2, 0, master, nodes)
    return view


@pytest.mark.parametrize(
    ("states", "master", "role", "expected"),
    [
        ("jjj", 1, "master", [1]),
        ("jjj", None, "master", []),
        ("pjj", 0, "master", []),
        ("jjb", 0, "any", [0, 1]),
        ("bbb", None, "any", []),
        ("jjj", 0, "any_other", [1, 2]),
        ("jbj", 0, "any_other", [2]),
        ("j", 0, "minority", []),
        ("jj", 0, "minority", []),
        ("jjj", 2, "minority", [1]),
        ("jjjj", 0, "minority", [3]),
        ("jjjjj", 4, "minority", [2, 3]),
        ("jjjjj", 4, "majority", [0, 1, 4]),
        ("jjjj", None, "minority", [3]),
        ("bbb", None, "minority", []),
        ("jbj", 0, "all", [0, 1, 2]),
        ("jbj", 0, "1", [1]),
    ],
)
def test_a_role_is_who_is_in_it(states: str, master: int | None, role: str, expected: list[int]) -> None:
    assert roles.parse(role, len(states)).candidates(view_of(states, master)) == expected


@pytest.mark.parametrize("nodes", range(1, 9))
def test_who_is_left_by_the_minority_is_the_larger_group_with_the_master(nodes: int) -> None:  # S5.2
    for master in range(nodes):
        view = view_of("j" * nodes, master)
        assert len(roles.minority(view)) < len(roles.majority(view))
        assert master in roles.majority(view)
        assert sorted(roles.minority(view) + roles.majority(view)) == list(range(nodes))


def test_where_a_service_runs_is_told_by_its_events() -> None:
    view = view_of("jjj", 0)
    event = {"kind": "service", "n": 1, "t": 0.0, "node": 0, "service": "a", "number": 1, "registration": 1}
    view.apply({**event, "subject": 2, "state": "starting"})
    assert roles.parse("runs(a)").chosen(view) == []
    view.apply({**event, "n": 2, "subject": 2, "state": "registered", "number": 2})
    assert roles.parse("runs(a)").chosen(view) == [2]
    assert roles.parse("runs(b)").chosen(view) == []


def granted(node: int, mode: str, *, of_dead: bool = False) -> dict[str, Any]:
    return {"node": node, "lock": 1, "mode": mode, "wanted": None, "of_dead": of_dead}


def test_a_holder_is_known_by_its_own_node_or_by_the_master_of_the_lock() -> None:  # S7.1
    nothing: dict[str, Any] = {"own": [], "resources": []}
    own = {"name": "program:disk/one", "mode": "EX"}
    locks = {0: {"own": [own, {"name": "program:queue", "mode": "NL"}], "resources": []}, 1: nothing}
    role = roles.parse("holder_of(disk/one)")
    assert role.chosen(View(3), locks) == [0]
    assert roles.holder_of(locks, "queue") == []
    assert roles.holder_of(locks, "disk") == []
    entries = [granted(2, "EX"), granted(0, "NL"), granted(1, "EX", of_dead=True)]
    told = {1: {"own": [], "resources": [{"name": "program:disk/one", "granted": entries}]}}
    assert roles.holder_of(told, "disk/one") == [2]
    assert role.chosen(View(3), {}) == []


def test_of_a_group_all_are_struck_of_the_others_one() -> None:
    view = view_of("jjjjj", 0)
    assert roles.parse("minority").chosen(view) == [3, 4]
    assert roles.parse("any").chosen(view) == [0]
    drawn = [roles.parse("any").chosen(view, draw=random.Random(seed)) for seed in range(20)]
    assert {node for (node,) in drawn} == {0, 1, 2, 3, 4}
    assert drawn[3] == roles.parse("any").chosen(view, draw=random.Random(3))


@pytest.mark.parametrize(
    "text", ["", "Master", "boss", "runs", "runs()", "holder_of", "holder_of(LOCK", "-1", "1.5", "²", "master(x)"]
)
def test_what_is_no_role_is_refused_with_what_is_legal(text: str) -> None:
    with pytest.raises(UsageError, match=r"no role .*there are: master, any, any_other, .*number of a node"):
        roles.parse(text)


def test_a_node_that_does_not_exist_is_no_role() -> None:
    with pytest.raises(UsageError, match="no node 3; there are 0 to 2"):
        roles.parse(3, nodes=3)


@pytest.mark.parametrize("text", ["master", "runs(a b)", "holder_of(disk/one)", "2"])
def test_a_role_is_told_as_it_was_typed(text: str) -> None:
    assert str(roles.parse(text)) == text
