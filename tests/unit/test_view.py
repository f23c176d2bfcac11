"""What is known of a cluster, from its event stream alone."""

import json
from typing import Any

import pytest

from hil.view import View


class Stream:
    """Feeds a view of three nodes; `n` and `t` grow by one per event."""

    def __init__(self, nodes: int = 3) -> None:
        self.view = View(nodes)

    def say(self, kind: str, node: int | None = None, **fields: Any) -> None:
        event = {"n": self.view.n + 1, "t": self.view.t + 1, "kind": kind, **fields}
        self.view.apply(event if node is None else {"node": node, **event})

    def boot(self, node: int, incarnation: int = 1) -> None:
        self.say("machine-starting", node)
        self.say("machine-started", node)
        self.say("guestd-started", node)
        self.say("incarnation", node, incarnation=incarnation)

    def see(self, node: int, members: dict[int, int], epoch: int = 1, step: int = 1, master: int = 0) -> None:
        """``node`` sees the members (id to incarnation) as joined."""
        nodes = {str(i): {"state": "joined", "incarnation": life} for i, life in members.items()}
        self.say("membership", node, epoch=epoch, step=step, master=master, nodes=nodes)

    def all_joined(self) -> None:
        lives = {node.id: 1 for node in self.view.nodes}
        for node in lives:
            self.boot(node)
        for node in lives:
            self.say("state", node, state="joined", previous="joining")
            self.see(node, lives)


@pytest.fixture
def stream() -> Stream:
    return Stream()


@pytest.fixture
def joined(stream: Stream) -> Stream:
    stream.all_joined()
    return stream


ALL = [0, 1, 2]


def test_a_new_view_knows_of_machines_that_are_off_and_of_nothing_else(stream: Stream) -> None:
    assert [node.power for node in stream.view.nodes] == ["off"] * 3
    assert (stream.view.epoch, stream.view.master, stream.view.newest.joined()) == (0, None, [])
    assert stream.view.why_not_joined(ALL) == "node 0's machine is off"


def test_why_not_joined_follows_a_node_on_its_way(stream: Stream) -> None:
    phrases = []

    def note() -> None:
        phrases.append(stream.view.why_not_joined([0]))

    stream.say("machine-starting", 0)
    stream.say("machine-started", 0)
    note()
    stream.say("guestd-started", 0)
    note()
    stream.say("waiting", 0, **{"for": "the end of its own forced leave"})
    note()
    stream.say("state", 0, state="joining", previous="inactive")
    note()
    stream.say("incarnation", 0, incarnation=1)
    stream.say("state", 0, state="joined", previous="joining")
    note()
    stream.see(0, {0: 1})
    note()
    assert phrases == [
        "node 0: guestd is absent",
        "node 0 is inactive",
        "node 0 is inactive, waiting for the end of its own forced leave",
        "node 0 is joining",
        "node 0 sees node 0 as inactive (incarnation 0)",
        None,
    ]


def test_all_joined_means_that_all_agree(joined: Stream) -> None:
    assert joined.view.why_not_joined(ALL) is None
    joined.see(1, {0: 1, 1: 1, 2: 1}, epoch=2)
    assert joined.view.why_not_joined(ALL) == "node 0 is still at epoch 1, the newest is 2"


def test_a_node_that_sees_another_as_gone_is_not_joined_with_it(joined: Stream) -> None:
    for node in ALL:
        joined.see(node, {0: 1, 1: 1}, epoch=2)
    assert joined.view.why_not_joined(ALL) == "node 0 sees node 2 as inactive (incarnation 0)"
    assert joined.view.why_not_joined([0, 1]) is None


def test_a_node_whose_last_life_is_meant_is_not_joined(joined: Stream) -> None:
    joined.boot(2, incarnation=2)
    joined.say("state", 2, state="joined", previous="joining")
    joined.see(2, {0: 1, 1: 1, 2: 2})
    assert joined.view.why_not_joined(ALL) == "node 0 sees node 2 as joined (incarnation 1)"


def test_a_guestd_that_ended_is_told(joined: Stream) -> None:
    joined.say("guestd-exited", 1, status=1)
    assert joined.view.why_not_joined(ALL) == "node 1: guestd is exited"
    assert joined.view.nodes[1].guestd_status == 1


@pytest.mark.parametrize("again", ["machine-starting", "guestd-started"])
def test_why_a_machine_was_refused_is_told_until_it_begins_again(joined: Stream, again: str) -> None:  # A16
    joined.say("refused", 1, reason="not this disk")
    joined.say("guestd-exited", 1, status=2)
    assert joined.view.nodes[1].refused == "not this disk"
    joined.say(again, 1)
    assert joined.view.nodes[1].refused is None


@pytest.mark.parametrize(
    ("kind", "power"), [("machine-stopped", "off"), ("machine-crashed", "crashed"), ("machine-reset", "running")]
)
def test_a_machine_that_ended_has_lost_its_memory(joined: Stream, kind: str, power: str) -> None:
    joined.say(kind, 1, detail="x")
    node = joined.view.nodes[1]
    assert (node.power, node.guestd, node.state, node.membership.epoch) == (power, "absent", "inactive", 0)
    assert node.ends == 1
    assert node.incarnation == 1, "what is on the disk outlives the machine"


def test_a_pause_loses_nothing(joined: Stream) -> None:
    joined.say("machine-paused", 1)
    assert joined.view.why_not_joined(ALL) == "node 1's machine is paused"
    joined.say("machine-resumed", 1)
    assert joined.view.why_not_joined(ALL) is None


def test_a_resume_does_not_start_a_machine_that_is_off(joined: Stream) -> None:
    joined.say("machine-stopped", 1, detail="destroyed")
    joined.say("machine-resumed", 1)
    joined.say("machine-paused", 1)
    assert joined.view.nodes[1].power == "off"


def test_the_newest_membership_is_that_of_a_running_node(joined: Stream) -> None:
    joined.see(2, {2: 1}, epoch=9, master=2)
    assert (joined.view.epoch, joined.view.master) == (9, 2)
    joined.say("machine-stopped", 2, detail="destroyed")
    assert (joined.view.epoch, joined.view.master) == (1, 0)


def test_steps_order_views_of_one_epoch(joined: Stream) -> None:
    joined.see(1, {0: 1, 1: 1}, epoch=1, step=7)
    assert joined.view.newest.joined() == [0, 1]


def test_a_master_without_power_is_no_master(joined: Stream) -> None:
    joined.say("machine-stopped", 0, detail="destroyed")
    assert joined.view.master is None


def level(stream: Stream, kind: str, number: int, transition: str, incarnation: int = 1, subject: int = 1) -> None:
    stream.say(kind, 0, subject=subject, incarnation=incarnation, level=number, transition=transition)


@pytest.mark.parametrize(
    ("transition", "under_way", "done"),
    [("join", "joining", "joined"), ("leave", "leaving", "inactive"), ("forced-leave", "forced-leaving", "inactive")],
)
def test_a_level_is_under_way_when_notified_and_done_when_complete(
    stream: Stream, transition: str, under_way: str, done: str
) -> None:
    level(stream, "notified", 10, transition)
    assert stream.view.nodes[1].levels == {10: under_way}
    level(stream, "level-complete", 10, transition)
    assert stream.view.nodes[1].levels == {10: done}


@pytest.mark.parametrize(
    ("transition", "done"), [("join", "joined"), ("leave", "inactive"), ("forced-leave", "inactive")]
)
def test_a_members_word_that_is_read_after_the_masters_takes_nothing_back(
    stream: Stream, transition: str, done: str
) -> None:
    level(stream, "level-complete", 10, transition)  # the lines of two nodes are read independently
    level(stream, "notified", 10, transition)
    assert stream.view.nodes[1].levels == {10: done}


def test_what_is_read_late_of_a_join_does_not_hide_the_leave(stream: Stream) -> None:
    level(stream, "notified", 10, "leave")
    level(stream, "level-complete", 10, "join")
    assert stream.view.nodes[1].levels == {10: "leaving"}
    level(stream, "notified", 10, "forced-leave")
    level(stream, "notified", 10, "leave")
    assert stream.view.nodes[1].levels == {10: "forced-leaving"}


def test_a_level_that_comes_late_is_joined_when_its_subsystem_has_caught_up(stream: Stream) -> None:  # S4.12
    late = {"subject": 1, "incarnation": 1, "level": 50, "transition": "join", "late": True}
    stream.say("notified", 0, **late)
    assert stream.view.nodes[1].levels == {50: "joining"}
    stream.say("caught-up", 0, level=50, subjects=[1])
    assert stream.view.nodes[1].levels == {50: "joined"}
    stream.say("notified", 2, **late)  # a second one at that level takes nothing back
    assert stream.view.nodes[1].levels == {50: "joined"}


def test_a_new_incarnation_starts_with_no_levels_and_news_of_the_old_one_are_ignored(stream: Stream) -> None:
    level(stream, "level-complete", 10, "join", incarnation=1)
    level(stream, "notified", 0, "join", incarnation=2)
    level(stream, "level-complete", 10, "forced-leave", incarnation=1)
    assert stream.view.nodes[1].levels == {0: "joining"}


def test_a_panic_reason_stays_until_the_next_power_on(joined: Stream) -> None:
    joined.say("panic", 1, reason="forced out")
    joined.say("machine-crashed", 1, detail="panicked")
    assert joined.view.nodes[1].panic_reason == "forced out"
    joined.say("machine-stopped", 1, detail="destroyed")
    joined.say("machine-starting", 1)
    assert joined.view.nodes[1].panic_reason is None


def test_faults_are_listed_until_they_are_healed(stream: Stream) -> None:
    stream.say("fault-injected", 1, fault="link-silent")
    assert stream.view.as_dict()["faults"] == {"1": ["link-silent"]}
    stream.say("fault-healed", 1, fault="link-silent")
    stream.say("fault-healed", 1, fault="link-silent")
    assert stream.view.as_dict()["faults"] == {}


def test_the_times_of_a_boot_are_known_and_forgotten_at_the_next(stream: Stream) -> None:
    view = stream.view
    view.apply({"n": 1, "t": 10.0, "kind": "machine-starting", "node": 0})
    view.apply({"n": 2, "t": 16.0, "kind": "guestd-started", "node": 0, "guest_t": 5.0, "stages": {"initramfs": 1.5}})
    view.apply({"n": 3, "t": 18.0, "kind": "state", "node": 0, "state": "joined", "previous": "joining"})
    node = view.nodes[0]
    assert (node.power_on_t, node.kernel_t, node.guestd_t, node.joined_t) == (10.0, 12.5, 16.0, 18.0)
    view.apply({"n": 4, "t": 20.0, "kind": "machine-starting", "node": 0})
    assert (node.power_on_t, node.kernel_t, node.guestd_t, node.joined_t) == (20.0, None, None, None)


def test_events_of_an_unknown_kind_move_only_the_number_and_the_time(joined: Stream) -> None:
    before = joined.view.as_dict()
    joined.say("from-a-newer-bench", 1, anything=1)
    after = joined.view.as_dict()
    assert (after.pop("n"), after.pop("t")) == (before.pop("n") + 1, before.pop("t") + 1)
    assert after == before


def test_the_reason_why_the_bench_stops_is_kept(stream: Stream) -> None:
    stream.say("bench-stopping", reason="down")
    assert stream.view.stopping == "down"


def test_as_dict_is_plain_data_and_the_same_for_the_same_stream(joined: Stream) -> None:
    other = Stream()
    other.all_joined()
    assert json.dumps(joined.view.as_dict()) == json.dumps(other.view.as_dict())


def test_a_fault_injected_twice_is_one_fault_and_healed_once() -> None:
    view = View(2)
    cut = {"kind": "fault-injected", "node": 1, "fault": "link-silent"}
    view.apply(cut)
    view.apply(cut)
    assert view.faults[1] == ["link-silent"]
    view.apply({"kind": "fault-healed", "node": 1, "fault": "link-silent"})
    assert view.faults[1] == []


# -- services


def step(stream: Stream, state: str, node: int | None, registration: int = 1, **more: Any) -> None:
    """Told by node 0 of ``node``."""
    told = {"flags": "", "why": "", **more}
    stream.say("service", 0, service="web", subject=node, state=state, registration=registration, **told)


def test_a_registration_is_followed_from_start_to_end(joined: Stream) -> None:  # S9.7
    states = []
    for state in ("starting", "registered", "stopping", "de-registered"):
        step(joined, state, 1)
        states.append((joined.view.services["web"].state, str(joined.view.services["web"])))
    assert states == [
        ("starting", "starting on node 1"),
        ("registered", "registered on node 1"),
        ("stopping", "stopping on node 1"),
        ("-", "not registered"),
    ]


def test_steps_that_are_read_late_change_nothing(joined: Stream) -> None:
    step(joined, "registered", 1, 1, number=11, flags="N")
    step(joined, "starting", 1, 1, number=10, flags="TN")
    assert joined.view.services["web"].as_dict() == {
        "state": "registered",
        "flags": "N",
        "nodes": {"1": "registered"},
        "registration": 1,
        "why": "",
    }
    step(joined, "starting", 2, 2, number=14)
    step(joined, "de-registered", 1, 1, number=13)
    step(joined, "stopping", 1, 1, number=12)
    assert joined.view.services["web"].as_dict()["nodes"] == {"2": "starting"}


def test_a_service_on_all_nodes_is_where_all_its_registrations_are(joined: Stream) -> None:  # S9.2
    for node in ALL:
        step(joined, "registered", node, node + 1)
    assert joined.view.services["web"].registered_on == ALL
    step(joined, "de-registered", 1, 2)
    assert joined.view.services["web"].registered_on == [0, 2]


@pytest.mark.parametrize("end", ["machine-stopped", "machine-crashed", "machine-reset"])
def test_what_ran_on_a_machine_that_has_ended_runs_no_more(joined: Stream, end: str) -> None:
    step(joined, "registered", 1)
    joined.say(end, 1, detail="")
    web = joined.view.services["web"]
    assert (web.state, web.registered_on, str(web)) == ("lost", [], "lost with node 1")
    step(joined, "recovering", 2)
    assert (web.state, str(web)) == ("recovering", "recovering on node 2")


def test_a_removed_service_is_forgotten(joined: Stream) -> None:
    step(joined, "registered", 1)
    joined.say("service", 0, service="web", state="removed", number=9)
    assert joined.view.services == {}


def test_the_newest_command_of_each_kind_and_node_is_known(joined: Stream) -> None:  # S9.5
    joined.say("service-command", 2, service="web", registration=1, action="notify", state="begun")
    (running,) = joined.view.service_commands.values()
    assert (running.running, running.status) == (True, None)
    joined.say(
        "service-command", 2, service="web", registration=1, action="notify", state="ended", status=-9, timed_out=True
    )
    ended = joined.view.service_commands["web", "notify", 2]
    assert (ended.running, ended.status, ended.timed_out) == (False, -9, True)
