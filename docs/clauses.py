"""Writes docs/clauses.md, which tests stand for which clause: ``.venv/bin/python docs/clauses.py``.

A remark such as ``# S4.5, A9`` in a test, its decorators included, names the clause. A test compares the page with what
this makes, and asks for a test of every clause that is not in NOT_YET; one that is there and has got a test has to go.
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
    "Adversarial cases": {
        "A1": "master's processors stopped between decision and write",
        "A2": "the same with the emulator stopped; short pauses",
        "A3": "the victim's queued writes held at the target",
        "A4": "killed with a write in flight, back in 100 ms",
        "A5": "all nodes lose the disk",
        "A6": "splits, both sides at the same instant",
        "A7": "one-way loss; two nodes lost to each other",
        "A8": "one node, then the master, loses only the disk",
        "A9": "a forced-out node boots faster than its recovery ends",
        "A10": "the loser boots alone with the network still cut",
        "A11": "the master dies at every step of a transition",
        "A12": "a second death in the recovery of the first; a third node joins",
        "A13": "a journal replay is delayed",
        "A14": "a subsystem never acknowledges",
        "A15": "all nodes power on in the same second",
        "A16": "two machines with the same node id",
        "A17": "torn, stale, zeroed, misdirected sectors in the database",
        "A18": "the fence fails on one of three disks",
        "A19": "clock steps and drift",
        "A20": "a node killed ten times in ten minutes",
        "A24": "deadlock across nodes; holder, converter and last writer die",
    },
}

NOT_YET = {}
"""Clauses without a test, and why."""

PARTLY = {
    "A18": "the target's side: a fence can be made to fail",
}
"""Clauses whose tests leave something out, and what."""

HEAD = """\
# Clauses and their tests

Written by `docs/clauses.py` from the remarks beside the tests; a test keeps the two the same. "S" is a clause of the
requirements, "A" an adversarial case.
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


def known() -> list[str]:
    """All clauses, in their order."""
    return [clause for clauses in CLAUSES.values() for clause in clauses]


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
        told = re.findall(r"\b[SA]\d+(?:\.\d+)?\b", here)
        yield from ((test.name, clause) for clause in known() if clause in told)


def _tests(clause: str, tests: list[tuple[str, Path]]) -> str:
    links = [f"[{name.removeprefix('test_').replace('_', ' ')}](../{path})" for name, path in tests]
    if clause in NOT_YET:
        links.append("**not yet**" + (f": {NOT_YET[clause]}" if NOT_YET[clause] else ""))
    if clause in PARTLY:
        links.append(f"**partly**: {PARTLY[clause]}")
    return "; ".join(links)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
