"""Client services in the simulator: what goes wrong there, and what is known for certain of the database."""

from __future__ import annotations

import random
import zlib
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from guestd.core import json
from guestd.events.effects import AppendStore, ReadStore, ReplaceStore, RunCommand
from guestd.events.inputs import CommandEnded, StoreDone
from hil.sim.commands import Commands
from hil.sim.event_managers import Manager
from hil.sim.nodes import Node
from hil.sim.options import Options, changed, draw
from hil.sim.plan import Fault, Plan
from hil.sim.queue import Queue
from hil.sim.registry import Registry
from hil.sim.run import run
from hil.sim.trace import Trace
from tests.mutations.mutant import Mutant
from tests.mutations.services import MANAGERS, maturity_ignored
from tests.unit.sim_cluster import started

SERVICES = {"services": 5, "converge_ms": 90_000, "quiet_ms": 3000}


def options(**given: Any) -> Options:
    return changed({"nodes": 3, **SERVICES, **given})


# -- whole runs


def test_services_run_where_nothing_goes_wrong() -> None:  # S9.1
    result = run(options(), Plan(20_000))
    assert result.violation is None, result.details
    assert result.faults["command-started"] >= 3
    assert result.panics == 0


def test_services_outlive_their_nodes_and_event_managers() -> None:  # S9.5, S4.13
    plan = Plan(40_000, (Fault("crash", 12_000, 3000, node=0), Fault("leave", 25_000, node=1)))
    struck: Counter[str] = Counter()
    for seed in range(4):
        result = run(options(seed=seed, command_share=300, manager_share=30), plan)
        assert result.violation is None, result.details
        struck.update(result.faults)
    assert struck["event-manager-died"] > 0
    assert struck["command-failed"] > 0
    assert struck["command-killed"] > 0


def test_what_has_no_stop_command_has_left_nothing_behind_when_its_node_leaves(  # S9.5
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with started() as cluster:
        cluster.services.wait_ready()
        cluster.services.add({"name": "web", "start_command": ["/bin/true"], "node_preferences": [1, 2]})
        cluster.services.wait_registered("web", on=1)
        cluster.shutdown(cluster.node(1))
        cluster.services.wait_registered("web", on=2)
        cluster.wait_off(cluster.node(1))


def test_the_same_seed_is_the_same_run() -> None:
    plan = Plan(15_000, (Fault("crash", 9000, 1000, node=1),))
    given = options(command_share=200, manager_share=30)
    assert run(given, plan).digest == run(given, plan, recording=True).digest


@pytest.mark.parametrize("seed", [1, 5, 37, 47, 1004])
def test_what_event_managers_did_not_stand_once_they_stand_now(seed: int) -> None:  # S4.7, S4.13
    """1: one died while its node left, and could not register any more. 5: a leave that was interrupted was awaited.
    37: one that something was new for at every tick put off for ever what it was to decide.
    47: one died while its node left, and those who waited for that were taken for hung as soon as that one was.
    1004: one that registered while its node's leave was above its level was told nothing of that."""
    found = run(Mutant(maturity_ignored, (), MANAGERS).options(seed))
    assert found.violation is None, found.details


def test_an_event_manager_that_the_files_of_the_dead_keep_waiting_works() -> None:  # S4.13
    """For more than ten seconds in its join, in this run: it once cost its node."""
    found = run(draw(646, "quick"))
    assert found.violation is None, found.details
    assert found.panics == 0


# -- the database as it is known


def line(number: int, by: tuple[int, int], changes: dict[str, Any]) -> bytes:
    text = json.dumps({"n": number, "by": list(by), "set": changes}).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


class Known:
    """A registry, and who reads and writes."""

    def __init__(self) -> None:
        self.registry = Registry(lambda: 0)
        self.conflicts: list[str] = []
        self.registry.on_conflict = self.conflicts.append

    def reads(self, node: int, data: bytes, errno: int = 0) -> None:
        self.registry.hear(manager(node), ReadStore(1, 0), StoreDone(1, errno, 1, data))

    def writes(self, node: int, data: bytes, *, whole: bool = False) -> None:
        effect = ReplaceStore(1, data) if whole else AppendStore(1, 0, data)
        self.registry.hear(manager(node), effect, StoreDone(1, 0, 1))


def manager(node: int) -> Manager:
    return cast("Manager", SimpleNamespace(node=SimpleNamespace(number=node, incarnation=1)))


ONE, OTHER = line(1, (0, 1), {"life": 1}), line(1, (1, 1), {"life": 1})


def test_a_transaction_is_certain_when_it_is_written_or_another_node_reads_it() -> None:
    for certain in ("writes", "reads"):
        known = Known()
        known.reads(0, ONE)  # out of its own cache, perhaps
        assert known.registry.database.number == 0
        if certain == "writes":
            known.writes(0, ONE)
        else:
            known.reads(1, ONE)
        assert known.registry.database.number == 1
        assert known.conflicts == []


def test_what_was_in_a_cache_is_certain_when_its_node_has_written_more() -> None:
    known = Known()
    known.reads(0, ONE)
    known.writes(0, line(2, (0, 1), {"life": 2}))
    assert (known.registry.database.number, known.registry.database.life) == (2, 2)


def test_two_transactions_under_one_number_are_a_conflict_unless_one_node_is_dead() -> None:
    for dead in (False, True):
        known = Known()
        known.writes(0, ONE)
        if dead:
            known.registry.over(1, 1)
        known.writes(1, OTHER)
        assert bool(known.conflicts) is not dead


def test_a_line_that_is_torn_ends_what_is_read() -> None:
    known = Known()
    known.reads(1, ONE + b"12345678 {half a line\n" + line(2, (0, 1), {"life": 2}))
    assert known.registry.database.number == 1


def test_a_file_that_was_replaced_says_the_same() -> None:
    known = Known()
    known.writes(0, ONE)
    database = known.registry.database
    whole = database.whole((0, 1))
    known.writes(0, whole, whole=True)
    assert known.conflicts == []
    database.life = 7  # not what is in the file
    known.writes(0, whole, whole=True)
    assert known.conflicts


def test_an_operation_that_failed_tells_nothing() -> None:
    known = Known()
    known.reads(1, ONE, errno=5)
    assert known.registry.database.number == 0


# -- commands


class Machine:
    """Commands of one node that stands still when it is told to."""

    def __init__(self, share: int) -> None:
        self.queue = Queue()
        given = options(command_share=share)
        self.commands = Commands(self.queue, random.Random(1), given, Trace(self.queue))
        self.node = cast("Node", SimpleNamespace(number=0, incarnation=1, life=1, frozen=None))
        self.ended: list[CommandEnded] = []
        self.numbers = 0

    def run(self, action: str) -> CommandEnded:
        """One command, to its end."""
        self.begin(action)
        self.queue.run_until(self.queue.now_us + 10_000_000)
        return self.ended[-1]

    def begin(self, action: str) -> None:
        self.numbers += 1
        given = {"HIL_SERVICE": "web", "HIL_ACTION": action, "HIL_REGISTRATION": str(self.numbers)}
        self.commands.run(self.node, 0, RunCommand(self.numbers, ("/sim/start",), given, 4000), self.ended.append)


def test_what_is_started_runs_until_it_is_stopped() -> None:
    machine = Machine(0)
    assert machine.run("start").status == 0
    assert [str(one) for one in machine.commands.instances] == ["web (1) on node 0 (1)"]
    assert machine.run("stop").status == 0
    assert machine.commands.instances == []
    machine.commands.goes_on = lambda _: False
    machine.run("start")
    assert machine.commands.instances == []


def test_a_start_that_fails_leaves_something_behind_now_and_then() -> None:  # A21
    machine = Machine(1000)
    left = set()
    for _ in range(60):
        ended = machine.run("start")
        assert ended.status != 0
        assert ended.timed_out == (ended.status < 0)
        left.add((ended.timed_out, bool(machine.commands.instances)))
        machine.commands.instances.clear()
    assert left == {(timed_out, there) for timed_out in (False, True) for there in (False, True)}


def test_nothing_fails_when_all_is_healed() -> None:
    machine = Machine(1000)
    machine.commands.enabled = False
    assert all(machine.run(action).status == 0 for action in ("start", "notify", "recovery", "stop") * 10)
    assert machine.commands.may_fail() is None


def test_commands_end_with_their_event_manager_and_services_do_not() -> None:  # S4.13
    machine = Machine(0)
    machine.run("start")
    machine.begin("notify")
    machine.commands.owner_over(0)
    assert machine.commands.runs == []
    assert len(machine.ended) == 1, "nobody is there to hear of it"
    assert len(machine.commands.instances) == 1
    machine.commands.node_over(machine.node)
    assert machine.commands.instances == []
