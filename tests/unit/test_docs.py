"""Generated pages are what their sources make, and links in pages lead somewhere."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def drawn() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw", ROOT / "docs" / "draw.py")
    assert spec is not None
    assert spec.loader is not None
    draw = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(draw)
    return draw


def test_the_state_machines_are_drawn_from_the_tables() -> None:
    draw = drawn()
    assert draw.PAGE.read_text(encoding="utf-8") == draw.page(), "run: .venv/bin/python docs/draw.py"


def test_the_kinds_of_disk_faults_are_those_of_the_target() -> None:
    draw = drawn()
    assert draw.FAULTS_PAGE.read_text(encoding="utf-8") == draw.faults_page(), "run: .venv/bin/python docs/draw.py"
    assert "| `volatile-cache` |" in draw.faults_page()


def test_the_times_and_their_rules_are_those_of_guestd() -> None:
    draw = drawn()
    assert draw.TIMING_PAGE.read_text(encoding="utf-8") == draw.timing_page(), "run: .venv/bin/python docs/draw.py"
    assert "| `hears_ms` > 2 x disk_heartbeat_ms | 600 > 500 |" in draw.timing_page()
    assert "\nT=death_ms " in draw.timing_page()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
