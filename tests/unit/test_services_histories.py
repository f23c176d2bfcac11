"""Random histories of event managers: nodes that join, leave, die at any step, also several at once and in the middle
of a write, event managers that begin again, also between two effects of one input, operations on the database that
fail, commands that end well, badly or not in time, load, administrators. What must hold (S9) is looked at after each
step.

The simulator does the same with the real stack below (hil/sim/event_managers.py); here a step is nearly for nothing.
"""

from __future__ import annotations

import errno
import random
from typing import Any

import pytest

from guestd.events.effects import Emit
from guestd.services.states import InstanceState
from tests.unit.services_world import Command, Fails, World

NODES = 4
STEPS = 120
SEEDS = 150


class History:
    """One, drawn from a seed."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(f"services {seed}")
        self.world = World(NODES)
        self.instances: dict[
            tuple[str, int], int
        ] = {}  # (service, node) -> registration: something of it may run there
        self.seen = 0  # of the world's commands
        self.log: list[str] = []
        self.added: list[str] = []
        self.loose: set[str] = set()  # services whose start or stop command was changed: less can be said of them
        self.elsewhere: set[str] = set()  # those whose choosing parameters were changed
        self.recovered: dict[tuple[str, int], object] = {}  # (service, registration) -> the event manager that knows it
        self.requests: dict[int, object] = {}  # connection -> the event manager that was asked
        self.failing = self.draw.choice([0, 0, 0.02, 0.2])  # share of the operations on the database
        self.ending = self.draw.choice([0, 0, 0.002])  # share of effects after which an event manager ends
        self.calm = False
        self.set_up()

    def set_up(self) -> None:
        """What may go wrong in the world."""
        self.world.fails = self.fails
        self.world.ends = self.ends

    def fails(self, node: int, effect: Any) -> None:
        if not self.calm and self.draw.random() < self.failing:
            self.say(f"node {node}: {type(effect).__name__} fails")
            errors = [errno.EIO, errno.ENOSPC]
            if self.world.managers[node].services.signed:  # else it takes it for a cluster without a file system
                errors.append(errno.ENOTCONN)
            raise Fails(self.draw.choice(errors), self.draw.random() * 1.3)

    def ends(self, node: int, effect: Any) -> bool:
        ends = not self.calm and not isinstance(effect, Emit) and self.draw.random() < self.ending
        ends = ends and self.world.states[node] == "joined"
        if ends:
            self.say(f"the event manager of node {node} is killed after {type(effect).__name__}")
        return ends

    # -- what is drawn

    def definition(self) -> dict[str, Any]:
        draw = self.draw
        name = f"s{len(self.added)}"
        parents = [one for one in self.added if one in self.world.database().services]
        table: dict[str, Any] = {"name": name, "start_command": ["/x"]}
        for command, share in (("stop", 0.8), ("notify", 0.4), ("recovery", 0.5)):
            if draw.random() < share:
                table[f"{command}_command"] = ["/x"]
        if parents and draw.random() < 0.4:
            return {**table, "parent": draw.choice(parents)}
        if draw.random() < 0.4:
            table["allowable_nodes"] = sorted(draw.sample(range(NODES), draw.randint(1, NODES)))
        allowable = table.get("allowable_nodes", list(range(NODES)))
        if draw.random() < 0.5:
            preferred = draw.sample(allowable, draw.randint(1, len(allowable)))
            table["node_preferences"] = preferred if draw.random() < 0.7 else {"unordered": preferred}
        if draw.random() < 0.3:
            table["transfer_cost"] = "free"
        if draw.random() < 0.2:
            table["placement_policy"] = "register_on_all"
        if draw.random() < 0.3:
            table["maturity_count"] = draw.randint(1, 3)
            table["maturity_time"] = draw.randint(1, 60)
        if draw.random() < 0.3:
            table["auto_register"] = draw.choice(["auto", "manual", "previous"])
        return table

    def step(self) -> None:
        draw, world = self.draw, self.world
        up = [node for node in sorted(world.managers) if world.states[node] == "joined"]
        down = [node for node in range(NODES) if world.states[node] == "inactive"]
        what = draw.random()
        if what < 0.12 and down:
            node = draw.choice(down)
            self.say(f"node {node} joins")
            world.begin_join(node)
        elif what < 0.15 and up:
            leaving = draw.sample(up, draw.choice([1, 1, min(2, len(up))]))
            self.say(f"nodes {leaving} leave")
            world.leave(*leaving)
        elif what < 0.21 and len(world.managers) > 1:
            dying = draw.sample(sorted(world.managers), draw.choice([1, 1, 1, 2]))
            leaving = [node for node in up if node not in dying and draw.random() < 0.1]
            self.say(f"nodes {dying} die, nodes {leaving} leave at once")
            self.die(*dying, leave=tuple(leaving), landed=draw.choice([0, draw.random(), 1]))
        elif what < 0.23 and up:
            node = draw.choice(up)
            self.say(f"the event manager of node {node} begins again")
            world.restart(node)
        elif what < 0.24:
            self.say("power failure")
            world.lose_power()
            self.set_up()
            self.seen = 0
            self.instances.clear()
        elif what < 0.34 and up:
            self.administrate(draw.choice(up))
        elif what < 0.7 and world.commands:
            self.end(draw.choice(world.commands))
        elif what < 0.85:
            world.steps(draw.randint(1, 20))
        else:
            world.loads = [draw.choice([0, 50, 300]) for _ in range(NODES)]
            world.wait(draw.choice([0.25, 1, 5, 5, 12]))
        self.look()

    def say(self, what: str) -> None:
        self.log.append(what)

    def die(self, *nodes: int, leave: tuple[int, ...] = (), landed: float = 1) -> None:
        self.world.die(*nodes, leave=leave, landed=landed)
        self.instances = {key: one for key, one in self.instances.items() if key[1] not in nodes}

    def administrate(self, node: int) -> None:
        from guestd.events.inputs import Asked

        draw = self.draw
        known = [name for name in self.added if name in self.world.database().services]
        do = draw.choice(["add", "add", "move", "move", "stop", "start", "remove", "change"])
        if do == "add" or not known:
            if len(self.added) >= 6:
                return
            table = self.definition()
            self.added.append(table["name"])
            asked: dict[str, Any] = {"do": "add", "services": [table]}
        elif do == "change":
            asked = {"do": do, "services": [self.changed(draw.choice(known)) for _ in range(draw.choice([1, 1, 2]))]}
        else:
            asked = {"do": do, "name": draw.choice(known)}
            if do == "move" and draw.random() < 0.5:
                asked["node"] = draw.randrange(NODES)
        self.say(f"node {node} is asked to {asked}")
        connection = len(self.requests) + 1
        self.requests[connection] = self.world.managers[node]
        self.world.give(node, Asked(connection, {"service": asked}))

    def changed(self, name: str) -> dict[str, Any]:
        """Its table with one thing changed."""
        draw = self.draw
        table = dict(self.world.database().services[name].table)
        what = draw.choice(
            ["start", "stop", "notify", "recovery", "disallowable_nodes", "transfer_cost", "maturity_count"]
        )
        if what in ("start", "stop", "notify", "recovery"):
            if what in ("start", "stop"):
                self.loose.add(name)
                self.instances = {key: one for key, one in self.instances.items() if key[0] != name}
            if table.pop(f"{what}_command", None) is None:
                table[f"{what}_command"] = ["/x"]
        else:  # refused of a child
            self.elsewhere.add(name)
            values = {"disallowable_nodes": [draw.randrange(NODES)], "transfer_cost": "free", "maturity_count": 2}
            table[what] = values[what]
        return table

    def end(self, one: Command) -> None:
        from guestd.events.inputs import CommandEnded

        draw = self.draw
        self.world.commands.remove(one)
        bad = {"start": 0.25, "stop": 0.05, "recovery": 0.15, "notify": 0.2}[one.action]
        fails = draw.random() < bad
        self.say(f"{one!r} {'fails' if fails else 'ends'}")
        status = 0 if not fails else draw.choice([1, 127, -9])
        self.world.give(one.node, CommandEnded(one.effect.number, status, timed_out=status == -9, output=b""))
        self.recovery_ended(one, fails=fails)
        key = (one.service, one.node)
        if one.action == "stop" and not fails:
            self.instances.pop(key, None)
        elif one.action == "start" and fails and not self.has(one.service, "stop"):
            self.instances.pop(key, None)  # nothing could end it: it is taken for not running

    def recovery_ended(self, one: Command, *, fails: bool) -> None:
        if one.action == "recovery" and not fails:
            registration = int(one.effect.environment["HIL_REGISTRATION"])
            self.recovered[one.service, registration] = self.world.managers[one.node]

    def has(self, name: str, command: str) -> bool:
        service = self.world.database().services.get(name)
        return service is not None and service.definition.has(command)

    # -- what must hold

    def look(self) -> None:
        world = self.world
        for node, _reason in world.expelled:
            if node in world.managers:
                self.say(f"node {node} ends itself")
                self.die(node)
        world.expelled.clear()
        services = world.database().services
        for one in world.history[self.seen :]:
            self.say(f"begun: {one!r}")
            self.begun(one, services)
        self.seen = len(world.history)

    def begun(self, one: Command, services: dict[str, Any]) -> None:
        if one.service not in services:  # removed since: who has not read that yet may still notify
            assert one.action == "notify", f"{one!r}: it is removed"
            return
        service = services[one.service]
        registration = int(one.effect.environment["HIL_REGISTRATION"])
        root = service
        while root.definition.parent:
            root = services[root.definition.parent]
        if one.service in self.loose or root.name in self.loose:
            self.instances.pop((one.service, one.node), None)
        elif one.action == "start":
            if not service.definition.has("stop"):  # it needs none: there is nothing left of it
                there = {one.node} if root.definition.on_all else set(range(NODES))
                for node in there:
                    self.instances.pop((one.service, node), None)
            others = [node for name, node in self.instances if name == one.service]
            assert root.definition.on_all or not others, f"{one!r}: it may run on {others}"
            assert one.node not in others, f"{one!r}: it may run there"
            assert root.name in self.elsewhere or root.definition.allows(one.node), (
                f"{one!r}: it is not allowable there"
            )
            self.instances[one.service, one.node] = registration
            if service.definition.parent:
                parent = services[service.definition.parent].on(one.node)
                above = service.definition.parent
                assert above in self.loose or (above, one.node) in self.instances or not self.has(above, "start"), (
                    f"{one!r}: its parent does not run there"
                )
                assert parent is not None, f"{one!r}: its parent is not registered there"
        elif one.action == "stop":
            for name, child in services.items():
                if child.definition.parent == one.service:
                    assert (name, one.node) not in self.instances or not child.definition.has("stop"), (
                        f"{one!r}: its child {name} may run there"
                    )
        elif one.action == "recovery":
            lost = int(one.effect.environment["HIL_LOST_NODE"])
            assert (one.service, lost) not in self.instances, f"{one!r}: it may still run on node {lost}"
            knows = self.recovered.get((one.service, registration))
            assert knows not in self.world.managers.values(), f"{one!r}: it is recovered"
            same = [
                other
                for other in self.world.commands
                if (other.service, other.action) == (one.service, "recovery")
                and int(other.effect.environment["HIL_REGISTRATION"]) == registration
            ]
            assert len(same) <= 1, f"{one!r}: {same} run"
        elif one.action == "notify":
            assert root.name in self.elsewhere or root.definition.allows(one.node)

    def finish(self) -> None:
        """All go well from now on: every service is where it should be."""
        world = self.world
        self.calm = True
        for _ in range(60):
            world.wait(5)
            self.look()
            for one in list(world.commands):
                self.end_well(one)
        services = world.database().services
        up = [node for node in range(NODES) if world.states[node] == "joined"]
        assert all(state in ("joined", "inactive") for state in world.states), world.states
        if not up:
            return
        databases = [manager.services.database.everything() for manager in world.managers.values()]
        assert all(one == databases[0] for one in databases), "they do not know the same"
        assert len(set(world.answered)) == len(world.answered), "answered twice"
        for connection, manager in self.requests.items():
            assert manager not in world.managers.values() or connection in world.answered, f"request {connection}"
        for name, service in services.items():
            states = {one.node: one.state for one in service.instances}
            assert all(state in (InstanceState.REGISTERED, InstanceState.RECOVERING) for state in states.values()), name
            recovers = any(InstanceState.RECOVERING in map(_state, one.instances) for one in services.values())
            assert recovers or not (service.transfer or service.removing), (name, "is not done with")
            parent = services.get(service.definition.parent)
            if parent is not None and service.enabled and not service.failed and not recovers:
                assert states == {one.node: one.state for one in parent.instances}, (name, states)
            if service.definition.parent or any(failed for failed in service.failed) or name in self.elsewhere:
                continue
            wanted = [node for node in up if service.definition.allows(node)]
            if not service.enabled or not wanted or not service.mature:
                assert all(state is InstanceState.RECOVERING for state in states.values()), (name, states)
            elif service.definition.on_all:
                assert set(states) == set(wanted), (name, states)
            else:
                assert list(states.values()) == [InstanceState.REGISTERED], (name, states, service)
                assert set(states) <= set(wanted)

    def end_well(self, one: Command) -> None:
        from guestd.events.inputs import CommandEnded

        self.world.commands.remove(one)
        self.say(f"{one!r} ends")
        self.recovery_ended(one, fails=False)
        self.world.give(one.node, CommandEnded(one.effect.number, 0, timed_out=False, output=b""))
        if one.action == "stop":
            self.instances.pop((one.service, one.node), None)


def _state(one: Any) -> InstanceState:
    found: InstanceState = one.state
    return found


def run(seed: int, steps: int = STEPS) -> History:
    history = History(seed)
    try:
        for _ in range(steps):
            history.step()
        history.finish()
    except BaseException:
        print("\n".join(history.log))
        raise
    return history


@pytest.mark.parametrize("tens", range(SEEDS // 10))
def test_a_random_history_breaks_nothing(tens: int) -> None:  # S9.1 to S9.7, A21, A22
    for seed in range(tens * 10, tens * 10 + 10):
        run(seed)
