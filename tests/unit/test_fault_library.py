"""Every fault of the library takes hold and is undone; one that cannot take hold makes the run invalid (spec S10.7).

Both tests go over the whole table of kinds; a kind that is added without its row in both fails here. What the simulator
does not have is refused by name, and has its pair on guests (tests/lab/test_faults_on_guests.py).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hil.client import Node
from hil.errors import InvalidRun, NothingToStrike, UsageError
from hil.faults.fault import SIM, Fault
from hil.faults.injection import begin
from hil.faults.library import KINDS, check, described
from hil.scenario import ScenarioCluster
from hil.sim.backend.options import SETTABLE
from tests.unit.sim_cluster import plain_node, started, world_of


@pytest.fixture(autouse=True)
def evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


NEEDED: dict[str, dict[str, Any]] = {
    "link-loss": {"share": 300},
    "link-delay": {"ms": 150},
    "disk-slow": {"ms": 50},
    "clock-drift": {"ppm": -50_000},
    "clock-step": {"seconds": 3600},
    "slow-cpu": {"ms": 5},
}
"""Parameters without a default."""

SIMULATED = [name for name, kind in KINDS.items() if SIM not in kind.lacking]


def off(cluster: ScenarioCluster, node: Node) -> None:
    """It has no power."""
    cluster.power_off([node])


def silenced(cluster: ScenarioCluster, node: Node) -> None:
    """Its machine runs, but nobody on it says anything: neither to the others nor to the disk."""
    cluster.caller.call("kill_guestd", nodes=[node.id])
    cluster.wait_state(node, "inactive")


def stands(cluster: ScenarioCluster, node: Node) -> None:
    """Its processors do not run."""
    cluster.freeze(node, "vcpu")


def cached(cluster: ScenarioCluster, node: Node) -> None:
    """The disk has one volatile cache, not two."""
    cluster.disk.inject("volatile-cache")


def crowded(cluster: ScenarioCluster, node: Node) -> None:
    """The target takes so many faults and no more."""
    for _ in range(256):
        cluster.disk.inject("refuse-login", cluster.nodes[0])


def uncarried(cluster: ScenarioCluster, node: Node) -> None:
    """No carrier."""
    cluster.cut_link(node)


Spoil = Callable[[ScenarioCluster, Node], None]
Row = tuple[Spoil, dict[str, Any], str]
MET_NOTHING = "has met no datagram yet"
STRUCK_NOTHING = "has struck no command of node"

CANNOT: dict[str, Row] = {
    "power-off": (off, {}, "off already"),
    "power-cycle": (off, {}, "its machine is off"),
    "reset": (stands, {}, "it is frozen"),
    "shutdown": (stands, {}, "it is frozen"),
    "link-carrier": (uncarried, {}, "its carrier is down already"),
    "link-silent": (silenced, {"direction": "out"}, MET_NOTHING),
    "link-split": (silenced, {"groups": [[0], [1]]}, MET_NOTHING),
    "link-loss": (silenced, {"direction": "out"}, MET_NOTHING),
    "link-delay": (silenced, {}, MET_NOTHING),
    **{
        name: (silenced, {}, STRUCK_NOTHING)
        for name in KINDS
        if name.startswith("disk-") and name not in ("disk-refuse-login", "disk-volatile-cache")
    },
    "disk-refuse-login": (crowded, {}, "256 faults are injected already"),
    "disk-volatile-cache": (cached, {}, "volatile-cache is injected already"),
    "freeze-vcpu": (stands, {}, "it is frozen"),
    "freeze-process": (stands, {}, "it is frozen"),
    "panic": (stands, {}, "it is frozen"),
    "subsystem-hang": (lambda cluster, node: None, {"level": 10}, "was not notified yet"),
    "guestd-kill": (silenced, {}, "its guestd is exited"),
    "clock-drift": (off, {}, "its machine is off"),
    "slow-cpu": (off, {}, "its machine is off"),
}
"""What is done to the node before, parameters, and what is said."""


def steps(cluster: ScenarioCluster, number: int = 1) -> list[str]:
    told = [event for event in cluster.events() if event["kind"] == "injection"]
    return [event["step"] for event in told if event["injection"] == number]


def test_no_kind_is_without_its_pair() -> None:
    assert set(CANNOT) == set(SIMULATED)
    needed = {one["fault"] for one in described() if any(about["needed"] for about in one["parameters"].values())}
    assert needed == set(NEEDED)


@pytest.mark.parametrize("kind", SIMULATED)
def test_a_fault_takes_hold_and_is_undone(kind: str) -> None:  # S10.2 to S10.7
    with started() as cluster:
        node = plain_node(cluster)
        healthy = faults_of(cluster)
        with cluster.inject(kind, node, **NEEDED.get(kind, {})) as fault:
            assert steps(cluster) == ["begun", "holds"]
            assert fault.fault.why_not_held() is None
            assert cluster.injections()[0].number == fault.number
        assert steps(cluster) == ["begun", "holds", "recovering", "undone"]
        assert fault.fault.why_not_undone() is None
        assert cluster.injections() == []
        assert faults_of(cluster) == healthy
        cluster.panics.check()


def faults_of(cluster: ScenarioCluster) -> list[Any]:
    """What is wrong, by the word of those who carry it out."""
    world = world_of(cluster)
    return [
        [one for faults in cluster.view.faults.values() for one in faults],
        cluster.disk.status()["faults"],
        world.network.whole,
        world.network._impaired,
        [(node.frozen, node.cost_us, node.ppm) for node in world.nodes],
    ]


@pytest.mark.parametrize("kind", SIMULATED)
def test_a_fault_that_cannot_take_hold_makes_the_run_invalid(kind: str) -> None:  # S10.7
    spoil, parameters, told = CANNOT[kind]
    with started() as cluster:
        node = cluster.nodes[1] if kind == "link-split" else plain_node(cluster)
        if kind == "link-split":
            silenced(cluster, cluster.nodes[0])
        spoil(cluster, node)
        with pytest.raises(InvalidRun) as refused:
            cluster.inject(kind, node, **NEEDED.get(kind, {}), **parameters)
        assert told in str(refused.value)
        assert steps(cluster) in (["begun", "nothing"], ["begun", "failed", "undone"])
        assert cluster.injections() == []
        assert not [one for one in cluster.view.faults.get(node.id, []) if one.startswith(kind) and spoil is silenced]


@pytest.mark.parametrize("kind", [name for name in KINDS if name not in SIMULATED])
def test_what_the_simulator_cannot_do_is_refused_by_name(kind: str) -> None:
    with started() as cluster:
        with pytest.raises(UsageError) as refused:
            cluster.inject(kind, 1, **NEEDED.get(kind, {}))
        assert str(refused.value) == f"fault {kind}: {KINDS[kind].lacking[SIM]}; `--backend qemu` can"
        assert steps(cluster) == []


def test_a_program_on_a_machine_that_has_ended_is_waited_for_no_more() -> None:  # S10.7
    with started() as cluster:
        node = plain_node(cluster)
        injection = begin(cluster, "subsystem-hang", node, {})
        cluster.power_off([node])
        with pytest.raises(InvalidRun, match="its machine has ended before guestd told the program"):
            injection.looks_held()


# -- the handle


def test_a_fault_is_healed_after_an_exception_too_and_the_exception_is_what_is_told() -> None:
    with started() as cluster:
        with pytest.raises(ZeroDivisionError), cluster.inject("link-silent", "any_other"):
            raise ZeroDivisionError
        assert steps(cluster)[-1] == "undone"


def test_what_went_wrong_in_the_block_counts_more_than_a_fault_that_is_not_undone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with started() as cluster:
        monkeypatch.setattr(KINDS["link-silent"], "why_not_undone", lambda fault: "it never is")
        with pytest.raises(ZeroDivisionError) as raised, cluster.inject("link-silent", 1):
            raise ZeroDivisionError
        assert any("was not undone within" in note for note in raised.value.__notes__)


def test_a_fault_that_is_not_undone_makes_the_run_invalid_and_stays_in_the_book(  # S10.7
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with started() as cluster:
        fault = cluster.inject("disk-hang", 1)
        monkeypatch.setattr(type(fault.fault), "recover", lambda fault: None)
        with pytest.raises(
            InvalidRun, match=r"disk-hang of node 1 was not undone within \d+ s: the target still shows"
        ):
            fault.heal()
        assert [one.step for one in cluster.injections()] == ["failed"]
        monkeypatch.undo()
        cluster.injections()[0].heal()  # as another process would
        assert cluster.injections() == []


@pytest.mark.parametrize("kind", SIMULATED)
def test_a_fault_whose_injector_died_before_it_injected_can_be_healed(kind: str) -> None:
    """Killed between its entry in the book and the fault: what healing needs may be missing."""
    with started() as cluster:
        parameters = check(kind, NEEDED.get(kind, {}))
        cluster.caller.call("begin_injection", fault=kind, whom="1", nodes=[1], parameters=parameters)
        (fault,) = cluster.injections()
        assert fault.step == "begun"
        fault.heal()
        assert cluster.injections() == []
        assert cluster.poll().newest.joined() == [0, 1, 2]


def test_healing_twice_is_fine() -> None:
    with started() as cluster, cluster.inject("freeze-vcpu", 1) as fault:
        fault.heal()
        fault.heal()
    assert fault.step == "undone"


def test_one_fault_ends_and_another_on_the_same_link_goes_on() -> None:
    with started() as cluster:
        one = cluster.inject("link-silent", 1)
        other = cluster.inject("link-loss", 1, share=500)
        third = cluster.inject("link-silent", 2, others=[1])
        one.heal()
        assert {fault.number for fault in cluster.injections()} == {other.number, third.number}
        network = world_of(cluster).network
        assert (network.reaches(0, 1), network.reaches(1, 2)) == (True, False)
        third.heal()
        assert network.whole
        assert not network.reaches(1, 0) or network._impaired
        other.heal()
        assert network._impaired == {}


def test_the_older_verb_that_heals_a_link_ends_the_faults_of_the_library_too() -> None:
    with started() as cluster:
        fault = cluster.inject("link-silent", 1, others=[2])
        cluster.heal_link(cluster.nodes[2])
        assert world_of(cluster).network.whole
        fault.heal()
        assert cluster.view.faults.get(1) == []


def test_a_delayed_datagram_does_not_outlive_its_sender() -> None:
    with started() as cluster:
        victim, other = cluster.nodes[2], cluster.nodes[0]
        with cluster.inject("link-delay", victim, ms=1500):
            cluster.pass_time(0.5)
            cluster.power_off([victim])
            before = cluster.catch_up().n
            cluster.wait_state(victim, "inactive")
        told = [
            event for event in cluster.events(since=before) if event["kind"] == "heard" and event["node"] == other.id
        ]
        assert told == []


def test_delays_are_met_by_no_forced_leave_when_they_are_short() -> None:  # S5.1
    with started() as cluster:
        epoch = cluster.view.epoch
        with cluster.inject("link-delay", "all", ms=100):
            cluster.pass_time(20)
        assert cluster.view.epoch == epoch


# -- whom


def struck(cluster: ScenarioCluster, whom: Any, **parameters: Any) -> list[int]:
    with cluster.inject("link-silent", whom, **parameters) as fault:
        told = [event for event in cluster.events() if event.get("injection") == fault.number]
        assert (told[0]["step"], told[0]["nodes"]) == ("begun", fault.fault.ids)
        return fault.fault.ids


def test_roles_are_resolved_when_the_fault_is_injected_and_the_event_says_what_they_came_to() -> None:
    with started(nodes=5) as cluster:
        master = cluster.master
        assert master is not None
        assert struck(cluster, "master") == [master.id]
        assert struck(cluster, [0, "master", cluster.nodes[3]]) == sorted({0, 3, master.id})
        assert struck(cluster, "1,n3") == [1, 3]
        assert len(struck(cluster, "minority")) == 2
        assert len(struck(cluster, "majority")) == 3
        assert struck(cluster, "all") == [0, 1, 2, 3, 4]


def test_any_is_drawn_the_same_way_in_the_same_run() -> None:
    drawn = []
    for _ in range(2):
        with started(nodes=5, seed=7) as cluster:
            drawn.append([struck(cluster, "any") for _ in range(6)])
    assert drawn[0] == drawn[1]
    assert len({tuple(one) for one in drawn[0]}) > 1


def test_who_runs_a_service_is_struck_and_its_service_moves() -> None:
    with started() as cluster:
        cluster.services.wait_ready()
        commands = {key: ["/bin/true"] for key in ("start_command", "stop_command", "recovery_command")}
        cluster.services.add({"name": "web", "node_preferences": [2, 1], **commands})
        cluster.services.wait_registered("web", on=2)
        with cluster.inject("power-off", "runs(web)") as fault:
            assert fault.fault.ids == [2]
            cluster.services.wait_registered("web", on=1)


def test_who_holds_a_lock_is_struck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.sim.backend.options.SETTABLE", (*SETTABLE, "lockers"))
    with started(asked={"lockers": 1}) as cluster:
        cluster.pass_time(3)
        asked = {node.id: cluster.backend.locks_of(node) for node in cluster.nodes}
        held = sorted(
            (one["name"].removeprefix("program:"), node)
            for node, known in asked.items()
            for one in known["own"]
            if one["name"].startswith("program:") and one["mode"] not in (None, "NL")
        )
        assert held, "no program holds a lock: another seed is needed"
        name, holder = held[0]
        with cluster.inject("freeze-vcpu", f"holder_of({name})") as fault:
            assert fault.fault.ids == [holder] or (name, fault.fault.ids[0]) in held


@pytest.mark.parametrize(
    ("whom", "told"),
    [
        ("boss", "no role 'boss'; there are: master, any, any_other"),
        (3, "no node 3; there are 0 to 2"),
        ("", "whom = ''"),
        ([], "whom = ''"),
        (-1, "no role"),
    ],
)
def test_who_does_not_exist_is_refused(whom: Any, told: str) -> None:
    with started() as cluster, pytest.raises(UsageError, match=told.replace("(", r"\(")):
        cluster.inject("power-off", whom)


def test_a_role_that_nobody_is_in_makes_the_run_invalid() -> None:
    with started() as cluster:
        with pytest.raises(NothingToStrike, match=r"power-off: nobody is runs\(nothing\)"):
            cluster.inject("power-off", "runs(nothing)")
        assert steps(cluster) == ["begun", "nothing"]


# -- parameters


@pytest.mark.parametrize(
    ("kind", "parameters", "told"),
    [
        ("cut", {}, "no fault 'cut'; there are: power-off, power-cycle"),
        ("link-loss", {}, "fault link-loss needs share: how many of a thousand (legal: 1 to 1000)"),
        ("link-loss", {"share": 0}, "fault link-loss: share = 0 (legal: 1 to 1000)"),
        ("link-loss", {"share": True}, "fault link-loss: share = True (legal: 1 to 1000)"),
        ("link-silent", {"direction": "up"}, "fault link-silent: direction = 'up' (legal: both, out, in)"),
        ("link-silent", {"others": [1, 1]}, "fault link-silent: others = [1, 1] (legal: numbers of nodes, each once"),
        ("link-silent", {"others": [1]}, "nodes [1] have no others at the other end of [1]"),
        ("link-silent", {"others": [9]}, "no node 9"),
        ("link-split", {"groups": [[0, 1]]}, "groups = [[0, 1]] (legal: two groups or more"),
        ("power-off", {"ms": 3}, "fault power-off: parameter 'ms' is not known (legal: none)"),
        ("disk-error", {"sense": "smell"}, "fault disk-error: sense = 'smell' (legal: medium, hardware"),
        ("disk-torn", {"direction": "read"}, "fault disk-torn: direction = 'read' (legal: write)"),
        ("disk-hang", {"lba": [9, 3]}, "fault disk-hang: lba = [9, 3] (legal: first and last block"),
        ("clock-drift", {"ppm": 150}, "fault clock-drift: ppm = 150 (legal: multiples of 100)"),
        ("panic", {"reason": "x" * 801}, "(legal: a text of 1 to 800 bytes)"),
    ],
)
def test_what_is_not_legal_is_refused_with_what_is(kind: str, parameters: dict[str, Any], told: str) -> None:
    with started() as cluster:
        with pytest.raises(UsageError) as refused:
            cluster.inject(kind, 1, **parameters)
        assert told in str(refused.value)
        assert cluster.injections() == []


def test_every_kind_says_how_it_is_verified() -> None:
    for kind in KINDS.values():
        assert issubclass(kind, Fault)
        assert kind.about
        assert kind.held
        assert kind.undone
