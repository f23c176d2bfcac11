"""The verdict on one scenario: passed, claim failed, laboratory broke, invalid or refused; and their exit statuses.

A laboratory that broke says nothing about the claim, and a fault that did not take hold makes a run invalid, which is
neither passed nor failed (spec S10.7). So each gets a name of its own in reports and a status of its own from ``hil``.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from hil.errors import HilError


class Verdict(StrEnum):
    """What came of one scenario."""

    PASSED = "passed"
    CLAIM_FAILED = "claim failed"
    REFUSED = "refused"  # usage, or preflight
    LABORATORY_BROKE = "laboratory broke"
    INVALID = "invalid"


EXIT_STATUS = {
    Verdict.PASSED: 0,
    Verdict.CLAIM_FAILED: 1,
    Verdict.REFUSED: 2,
    Verdict.LABORATORY_BROKE: 3,
    Verdict.INVALID: 4,
}

GRAVITY = (Verdict.CLAIM_FAILED, Verdict.LABORATORY_BROKE, Verdict.INVALID, Verdict.REFUSED)
"""Which one speaks for a run of several: a failed claim is knowledge, the others are the lack of it."""

MARK = {
    Verdict.REFUSED: ("R", "REFUSED"),
    Verdict.LABORATORY_BROKE: ("L", "LABORATORY BROKE"),
    Verdict.INVALID: ("I", "INVALID"),
}
"""Letter and word in pytest's progress, where they differ from its own F and FAILED."""


def classify(error: BaseException) -> Verdict:
    """The verdict that an exception out of a scenario stands for.

    An ``assert`` is a claim. An exception that nobody foresaw is a fault of the scenario or of ``hil``: nothing is
    known about the claim then.
    """
    if isinstance(error, HilError):
        by_status = {status: verdict for verdict, status in EXIT_STATUS.items()}
        return by_status.get(error.exit_status, Verdict.LABORATORY_BROKE)
    # pytest.fail() and pytest-timeout raise pytest's own Failed, which is no AssertionError.
    if isinstance(error, AssertionError) or type(error).__name__ == "Failed":
        return Verdict.CLAIM_FAILED
    return Verdict.LABORATORY_BROKE


def overall(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict on a run of several scenarios."""
    came = set(verdicts)
    return next((verdict for verdict in GRAVITY if verdict in came), Verdict.PASSED)
