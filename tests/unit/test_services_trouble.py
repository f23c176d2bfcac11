"""What goes wrong around client services: the database's file, definitions that change while commands run, nodes
that are in quarantine (spec S9), on event managers with everything around them in memory."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest

from guestd.events.effects import AppendStore, LockStore, ReadStore, ReplaceStore, UnlockStore
from guestd.events.inputs import Asked, CommandEnded
from guestd.services.choose import QUARANTINE_FAILURES
from guestd.services.definition import DefinitionErrors, checked
from guestd.services.transactions import PATIENCE_MS
from tests.unit.services_world import Fails, World
from tests.unit.test_services import BOTH, began, cluster, table, where


def failing(kind: type, error: int, landed: float = 0, times: int = 1 << 30) -> Callable[[int, Any], None]:
    """So many operations of that kind fail, of whatever node."""
    left = [times]

    def fails(_node: int, effect: Any) -> None:
        if isinstance(effect, kind) and left[0] > 0:
            left[0] -= 1
            raise Fails(error, landed)

    return fails


# -- definitions that change


def test_of_several_changes_all_are_made_or_none() -> None:  # S9.1
    web, log = table("web", "start"), table("log", "start")
    world = cluster(2, web, log)
    number = world.database().number
    wanted = [{**web, "start_timeout": 5}, {**log, "placement_policy": "register_on_all"}]
    assert "cannot be changed" in world.ask(0, do="change", services=wanted)["error"]
    world.settle()
    assert world.database().number == number
    assert world.shown("web")["definition"] == web


def test_a_recovery_command_that_is_taken_out_is_awaited_no_more() -> None:  # S9.5, S9.7
    web = table("web", *BOTH, "recovery")
    world = cluster(2, web)
    world.end("web", "start")
    world.die(0)
    world.settle()
    world.end("web", "recovery", status=1)
    assert world.running() == []
    world.ask(1, do="change", services=[table("web", *BOTH)])
    world.settle()
    assert began(world)[-1:] == ["recovery web on 1"]
    world.ask(1, do="start", name="web")
    world.settle()
    assert world.running() == ["start web on 1"]


@pytest.mark.parametrize("command", ["start", "stop", "recovery"])
def test_a_command_that_is_taken_out_before_its_node_has_read_of_it_is_skipped(command: str) -> None:  # S9.7
    every = (*BOTH, "recovery")
    web = table("web", *every, node_preferences=[1])
    world = World(3)
    for node in range(3):
        world.join(node)
    world.settle()

    def deaf(node: int, effect: Any) -> None:
        if node == (0 if command == "recovery" else 1) and isinstance(effect, (ReadStore, LockStore)):
            raise Fails(errno.EIO)

    if command == "start":
        world.fails = deaf
    world.ask(2, do="add", services=[web])
    if command != "start":
        world.settle()
        world.end("web", "start")
        world.fails = deaf
    if command == "stop":
        world.ask(2, do="move", name="web", node=2)
    elif command == "recovery":
        world.die(1)
        world.settle()
    (found,) = world.database().services["web"].instances
    assert found.node == (0 if command == "recovery" else 1)
    assert world.running() == [], "its node has not read of it"
    world.ask(2, do="change", services=[table("web", *(one for one in every if one != command), node_preferences=[1])])
    world.wait(2)
    world.fails = lambda _node, _effect: None
    for _ in range(5):
        world.settle()
        for one in list(world.commands):
            world.end(one.service, one.action)
    assert list(where(world, "web").values()) == ["registered"]


def test_a_recovery_that_has_failed_and_is_wanted_again_at_once_runs_again() -> None:  # S9.5
    """Both in one transaction, so that no other state of it is ever seen."""
    world = cluster(2, table("web", *BOTH, "recovery"))
    world.end("web", "start")
    world.die(0)
    world.settle()
    (one,) = world.commands
    world.commands.clear()
    world.fails = failing(LockStore, errno.EIO, times=1)
    world.give(1, CommandEnded(one.effect.number, 1, timed_out=False, output=b""))
    world.run()
    world.give(1, Asked(1, {"service": {"do": "start", "name": "web"}}))
    world.settle()
    assert world.running() == ["recovery web on 1"]


def test_a_child_of_what_is_being_removed_is_refused() -> None:  # S9.4
    world = cluster(2, table("web", *BOTH))
    world.end("web", "start")
    world.ask(0, do="remove", name="web")
    world.settle()
    told = world.ask(0, do="add", services=[table("log", "start", parent="web")])
    assert told == {"error": "log: its parent web is being removed"}
    world.end("web", "stop")
    assert world.database().services == {}


@pytest.mark.parametrize("field", ["name", "start_command"])
def test_text_that_no_file_name_can_have_is_refused(field: str) -> None:
    wanted = {"name": "web", "start_command": ["/web", "\ud800"], **({"name": "\ud800"} if field == "name" else {})}
    with pytest.raises(DefinitionErrors, match=field):
        checked([wanted], {}, 2)


def test_of_a_service_that_is_removed_and_added_anew_the_others_are_notified_anew() -> None:  # S9.5
    web = table("web", *BOTH, "notify", node_preferences=[0])
    world = cluster(2, web)
    for _ in range(2):
        world.end("web", "start")
        assert world.end("web", "notify").node == 1
        world.ask(0, do="remove", name="web")
        world.settle()
        world.end("web", "stop")
        world.ask(0, do="add", services=[web])
        world.settle()


# -- choosing


def test_a_preferred_node_in_quarantine_does_not_move_what_runs_elsewhere() -> None:  # S9.2, A20
    world = cluster(3, table("web", *BOTH, node_preferences=[0], transfer_cost="free"))
    for _ in range(QUARANTINE_FAILURES):
        world.end_all()
        world.die(0)
        world.settle()
        world.end_all()
        world.history.clear()
        world.join(0)
        world.settle()
    world.wait(10)
    assert began(world) == []
    assert not world.database().services["web"].transfer


def test_a_move_without_a_node_goes_where_it_has_failed_if_there_is_no_other() -> None:  # S9.6
    world = cluster(2, table("web", *BOTH, node_preferences=[1]))
    world.end("web", "start", status=1)
    world.end("web", "stop")
    world.end("web", "start")
    assert where(world, "web") == {"0": "registered"}
    world.ask(0, do="move", name="web")
    world.settle()
    world.end("web", "stop")
    assert world.running() == ["start web on 1"]


@pytest.mark.parametrize("maturity", [{}, {"maturity_count": 2}, {"maturity_time": 5}])
def test_a_child_is_recovered_after_a_power_failure_though_its_parent_is_not_wanted(
    maturity: dict[str, Any],
) -> None:  # S9.4, S9.5
    web = table("web", *BOTH, auto_register="manual", **maturity)
    world = cluster(2, web, table("log", *BOTH, "recovery", parent="web"))
    world.ask(0, do="start", name="web")
    world.wait(10)
    world.end("web", "start")
    world.end("log", "start")
    world.lose_power()
    for node in range(2):
        world.join(node)
    world.wait(10)
    assert [one.action for one in world.commands] == ["recovery"]
    world.end("log", "recovery")
    assert world.running() == []
    world.ask(0, do="remove", name="web")
    world.settle()
    assert world.database().services == {}


# -- the database's file


@pytest.mark.parametrize("kind", [LockStore, ReadStore, AppendStore])
def test_who_asks_for_something_while_the_database_fails_is_told_so(kind: type) -> None:  # S9.1
    world = cluster(2)
    world.fails = failing(kind, errno.EIO)
    world.give(0, Asked(1, {"service": {"do": "add", "services": [table("web", "start")]}}))
    world.wait(5)
    (told,) = world.answers
    assert told["service"]["error"].startswith("the database cannot be ")
    assert told["service"]["error"].endswith(": EIO")
    world.fails = lambda _node, _effect: None
    world.wait(10)
    assert world.database().services == {}


@pytest.mark.parametrize("landed", [0, 0.3, 0.7, 1])
@pytest.mark.parametrize("kind", [LockStore, ReadStore, AppendStore, ReplaceStore, UnlockStore])
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_what_has_ended_gets_into_the_database_when_it_can_be_written_again(
    error: int, kind: type, landed: float
) -> None:  # S9.1
    world = cluster(3, table("web", *BOTH, "recovery"), table("log", *BOTH, parent="web"))
    world.fails = failing(kind, error, landed)
    world.end("web", "start")
    world.wait(10)
    world.die(0)
    world.wait(10)
    world.fails = lambda _node, _effect: None
    for _ in range(5):
        world.settle()
        world.end_all()
    assert list(where(world, "web").values()) == list(where(world, "log").values()) == ["registered"]
    assert world.states[0] == "inactive"


def test_a_recovery_that_waits_for_an_administrator_is_no_work() -> None:  # S4.13
    """Else an event manager that hangs for another reason would never be found."""
    world = cluster(3, table("web", *BOTH, "recovery", allowable_nodes=[0]), table("log", *BOTH, node_preferences=[1]))
    world.end("web", "start")
    world.end("log", "start")
    world.die(0)
    world.settle()
    assert world.states[0] == "inactive"
    world.fails = failing(LockStore, errno.EIO)
    before = world.working[1]
    world.leave(1)
    world.wait(20)
    assert world.states[1] == "leaving"
    assert world.working[1] == before


def test_who_waits_for_another_node_to_sign_off_works() -> None:  # S4.13
    """What hangs is the event manager of the node that leaves, which costs that node, and not the others too."""
    world = cluster(3, table("web"))
    world.fails = lambda node, effect: gone_on(1, node, effect)
    world.leave(1)
    world.wait(20)
    assert world.states[1] == "leaving"
    assert [said >= 15 for said in world.working] == [True, False, True]
    world.die(1)
    world.settle()
    before = list(world.working)
    world.wait(20)
    assert world.states[1] == "inactive"
    assert world.working == before


@pytest.mark.parametrize("kind", [ReadStore, AppendStore])
def test_who_is_kept_waiting_by_the_shared_file_system_works_for_a_time(kind: type) -> None:  # S4.13
    """It may have the files of the dead to recover first; but if it hangs that must end."""
    world = cluster(2, table("web"))
    world.hangs = lambda node, effect: node == 1 and isinstance(effect, kind)
    world.die(0)
    world.wait(1 + PATIENCE_MS / 1000)
    assert world.working[1] >= 55
    before = list(world.working)
    world.wait(20)
    assert world.working == before
    assert world.states[0] == "forced-leaving"
    world.answer_hanging()
    world.settle()
    assert world.states[0] == "inactive"
    assert where(world, "web") == {"1": "registered"}


def test_who_waits_for_the_lock_of_the_database_works_for_as_long_as_another_has_it() -> None:  # S4.13
    """Whoever hangs with it costs its own node."""
    world = cluster(3, table("web"))
    world.hangs = lambda node, effect: node == 1 and not isinstance(effect, LockStore)
    world.die(0)
    world.wait(3 * PATIENCE_MS / 1000)
    assert world.holder == 1
    assert world.working[2] >= 160
    assert world.working[1] < 65


# -- no shared file system


def test_who_has_begun_again_and_cannot_read_what_runs_here_does_not_let_its_node_leave() -> None:  # S9.1, S4.11
    world = cluster(2, table("web"))
    assert where(world, "web") == {"0": "registered"}
    world.fails = lambda node, effect: gone_on(0, node, effect)
    world.restart(0)
    world.leave(0)
    world.settle()
    assert world.expelled == [(0, "it leaves, and cannot read which services run here")]
    assert world.states == ["leaving", "joined"]
    world.die(0)
    world.settle()
    assert where(world, "web") == {"1": "registered"}


def test_who_has_never_read_the_database_has_started_nothing_and_lets_its_node_leave() -> None:  # S4.7
    world = World(2)
    world.join(1)
    world.fails = lambda node, effect: gone_on(0, node, effect)
    world.begin_join(0)
    world.settle()
    world.leave(0)
    world.settle()
    assert (world.states, world.expelled) == (["inactive", "joined"], [])


def gone_on(gone: int, node: int, effect: Any) -> None:
    """Node ``gone`` has no shared file system."""
    if node == gone and isinstance(effect, (LockStore, ReadStore)):
        raise Fails(errno.ENOTCONN)
