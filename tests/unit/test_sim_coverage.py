"""Which rows of the state tables the simulator has exercised."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from guestd.core.machine import IllegalTrigger
from guestd.membership.states import NODE_STATES, NodeState
from hil.cli import main
from hil.sim.coverage import TABLES, counting, described, exercised, lines
from hil.sim.options import draw
from hil.sim.run import run

ROOT = Path(__file__).parents[2]
NO_WATCHERS = ("group_states", "event_states", "action_states", "watcher_states")


def test_every_table_that_the_page_of_state_machines_draws_is_counted() -> None:
    spec = importlib.util.spec_from_file_location("draw", ROOT / "docs" / "draw.py")
    assert spec is not None
    assert spec.loader is not None
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    drawn = [
        getattr(importlib.import_module(module), row[0])
        for module, row in page.MACHINES.items()
        if not module.startswith("guestd.dlm") and not module.endswith(NO_WATCHERS)
    ]
    assert sorted(map(id, drawn)) == sorted(map(id, TABLES))
    assert len({table.name for table in TABLES}) == len(TABLES)


def test_look_ups_are_counted_while_somebody_asks_and_not_else() -> None:
    with counting() as counts:
        assert NODE_STATES.next(NodeState.INACTIVE, "admit") is NodeState.JOINING
        with pytest.raises(IllegalTrigger):
            NODE_STATES.next(NodeState.INACTIVE, "leave")
    assert all(table.counts is None for table in TABLES)
    NODE_STATES.next(NodeState.INACTIVE, "admit")
    assert counts == {("node state", "inactive", "admit"): 1}


def test_a_row_that_was_never_looked_up_is_listed() -> None:
    counts = {
        ("node state", state.value, trigger): 2
        for state, row in NODE_STATES.rows.items()
        for trigger in row
        if (state, trigger) != (NodeState.LEAVING, "force")
    }
    found = exercised(counts)[0]
    assert (found.table, found.never, str(found)) == ("node state", ["leaving force"], "node state: 8/9")
    told = lines(counts)
    assert told[told.index("  node state: 8/9") + 1] == "    never: leaving force"
    shown = described(counts)["node state"]
    assert (shown["rows"], shown["exercised"], shown["never"]) == (9, 8, ["leaving force"])
    assert (shown["counts"]["inactive admit"], shown["counts"]["leaving force"]) == (2, 0)


def test_a_run_whose_rows_are_counted_is_the_same_run() -> None:
    counted, plain = run(draw(2, "lite"), coverage=True), run(draw(2, "lite"))
    assert counted.digest == plain.digest
    assert plain.coverage == {}
    assert counted.coverage["node state", "inactive", "admit"] >= 3


def test_the_counts_of_several_processes_are_added(capsys: pytest.CaptureFixture[str]) -> None:
    assert _coverage(capsys, "1") == _coverage(capsys, "2")


def _coverage(capsys: pytest.CaptureFixture[str], jobs: str) -> Any:
    arguments = ["sim", "--seeds", "0:2", "--preset", "lite", "--coverage", "--json", "--jobs", jobs]
    assert main.main(arguments) == 0
    told = json.loads(capsys.readouterr().out)["coverage"]
    assert told["role"]["counts"]["starting announced"] >= 6
    return told


def test_people_are_told_each_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main.main(["sim", "--seeds", "0", "--preset", "performance", "--nodes", "2", "--coverage", "--jobs", "1"]) == 0
    )
    told = capsys.readouterr().out
    assert "  node state: 2/9\n    never: joining leave\n" in told
    assert "  match: 0/13\n" in told
