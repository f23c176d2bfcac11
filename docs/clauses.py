"""Writes docs/clauses.md and docs/cases.md, which tests stand for which clause and which adversarial case:
``.venv/bin/python docs/clauses.py``.

A remark such as ``# S4.5, A9`` in a test, its decorators included, names the clause; scenarios name their cases by
``@pytest.mark.case("A9")``. A test compares the pages with what this makes, and asks for a test of every clause and a
scenario of every case, but for those in NOT_YET and NO_SCENARIO; one that is there and has got its test has to go.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "clauses.md"

CLAUSES = {
    "Membership database": {
        "S2.1": "on the shared disk, found without another node's help",
        "S2.2": "persistent part: the configured nodes",
        "S2.3": "active part: every state, every transition with its type, level and barrier",
        "S2.4": "the states of a node",
        "S2.5": "one writer per sector; a damaged one is a missed read",
        "S2.6": "every boot a new incarnation, every change a new epoch",
    },
    "Master": {
        "S3.1": "one master; joining nodes find it; the first node forms the cluster",
        "S3.2": "election on the shared disk",
        "S3.3": "a master that dies anywhere is replaced, and the transition goes on",
    },
    "Transition notification framework": {
        "S4.1": "registration: order and barriers, the same on every node",
        "S4.2": "a subsystem waits until there is something to process",
        "S4.3": "a notification has the state of every node",
        "S4.4": "join and forced leave bottom-up, graceful leave top-down",
        "S4.5": "no level, no barrier, before all have acknowledged the one before",
        "S4.6": "transitions of different nodes at the same time",
        "S4.7": "notifications, outcomes, re-notifications",
        "S4.8": "a join turns into a leave only between levels",
        "S4.9": "de-registered after the own leave",
        "S4.10": "no join while a leave or forced leave is processed anywhere",
        "S4.11": "a forced leave reaches no higher than the join",
        "S4.12": "late registration",
        "S4.13": "a subsystem that does not acknowledge makes its node the next one forced out",
    },
    "Losing touch": {
        "S5.1": "a node that cannot communicate is forced out",
        "S5.2": "the largest group in which all hear each other survives",
        "S5.3": "all lose the disk: nobody panics",
        "S5.4": "no second cluster by a node that boots without interconnect",
    },
    "Forced-out nodes cannot do harm": {
        "S6.1": "a forced-out node panics at once",
        "S6.2": "it is fenced at the disk before any recovery",
        "S6.3": "a key per incarnation; a new one aborts what the old one left",
        "S6.4": "a node that gets a reservation conflict panics",
        "S6.5": "fence = panic: the timing rule, and its limit",
    },
    "The subsystems": {
        "S7.1": "the distributed lock manager",
    },
    "Event manager": {
        "S8.1": "a daemon at the center; watchers are separate programs",
        "S8.2": "events: name, IN and OUT parameters, action",
        "S8.3": "an occurrence runs the action; its failure is reported",
        "S8.4": "event groups: when, where, under what conditions",
        "S8.5": "the watchers that come with the system",
        "S8.6": "documented interfaces for other programs",
    },
}

CASES = {
    "A1": (
        "the master's processors stop between its decision and its next write; it wakes when it was forced out",
        "the disk refuses every write of it, and it panics; no clock is needed",
    ),
    "A2": ("the same with its emulator stopped; short pauses at every write", "as A1; short pauses evict nobody"),
    "A3": (
        "a victim's writes are held in the disk's queue",
        "the fence aborts them, or they land before it is complete",
    ),
    "A4": (
        "a node is killed with a write in flight and is back in 100 ms",
        "it ends what its old life has queued before it reads; no double owner",
    ),
    "A5": ("all nodes lose the disk", "nobody panics, the same epoch goes on; if one still sees it, it alone goes on"),
    "A6": (
        "splits 1:1, 2:2, 3:2, both sides at the same instant",
        "one side goes on, the others panic, no service twice",
    ),
    "A7": (
        "a loss in one direction; two nodes lost to each other that a third hears",
        "the largest full group, chosen once; one change, then quiet",
    ),
    "A8": ("one node, then the master, loses only the disk", "it is forced out; mastership moves"),
    "A9": ("a forced-out node boots faster than its recovery ends", "its join waits; it is not fenced again for that"),
    "A10": ("the loser boots with the network still cut", "it refuses to form a second cluster"),
    "A11": (
        "the master dies at every step of a transition",
        "the next one finishes or undoes it; each level is told once",
    ),
    "A12": ("a second node dies in the recovery of the first; a third joins", "recovery covers both; the join waits"),
    "A13": ("a journal replay is delayed", "no lock of the dead is granted before it is replayed everywhere"),
    "A14": ("a subsystem never acknowledges, on a plain node and on the master", "its node is forced out"),
    "A15": ("all nodes power on in the same second, with some missing", "one master, joins overlap, nobody forced out"),
    "A16": ("two machines with the same node id", "the second is refused, the first notices nothing"),
    "A17": ("torn, stale, zeroed, misdirected sectors in the database", "a miss; never two masters"),
    "A18": ("the fence fails on one of three disks", "recovery does not start; it is retried"),
    "A19": ("clock steps of an hour, 10 % drift", "nobody forced out, no double owner"),
    "A20": ("a node killed ten times in ten minutes", "quarantined; the others' services do not pay for it"),
    "A21": (
        "a service's start fails or hangs; its stop fails",
        "the next node; after a failed stop its node is forced out before the service starts elsewhere",
    ),
    "A22": (
        "a group is moved while the target dies, while the source is frozen",
        "one instance in all, in order; recovered exactly once",
    ),
    "A23": ("random joins, leaves, kills, freezes, cuts", "every request ends; the history agrees with the model"),
    "A24": (
        "locks in a deadlock across nodes; the holder, a converter, the value block's last writer die",
        "one victim, once; the value block is marked invalid",
    ),
    "A25": (
        "power failure of the whole cluster in the middle of everything, again and again",
        "all joined, `fsck` clean, each service once, nothing acknowledged lost",
    ),
}
"""What is injected, and the only correct result."""

NOT_YET = {}
"""Clauses without a test, and why."""

PARTLY: dict[str, str] = {}
"""Clauses and cases whose tests leave something out, and what."""

NO_SCENARIO: dict[str, str] = {}
"""Cases without a scenario, and why."""

HEAD = """\
# Clauses and their tests

Written by `docs/clauses.py` from the remarks beside the tests; a test keeps the two the same. "S" is a clause of the
requirements; the adversarial cases are in [cases.md](cases.md).
"""

CASES_PAGE = ROOT / "docs" / "cases.md"
CASES_HEAD = """\
# Adversarial cases

What has broken clusters on shared disks before, each with the only correct result, and what shows that it comes.
Written by `docs/clauses.py` from the markers of the scenarios and the remarks beside the tests; a test keeps the two
the same.

`hil run NAME` runs a scenario on guests, with `--backend sim` in the simulator ([scenarios.md](scenarios.md)).
Where it says "guests" it needs real programs on its nodes. After every one all claims of [checkers.md](checkers.md)
are judged.
"""


def page() -> str:
    """The page as it should be."""
    tests = found()
    lines = [HEAD.rstrip("\n")]
    for title, clauses in CLAUSES.items():
        lines += ["", f"## {title}", "", "| | | tests |", "|---|---|---|"]
        lines += [
            f"| {clause} | {about} | {_tests(clause, tests.get(clause, []))} |" for clause, about in clauses.items()
        ]
    return "\n".join(lines) + "\n"


def cases_page() -> str:
    """The page of the adversarial cases, as it should be."""
    tests = found()
    lines = [CASES_HEAD.rstrip("\n"), "", "| | injected | correct | scenarios | tests |", "|---|---|---|---|---|"]
    for case, (injected, correct) in CASES.items():
        there = tests.get(case, [])
        played = [test for test in there if test[1].parts[0] == "scenarios"]
        others = [test for test in there if test not in played]
        cells = [case, injected, correct, _scenarios(case, played), _tests(case, others)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def without_scenario() -> list[str]:
    """Cases that no scenario plays."""
    played = {case for case, tests in found().items() if any(path.parts[0] == "scenarios" for _, path in tests)}
    return [case for case in CASES if case not in played]


def known() -> list[str]:
    """All clauses and cases, in their order."""
    return [*(clause for clauses in CLAUSES.values() for clause in clauses), *CASES]


def found() -> dict[str, list[tuple[str, Path]]]:
    """For each clause that is named in a test: the tests, as (name, file)."""
    tests: dict[str, list[tuple[str, Path]]] = {}
    for path in sorted([*(ROOT / "tests").rglob("test_*.py"), *(ROOT / "scenarios").glob("*.py")]):
        for name, clause in named(path.read_text(encoding="utf-8")):
            tests.setdefault(clause, []).append((name, path.relative_to(ROOT)))
    return tests


def named(source: str) -> Iterator[tuple[str, str]]:
    """(test, clause) for each clause that a test of that module names, each once."""
    remarks = [
        (token.start[0], token.string)
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    ]
    for test in ast.walk(ast.parse(source)):
        if not isinstance(test, (ast.FunctionDef, ast.AsyncFunctionDef)) or not test.name.startswith("test_"):
            continue
        first = min([test.lineno, *(decorator.lineno for decorator in test.decorator_list)])
        here = " ".join(text for line, text in remarks if first <= line <= (test.end_lineno or first))
        told = re.findall(r"\b[SA]\d+(?:\.\d+)?\b", here) + _marked(test)
        yield from ((test.name, clause) for clause in known() if clause in told)


def _marked(test: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """The arguments of its marker ``case``."""
    calls = [one for one in test.decorator_list if isinstance(one, ast.Call)]
    return [
        argument.value
        for call in calls
        if ast.unparse(call.func) == "pytest.mark.case"
        for argument in call.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    ]


def _scenarios(case: str, tests: list[tuple[str, Path]]) -> str:
    links = []
    for path in sorted({path for _, path in tests}):
        guests = ", guests" if "pytest.mark.guests(" in (ROOT / path).read_text(encoding="utf-8") else ""
        links.append(f"[{path.stem}](../{path}){guests}")
    if case in NO_SCENARIO:
        links.append(f"none: {NO_SCENARIO[case]}")
    return "; ".join(links)


def _tests(clause: str, tests: list[tuple[str, Path]]) -> str:
    links = [f"[{name.removeprefix('test_').replace('_', ' ')}](../{path})" for name, path in tests]
    if clause in NOT_YET:
        links.append("**not yet**" + (f": {NOT_YET[clause]}" if NOT_YET[clause] else ""))
    if clause in PARTLY:
        links.append(f"**partly**: {PARTLY[clause]}")
    return "; ".join(links)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    CASES_PAGE.write_text(cases_page(), encoding="utf-8")
