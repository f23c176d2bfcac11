"""Generated pages are what their sources make, and links in pages lead somewhere."""

import ast
import importlib.util
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import pytest

from guestd.core.timing import Timing
from guestd.services.definition import FIELDS
from hil.checkers.claims import OF_THE_SIMULATOR, every_checker
from hil.checkers.observation import Observation
from hil.config import ClusterConfig, TimingOverrides
from hil.faults import plan_file
from hil.verdict import Verdict
from hil.view import BENCH_KINDS

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


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


def test_the_kinds_of_the_fault_library_are_those_of_its_table() -> None:
    draw = drawn()
    assert draw.LIBRARY_PAGE.read_text(encoding="utf-8") == draw.library_page(), "run: .venv/bin/python docs/draw.py"
    assert "| `link-silent` |" in draw.library_page()


def test_the_messages_of_the_lock_manager_are_those_of_guestd() -> None:
    draw = drawn()
    assert draw.LOCKS_PAGE.read_text(encoding="utf-8") == draw.locks_page(), "run: .venv/bin/python docs/draw.py"
    assert "| 12 | `Retry` | lock (4), operation (8) |" in draw.locks_page()


def test_the_parameters_of_the_watchers_are_those_of_guestd() -> None:
    draw = drawn()
    assert draw.EVENTS_PAGE.read_text(encoding="utf-8") == draw.events_page(), "run: .venv/bin/python docs/draw.py"
    assert "| `timer`: so much time has passed | `every_s` (number; needed)" in draw.events_page()


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


def test_the_page_of_cases_is_made_from_the_scenarios_and_the_tests() -> None:
    clauses = program("clauses")
    assert clauses.CASES_PAGE.read_text(encoding="utf-8") == clauses.cases_page(), (
        "run: .venv/bin/python docs/clauses.py"
    )
    assert list(clauses.CASES) == [f"A{number}" for number in range(1, 26)]
    assert [case for case in clauses.without_scenario() if case not in clauses.NO_SCENARIO] == []
    assert [case for case in clauses.NO_SCENARIO if case not in clauses.without_scenario()] == [], (
        "take it off the list"
    )


def test_a_scenario_names_its_cases_by_a_marker() -> None:
    source = """
@pytest.mark.case("A1", "A25")
@pytest.mark.case(of_no_text)
@other.case("A2")
def test_one(): pass
"""
    assert list(program("clauses").named(source)) == [("test_one", "A1"), ("test_one", "A25")]


def test_every_claim_has_its_row_with_what_it_needs() -> None:
    lines = (ROOT / "docs" / "checkers.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    rows = {row[0].strip("`"): row[3:] for row in cells if len(row) == 5 and row[3] != "needs"}

    def names(observations: Iterable[Observation]) -> str:
        return ", ".join(one.name.lower() for one in observations)

    claims = {type(one).__module__.rpartition(".")[2]: one for one in every_checker()}
    assert rows == {name: [names(one.needs), names(one.also)] for name, one in claims.items()}
    inside = [row for row in cells if len(row) == 3 and row[0] != "`hil/sim/claims/`"]
    assert {row[0].strip("`"): row[2] for row in inside} == {
        name: claim.rpartition("(")[2].strip(")") for name, claim in OF_THE_SIMULATOR.items()
    }
    assert [one for one in Observation if not any(line.startswith(f"| {one.name.lower()}: ") for line in lines)] == []


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


def test_the_reference_of_the_commands_is_made_from_them() -> None:
    reference = program("reference")
    assert reference.PAGE.read_text(encoding="utf-8") == reference.page(), "run: .venv/bin/python docs/reference.py"
    assert reference.MANUAL.read_text(encoding="utf-8") == reference.manual(), "run: .venv/bin/python docs/reference.py"


def test_every_command_and_every_option_says_what_it_is_for() -> None:
    reference = program("reference")
    silent = [verb.words for verb in reference.verbs() if not reference.about(verb)]
    mute = [(verb.words, name) for verb in reference.verbs() for name, text in reference.parameters(verb) if not text]
    assert (silent, mute) == ([], [])


def test_the_status_of_every_verdict_and_every_variable_is_in_the_reference() -> None:
    reference = program("reference")
    assert reference.STATUSES.keys() == set(Verdict)
    told = "\n".join(path.read_text(encoding="utf-8") for path in [*(ROOT / "hil").rglob("*.py")])
    read = set(re.findall(r"\bHIL_[A-Z_]+\b", told)) - {f"HIL_{name}" for name in SET_BY_HIL}
    assert read == {name for name in reference.ENVIRONMENT if name.startswith("HIL_")}


SET_BY_HIL = ("COMMAND", "NODE", "GUESTD", "STAGES", "SERVICE", "ACTION", "REGISTRATION", "REGISTERED_NODE", "SHARED")
"""What processes of ours are told; not for people."""


def keys_of(page: str, pattern: str) -> list[str]:
    return re.findall(pattern, (ROOT / "docs" / page).read_text(encoding="utf-8"), re.MULTILINE)


def test_the_page_of_the_cluster_file_has_every_key_with_its_default() -> None:
    example = tomllib.loads(keys_of("cluster-file.md", r"```toml\n((?:.*\n)*?)```")[0])
    timing = example.pop("timing")
    assert {*example, "timing"} == set(ClusterConfig.model_fields)
    assert set(timing) == set(TimingOverrides.model_fields)
    defaults = ClusterConfig()
    assert {key: value for key, value in example.items() if key != "shared_mib"} == {
        key: getattr(defaults, key) for key in example if key != "shared_mib"
    }
    assert timing == {key: getattr(Timing(), key) for key in timing}


def test_the_page_of_the_services_has_every_key_of_a_service_file() -> None:
    cells = keys_of("services.md", r"^\| ((?:`[a-z_]+`(?:, | … )?)+) \|")
    told = {name for cell in cells for name in re.findall(r"`([a-z_]+)`", cell)}
    assert "start_timeout` … `recovery_timeout" in "".join(cells), "which stands for four"
    told |= {f"{word}_timeout" for word in ("start", "stop", "notify", "recovery")}
    assert [name for name in FIELDS if name not in told] == []


def test_the_page_of_the_faults_has_every_key_of_a_plan_file(tmp_path: Path) -> None:
    (example,) = keys_of("faults.md", r"```toml\n((?:.*\n)*?)```")
    plan = tmp_path / "example.toml"
    plan.write_text(example, encoding="utf-8")
    assert plan_file.read(plan, seed=1).steps, "it is legal"
    tables = tomllib.loads(example)
    assert set(tables) == set(plan_file.TOP)
    assert {*plan_file.FIXED, *plan_file.DRAWN} <= {key for table in tables["fault"] for key in table}


EMITTERS = ("hil/bench", "hil/qemu", "hil/sim/backend", "hil/scsi", "hil/faults", "guestd")
"""Whose code tells events."""


def literals(where: Iterable[str]) -> tuple[set[str], set[str]]:
    """The kinds that are emitted by name; and all texts, for those that are chosen before."""
    emitted, texts = set(), set()
    for path in [path for one in where for path in sorted((ROOT / one).rglob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.add(node.value)
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                name = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
                if name in ("emit", "_emit", "Emit") and isinstance(node.args[0].value, str):
                    emitted.add(node.args[0].value)
    return emitted, texts


def test_the_page_of_the_events_has_every_kind_and_no_other() -> None:
    first = keys_of("events.md", r"^\| ((?:`[a-z-]+`(?:, )?)+) \|")
    told = {kind for cell in first for kind in re.findall(r"`([a-z-]+)`", cell)} - {"n", "t", "kind", "node"}
    emitted, texts = literals(EMITTERS)
    assert sorted((emitted | BENCH_KINDS) - told) == []
    assert sorted(told - texts) == []


def commands_in(page: Path) -> list[str]:
    """What is typed in a page's blocks: all lines that begin with the command line's name, by whatever door."""
    lines = page.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    return [line for line in lines if re.match(r"^\s*(- run: |- )?(\$ )?(\./run |\.venv/bin/)?hil [a-z-]+( |$)", line)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_has_people_type_is_there(page: Path) -> None:
    reference = program("reference")
    options = {verb.words: " ".join(name for name, _ in reference.parameters(verb)) for verb in reference.verbs()}
    for line in commands_in(page):
        typed = re.split(r"[|;#]| -- ", line.partition("hil ")[2])[0]
        words = typed.split()
        verb = next((f"hil {' '.join(words[:n])}" for n in (2, 1) if f"hil {' '.join(words[:n])}" in options), None)
        assert verb is not None, line
        asked = re.findall(r"(?<=\s)--?[a-z][a-z-]*", f" {typed}")
        assert [option for option in asked if option not in options[verb].replace(",", "").split()] == [], line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
