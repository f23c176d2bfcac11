"""The summary of a session: one paragraph per test that did not pass, also of tests that ran in another process."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from hil.lab import Lab
from hil.verdict import Verdict

ATTRIBUTE = "hil"
"""Of a report: what :func:`attach` puts there. pytest-xdist carries a report's attributes from worker to controller."""


def attach(report: pytest.TestReport, lab: Lab) -> None:
    """Put what is known of ``lab`` into ``report``; the report of the teardown, the last, knows most."""
    # A refusal names what is wrong, and what to type, on the lines after the first.
    problem = lab.problem if lab.verdict is Verdict.REFUSED else lab.problem.partition("\n")[0]
    evidence = lab.copied_to or lab.evidence() or "none"
    tell(report, lab.verdict, problem, repeat=lab.repeat, evidence=str(evidence), kept=lab.name if lab.kept else "")


def tell(
    report: pytest.TestReport, verdict: Verdict, problem: str, *, repeat: str = "", evidence: str = "", kept: str = ""
) -> None:
    """Put the paragraph into ``report``: ``repeat`` a command, ``kept`` the name of a cluster; empty: not told."""
    told = {"verdict": str(verdict), "problem": problem, "repeat": repeat, "evidence": evidence, "kept": kept}
    setattr(report, ATTRIBUTE, told)


class Troubles:
    """Gathers the paragraphs from the reports and prints them at the end."""

    def __init__(self) -> None:
        self._by_test: dict[str, dict[str, str]] = {}
        self._passed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called for setup, call and teardown of every test, wherever it ran."""
        told = getattr(report, ATTRIBUTE, None)
        if told is not None:
            self._by_test[report.nodeid] = told
        elif report.when == "call" and report.passed:
            self._passed.add(report.nodeid)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Verdict, how to repeat it, where the evidence is."""
        for test, told in self._by_test.items():
            terminalreporter.section(f"hil: {test}", sep="-")
            terminalreporter.write_line(f"{told['verdict']}: {told['problem']}")
            if told["repeat"]:
                terminalreporter.write_line(f"repeat it: {told['repeat']}")
            if told["evidence"]:
                terminalreporter.write_line(f"evidence:  {told['evidence']}")
            if told["kept"]:
                terminalreporter.write_line(f"kept up:   `hil down {told['kept']}` ends it")
        if self._by_test:
            terminalreporter.section("hil", sep="-")
            terminalreporter.write_line(self._counts())

    def _counts(self) -> str:
        """How many tests have which verdict; what is not zero."""
        counts = Counter(told["verdict"] for told in self._by_test.values())
        counts[Verdict.PASSED] += len(self._passed - self._by_test.keys())
        return "verdicts: " + ", ".join(f"{counts[one]} {one}" for one in Verdict if counts[one])
