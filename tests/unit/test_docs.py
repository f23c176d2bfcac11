"""Generated pages are what their sources make, and links in pages lead somewhere."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def program(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def drawn() -> ModuleType:
    return program("draw")


def test_the_state_machines_are_drawn_from_the_tables() -> None:
    draw = drawn()
    assert draw.PAGE.read_text(encoding="utf-8") == draw.page(), "run: .venv/bin/python docs/draw.py"


def test_the_kinds_of_disk_faults_are_those_of_the_target() -> None:
    draw = drawn()
    assert draw.FAULTS_PAGE.read_text(encoding="utf-8") == draw.faults_page(), "run: .venv/bin/python docs/draw.py"
    assert "| `volatile-cache` |" in draw.faults_page()


def test_the_messages_of_the_lock_manager_are_those_of_guestd() -> None:
    draw = drawn()
    assert draw.LOCKS_PAGE.read_text(encoding="utf-8") == draw.locks_page(), "run: .venv/bin/python docs/draw.py"
    assert "| 12 | `Retry` | lock (4), operation (8) |" in draw.locks_page()


def test_the_page_of_clauses_is_made_from_the_remarks_beside_the_tests() -> None:
    clauses = program("clauses")
    assert clauses.PAGE.read_text(encoding="utf-8") == clauses.page(), "run: .venv/bin/python docs/clauses.py"


def test_every_clause_has_a_test_or_is_known_to_have_none() -> None:
    clauses = program("clauses")
    tested = set(clauses.found())
    assert [clause for clause in clauses.known() if clause not in tested and clause not in clauses.NOT_YET] == []
    assert [clause for clause in clauses.NOT_YET if clause in tested] == [], "it has got a test: take it off the list"
    assert [clause for clause in (*clauses.NOT_YET, *clauses.PARTLY) if clause not in clauses.known()] == []
    assert set(clauses.NOT_YET) & set(clauses.PARTLY) == set()


def test_a_remark_counts_for_the_test_that_it_stands_in() -> None:
    source = """
ROWS = 1  # S4.1
def helper():  # S4.2
    pass
@mark(  # S4.3
)
def test_one(
    x,  # S4.4 of the second
):  # not a clause: S44, A99
    # A1, S4.6
    assert "# S4.5"
def test_two(): pass  # S4.11
"""
    assert list(program("clauses").named(source)) == [
        ("test_one", "S4.3"),
        ("test_one", "S4.4"),
        ("test_one", "S4.6"),
        ("test_one", "A1"),
        ("test_two", "S4.11"),
    ]


def test_the_times_and_their_rules_are_those_of_guestd() -> None:
    draw = drawn()
    assert draw.TIMING_PAGE.read_text(encoding="utf-8") == draw.timing_page(), "run: .venv/bin/python docs/draw.py"
    assert "| `hears_ms` > 2 x disk_heartbeat_ms | 600 > 500 |" in draw.timing_page()
    assert "\nT=death_ms " in draw.timing_page()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
