"""The live view on simulated clusters: what it shows is so, and each key does what it says, seen through the view."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from hil.config import make_config
from hil.live.actions import ACTIONS
from hil.live.event_list import passes
from hil.live.grid import Grid, columns, machine_of, row
from hil.live.help import OTHER_KEYS
from hil.live.lines import printable
from hil.live.situation import situation
from hil.scenario import ScenarioCluster
from hil.sim.backend.simulated import Simulated
from hil.view import NodeView, View
from tests.unit.live_view import Watched, watching
from tests.unit.sim_cluster import started

# The terminal is looked at when it is idle, or after a second: how long all of it takes says nothing.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(autouse=True)
def evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def cluster(evidence: Path) -> Iterator[ScenarioCluster]:
    with started() as one:
        yield one


JOINED = ["running", "1", "joined", "1", *["joined"] * 5]


@pytest.mark.parametrize(
    ("nodes", "size"), [(2, (80, 24)), (16, (80, 24)), (3, (100, 30)), (3, (200, 60)), (16, (120, 24))]
)
def test_nothing_is_cut_off_from_80_by_24_on(evidence: Path, nodes: int, size: tuple[int, int]) -> None:
    async def look(seen: Watched) -> None:
        await seen.until(lambda: len(seen.app.view.newest.joined()) == nodes, "all joined")
        await seen.until(lambda: seen.row(nodes - 1)[-1] == "joined", "the last row")
        assert (len(seen.screen), {len(line) for line in seen.screen}) == (size[1], {size[0]})
        assert seen.row(0) == ["n0", "M", *JOINED]
        assert [seen.row(node) for node in range(1, nodes)] == [[f"n{node}", *JOINED] for node in range(1, nodes)]
        told = f"simulated: {nodes} of {nodes} nodes joined, epoch 1, master n0"
        assert seen.screen[0].startswith(told)
        assert seen.screen[1].split() == ["node", "machine", "inc", "state", "epoch", "0", "10", "20", "30", "40"]
        names = {80: "members DLM VDM SFS events", 100: "membership DLM VDM SFS events"}
        assert seen.screen[2].split() == names.get(size[0], "membership DLM VDM SFS event-manager").split()
        assert seen.screen[-1].split()[-4:] == ["?", "help", "q", "quit"]
        assert "…" not in "".join(seen.screen)
        assert (seen.app.grid.max_scroll_x, seen.app.grid.max_scroll_y) == (0, 0)
        assert seen.app.events.size.height >= 2

    with started(nodes=nodes) as cluster:
        watching(cluster, look, size, pace=1.0)


def test_a_terminal_that_is_too_small_scrolls() -> None:
    async def look(seen: Watched) -> None:
        await seen.until(lambda: len(seen.app.view.newest.joined()) == 16, "all joined")
        await seen.press_at_once(*["down"] * 15)
        await seen.until(lambda: any(line.startswith("> n15") for line in seen.screen), "the last node")
        await seen.pilot.resize_terminal(80, 24)
        await seen.until(lambda: all(any(f" n{i} " in line for line in seen.screen) for i in range(16)), "every node")

    with started(nodes=16) as cluster:
        watching(cluster, look, (40, 12), pace=1.0)


Condition = Callable[[View, list[str], int], bool]
"""The view, the words of the node's row, the node's incarnation before."""
DONE: dict[str, tuple[str, Condition]] = {
    "c": ("c", lambda view, words, life: view.nodes[1].incarnation == life + 1 and words[3] == "joined"),
    "r": ("r", lambda view, words, life: view.nodes[1].incarnation == life + 1 and words[3] == "joined"),
    "f": ("f", lambda view, words, _: view.nodes[1].power == "off" and words[1] == "off"),
    "o": ("o", lambda view, words, life: view.nodes[1].incarnation == life + 1 and words[3] == "joined"),
    # Until it is forced out: else it would be thawed as a member, and "t" would wait for its panic.
    "z": (
        "z",
        lambda view, words, _: (
            view.faults.get(1) == ["freeze-vcpu"] and words[1] == "frozen" and 1 not in view.newest.joined()
        ),
    ),
    "t": ("t", lambda view, words, _: view.faults.get(1) == [] and view.nodes[1].panic_reason is not None),
    "Z": ("cZ", lambda view, words, _: view.faults.get(1) == ["freeze-process"] and words[1] == "frozen"),
    "l": ("cl", lambda view, words, _: view.faults.get(1) == ["link-carrier"]),
    "h": ("h", lambda view, words, _: view.faults.get(1) == []),
    "x": ("cx", lambda view, words, _: view.faults.get(1) == ["link-silent"] and words[1] == "crashed"),
    "p": ("hcp", lambda view, words, _: "ordered in the live view" in str(view.nodes[1].panic_reason)),
    "s": ("cs", lambda view, words, _: view.nodes[1].power == "off" and view.nodes[1].panic_reason is None),
}
"""In an order in which each can be seen to have been done."""


def test_every_key_is_tried() -> None:
    assert sorted(DONE) == sorted(action.key for action in ACTIONS)
    assert len({action.key for action in ACTIONS} | {key for key, _ in OTHER_KEYS}) == len(ACTIONS) + len(OTHER_KEYS)


def _more_than(count: int, notices: list[str]) -> bool:
    return len(notices) > count


def test_each_key_does_what_it_says_to_the_node_under_the_cursor(cluster: ScenarioCluster) -> None:
    async def press(seen: Watched) -> None:
        await seen.press("down")
        for key, (keys, condition) in DONE.items():
            life = seen.app.view.nodes[1].incarnation
            for one in keys:
                if one == keys[-1] and keys[-2:-1] == "c":  # a new life first
                    await seen.until(lambda: seen.row(1)[3] == "joined", "node 1 has joined again")
                before = len(seen.notices)
                await seen.press(one)
                await seen.until(partial(_more_than, before, seen.notices), f"a notice about {one}")
            await seen.until(lambda: condition(seen.app.view, seen.row(1), life), f"what {key} does")  # noqa: B023
        assert all(notice.startswith("node 1: ") for notice in seen.notices)
        assert [seen.app.view.nodes[i].power for i in (0, 2)] == ["running", "running"]

    watching(cluster, press)
    told = [event["kind"] for event in cluster.events() if event.get("node") == 1]
    assert [told.count(kind) for kind in ("machine-reset", "left")] == [1, 1]


def test_marked_nodes_lose_power_at_the_same_instant(cluster: ScenarioCluster) -> None:
    async def press(seen: Watched) -> None:
        await seen.press("space", "down", "down", "space", "f")
        await seen.until_told("nodes 0, 2: powered off")
        assert [row.split()[0] for row in seen.screen if row.startswith((" *", ">*"))] == ["*n0", ">*n2"]
        await seen.press("a", "f")
        await seen.until_told("node 1: powered off; node 0: is off already; node 2: is off already")
        await seen.press("a", "up", "o")
        await seen.until_told("node 1: powered on")

    watching(cluster, press)
    told = [event for event in cluster.events() if event["kind"] == "power"]
    assert [(one["action"], one["changed"]) for one in told[1:]] == [("off", [0, 2]), ("off", [1]), ("on", [1])]


def test_what_the_cluster_refuses_is_a_notice_and_the_view_goes_on(cluster: ScenarioCluster) -> None:
    async def press(seen: Watched) -> None:
        await seen.press("f")
        await seen.until_told("node 0: powered off")
        await seen.press("s")
        await seen.until_told("node 0's machine is off; `hil power cycle 0`")
        await seen.until(lambda: seen.app.view.epoch == 2, "the others go on")

    watching(cluster, press)


def test_a_forced_leave_is_drawn_level_by_level_as_in_figures_13_to_15(cluster: ScenarioCluster) -> None:
    since = cluster.view.n
    cluster.cut_link(cluster.nodes[1], "silent")
    cluster.wait_state(cluster.nodes[1], "inactive")
    view = View(3)
    drawn: list[list[str]] = []
    widths = [width for _, width in columns(view, 80)]
    for event in cluster.events():
        view.apply(event)
        cells = [str(cell) for cell in row(view.nodes[1], view, widths, chosen=False, marked=False)[5:]]
        if event["n"] > since and (not drawn or drawn[-1] != cells):
            drawn.append(cells)
    # From the lowest level to the highest; at most one is under way.
    before, under_way, after = ["inactive"], ["forced"], ["joined"]
    steps = [before * done + under_way + after * (4 - done) for done in range(5)]
    assert [cells for cells in drawn if "forced" in cells] == steps
    assert (drawn[0], drawn[-1]) == (["joined"] * 5, ["-"] * 5)


def test_the_console_of_a_node_grows_as_one_looks_and_keys_act_on_it(cluster: ScenarioCluster) -> None:
    console = cluster.nodes[1].console_path

    async def press(seen: Watched) -> None:
        await seen.press("down", "enter")
        await seen.until(lambda: "guestd: node 1 begins" in "".join(seen.screen), "the console")
        assert seen.screen[0].startswith("console of n1")
        await seen.press("p")
        await seen.until(lambda: "Kernel panic" in "".join(seen.screen), "the panic")
        with console.open("ab") as file:
            file.write(b"\x1b[31mred\x1b[0m \x07\x1b]0;title\x07bell\r\nunfinished")
        await seen.until(lambda: any(line.startswith("red bell") for line in seen.screen), "the next line")
        await seen.press("v", "a", "slash", "escape")  # what the console has no use for, and the way back
        await seen.until(lambda: seen.row(1)[1] == "crashed", "the grid")
        assert not seen.app.marked

    watching(cluster, press)


def test_lines_are_filtered_by_what_they_have_and_by_what_they_must_not_have(cluster: ScenarioCluster) -> None:
    async def press(seen: Watched) -> None:
        await seen.until(lambda: "node 2: joining -> joined" in "".join(seen.screen), "the steps")
        await seen.press("slash", *"Node 1, !WAITS", "enter")
        assert seen.app.events.text
        assert all("node 1" in line for line in seen.app.events.text)
        assert not any("waits" in line for line in seen.app.events.text)
        assert "steps with 'Node 1, !WAITS'" in "".join(seen.screen)
        await seen.press("c")  # a key again, and no letter of the filter
        await seen.until(lambda: seen.app.view.nodes[0].incarnation == 2, "node 0 was power-cycled")
        assert not any("node 0" in line for line in seen.app.events.text)
        await seen.press("v")
        assert any("notified" in line for line in seen.app.events.text) is False  # the filter is for both
        await seen.press("escape")
        assert any("n0 notified" in line for line in seen.app.events.text)
        assert seen.app.events.text[0].split()[:4] == ["1", "0.000", "-", "bench-started"]

    watching(cluster, press)


@pytest.mark.parametrize(
    ("wanted", "through"),
    [
        ("", True),
        ("N1 panic", True),
        ("panic, n1", True),
        ("panic,n2", False),
        ("!panic", False),
        ("!n2", True),
        ("n1,!reason", False),
        (" , !,", True),
    ],
)
def test_a_filter(wanted: str, through: bool) -> None:
    assert passes("  7  n1 Panic  reason=x", wanted) is through


def test_whoever_scrolls_up_stays_there_and_whoever_scrolls_down_follows_again(cluster: ScenarioCluster) -> None:
    async def press(seen: Watched) -> None:
        events = seen.app.events
        await seen.until(lambda: events.max_scroll_y > 0 and events.is_vertical_scroll_end, "the end")
        events.focus()
        await seen.press("home")
        await seen.press("c")
        await seen.until(lambda: seen.app.view.nodes[0].incarnation == 2, "more events")
        assert events.scroll_y == 0
        await seen.press("end", "c")
        await seen.until(lambda: seen.app.view.nodes[0].incarnation == 3, "still more")
        assert events.is_vertical_scroll_end

    watching(cluster, press)


def test_without_colour_words_and_signs_say_all(cluster: ScenarioCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    async def press(seen: Watched) -> None:
        await seen.press("down", "space", "f")
        await seen.until(lambda: seen.row(1)[1] == "off", "off")
        assert any(line.startswith(">*n1") for line in seen.screen)
        colours = {
            colour.get_truecolor()
            for strip in seen.app.screen._compositor.render_strips()
            for segment in strip.apply_filter(seen.app._filters[0], seen.app.screen.styles.background)
            if segment.style is not None
            for colour in (segment.style.color, segment.style.bgcolor)
            if colour is not None
        }
        assert colours
        assert all(len({*colour}) == 1 for colour in colours)  # greys

    watching(cluster, press)


def test_the_help_tells_of_every_key_and_fits(cluster: ScenarioCluster) -> None:
    async def press(seen: Watched) -> None:
        await seen.press("question_mark")
        for action in ACTIONS:
            assert any(action.help in line for line in seen.screen)
        for _, told in OTHER_KEYS:
            assert any(told in line for line in seen.screen)
        await seen.press("f")  # closes it, and is no key
        await seen.until(lambda: seen.row(0)[2] == "running", "the grid")
        assert seen.notices == []
        await seen.press("q")

    watching(cluster, press)


def test_a_claim_that_does_not_hold_ends_the_simulation_and_the_view_says_so(evidence: Path) -> None:
    with started() as cluster:
        bench = cluster.backend.bench  # type: ignore[attr-defined]

        def fails(node: object, kind: str, fields: object) -> None:
            raise ZeroDivisionError("a fault of guestd")

        async def look(seen: Watched) -> None:
            bench.world.on_event = fails
            await seen.press("down", "c")
            await seen.until(lambda: seen.app.ended is not None, "the end")
            assert "ZeroDivisionError: a fault of guestd" in seen.screen[0] + "".join(seen.notices)
            await seen.press("f")
            await seen.until(lambda: len(seen.notices) == 3, "a refusal")
            assert seen.app.view.nodes[1].power == "running"

        watching(cluster, look)


# -- the parts, without a terminal


def test_a_machine_is_one_word() -> None:
    node = NodeView(0)
    assert machine_of(node, []) == "off"
    node.power = "running"
    assert machine_of(node, []) == "booting"
    for guestd, word in (("waiting", "waiting"), ("running", "running"), ("exited", "exited")):
        node.guestd = guestd
        assert machine_of(node, ["link-silent"]) == word
    assert machine_of(node, ["freeze-process"]) == "frozen"
    node.power = "paused"
    assert machine_of(node, ["freeze-vcpu"]) == "frozen"
    assert machine_of(node, []) == "paused"
    node.power = "crashed"
    assert machine_of(node, ["freeze-process"]) == "crashed"


def test_columns_of_levels_that_programs_have_registered_are_as_wide_as_those_that_there_are() -> None:
    view = View(2)
    told = [{"level": level, "name": f"a-long-name-{level}", "real": level % 2 == 0} for level in range(0, 90, 9)]
    view.apply({"kind": "subsystems", "node": 0, "levels": told})
    found = columns(view, 80)
    assert [title for title, _ in found[5:7]] == ["0\na-long-…", "9\na-long…*"]
    assert {width for _, width in found[5:]} == {9}
    cells = row(view.nodes[0], view, [width for _, width in found], chosen=True, marked=True)
    assert [str(cell) for cell in cells] == [">*n0", "off", "-", "inactive", "-", *["-"] * 10]


def test_the_situation_tells_troubles_first_then_transitions_faults_and_services() -> None:
    view = View(3)
    assert [text for text, _ in situation(view)] == ["no transition, no fault, no service"]
    for node in range(3):
        view.apply({"kind": "machine-started", "node": node})
        view.apply({"kind": "guestd-started", "node": node, "t": 1.0})
        view.apply({"kind": "incarnation", "node": node, "incarnation": 1})
    view.apply({"kind": "state", "node": 1, "state": "joining"})
    at = {"subject": 1, "incarnation": 1, "transition": "join"}
    view.apply({"kind": "level-complete", "node": 0, "level": 0, **at})
    view.apply({"kind": "notified", "node": 0, "level": 10, **at})
    view.apply({"kind": "waiting", "node": 2, "for": "the master"})
    view.apply({"kind": "fault-injected", "fault": "datagram-loss"})
    view.apply({"kind": "fault-injected", "node": 2, "fault": "disk-hang", "number": 3})
    view.apply({"kind": "panic", "node": 0, "reason": "on purpose"})
    view.apply({"kind": "service", "node": 0, "service": "web", "state": "registered", "registration": 1, "t": 1.0})
    assert [text for text, _ in situation(view)] == [
        "trouble     n0: panic: on purpose",
        "transition  n1: joining, at 10 DLM",
        "transition  n2: inactive, waits for the master",
        "fault       all: datagram-loss",
        "fault       n2: disk-hang #3",
        "service     web: registered on node 0",
    ]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("plain\tand tab", "plain   and tab"),
        ("\x1b[2J\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1bcreset", "reset"),
        ("a\x00b\x9bc\x7fd\x1b", "abcd"),
        ("grün 節点", "grün 節点"),
    ],
)
def test_what_a_guest_says_does_not_get_at_the_terminal(said: str, shown: str) -> None:
    assert printable(said) == shown


def test_a_simulated_cluster_goes_at_the_pace_of_the_host(evidence: Path) -> None:
    config = make_config(name="paced", nodes=2)
    cluster = ScenarioCluster(config.name, Simulated(config, 0))

    async def look(seen: Watched) -> None:
        began = seen.app.source.cluster.clock
        await seen.until(lambda: seen.app.source.cluster.clock - began >= 2.0, "two seconds")
        assert isinstance(seen.app.grid, Grid)

    import time

    before = time.monotonic()
    try:
        watching(cluster, look, pace=4.0)
        assert time.monotonic() - before >= 2.0 / 4.0 * 0.5
    finally:
        cluster.down()
