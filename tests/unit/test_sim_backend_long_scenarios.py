"""The scenarios that take minutes on guests, in the simulator; and the one of docs/scenarios.md.

For more seeds: tests/nightly/test_sim_seeds.py.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from hil.runner import Options, arguments
from tests.unit.test_sim_backend_scenarios import LONG, ROOT, SCENARIOS, check_passes, evidence

__all__ = ["evidence"]  # a fixture

SEEDS = 3
SEEDS_OF = {"power_failure_under_load": 1}
"""It has 55 rounds."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [name for name in LONG if name in SCENARIOS])
def test_every_long_scenario_passes(tmp_path: Path, name: str) -> None:  # S10.9
    check_passes(name, SEEDS_OF.get(name, SEEDS), tmp_path / "junit.xml")


def test_the_scenario_of_the_page_passes_and_fails_as_the_page_says(tmp_path: Path) -> None:
    def played(text: str) -> str:
        path = tmp_path / "link_lost.py"
        path.write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "pytest", *arguments([str(path)], Options(backend="sim"))]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout

    page = (ROOT / "docs" / "scenarios.md").read_text(encoding="utf-8")
    (source,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    passed = played(source)
    assert "1 passed" in passed, passed[-3000:]
    wrong = source.replace("forced out", "hunger")
    assert wrong != source
    failed = played(wrong)
    assert re.search(r"node \d panicked at .*: .*forced out.*; nobody declared", failed), failed[-3000:]
    assert re.search(r"end of console-n.*repeat it: hil run ", failed, re.DOTALL), failed[-3000:]
