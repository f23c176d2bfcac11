"""The locks of programs, through whole stacks: what they are answered, and what becomes of their locks (S7.1, A24)."""

from __future__ import annotations

from typing import Any

import pytest

from guestd.core.timing import Timing
from tests.unit.guestd_world import Program, World

VALUE = ("ab" * 64)[:128]


class User(Program):
    """A program that locks."""

    def __init__(self, world: World, node: int) -> None:
        super().__init__(world, node, len(world.programs) + 1, None)
        world.programs.append(self)

    def lock(self, number: int, mode: str, *name: str, **asked: Any) -> None:
        self.send(lock={"id": number, "mode": mode, "name": list(name or ("a",)), **asked})

    def last(self, kind: str) -> Any:
        return self.all(kind)[-1]

    def waits(self, world: World, kind: str, count: int = 1) -> Any:
        world.run_until(lambda: len(self.all(kind)) >= count)
        return self.last(kind)


@pytest.fixture
def world() -> World:
    world = World(nodes=3, seed=2)
    world.power_on()
    world.run_until(world.all_joined)
    return world


def test_a_lock_excludes_wakes_and_hands_the_value_on(world: World) -> None:
    one, two = User(world, 0), User(world, 1)
    one.lock(1, "EX")
    assert one.waits(world, "granted") == {"id": 1, "mode": "EX", "valid": True, "value": "00" * 64}
    two.lock(7, "PR")
    assert one.waits(world, "blocks") == {"id": 1, "mode": "PR"}
    world.run(1000)
    assert two.all("granted") == []
    one.send(convert={"id": 1, "mode": "PR", "value": VALUE})
    assert two.waits(world, "granted") == {"id": 7, "mode": "PR", "valid": True, "value": VALUE}
    assert one.waits(world, "granted", 2)["mode"] == "PR"
    one.send(unlock={"id": 1})
    assert one.waits(world, "gone") == {"id": 1}


@pytest.mark.parametrize("known", [True, False])
def test_a_dead_programs_lock_is_held_back_until_all_levels_have_recovered(world: World, known: bool) -> None:  # S7.1
    above = world.program(1, "above", 50)
    world.run_until(lambda: world.events(1, "caught-up"))
    above.answers_ms = None
    dead, other = User(world, 0), User(world, 2)
    if known:  # a living node masters it
        other.lock(1, "NL")
        other.waits(world, "granted")
    dead.lock(1, "EX")
    dead.waits(world, "granted")
    world.power_off(0)
    world.run_until(lambda: above.told("forced-leave"))
    other.lock(2, "PR")
    world.run(3000)
    assert [granted["id"] for granted in other.all("granted")] == [1][: int(known)]
    above.acknowledge(above.all("notification")[-1]["number"])
    world.run_until(lambda: world.all_joined(1, 2))
    assert other.waits(world, "granted", 1 + known)["id"] == 2


def test_not_at_once_not_any_more_and_no_such_lock(world: World) -> None:
    one, two = User(world, 0), User(world, 2)
    one.lock(1, "EX")
    one.waits(world, "granted")
    two.lock(1, "EX", noqueue=True)
    assert two.waits(world, "denied") == {"id": 1, "reason": "again", "mode": None}
    two.lock(2, "EX")
    world.run(300)
    two.send(cancel={"id": 2})
    assert two.waits(world, "denied", 2) == {"id": 2, "reason": "cancelled", "mode": None}
    for asked, why in (
        ({"unlock": {"id": 2}}, "there is no lock 2 of this program"),
        ({"lock": {"id": 3, "name": [], "mode": "EX"}}, "name = [] (legal: a list of texts"),
        ({"lock": {"id": 3, "name": ["x" * 90], "mode": "EX"}}, "parts of 1 to 64 bytes"),
        ({"lock": {"id": 3, "name": ["a"], "mode": "WR"}}, "mode = 'WR' (legal: NL, CR, CW, PR, PW, EX)"),
        ({"lock": {"id": 3, "name": ["a", "b"], "mode": "EX"}}, "no sub-resource"),
        ({"lock": {"id": 3, "name": ["a"], "mode": "EX", "parent": 9}}, "there is no lock 9"),
        ({"lock": 5}, 'legal: an object with an "id"'),
        ({"convert": {"id": 1, "mode": "EX"}}, "there is no lock 1"),
    ):
        count = len(two.all("lock-error"))
        two.send(**asked)
        assert why in two.waits(world, "lock-error", count + 1)["why"], asked
    one.lock(1, "PR")
    assert "lock 1 exists" in one.waits(world, "lock-error")["why"]
    one.send(unlock={"id": 1, "value": "00"})
    assert "legal: 64 bytes" in one.waits(world, "lock-error", 2)["why"]
    stranger = User(world, 0)
    stranger.send(unlock={"id": 1})
    assert "of this program" in stranger.waits(world, "lock-error")["why"]


def test_what_a_program_had_is_given_up_when_it_ends_whatever_it_waits_for(world: World) -> None:
    one, other, after = User(world, 0), User(world, 1), User(world, 2)
    one.lock(1, "PW", "tree")
    one.waits(world, "granted")
    one.lock(2, "EX", "tree", "leaf", parent=1)
    one.waits(world, "granted", 2)
    other.lock(1, "EX", "elsewhere")
    other.waits(world, "granted")
    one.lock(3, "EX", "elsewhere")  # waits
    one.send(convert={"id": 1, "mode": "EX"})
    one.lock(4, "CR", "under way")
    one.die()
    after.lock(1, "EX", "tree")
    assert after.waits(world, "granted")["mode"] == "EX"
    other.send(unlock={"id": 1})
    other.waits(world, "gone")
    world.run(1000)
    for machine in world.machines:
        assert machine.stack is not None
        manager = machine.stack.kernel.locks.manager
        assert manager is not None
        locks = [lock for lock in manager.client.locks.values() if lock.name[0].startswith(b"program:")]
        assert len(locks) == (1 if machine is world.machines[2] else 0)


@pytest.mark.parametrize("how", ["the program ends", "its node leaves"])
def test_whoever_ends_with_a_lock_that_may_write_leaves_no_value(world: World, how: str) -> None:  # S7.1
    one, after = User(world, 0), User(world, 1)
    for user in (one, after):
        user.lock(1, "NL")
        user.waits(world, "granted")
    for count, mode in enumerate(("EX", "NL", "EX"), 2):
        one.send(convert={"id": 1, "mode": mode, "value": VALUE if mode == "NL" else None})
        one.waits(world, "granted", count)
    if how == "the program ends":
        one.die()
    else:
        world.order(0, "leave")
    after.send(convert={"id": 1, "mode": "EX"})
    told = after.waits(world, "granted", 2)
    assert (told["mode"], told["valid"]) == ("EX", False)


def test_a_dead_nodes_lock_is_granted_after_its_recovery_and_its_value_is_not_valid(world: World) -> None:
    # A13, A24: the level above, a program, takes its time to recover after node 2.
    slow = world.program(0, "recoverer", 50, answers_ms=2000)
    world.run_until(lambda: slow.registered)
    world.run(3 * 2000)
    holder, waiter = User(world, 2), User(world, 1)
    holder.lock(1, "EX")
    holder.waits(world, "granted")
    waiter.lock(1, "PR")
    holder.waits(world, "blocks")
    world.power_off(2)
    world.run_until(lambda: slow.told("forced-leave"))
    told_ms = world.now_ms
    assert waiter.waits(world, "granted")["valid"] is False
    assert world.now_ms >= told_ms + 2000


def test_locks_outlive_the_node_that_mastered_them(world: World) -> None:
    users = [User(world, node) for node in range(3)]
    for node, user in enumerate(users):
        for number in range(12):
            user.lock(number, "PR", f"shared {number}")
        user.waits(world, "granted", 12)
        assert node == user.node
    world.power_off(1)
    world.run_until(lambda: world.all_joined(0, 2))
    users[0].send(unlock={"id": 3})
    users[0].waits(world, "gone")
    users[2].send(convert={"id": 3, "mode": "EX"})
    assert users[2].waits(world, "granted", 13) == {"id": 3, "mode": "EX", "valid": True, "value": "00" * 64}


def test_who_leaves_loses_its_locks_and_the_others_their_fear(world: World) -> None:
    leaver, stayer = User(world, 0), User(world, 1)
    leaver.lock(1, "EX")
    leaver.waits(world, "granted")
    stayer.lock(1, "EX")
    leaver.waits(world, "blocks")
    world.order(0, "leave")
    assert stayer.waits(world, "granted")["mode"] == "EX"
    world.run_until(lambda: world.machines[0].exits)
    assert leaver.all("gone") == [{"id": 1}]


@pytest.mark.parametrize("master", [0, 1])
def test_what_is_left_while_its_node_leaves_is_not_lost(world: World, master: int) -> None:
    leaver, stayer = User(world, 0), User(world, 1)
    first, second = (leaver, stayer) if master == 0 else (stayer, leaver)
    for user in (first, second):
        user.lock(1, "NL")
        user.waits(world, "granted")
    leaver.send(convert={"id": 1, "mode": "EX"})
    leaver.waits(world, "granted", 2)
    world.order(0, "leave")
    world.run_until(lambda: world.view.entries[0].level == 10)  # nobody sends anything any more
    leaver.send(unlock={"id": 1, "value": VALUE})
    stayer.send(convert={"id": 1, "mode": "EX"})
    told = stayer.waits(world, "granted", 2)
    assert (told["valid"], told["value"]) == (True, VALUE)


def test_before_its_node_is_a_member_a_program_gets_no_lock() -> None:
    world = World(nodes=2, seed=1, timing=Timing())
    world.power_on(0)
    user = User(world, 0)
    user.lock(1, "EX")
    assert user.waits(world, "lock-error") == {"id": 1, "why": "this node is not a member of the cluster"}
    world.run_until(lambda: world.all_joined(0))
    user.lock(1, "EX")
    user.waits(world, "granted")


def test_what_a_lock_manager_shows(world: World) -> None:
    one, two = User(world, 0), User(world, 1)
    one.lock(1, "EX")
    one.waits(world, "granted")
    two.lock(1, "PR")
    one.waits(world, "blocks")
    shown = []
    for user in (one, two, User(world, 2)):
        user.send(show="locks")
        shown.append(user.waits(world, "locks"))
    for told in shown:
        for key in ("own", "resources"):  # there are those of guestd's own levels, too
            told[key] = [one for one in told[key] if one["name"].startswith("program:")]
    (resource,) = [resource for told in shown for resource in told["resources"]]
    assert resource["name"] == "program:a"
    assert [(entry["node"], entry["mode"]) for entry in resource["granted"]] == [(0, "EX")]
    assert [(entry["node"], entry["wanted"]) for entry in resource["waiting"]] == [(1, "PR")]
    assert [len(told["own"]) for told in shown] == [1, 1, 0]
    assert shown[1]["own"][0] | {"lock": 1, "owner": 0, "master": 0} == {
        "lock": 1,
        "owner": 0,
        "name": "program:a",
        "state": "requesting",
        "mode": None,
        "wanted": "PR",
        "valid": True,
        "master": 0,
    }
    world.order(2, "status")
    world.run(100)
    assert world.events(2, "status")[-1]["dlm"]["members"] == [0, 1, 2]
