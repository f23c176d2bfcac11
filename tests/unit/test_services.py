"""Registration and launch, clause by clause (spec S9), on event managers with everything around them in memory."""

from __future__ import annotations

from typing import Any

import pytest

from guestd.services.choose import QUARANTINE_FAILURES
from guestd.services.database import Database
from guestd.services.definition import of_table
from guestd.services.service import Instance, Member, Service, member
from guestd.services.states import InstanceState
from tests.unit.services_world import World


def table(name: str, *commands: str, **fields: Any) -> dict[str, Any]:
    made = {f"{command}_command": [f"/{name}", command] for command in commands}
    return {"name": name, **made, **fields}


BOTH = ("start", "stop")


def cluster(nodes: int, *tables: dict[str, Any], up: int | None = None) -> World:
    world = World(nodes)
    for node in range(nodes if up is None else up):
        world.join(node)
    if tables:
        assert "error" not in world.ask(0, do="add", services=list(tables))
    world.settle()
    return world


def where(world: World, name: str) -> dict[str, str]:
    found: dict[str, str] = world.shown(name)["nodes"]
    return found


def began(world: World) -> list[str]:
    """All commands so far, in order."""
    return list(map(repr, world.history))


GROUP = (table("top", *BOTH), table("middle", *BOTH, parent="top"), table("leaf", *BOTH, parent="middle"))


def start_group(world: World) -> None:
    for name in ("top", "middle", "leaf"):
        world.end(name, "start")


# -- groups


def test_a_child_is_registered_when_its_parents_start_has_succeeded() -> None:  # S9.4
    world = cluster(2, *GROUP)
    assert world.running() == ["start top on 0"]
    world.end("top", "start")
    assert world.running() == ["start middle on 0"]
    world.end("middle", "start")
    world.end("leaf", "start")
    assert [where(world, name) for name in ("top", "middle", "leaf")] == [{"0": "registered"}] * 3


def test_in_a_transfer_children_stop_first_and_start_last() -> None:  # S9.4, S9.6
    world = cluster(2, *GROUP)
    start_group(world)
    world.history.clear()
    world.ask(0, do="move", name="top", node=1)
    for name in ("leaf", "middle", "top"):
        world.settle()
        world.end(name, "stop")
    start_group(world)
    assert began(world) == [
        *(f"stop {name} on 0" for name in ("leaf", "middle", "top")),
        *(f"start {name} on 1" for name in ("top", "middle", "leaf")),
    ]
    assert "T" not in world.shown("top")["flags"]


def test_stopping_a_parent_stops_its_children_first_and_starting_it_starts_them_last() -> None:  # S9.4
    world = cluster(2, *GROUP)
    start_group(world)
    world.history.clear()
    world.ask(1, do="stop", name="top")
    for name in ("leaf", "middle", "top"):
        world.settle()
        world.end(name, "stop")
    assert where(world, "top") == {}
    world.ask(1, do="start", name="top")
    world.settle()
    start_group(world)
    assert began(world)[3:] == [f"start {name} on 0" for name in ("top", "middle", "leaf")]


def test_a_group_whose_node_dies_recovers_children_first_and_starts_anew_elsewhere() -> None:  # S9.4, S9.5
    every = (*BOTH, "recovery")
    world = cluster(3, table("top", *every), table("leaf", *every, parent="top"))
    world.end("top", "start")
    world.end("leaf", "start")
    world.history.clear()
    world.die(0)
    world.settle()
    assert world.running() == ["recovery leaf on 1"]
    world.end("leaf", "recovery")
    world.end("top", "recovery")
    world.end("top", "start")
    world.end("leaf", "start")
    assert began(world) == ["recovery leaf on 1", "recovery top on 1", "start top on 1", "start leaf on 1"]
    assert world.states[0] == "inactive"


def test_the_children_of_a_parent_whose_start_fails_go_with_it() -> None:  # S9.4, A21
    world = cluster(2, *GROUP)
    world.end("top", "start", status=1)
    world.end("top", "stop")
    start_group(world)
    assert [where(world, name) for name in ("top", "middle", "leaf")] == [{"1": "registered"}] * 3


def test_a_child_whose_start_fails_stays_away_and_its_parent_stays() -> None:  # S9.4, S9.5
    world = cluster(2, *GROUP)
    world.end("top", "start")
    world.end("middle", "start", status=1)
    world.end("middle", "stop")
    assert where(world, "top") == {"0": "registered"}
    assert where(world, "middle") == where(world, "leaf") == {}
    world.ask(0, do="start", name="middle")
    world.settle()
    assert world.running() == ["start middle on 0"]


# -- starts and stops that fail


def test_a_start_that_fails_is_followed_by_its_stop_and_the_next_node() -> None:  # S9.5, A21
    world = cluster(3, table("web", *BOTH, node_preferences=[2, 1]))
    world.end("web", "start", status=1)
    assert world.running() == ["stop web on 2"]
    world.end("web", "stop")
    assert world.running() == ["start web on 1"]
    world.end("web", "start", timed_out=True)
    world.end("web", "stop")
    world.end("web", "start")
    assert where(world, "web") == {"0": "registered"}
    assert world.shown("web")["failed"] == [2, 1]


def test_a_service_that_starts_nowhere_waits_for_a_node_that_joins() -> None:  # S9.5
    world = cluster(3, table("web", "start"), up=2)
    world.end("web", "start", status=1)
    world.end("web", "start", status=1)
    assert world.running() == []
    assert world.shown("web")["why"] == "no node is eligible"
    world.join(2)
    world.settle()
    assert world.running() == ["start web on 2"]


def test_a_command_that_cannot_be_started_has_failed() -> None:  # S9.5
    world = cluster(2, table("web", "start"))
    world.end("web", "start", status=127, reason="no such file")
    assert world.running() == ["start web on 1"]
    ended = [fields for _, kind, fields in world.events if kind == "service-command" and fields["state"] == "ended"]
    assert ended[-1]["reason"] == "no such file"


def test_a_node_whose_stop_fails_is_forced_out_before_the_service_starts_elsewhere() -> None:  # S9.5, S6.1, A21
    world = cluster(2, table("web", *BOTH, "recovery"))
    world.end("web", "start")
    world.ask(0, do="move", name="web")
    world.settle()
    world.end("web", "stop", status=3)
    assert world.expelled == [(0, "the stop command of web has failed: exit status 3")]
    assert world.running() == [], "nothing starts before that node has gone"
    world.die(0)
    world.settle()
    world.end("web", "recovery")
    world.end("web", "start")
    assert where(world, "web") == {"1": "registered"}


# -- nodes that die


def test_after_a_death_the_recovery_command_runs_once_and_then_the_start() -> None:  # S9.5, S9.7
    world = cluster(3, table("web", *BOTH, "recovery"))
    world.end("web", "start")
    world.history.clear()
    world.die(0)
    world.settle()
    one = world.end("web", "recovery")
    assert one.effect.environment["HIL_LOST_NODE"] == "0"
    world.end("web", "start")
    assert began(world) == ["recovery web on 1", "start web on 1"]
    assert world.states[0] == "inactive"


def test_a_service_that_was_only_starting_is_not_recovered() -> None:  # S9.7
    world = cluster(2, table("web", *BOTH, "recovery"))
    world.die(0)
    world.settle()
    assert world.running() == ["start web on 1"]


def test_when_the_node_of_a_recovery_dies_another_one_recovers() -> None:  # S9.5, A22
    world = cluster(3, table("web", *BOTH, "recovery"))
    world.end("web", "start")
    world.die(0)
    world.settle()
    assert world.running() == ["recovery web on 1"]
    world.die(1)
    world.settle()
    assert world.running() == ["recovery web on 2"]
    assert world.end("web", "recovery").effect.environment["HIL_LOST_NODE"] == "0"
    assert world.running() == ["start web on 2"]


def test_a_recovery_that_fails_is_tried_on_the_next_node_and_then_waits_for_the_administrator() -> None:  # S9.5
    world = cluster(3, table("web", *BOTH, "recovery"))
    world.end("web", "start")
    world.die(0)
    world.settle()
    world.end("web", "recovery", status=1)
    world.end("web", "recovery", status=1)
    assert world.running() == []
    assert world.shown("web")["why"].startswith("it was lost with node 0")
    world.ask(1, do="start", name="web")
    world.settle()
    assert len(world.running()) == 1
    assert world.commands[0].action == "recovery"


def test_a_node_that_comes_back_at_once_does_not_have_its_service_any_more() -> None:  # S9.5, S3.4
    world = cluster(2, table("web", *BOTH, "recovery", node_preferences=[0]))
    world.end("web", "start")
    world.die(0)
    world.join(0)
    world.settle()
    assert world.running() == ["recovery web on 1"] or world.running() == ["recovery web on 0"]
    world.end("web", "recovery")
    assert world.running() == ["start web on 0"]


@pytest.mark.parametrize("moment", range(0, 60, 1))
def test_whenever_the_deciding_node_dies_the_service_runs_once(moment: int) -> None:  # S9.1, S9.2
    """Node 0 dies after so many inputs of any node, in the midst of transactions of its own or not."""
    world = cluster(3)
    world.give(0, _asked(do="add", services=[table("web", *BOTH, "recovery"), table("log", *BOTH, parent="web")]))
    world.steps(moment)
    world.die(0)
    world.settle()
    for _ in range(20):
        for one in list(world.commands):
            world.end(one.service, one.action)
    if "web" in world.database().services:  # else the request was not taken, and the administrator was not answered
        assert list(where(world, "web").values()) == list(where(world, "log").values()) == ["registered"]
        assert where(world, "web").keys() <= {"1", "2"}
    else:
        assert world.answers == []
    assert world.states == ["inactive", "joined", "joined"]


def _asked(**asked: Any) -> Any:
    from guestd.events.inputs import Asked

    return Asked(1, {"service": asked})


# -- the whole cluster


def test_after_a_power_failure_of_all_each_service_starts_once_after_maturity_on_the_right_node() -> None:  # S9.3
    world = cluster(3, table("web", *BOTH, "recovery", node_preferences=[2, 1], maturity_count=2))
    world.end("web", "start", node=2)
    world.lose_power()
    world.history.clear()
    world.join(0)
    world.settle()
    assert world.running() == [], "one of two nodes is not enough"
    world.join(1)
    world.settle()
    assert world.running() == ["recovery web on 1"]
    world.end("web", "recovery")
    world.end("web", "start")
    world.join(2)
    world.settle()
    assert began(world) == ["recovery web on 1", "start web on 1"]


@pytest.mark.parametrize(
    ("auto_register", "running", "starts"),
    [
        ("auto", True, True),
        ("auto", False, True),
        ("manual", True, False),
        ("previous", True, True),
        ("previous", False, False),
    ],
)
def test_auto_register_says_what_is_registered_when_the_cluster_comes_up(
    auto_register: str, running: bool, starts: bool
) -> None:  # S9.2
    world = cluster(2, table("web", *BOTH, auto_register=auto_register))
    if auto_register == "manual":
        assert world.running() == []
        world.ask(0, do="start", name="web")
        world.settle()
    world.end("web", "start")
    if not running:
        world.ask(0, do="stop", name="web")
        world.settle()
        world.end("web", "stop")
    world.lose_power()
    world.join(1)
    world.settle()
    assert world.running() == (["start web on 1"] if starts else [])


def test_all_nodes_leave_at_once_and_every_service_is_stopped() -> None:  # S9.6
    world = cluster(3, table("web", *BOTH), table("log", *BOTH))
    world.end("web", "start")
    world.end("log", "start")
    for node in range(3):
        world.leave(node)
    world.settle()
    assert len(world.running()) == 2
    world.end("web", "stop")
    world.end("log", "stop")
    assert world.states == ["inactive"] * 3
    assert [one.instances for one in world.database().services.values()] == [(), ()]
    assert not any(one.transfer for one in world.database().services.values())


# -- choosing


def test_preferences_are_taken_in_their_order_and_then_the_others() -> None:  # S9.2
    world = cluster(4, table("web", "start", node_preferences=[3, 2], disallowable_nodes=[0]))
    seen = []
    for _ in range(3):
        seen.append(world.commands[0].node)
        world.end("web", "start", status=1)
    assert seen == [3, 2, 1]
    assert world.running() == []


def test_among_unordered_preferences_recent_load_decides() -> None:  # S9.2
    world = World(3)
    world.loads = [900, 200, 100]
    for node in range(3):
        world.join(node)
    world.wait(15)
    world.ask(0, do="add", services=[table("web", "start", node_preferences={"unordered": [0, 1]})])
    world.settle()
    assert world.running() == ["start web on 1"]


def test_many_services_do_not_all_go_to_one_node() -> None:  # S9.2
    world = cluster(3, *(table(f"s{number}", "start") for number in range(9)))
    assert sorted(one.node for one in world.commands) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_a_service_on_all_nodes_is_started_on_each_that_may_have_it() -> None:  # S9.2
    world = cluster(3, table("web", *BOTH, placement_policy="register_on_all", disallowable_nodes=[1]), up=2)
    assert world.running() == ["start web on 0"]
    world.end("web", "start")
    world.join(2)
    world.settle()
    world.end("web", "start")
    assert where(world, "web") == {"0": "registered", "2": "registered"}
    world.leave(0)
    world.settle()
    world.end("web", "stop")
    assert world.states[0] == "inactive"
    assert where(world, "web") == {"2": "registered"}


def test_a_node_that_was_forced_out_often_lately_gets_no_services_until_it_was_up_for_long() -> None:  # A20
    world = cluster(2, table("web", *BOTH, node_preferences=[0], transfer_cost="free"))
    for _ in range(QUARANTINE_FAILURES):
        world.end_all()
        world.die(0)
        world.settle()
        world.end_all()
        world.join(0)
        world.settle()
    world.end_all()
    assert where(world, "web") == {"1": "registered"}
    assert any("in quarantine" in why for why in world.shown("web")["explain"][0]["why"])
    world.wait(700)
    assert world.ask(1, do="move", name="web", node=0).keys() == {"number"}


def test_where_all_are_in_quarantine_services_run_all_the_same() -> None:  # A20
    world = cluster(2, table("web", *BOTH))
    for _ in range(QUARANTINE_FAILURES):
        for node in range(2):
            world.end_all()
            world.die(node)
            world.settle()
            world.end_all()
            world.join(node)
            world.settle()
    world.end_all()
    assert [one["quarantined"] for one in world.ask(0, do="list")["nodes"]] == [True, True]
    assert list(where(world, "web").values()) == ["registered"]


# -- administrators


def test_a_service_that_is_removed_is_stopped_and_forgotten_with_its_children() -> None:  # S9.4
    world = cluster(2, *GROUP)
    start_group(world)
    world.ask(1, do="remove", name="top")
    for name in ("leaf", "middle", "top"):
        world.settle()
        world.end(name, "stop")
    assert world.database().services == {}


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"do": "move", "name": "nothing"}, "'nothing' is no service (legal: child, web)"),
        ({"do": "move", "name": "child"}, "child goes where its parent goes: move web"),
        ({"do": "move", "name": "web", "node": 7}, "web cannot go to node 7 (legal: 1)"),
        ({"do": "move", "name": "web", "node": 2}, "cannot go to node 2: among disallowable_nodes (legal: 1)"),
        ({"do": "fly"}, "'fly' is nothing that can be done (legal: add, change, remove, start, stop, move, list"),
        ({"do": "add", "services": [{"name": "web"}]}, "there is such a service already"),
        ({"do": "add", "services": "web"}, "legal: a list of tables"),
    ],
)
def test_what_cannot_be_done_is_refused_with_what_is_legal(asked: dict[str, Any], why: str) -> None:
    world = cluster(3, table("web", "start", disallowable_nodes=[2]), table("child", "start", parent="web"))
    world.end("web", "start")
    before = world.database().number
    assert why in world.ask(0, **asked)["error"]
    assert world.database().number == before


def test_a_node_that_becomes_disallowable_keeps_what_it_has() -> None:  # S9.2
    """Until it goes anyway; then it does not come back."""
    web = table("web", *BOTH, node_preferences=[0])
    world = cluster(3, web)
    world.end("web", "start")
    assert world.ask(1, do="change", services=[{**web, "disallowable_nodes": [0]}]).keys() == {"number"}
    world.wait(20)
    assert world.running() == []
    assert where(world, "web") == {"0": "registered"}
    assert world.shown("web")["explain"][0]["why"] == ["among disallowable_nodes"]
    world.ask(1, do="move", name="web")
    world.settle()
    world.end("web", "stop")
    assert world.running() == ["start web on 1"]
    world.end("web", "start")
    assert "cannot go to node 0: among disallowable_nodes" in world.ask(1, do="move", name="web", node=0)["error"]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"name": "nothing"}, "'nothing' is no service (legal: child, web)"),
        ({"name": "child"}, "child: parent cannot be changed (remove the service and add it anew)"),
        ({"name": "web", "placement_policy": "register_on_all"}, "web: placement_policy cannot be changed"),
        ({"name": "web", "allowable_nodes": [9]}, "allowable_nodes: 9 is no node of the cluster (legal: 0 to 1)"),
    ],
)
def test_what_cannot_be_changed_is_refused(changed: dict[str, Any], why: str) -> None:
    world = cluster(2, table("web", "start"), table("child", "start", parent="web"))
    assert why in world.ask(0, do="change", services=[changed])["error"]


def test_why_a_node_was_chosen_is_told_rule_by_rule() -> None:  # S9.2
    world = cluster(4, table("web", "start", node_preferences=[1], disallowable_nodes=[2]), up=3)
    world.end("web", "start")
    told = {one["node"]: one for one in world.shown("web")["explain"]}
    assert told[1]["chosen"]
    assert told[1]["why"][:3] == ["allowable", "up", "preferred node 1"]
    assert told[2]["why"] == ["among disallowable_nodes"]
    assert told[3]["why"] == ["allowable", "down, or its event manager does not take part"]


# -- notification


def test_a_notify_command_runs_on_the_other_allowable_nodes_after_the_start() -> None:  # S9.5
    world = cluster(4, table("web", "start", "notify", node_preferences=[0], disallowable_nodes=[3]), up=3)
    assert world.running() == ["start web on 0"], "not before the start has succeeded"
    world.end("web", "start")
    assert world.running() == ["notify web on 1", "notify web on 2"]
    world.end("web", "notify", node=1)
    one = world.end("web", "notify", node=2)
    assert one.effect.environment["HIL_REGISTERED_NODE"] == "0"
    world.die(2)
    world.join(2)
    world.settle()
    assert world.running() == ["notify web on 2"], "one that has rejoined too"


# -- the event manager itself


def test_an_event_manager_that_begins_again_takes_a_start_in_hand_for_a_failed_one() -> None:  # S9.1
    world = cluster(2, table("web", *BOTH))
    world.restart(0)
    world.settle()
    assert world.running() == ["stop web on 0"]
    world.end("web", "stop")
    assert world.running() == ["start web on 1"]


def test_an_event_manager_that_begins_again_leaves_what_is_registered_alone() -> None:  # S9.1
    world = cluster(2, table("web", *BOTH))
    world.end("web", "start")
    world.restart(0)
    world.settle()
    assert world.running() == []
    assert where(world, "web") == {"0": "registered"}


def test_a_leave_is_acknowledged_only_when_nothing_of_its_node_is_left() -> None:  # S4.2, S9.6
    world = cluster(2, table("web", *BOTH))
    world.end("web", "start")
    world.leave(0)
    world.wait(30)
    assert world.states[0] == "leaving"
    assert world.working[1] > 20, "and the framework is told that it is worked on"
    world.end("web", "stop")
    assert world.states[0] == "leaving"
    world.end("web", "start")
    assert world.states[0] == "inactive"


# -- the database


def test_a_torn_transaction_and_all_behind_it_do_not_count() -> None:  # S9.1
    world = cluster(2, *GROUP)
    start_group(world)
    assert world.file is not None
    data = bytes(world.file)
    ends = [0, *(at + 1 for at, byte in enumerate(data) if byte == 10)]
    for size in range(0, len(data), 7):
        database = Database()
        database.take(1, data[:size] + b"\0" * 40 + data[size + 40 :])
        whole = max(end for end in ends if end <= size)
        assert database.size == whole
        assert database.number == ends.index(whole)


def test_whoever_writes_next_cuts_a_torn_transaction_off() -> None:  # S9.1
    world = cluster(2)
    assert world.file is not None
    world.file += b'00000000 {"n": 99'
    world.ask(1, do="add", services=[table("web", "start")])
    assert b'"n": 99' not in world.file
    world.settle()
    assert world.running() == ["start web on 0"]


def test_a_file_that_has_grown_is_replaced_and_everybody_goes_on_reading() -> None:  # S9.1
    world = cluster(3, *(table(f"service {number}", *BOTH, node_preferences=[0]) for number in range(40)))
    identity = world.identity
    for _ in range(20):
        world.end_all()
        for number in range(40):
            world.ask(1, do="move", name=f"service {number}")
        world.settle()
    world.end_all()
    assert world.identity > identity
    found = {node: manager.services.database.everything() for node, manager in world.managers.items()}
    assert found[0] == found[1] == found[2] == world.database().everything()
    assert len(world.file or b"") < 600_000


def test_a_changed_record_has_all_the_other_fields_as_they_were() -> None:
    service = Service(
        of_table(table("web", "start")),
        {"name": "web"},
        enabled=True,
        mature=True,
        transfer=True,
        target=1,
        away=2,
        removing=True,
        count=3,
        reason="request",
        failed=((0, 1),),
        instances=(Instance(3, 1, 1, InstanceState.STARTING, "auto", 0),),
    )
    assert service.but(count=4).but(count=3) == service
    assert member(Member(1, 2, 3, True, True), load=9) == Member(1, 9, 3, True, True)
