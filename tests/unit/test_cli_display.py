"""What `hil` shows: lines for events and steps, tables, and progress with and without a terminal."""

import io

import pytest
from rich.console import Console

from hil.cli.lines import event_line, slowness, step_line
from hil.cli.nodes import parse_node, parse_nodes
from hil.cli.progress import ImageProgress, JoinProgress, _Clock
from hil.cli.tables import headline, status_screen
from hil.errors import UnknownNode, UsageError
from hil.view import View


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            {"n": 7, "t": 1.5, "node": 2, "kind": "state", "state": "joined", "previous": "joining", "guest_n": 3},
            "    7     1.500  n2 state            state=joined previous=joining",
        ),
        ({"n": 8, "t": 2, "kind": "power", "nodes": [0, 1]}, "    8     2.000   - power            nodes=[0,1]"),
        (
            {"n": 9, "t": 2, "kind": "panic", "node": 0, "reason": "a b"},
            "    9     2.000  n0 panic            reason='a b'",
        ),
        ({"kind": "odd"}, "    0     0.000   - odd"),
    ],
)
def test_an_event_is_one_line(event: dict[str, object], line: str) -> None:
    assert event_line(event) == line


@pytest.mark.parametrize(
    ("event", "line"),
    [
        ({"t": 1.0, "node": 1, "kind": "machine-started"}, "    1.00 s  node 1: machine runs"),
        ({"t": 1.0, "node": 1, "kind": "waiting", "for": "the master"}, "    1.00 s  node 1: waits for the master"),
        (
            {"t": 1.0, "kind": "disk-exited", "status": 1},
            "    1.00 s  cluster: the shared disk's process ended with status 1",
        ),
        ({"t": 1.0, "node": 1, "kind": "panic"}, "    1.00 s  node 1: PANIC: ?"),
        ({"t": 1.0, "node": 1, "kind": "acknowledged"}, None),
    ],
)
def test_a_step_is_a_sentence_and_the_many_other_events_are_none(event: dict[str, object], line: str | None) -> None:
    assert step_line(event) == line


@pytest.mark.parametrize(
    ("texts", "ids"), [(["0"], [0]), (["n2", "1"], [1, 2]), (["1", "1"], [1]), (["all"], [0, 1, 2]), (["02"], [2])]
)
def test_node_arguments(texts: list[str], ids: list[int]) -> None:
    assert parse_nodes(texts, 3) == ids


@pytest.mark.parametrize("text", ["3", "-1", "", "n", "one", "1.0", "99999", "\u0663", "all"])
def test_what_is_no_node_is_told_with_those_that_are(text: str) -> None:
    with pytest.raises(UnknownNode, match=r"there are: 0, 1, 2$"):
        parse_node(text, 3)


def test_all_with_others_is_refused() -> None:
    with pytest.raises(UsageError, match="`all` stands alone"):
        parse_nodes(["all", "0"], 3)


def drawn(view: View) -> str:
    console = Console(file=io.StringIO(), width=200)
    with console.capture() as capture:
        console.print(status_screen("demo", view))
    return capture.get()


def test_a_cluster_that_has_not_told_anything_yet_is_drawn_with_the_built_in_levels() -> None:
    text = drawn(View(2))
    assert "cluster demo: 0 of 2 nodes joined, epoch 0, master none" in text
    assert text.splitlines()[3].split()[-4:] == ["DLM", "VDM", "SFS", "manager"]
    assert "acknowledges only" not in text


def test_markup_in_a_panic_reason_is_shown_as_it_is() -> None:
    view = View(1)
    view.apply({"kind": "machine-started", "node": 0})
    view.apply({"kind": "panic", "node": 0, "reason": "[red]no[/blue]"})
    assert "panic: [red]no[/blue]" in drawn(view)


def test_levels_of_a_machine_that_is_off_are_not_shown_as_joined() -> None:
    view = View(1)
    view.apply({"kind": "machine-started", "node": 0})
    view.apply({"kind": "guestd-started", "node": 0, "t": 1.0})
    done = {"subject": 0, "incarnation": 1, "level": 10, "transition": "join"}
    view.apply({"kind": "level-complete", "node": 0, **done})
    assert "joined" in drawn(view).splitlines()[4]
    view.apply({"kind": "machine-stopped", "node": 0, "t": 2.0})
    assert "joined" not in drawn(view).splitlines()[4]


def test_the_headline_counts_who_is_joined() -> None:
    assert headline("demo", View(3)) == "cluster demo: 0 of 3 nodes joined, epoch 0, master none"


def test_progress_without_a_terminal_is_one_plain_line_per_step() -> None:
    file = io.StringIO()
    with JoinProgress("demo", Console(file=file)) as progress:
        for stage, done in (("download", 0), ("download", 50), ("root", 100)):
            progress.on_image(stage, done, 100)
        for kind in ("machine-started", "acknowledged"):
            event = {"kind": kind, "node": 0, "t": 1.0}
            progress.on_event(event, View(1))
        progress.leave_table(View(1))
        progress.say("done")
    assert file.getvalue().splitlines() == [
        "guest image: download",
        "guest image: root",
        "    1.00 s  node 0: machine runs",
        "done",
    ]


def test_progress_on_a_terminal_is_a_live_table() -> None:
    file = io.StringIO()
    with JoinProgress("demo", Console(file=file, force_terminal=True, width=160)) as progress:
        progress.on_image("download", 50, 100)
        progress.title = "cold start"
        progress.on_event({"kind": "machine-started", "node": 0, "t": 1.0}, View(1))
        progress.leave_table(View(1))
        progress.say("done")
    assert "cold start (0.0 s)" in file.getvalue()
    assert "membership" in file.getvalue()
    assert "done" in file.getvalue()


def test_the_clock_goes_on_between_two_events() -> None:
    now = 100.0
    clock = _Clock("mass reboot", 8.1, lambda: now)
    assert str(clock.__rich__()) == "mass reboot (8.1 s)"
    now = 104.5
    assert str(clock.__rich__()) == "mass reboot (12.6 s)"


def test_that_machines_are_emulated_is_told_and_why() -> None:
    assert slowness({"accelerator": "kvm", "why": "the image's kernel starts on it"}) is None
    told = slowness({"accelerator": "tcg", "why": "no /dev/kvm"})
    assert told == "without KVM: no /dev/kvm"


def test_image_progress_shows_the_share() -> None:
    file = io.StringIO()
    with ImageProgress(Console(file=file, force_terminal=True, width=80)) as progress:
        progress.on_image("download", 50, 200)
    assert "guest image: download 25 %" in file.getvalue()
