"""What ``./run bench conformance`` reads in the tool's output."""

from __future__ import annotations

import pytest

from benchmarks.conformance import Found, parse, table, total
from hil.errors import LaboratoryError

SAID = """\
Suite: Write10
  Test: Simple ...passed
  Test: DpoFua ...    [SKIPPED] WRITE10 is not implemented.
passed
  Test: OneBlock ...    [FAILED] asked for 1, got 2
FAILED
Run Summary:    Type  Total    Ran Passed Failed Inactive
              suites      1      1    n/a      0        0
               tests      3      3      2      1        0
"""


def test_failed_and_skipped_tests_are_counted() -> None:
    assert parse("SCSI.Write10", SAID) == Found(3, 1, ("DpoFua",))


def test_a_tool_that_ended_early_is_an_error_of_the_laboratory() -> None:
    with pytest.raises(LaboratoryError, match=r"SCSI.Write10 ended without a result:\nlost"):
        parse("SCSI.Write10", "lost")


def test_the_table_has_the_families_that_are_not_perfect_and_the_sum() -> None:
    good, bad = Found(2, 0, ()), Found(3, 1, ("DpoFua",))
    said = table({"A": good, "B": good}, {"A": good, "B": bad}).splitlines()
    assert [line.split() for line in said[1:]] == [["B", "0", "0", "1", "1"], ["all", "0", "0", "1", "1"]]
    assert total({"A": good, "B": bad}) == Found(5, 1, ("B.DpoFua",))
