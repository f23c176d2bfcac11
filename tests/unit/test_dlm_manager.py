"""Lock managers of a few nodes, one case at a time. Names of modes say what is held; nodes are numbered from 0."""

from __future__ import annotations

from typing import Any

import pytest

from guestd.core.value import replace
from guestd.dlm.change import SPREAD, STOP, Change
from guestd.dlm.deadlock import SEARCH_MS
from guestd.dlm.directory import directory_node
from guestd.dlm.manager import LockError, LockManager
from guestd.dlm.messages import Reason, decode
from guestd.dlm.modes import Mode
from guestd.dlm.notices import Blocks, Denied, Gone, Granted, Notice
from guestd.interconnect.channel import RETRY_TICKS
from guestd.interconnect.channels import Channels
from guestd.membership.states import NodeState
from tests.unit.dlm_net import Options, World

R = (b"r",)
VALUE = bytes(range(64))


class Cluster:
    """A quiet world, and everything that its users were told."""

    def __init__(self, nodes: int = 3, **options: Any) -> None:
        self.world = World(0, Options(nodes=nodes, **options))
        self.told: list[tuple[int, Notice]] = []
        self.world.on_notice = lambda node, notice: self.told.append((node, notice))
        for node in range(nodes):
            self.world.power_on(node)
        self.world.run_until(lambda: self.world.quiet)

    def call(self, node: int, what: str, *arguments: Any, **named: Any) -> Any:
        results: list[Any] = []
        if what in ("convert", "unlock"):
            mode = arguments[1] if what == "convert" else None
            self.world.checks.asks_less(node, arguments[0], mode, named.get("value"))
        self.world.act(node, lambda manager: results.append(getattr(manager, what)(*arguments, **named)))
        return results[0]

    def lock(self, node: int, name: Any, mode: Mode, *, owner: int = 1, **named: Any) -> int:
        number: int = self.call(node, "lock", owner, name, mode, **named)
        return number

    def held(self, node: int, name: Any, mode: Mode, *, owner: int = 1, **named: Any) -> int:
        """A lock that is granted at once."""
        number = self.lock(node, name, mode, owner=owner, **named)
        self.world.run(300)
        assert any(isinstance(one, Granted) and one.lock == number for one in self.of(node)), self.told
        return number

    def takes(self, node: int, lock: int) -> tuple[Mode, bytes, bool]:
        """It converts to EX: the mode, the value and whether that is valid, as it is told."""
        self.call(node, "convert", lock, Mode.EX)
        self.world.run(600)
        last = self.grant(node, lock)
        assert last is not None
        return last.mode, last.value, last.valid

    def of(self, node: int) -> list[Notice]:
        return [notice for at, notice in self.told if at == node]

    def master(self, name: Any) -> list[int]:
        """The nodes that master the tree."""
        return [one.number for one in self.world.nodes if one.manager and name[0] in one.manager.mastery.trees]

    def grant(self, node: int, lock: int) -> Granted | None:
        found = [one for one in self.of(node) if isinstance(one, Granted) and one.lock == lock]
        return found[-1] if found else None

    def elsewhere(self, *nodes: int) -> Any:
        """A name whose directory node is none of these."""
        names = [(bytes([letter]),) for letter in range(ord("a"), ord("z"))]
        members = range(self.world.options.nodes)
        return next(name for name in names if directory_node(name[0], members) not in nodes)

    def on(self, node: int) -> Any:
        """A name whose directory node that is."""
        return self.elsewhere(*(other for other in range(self.world.options.nodes) if other != node))

    def state(self, node: int) -> str:
        return str(self.world.view.entries[node].state.value)


def hashed_to(node: int, *members: int) -> Any:
    """A name whose directory node among these members that is."""
    names = [bytes([letter]) for letter in range(ord("a"), ord("z"))]
    return (next(name for name in names if directory_node(name, members) == node),)


@pytest.mark.parametrize("node", range(3))
def test_a_tree_is_mastered_where_its_first_user_is(node: int) -> None:  # S7.1
    cluster = Cluster()
    name = cluster.elsewhere(node)
    lock = cluster.held(node, name, Mode.NL)
    cluster.held((node + 1) % 3, name, Mode.NL)
    assert cluster.master(name) == [node]
    cluster.call(node, "unlock", lock)
    cluster.world.run(300)
    assert cluster.master(name) == [node], "it stays as long as somebody needs it"


def test_a_local_lock_costs_no_datagram_and_a_remote_one_three_round_trips_at_most() -> None:  # S7.1
    cluster = Cluster()
    name = cluster.elsewhere(1)
    first = cluster.held(1, name, Mode.EX)
    cluster.world.run(1000)
    before = cluster.world.datagram_count
    second = cluster.lock(1, (*name, b"below"), Mode.EX, parent=first)
    cluster.world.run(1)
    assert cluster.world.datagram_count == before
    cluster.world.run(100)
    assert cluster.grant(1, second) is not None
    # Question, answer, request, notice, conversion, its answer and the grant: each datagram goes to both others.
    cluster.world.options.delay_ms_max = 0
    before = cluster.world.datagram_count
    other = cluster.lock(2, name, Mode.PR)
    cluster.world.run(50)
    cluster.call(1, "convert", first, Mode.PR)
    cluster.world.run(50)
    assert cluster.grant(2, other) is not None
    assert (cluster.world.datagram_count - before) / 2 <= 6 + 3, "three round trips and acknowledgements"


def test_notices_and_conversions_first() -> None:  # S7.1
    cluster = Cluster()
    one, two = cluster.held(0, R, Mode.PR), cluster.held(1, R, Mode.PR)
    waits = cluster.lock(2, R, Mode.CW)
    cluster.world.run(300)
    assert cluster.of(0)[-1] == Blocks(one, Mode.CW)
    assert cluster.of(1)[-1] == Blocks(two, Mode.CW)
    cluster.call(0, "convert", one, Mode.EX)
    cluster.world.run(300)
    assert cluster.of(1)[-1] == Blocks(two, Mode.EX)
    cluster.call(1, "unlock", two)
    cluster.world.run(300)
    grant = cluster.grant(0, one)
    assert grant is not None
    assert grant.mode is Mode.EX, "the conversion goes before the request that was there first"
    assert cluster.grant(2, waits) is None
    cluster.call(0, "unlock", one)
    cluster.world.run(300)
    assert cluster.grant(2, waits) is not None


def test_try_and_cancel() -> None:  # S7.1
    cluster = Cluster()
    holder = cluster.held(0, R, Mode.EX)
    tried, waits = cluster.lock(1, R, Mode.CR, noqueue=True), cluster.lock(2, R, Mode.CR)
    cluster.world.run(300)
    assert cluster.of(1) == [Denied(tried, Reason.AGAIN, None)]
    cluster.call(2, "cancel", waits)
    cluster.world.run(300)
    assert cluster.of(2) == [Denied(waits, Reason.CANCELLED, None)]
    cluster.call(0, "unlock", holder)
    cluster.world.run(300)
    assert cluster.of(0)[-1] == Gone(holder)
    assert cluster.master(R) == []
    assert not any(node.manager.directory.masters for node in cluster.world.nodes if node.manager)


def test_a_denied_conversion_leaves_the_lock_as_it_was() -> None:
    cluster = Cluster()
    one, _ = cluster.held(0, R, Mode.PR), cluster.held(1, R, Mode.PR)
    cluster.call(0, "convert", one, Mode.CW, noqueue=True)
    cluster.world.run(300)
    assert cluster.of(0)[-1] == Denied(one, Reason.AGAIN, Mode.PR)
    cluster.call(0, "unlock", one)
    cluster.world.run(300)
    assert cluster.of(0)[-1] == Gone(one)


def test_the_value_block_goes_from_writer_to_reader() -> None:  # S7.1
    cluster = Cluster()
    keeper, writer = cluster.held(1, R, Mode.NL), cluster.held(0, R, Mode.EX)
    cluster.call(0, "convert", writer, Mode.CR, value=VALUE)
    reader = cluster.held(2, R, Mode.PR)
    assert cluster.grant(2, reader) == Granted(reader, Mode.PR, VALUE, True, 1)
    cluster.call(2, "unlock", reader)
    cluster.call(0, "unlock", writer)
    cluster.world.run(300)
    cluster.call(1, "convert", keeper, Mode.PR)
    cluster.world.run(300)
    assert cluster.grant(1, keeper) == Granted(keeper, Mode.PR, VALUE, True, 1)


def test_mastership_and_value_move_when_the_master_leaves() -> None:  # S7.1
    cluster = Cluster()
    lock = cluster.held(0, R, Mode.EX)
    reader = cluster.held(1, R, Mode.NL)
    cluster.call(0, "unlock", lock, value=VALUE)
    waits = cluster.held(2, R, Mode.NL)
    assert cluster.master(R) == [0]
    assert cluster.world.leave(0)
    cluster.world.run_until(lambda: cluster.world.nodes[0].level is None)
    (master,) = cluster.master(R)
    assert master == directory_node(b"r", (1, 2))
    cluster.call(1, "convert", reader, Mode.PR)
    cluster.world.run(300)
    assert cluster.grant(1, reader) == Granted(reader, Mode.PR, VALUE, True, 1)
    cluster.call(2, "convert", waits, Mode.EX)
    cluster.world.run(300)
    assert Blocks(reader, Mode.EX) in cluster.of(1), "the new master knows of all"


@pytest.mark.parametrize("master", ["survives", "dies too"])
def test_the_value_is_invalid_when_its_last_writer_dies(master: str) -> None:  # S7.1, A24
    cluster = Cluster()
    keeper = cluster.held(1, R, Mode.NL) if master == "survives" else None
    writer = cluster.held(0, R, Mode.EX)
    keeper = keeper or cluster.held(1, R, Mode.NL)
    waits = cluster.lock(2, R, Mode.PR)
    cluster.world.run(300)
    cluster.world.kill(0)
    cluster.world.run(5000)
    grant = cluster.grant(2, waits)
    assert grant is not None
    assert (grant.mode, grant.valid) == (Mode.PR, False)
    cluster.call(2, "convert", waits, Mode.EX)
    cluster.world.run(300)
    cluster.call(2, "convert", waits, Mode.PR, value=VALUE)
    cluster.call(1, "convert", keeper, Mode.PR)
    cluster.world.run(300)
    grant = cluster.grant(1, keeper)
    assert grant is not None
    assert (grant.value, grant.valid) == (VALUE, True), "the next one who writes makes it valid"
    assert writer


def test_the_value_is_invalid_when_its_last_writer_dies_while_the_master_leaves() -> None:  # S7.1, A24
    cluster = Cluster(view_ms_max=10)
    name = hashed_to(1, 1, 2)
    keeper = cluster.held(0, name, Mode.EX)
    reader = cluster.held(1, name, Mode.NL)
    cluster.call(0, "unlock", keeper, value=VALUE)
    cluster.held(2, name, Mode.EX)
    assert cluster.master(name) == [0]
    assert cluster.world.leave(0)
    cluster.world.run_until(lambda: cluster.world.view.entries[0].level == 10)
    cluster.world.cut |= {(2, 1)}  # so that nobody hears of its lock
    cluster.world.run_until(lambda: cluster.world.view.entries[0].barrier == SPREAD)
    cluster.world.run(50)
    assert cluster.master(name) == [], "the master has said what it knows"
    cluster.world.kill(2, noticed_ms=100)
    cluster.world.run_until(lambda: cluster.world.view.entries[2].state is NodeState.INACTIVE)
    cluster.call(1, "convert", reader, Mode.PR)
    cluster.world.run(300)
    grant = cluster.grant(1, reader)
    assert grant is not None
    assert (grant.mode, grant.valid) == (Mode.PR, False)


def test_a_release_whose_answer_its_master_took_into_its_death_comes_to_its_end() -> None:  # S7.1, A12
    """The tree has another master by then, who does not know the lock."""
    cluster = Cluster(view_ms_max=10)
    name = hashed_to(1, 1, 2)
    keeper = cluster.held(0, name, Mode.NL)
    released = cluster.held(2, name, Mode.EX)
    cluster.call(0, "unlock", keeper)
    cluster.world.run(100)
    cluster.world.cut |= {(0, 2)}
    cluster.call(2, "unlock", released)
    cluster.world.run(200)
    assert cluster.master(name) == [], "it has let it go, and the tree with it"
    other = cluster.held(1, name, Mode.NL)
    assert cluster.master(name) == [1]
    cluster.world.kill(0, noticed_ms=100)
    cluster.world.run_until(lambda: cluster.world.view.entries[0].state is NodeState.INACTIVE)
    cluster.world.run(1000)
    locks = cluster.world.nodes[2].manager
    assert locks is not None
    assert released not in locks.client.locks
    cluster.call(1, "unlock", other)
    cluster.world.run(500)
    cluster.held(2, name, Mode.EX)


@pytest.mark.parametrize("case", ["orphan at a living master", "with its master", "alone with its master"])
def test_nothing_of_a_dead_node_is_granted_before_the_level_above_has_recovered(case: str) -> None:  # S7.1, A13
    cluster = Cluster(above_ms_max=0)
    if case == "orphan at a living master":
        cluster.held(1, R, Mode.NL)
    cluster.held(0, R, Mode.EX)
    if case == "with its master":
        cluster.held(1, R, Mode.NL)
    cluster.world.options.above_ms_max = 60_000  # one node's journal replay is delayed
    cluster.world.kill(0, noticed_ms=100)
    cluster.world.run(3000)
    assert cluster.state(0) == "forced-leaving"
    assert not any(node.manager.stopped for node in cluster.world.nodes if node.manager), "the others go on"
    waits = cluster.lock(2, R, Mode.CR)
    tried = cluster.lock(2, R, Mode.CR, noqueue=True)
    helper = cluster.lock(1, R, Mode.EX, recovery=True)
    cluster.world.run(1000)
    assert cluster.state(0) == "forced-leaving"
    assert Denied(tried, Reason.AGAIN, None) in cluster.of(2)
    assert cluster.grant(2, waits) is None
    assert cluster.grant(1, helper) is not None, "who recovers passes"
    cluster.call(1, "unlock", helper)
    cluster.world.run_until(lambda: cluster.grant(2, waits), 120_000)
    assert cluster.state(0) == "inactive"


def test_a_second_death_in_the_recovery_of_the_first_while_a_third_node_joins() -> None:  # A12
    cluster = Cluster(nodes=4, above_ms_max=1500)
    cluster.world.kill(3, noticed_ms=10)
    cluster.world.run(20_000)
    for node in range(3):
        cluster.held(node, (b"own", bytes([node])), Mode.EX, parent=cluster.held(node, (b"own",), Mode.NL))
    cluster.world.kill(0, noticed_ms=100)
    cluster.world.run(400)
    cluster.world.kill(1, noticed_ms=100)
    cluster.world.power_on(3)
    waits = [cluster.lock(2, (b"own",), Mode.NL)]
    cluster.world.run(100)
    waits += [cluster.lock(2, (b"own", bytes([node])), Mode.PR, parent=1, owner=node) for node in (0, 1)]
    cluster.world.run_until(lambda: all(cluster.grant(2, lock) for lock in waits), 30_000)
    assert [cluster.world.view.entries[node].state for node in (0, 1)] == [NodeState.INACTIVE] * 2
    cluster.world.run_until(lambda: cluster.world.view.entries[3].state is NodeState.JOINED)
    manager = cluster.world.nodes[3].manager
    assert manager is not None
    assert manager.members == {2: 1, 3: 2}


def test_the_worked_example_of_the_page() -> None:  # S7.1, A13
    name = (b"f",)
    assert directory_node(b"f", (0, 1, 2)) == 2
    assert directory_node(b"f", (1, 2)) == 1
    cluster = Cluster()
    first = cluster.held(0, name, Mode.EX)
    assert cluster.master(name) == [0]
    reader = cluster.lock(1, name, Mode.PR)
    cluster.world.run(300)
    assert cluster.of(0)[-1] == Blocks(first, Mode.PR)
    cluster.call(0, "convert", first, Mode.CR, value=VALUE)
    cluster.world.run(300)
    assert cluster.of(1) == [Granted(reader, Mode.PR, VALUE, True, 1)]
    cluster.world.options.above_ms_max = 5000
    cluster.world.kill(0)
    cluster.world.run_until(lambda: cluster.master(name) == [1])
    other = cluster.lock(2, name, Mode.CR)
    cluster.world.run_until(lambda: cluster.state(0) == "inactive")
    assert cluster.grant(2, other) is None
    cluster.world.run(500)
    assert cluster.grant(2, other) == Granted(other, Mode.CR, VALUE, True, 1)


def circle(cluster: Cluster, nodes: int) -> list[int]:
    """Each node holds one resource and waits for its neighbour's; the last one is the youngest."""
    names = [(b"circle", bytes([node])) for node in range(nodes)]
    roots = [cluster.held(node, (b"circle",), Mode.NL, owner=7) for node in range(nodes)]
    for node in range(nodes):
        cluster.held(node, names[node], Mode.EX, owner=7, parent=roots[node])
    waits = []
    for node in range(nodes):
        waits.append(cluster.lock(node, names[(node + 1) % nodes], Mode.PR, owner=7, parent=roots[node]))
        cluster.world.run(150)
    return waits


def victims(cluster: Cluster) -> list[tuple[int, int]]:
    return [
        (node, notice.lock)
        for node, notice in cluster.told
        if isinstance(notice, Denied) and notice.reason is Reason.DEADLOCK
    ]


def test_a_tick_in_which_nothing_is_due_leaves_nothing_to_settle() -> None:
    cluster = Cluster()
    holder = cluster.elsewhere(0, 1)
    cluster.held(0, holder, Mode.EX)
    manager = cluster.world.nodes[1].manager
    assert manager is not None

    def due() -> bool:
        manager.touched = False
        manager.tick(cluster.world.now_ms)
        return manager.touched

    assert not due()
    manager.lock(1, holder, Mode.PR)
    manager.datagrams()  # which are lost
    assert [due() for _ in range(RETRY_TICKS)] == [False] * (RETRY_TICKS - 1) + [True]
    assert manager.datagrams()


@pytest.mark.parametrize("nodes", [2, 3, 5])
def test_a_circle_across_nodes_has_one_victim_and_that_is_the_youngest(nodes: int) -> None:  # S7.1, A24
    cluster = Cluster(nodes=nodes)
    waits = circle(cluster, nodes)
    cluster.world.run(SEARCH_MS + 1000)
    assert victims(cluster) == [(nodes - 1, waits[-1])]
    cluster.world.run(5 * SEARCH_MS)
    assert len(victims(cluster)) == 1, "once"


def test_two_who_convert_and_wait_for_each_other() -> None:  # A24
    cluster = Cluster()
    one, two = cluster.held(0, R, Mode.PR), cluster.held(1, R, Mode.PR)
    cluster.call(0, "convert", one, Mode.EX)
    cluster.world.run(100)
    cluster.call(1, "convert", two, Mode.EX)
    cluster.world.run(SEARCH_MS + 1000)
    assert victims(cluster) == [(1, two)]
    assert cluster.of(1)[-1] == Denied(two, Reason.DEADLOCK, Mode.PR), "it still holds what it held"
    cluster.call(1, "unlock", two)
    cluster.world.run(300)
    grant = cluster.grant(0, one)
    assert grant is not None
    assert grant.mode is Mode.EX


def test_an_owner_that_waits_for_itself_is_a_circle() -> None:  # A24
    cluster = Cluster()
    cluster.held(0, R, Mode.EX)
    waits = cluster.lock(0, R, Mode.EX)
    cluster.world.run(SEARCH_MS + 500)
    assert victims(cluster) == [(0, waits)]


def test_who_only_waits_is_no_victim() -> None:  # A24
    cluster = Cluster()
    cluster.held(0, R, Mode.EX, owner=1)
    for node in (1, 2):
        cluster.lock(node, R, Mode.EX, owner=1)
    cluster.world.run(6 * SEARCH_MS)
    assert victims(cluster) == []


def test_a_holder_that_dies_is_no_deadlock_and_a_converter_in_the_queue_goes_on() -> None:  # A24
    cluster = Cluster()
    one, _ = cluster.held(0, R, Mode.PR), cluster.held(1, R, Mode.PR)
    waits = cluster.lock(2, R, Mode.EX)
    cluster.call(0, "convert", one, Mode.EX)
    cluster.world.run(300)
    cluster.world.kill(1)
    cluster.world.run(5000)
    grant = cluster.grant(0, one)
    assert grant is not None
    assert (grant.mode, grant.valid) == (Mode.EX, True), "who dies with PR has written nothing"
    assert (victims(cluster), cluster.grant(2, waits)) == ([], None)


def test_while_the_directory_is_spread_anew_nothing_is_granted_and_then_everything() -> None:  # S7.1
    cluster = Cluster(view_ms_max=2000)
    cluster.world.kill(2)
    cluster.world.run_until(lambda: cluster.world.view.entries[2].state is NodeState.INACTIVE)
    cluster.world.power_on(2)
    cluster.world.run_until(lambda: any(node.manager and node.manager.stopped for node in cluster.world.nodes[:2]))
    stopped = next(node.number for node in cluster.world.nodes[:2] if node.manager and node.manager.stopped)
    lock = cluster.lock(stopped, R, Mode.EX)
    cluster.world.run(1)
    assert cluster.grant(stopped, lock) is None
    cluster.world.run_until(lambda: cluster.world.quiet)
    cluster.world.run(300)
    assert cluster.grant(stopped, lock) is not None


def test_the_directory_is_spread_over_all_members() -> None:  # S7.1
    names = [b"resource %d" % number for number in range(3000)]
    share = [sum(directory_node(name, [0, 4, 9]) == node for name in names) for node in (0, 4, 9)]
    assert sum(share) == 3000
    assert min(share) > 850


def test_what_users_may_not_do_is_said() -> None:
    cluster = Cluster()
    lock, below = cluster.held(0, R, Mode.PR), 0
    below = cluster.held(0, (b"r", b"s"), Mode.NL, parent=lock)
    waits = cluster.lock(1, R, Mode.EX)
    manager, other = cluster.world.nodes[0].manager, cluster.world.nodes[1].manager
    assert manager is not None
    assert other is not None
    for call, reason in (
        (lambda: manager.unlock(lock), f"has locks below it: \\[{below}\\]"),
        (lambda: manager.unlock(lock + 99), "there is no lock"),
        (lambda: manager.cancel(lock), "is granted and waits for nothing"),
        (lambda: manager.convert(lock, Mode.NL, value=VALUE), "leaves no value when it goes from PR to NL"),
        (lambda: manager.unlock(below, value=VALUE), "is not held in PW or EX"),
        (lambda: manager.lock(1, (b"r", b"s"), Mode.NL), "is no sub-resource of that of lock None"),
        (lambda: manager.lock(1, (b"q", b"s"), Mode.NL, parent=lock), "is no sub-resource"),
        (lambda: manager.lock(1, (), Mode.NL), "legal"),
        (lambda: other.unlock(waits), "is requesting \\(it must be granted\\)"),
        (lambda: other.convert(waits, Mode.NL), "is requesting"),
        (lambda: other.lock(1, (b"r", b"s"), Mode.NL, parent=waits), "needs it granted"),
    ):
        with pytest.raises((LockError, ValueError), match=reason):
            call()
    exclusive = cluster.held(2, (b"v",), Mode.EX)
    third = cluster.world.nodes[2].manager
    assert third is not None
    with pytest.raises(LockError, match="63 bytes"):
        third.unlock(exclusive, value=bytes(63))


def test_rubbish_from_a_member_is_counted_and_harms_nobody() -> None:
    cluster = Cluster()
    sender, receiver = cluster.world.nodes[0].manager, cluster.world.nodes[1].manager
    assert sender is not None
    assert receiver is not None
    for rubbish in (b"", b"\x00", b"\xff" * 40, b"\x04short"):
        sender.channels.send(1, rubbish)
    cluster.world.act(0, lambda _: None)
    cluster.world.run(300)
    assert receiver.bad_count == 4
    receiver.heard(b"HILC and nothing more", 0)
    assert receiver.channels.bad_count == 1
    cluster.held(0, R, Mode.EX)


def test_a_lost_master_in_the_middle_of_a_conversion_between_cw_and_pr_leaves_cr() -> None:
    from guestd.dlm.lock_messages import held
    from guestd.dlm.locks import Lock

    lock = Lock(1, 1, R, None, recovery=False)
    lock.enter("granted")
    lock.mode = Mode.CW
    lock.enter("convert")
    lock.wanted = Mode.PR
    assert (held(lock).granted, held(lock).wanted) == (Mode.CR.value, Mode.PR.value)
    assert replace(held(lock), wanted=0) != held(lock)


def test_who_joins_does_not_wait_for_the_part_of_who_leaves_without_knowing_it() -> None:  # S4.6, S7.1
    leave, join = Change(0, 1, "leave"), Change(1, 1, "join")
    leaver, joiner = LockManager(bytes(16), 0, 1), LockManager(bytes(16), 1, 1)
    leaver.found({})
    for barrier in (STOP, SPREAD):
        leaver.told([(Change(0, 1, "join"), barrier)])
    leaver.told([(leave, STOP)])
    leaver.take_acknowledged()
    # One step of the membership: the leave comes to its second barrier here, the join to its first.
    joiner.found({0: 1})
    for manager in (leaver, joiner):
        manager.told([(leave, SPREAD), (join, STOP)])
    assert (leave, SPREAD) in leaver.take_acknowledged()  # it is told nothing any more (S4.9)
    for _, payload in leaver.datagrams():
        joiner.heard(payload, 0)
    assert set(joiner.take_acknowledged()) == {(leave, SPREAD), (join, STOP)}
    joiner.told([(join, SPREAD)])
    assert joiner.take_acknowledged() == [(join, SPREAD)]
    assert not joiner.stopped
    joiner.lock(1, (b"a",), Mode.EX)
    assert isinstance(joiner.take_notices()[0], Granted)


def test_who_joins_gets_the_part_of_who_leaves_and_is_told_of_nothing_afterwards() -> None:  # S4.6, S4.9, S7.1
    """The joiner has missed the view in which the leave came to its second barrier, and its own join did not."""
    leave, join = Change(0, 1, "leave"), Change(1, 1, "join")
    leaver, joiner = LockManager(bytes(16), 0, 1), LockManager(bytes(16), 1, 1)
    leaver.found({})
    for barrier in (STOP, SPREAD):
        leaver.told([(Change(0, 1, "join"), barrier)])
    joiner.found({0: 1})
    for manager in (leaver, joiner):
        manager.told([(leave, STOP), (join, STOP)])
    leaver.told([(leave, SPREAD)])
    assert (leave, SPREAD) in leaver.take_acknowledged()
    joiner.told([(leave, SPREAD), (join, SPREAD)])
    assert joiner.stopped
    for _, payload in joiner.datagrams():
        leaver.heard(payload, 0)
    for _, payload in leaver.datagrams():
        joiner.heard(payload, 0)
    assert {(leave, SPREAD), (join, SPREAD)} <= set(joiner.take_acknowledged())
    assert not joiner.stopped


def test_a_value_outlives_a_second_leave_before_the_first_ones_trees_have_a_master() -> None:  # S7.1
    """Who was to become the master leaves before it has heard of what the last one knew."""
    managers = [LockManager(bytes(16), node, 1) for node in range(4)]
    name = hashed_to(2, 1, 2, 3)

    def tell(change: Change, *barriers: int) -> None:
        for barrier in barriers:
            for manager in managers:
                manager.told([(change, barrier)])

    def pass_on(*lost: tuple[int, int]) -> None:
        while said := [(node, *each) for node, manager in enumerate(managers) for each in manager.datagrams()]:
            for node, to, payload in said:
                if (node, to) not in lost:
                    managers[to].heard(payload, 0)

    for node, manager in enumerate(managers):
        manager.found({other: 1 for other in range(4) if other != node})
    for node in range(4):
        tell(Change(node, 1, "join"), STOP)
    for manager in managers:
        manager.told([(Change(node, 1, "join"), SPREAD) for node in range(4)])
    pass_on()
    writer = managers[0].lock(1, name, Mode.EX)
    pass_on()
    reader = managers[1].lock(1, name, Mode.NL)
    pass_on()
    managers[0].unlock(writer, value=VALUE)
    pass_on()
    tell(Change(0, 1, "leave"), STOP, SPREAD)
    pass_on((0, 2))
    assert [manager.stopped for manager in managers[1:]] == [False, True, False]
    tell(Change(2, 1, "leave"), STOP, SPREAD)
    pass_on()
    managers[1].take_notices()
    managers[1].convert(reader, Mode.PR)
    pass_on()
    assert managers[1].take_notices() == [Granted(reader, Mode.PR, VALUE, True, 1)]


@pytest.mark.parametrize(
    ("master", "way"),
    [(0, ["Convert", "Grant"]), (1, ["Blocking", "Convert"]), (2, ["Convert", "Blocking", "Convert", "Grant"])],
)
def test_a_lock_comes_from_another_node_in_two_round_trips_at_most(
    master: int, way: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From node 0, which gives it up when it is told, to node 1. Two messages are a round trip."""
    cluster = Cluster()
    cluster.held(master, R, Mode.NL)
    held, wanted = cluster.held(0, R, Mode.EX), cluster.held(1, R, Mode.NL)
    cluster.world.run(2000)
    sent: list[tuple[int, str]] = []
    send = Channels.send

    def watched(self: Channels, peer: int, message: bytes) -> None:
        sent.append((peer, type(decode(message)).__name__))
        send(self, peer, message)

    def give_way(node: int, notice: Notice) -> None:
        cluster.told.append((node, notice))
        if isinstance(notice, Blocks):
            cluster.call(0, "convert", held, Mode.NL)

    monkeypatch.setattr(Channels, "send", watched)
    cluster.world.on_notice = give_way
    before = cluster.world.datagram_count
    cluster.call(1, "convert", wanted, Mode.EX)
    cluster.world.run(1000)
    assert cluster.grant(1, wanted) in cluster.of(1)
    # That node 0 has NL now, nobody waits for.
    assert [name for peer, name in sent if (peer, name) != (0, "Grant")] == way
    assert cluster.world.datagram_count - before <= 2 * len(sent), "each is acknowledged at most once"


@pytest.mark.parametrize("master", [0, 1], ids=["who leaves is the master", "another one is"])
def test_who_leaves_with_a_lock_that_may_write_leaves_no_value(master: int) -> None:  # S7.1
    cluster = Cluster()
    locks = {node: cluster.held(node, R, Mode.NL) for node in (master, 1 - master)}
    assert cluster.master(R) == [master]
    for mode in (Mode.EX, Mode.NL, Mode.EX):
        cluster.call(0, "convert", locks[0], mode, value=VALUE if mode is Mode.NL else None)
        cluster.world.run(300)
    assert cluster.world.leave(0)
    cluster.world.run_until(lambda: cluster.world.nodes[0].level is None)
    assert cluster.takes(1, locks[1]) == (Mode.EX, VALUE, False)


@pytest.mark.parametrize("master", [0, 1], ids=["who leaves is the master", "another one is"])
def test_what_was_given_up_just_before_a_leave_is_as_valid_as_before(master: int) -> None:  # S7.1
    cluster = Cluster()
    locks = {node: cluster.held(node, R, Mode.NL) for node in (master, 1 - master)}
    for mode in (Mode.EX, Mode.NL, Mode.EX):
        cluster.call(0, "convert", locks[0], mode, value=VALUE if mode is Mode.NL else None)
        cluster.world.run(300)
    assert cluster.world.leave(0)
    cluster.world.run_until(lambda: all(node.manager and node.manager.stopped for node in cluster.world.nodes[:2]))
    cluster.call(0, "convert", locks[0], Mode.NL)  # no master takes it any more
    cluster.world.run_until(lambda: cluster.world.nodes[0].level is None)
    assert cluster.takes(1, locks[1]) == (Mode.EX, VALUE, True)


@pytest.mark.parametrize("master", [0, 1], ids=["who ends is on the master", "on another one"])
@pytest.mark.parametrize("mode", [Mode.PR, Mode.PW, Mode.EX], ids=lambda mode: mode.name)
def test_a_program_that_ends_with_a_lock_that_may_write_leaves_no_value(mode: Mode, master: int) -> None:  # S7.1
    cluster = Cluster()
    locks = {node: cluster.held(node, R, Mode.NL) for node in (master, 1 - master)}
    for wanted in (Mode.EX, Mode.NL, mode):
        cluster.call(0, "convert", locks[0], wanted, value=VALUE if wanted is Mode.NL else None)
        cluster.world.run(300)
    cluster.world.checks.ends(0, locks[0], R)
    cluster.world.act(0, lambda manager: manager.unlock(locks[0], invalidate=True))
    assert cluster.takes(1, locks[1]) == (Mode.EX, VALUE, mode is Mode.PR)


def test_a_new_master_hears_that_a_program_has_ended_with_its_lock() -> None:  # S7.1
    cluster = Cluster()
    name = cluster.elsewhere(2)
    locks = {node: cluster.held(node, name, Mode.NL) for node in (2, 0, 1)}
    cluster.call(0, "convert", locks[0], Mode.EX)
    cluster.world.run(300)
    cluster.world.cut = {(0, 2)}  # the master hears nothing of it, and leaves
    cluster.world.checks.ends(0, locks[0], name)
    cluster.world.act(0, lambda manager: manager.unlock(locks[0], invalidate=True))
    cluster.call(2, "unlock", locks[2])
    assert cluster.world.leave(2)
    cluster.world.run_until(lambda: cluster.world.nodes[2].level is None)
    assert cluster.takes(1, locks[1]) == (Mode.EX, bytes(64), False)
