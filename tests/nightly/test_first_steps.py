"""What docs/first-steps.md has people type, typed as it stands there, in its order, in a directory of its own.

What each command must come to is said here; a command that is on one side only fails the test. No cluster must be up: a
newcomer has none, and names none.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LIMIT_S = 600

CUT_OFF = "found itself forced out"
COMMANDS: dict[str, tuple[int, tuple[str, ...]]] = {
    "./run hil up": (0, ("is up: 3 nodes joined",)),
    "./run hil status": (0, ("n0", "n1", "n2")),
    "./run hil link cut 1 --silent": (0, ()),
    "sleep 8": (0, ()),
    "./run hil console 1 | grep -A 3 PANIC": (0, (CUT_OFF,)),
    "./run hil events | grep -E 'silent|bid|elected|fenced|panic'": (
        0,
        ("silent", "bid", "elected", "fenced", "panic"),
    ),
    "./run hil recheck": (0, ("held",)),
    "./run hil link heal 1": (0, ()),
    "./run hil power cycle 1": (0, ()),
    "./run hil down": (0, ()),
    "./run hil run first.py --backend sim": (0, ("1 passed",)),
    "./run hil run first.py": (0, ("1 passed",)),
    "sed 's/cluster.wait_joined()/assert cluster.wait_joined().master == victim.id/' first.py > last_night.py": (0, ()),
    "./run hil run last_night.py --backend sim --report reports": (1, ("claim failed",)),
    "cat reports/*/verdict.json": (0, ("claim failed", "--backend sim --seed 0")),
    "./run hil recheck reports/last_night.py-*": (0, ("held",)),
    "./run hil run last_night.py --backend sim --seed 0": (1, ("claim failed",)),
    "./run hil bundle reports/last_night.py-* -o failure.tar.zst": (0, ("failure.tar.zst",)),
    "./run hil replay failure.tar.zst": (
        1,
        ("recorded:  claim failed", "replayed:  claim failed", "the very run again"),
    ),
}
"""Exit status, and what is printed among other things."""

STATUSES = (("joined", "joined", "joined"), ("joined", "crashed", "joined"))
"""`status` before and after the cut."""

pytestmark = [pytest.mark.lab, pytest.mark.timeout(3 * LIMIT_S)]


def test_each_command_of_the_first_steps_does_what_the_page_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").write_text(f'#!/bin/sh\nexec "{TREE}/run" "$@"\n')
    (tmp_path / "run").chmod(0o755)
    environment = os.environ | {"XDG_STATE_HOME": str(tmp_path / "state")}
    others = subprocess.run(
        [tmp_path / "run", "hil", "list"], env=environment, capture_output=True, text=True, check=True
    )
    assert not others.stdout, f"clusters that are up: {others.stdout}"
    typed: set[str] = set()
    statuses = iter(STATUSES)
    try:
        for kind, text in BLOCK.findall((TREE / "docs/first-steps.md").read_text()):
            if kind == "python":
                (tmp_path / "first.py").write_text(text)
                continue
            for command in text.splitlines():
                assert command in COMMANDS, f"a new command: {command}"
                typed.add(command)
                with capsys.disabled():
                    print(f"$ {command}", flush=True)
                done = subprocess.run(
                    ["bash", "-c", command],
                    cwd=tmp_path,
                    env=environment,
                    capture_output=True,
                    text=True,
                    timeout=LIMIT_S,
                    check=False,
                )
                status, wanted = COMMANDS[command]
                said = f"{command}\n{done.stdout}{done.stderr}"
                assert done.returncode == status, said
                for one in wanted:
                    assert one in done.stdout + done.stderr, said
                if command == "./run hil status":
                    shown = dict(zip(("n0", "n1", "n2"), next(statuses), strict=True))
                    for node, state in shown.items():
                        (row,) = (line for line in done.stdout.splitlines() if line.split()[:1] == [node])
                        assert state in row, said
    finally:
        subprocess.run(
            ["./run", "hil", "down", "demo"], cwd=tmp_path, env=environment, capture_output=True, check=False
        )
    assert typed == set(COMMANDS), "the page has them no more"
