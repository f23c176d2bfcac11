"""``./run bench conformance``: what ``iscsi-test-cu --dataloss`` says of our target and of tgt.

Every family of tests runs in a process of its own on a new disk. A test that skips, in part or whole, found something
missing; two families skip on both: of two paths only one is given, and neither disk is write-protected.
Exit status 1 when ours fails a test, or skips as many as tgt. Option: ``--json``.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks.iscsi import targets
from benchmarks.iscsi.debian import unpacked
from benchmarks.iscsi.processes import need
from benchmarks.iscsi.scratch import scratch
from hil.errors import HilError, LaboratoryError

DISK_BYTES = 64 * 1024 * 1024
_FAMILY_TIMEOUT_S = 300.0
_COUNTS = re.compile(r"^\s*tests +(\d+) +(\d+) +(\d+) +(\d+) +(\d+)", re.MULTILINE)  # total, ran, passed, failed, …


class Found(NamedTuple):
    """Of one family at one target: how many tests there are and fail, and the names of those that skip."""

    tests: int
    failed: int
    skipped: tuple[str, ...]


def main() -> int:
    """Run the families and print the figures."""
    parser = argparse.ArgumentParser(prog="./run bench conformance", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    arguments = parser.parse_args()
    try:
        ours, tgt = measure()
    except HilError as error:
        print(f"bench conformance: {error}", file=sys.stderr)
        return error.exit_status
    met = not total(ours).failed and len(total(ours).skipped) < len(total(tgt).skipped)
    if arguments.json:
        print(json.dumps({"ours": as_json(ours), "tgt": as_json(tgt), "met": met}))
    else:
        print(table(ours, tgt))
        print(f"bounds: ours fails none and skips fewer than tgt: {'ok' if met else 'MISS'}")
    return 0 if met else 1


def measure() -> tuple[dict[str, Found], dict[str, Found]]:
    """By family: of ours, of tgt. Raises ``HilError``."""
    tool, tree = need("iscsi-test-cu", "libiscsi-bin"), unpacked()
    listed = subprocess.run([tool, "--list"], capture_output=True, text=True, check=True).stdout.split()
    families = sorted(name for name in set(listed) if re.fullmatch(r"i?SCSI\.[^.]+", name))
    with scratch(Path("/dev/shm")) as directory:
        disk = directory / "disk.raw"
        start_ours = partial(targets.ours, directory, disk, None)
        start_tgt = partial(targets.tgt, directory, disk, None, tree)
        return run_families(tool, families, disk, start_ours), run_families(tool, families, disk, start_tgt)


def run_families(
    tool: str, families: list[str], disk: Path, start: Callable[[], AbstractContextManager[targets.RunningTarget]]
) -> dict[str, Found]:
    """Each at a target, and on a disk, of its own."""
    found = {}
    for family in families:
        disk.unlink(missing_ok=True)
        with disk.open("wb") as file:
            file.truncate(DISK_BYTES)
        with start() as target:
            found[family] = run_family(tool, family, target.url)
        print(f"{family}: {found[family].failed} failed, {len(found[family].skipped)} skipped", file=sys.stderr)
    return found


def run_family(tool: str, family: str, url: str) -> Found:
    """Raises ``LaboratoryError`` when the tool does not come to its end."""
    argv = [tool, "--dataloss", "-V", "-t", family, url]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_FAMILY_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise LaboratoryError(f"{family} did not end within {_FAMILY_TIMEOUT_S:.0f} s") from None
    return parse(family, done.stdout + done.stderr)


def parse(family: str, said: str) -> Found:
    """What the tool said. Raises ``LaboratoryError``."""
    counts = _COUNTS.search(said)
    if not counts:
        raise LaboratoryError(f"{family} ended without a result:\n{said[-2000:]}")
    _, *tests = re.split(r"^  Test: (\S+) \.\.\.", said, flags=re.MULTILINE)
    named = zip(tests[::2], tests[1::2], strict=True)
    return Found(int(counts[1]), int(counts[4]), tuple(name for name, text in named if "[SKIP" in text))


def total(found: dict[str, Found]) -> Found:
    """Over all families."""
    every = found.values()
    skipped = tuple(f"{family}.{name}" for family, one in found.items() for name in one.skipped)
    return Found(sum(one.tests for one in every), sum(one.failed for one in every), skipped)


def table(ours: dict[str, Found], tgt: dict[str, Found]) -> str:
    """A line for each family of which something is to be told."""
    lines = [f"{'':28} {'ours: failed, skipped':>24} {'tgt: failed, skipped':>24}"]
    for family in [*ours, "all"]:
        pair = (total(ours), total(tgt)) if family == "all" else (ours[family], tgt[family])
        if any(one.failed or one.skipped for one in pair):
            lines.append(f"{family:28}" + "".join(f"{one.failed:18} {len(one.skipped):5} " for one in pair))
    return "\n".join(lines)


def as_json(found: dict[str, Found]) -> dict[str, object]:
    """All of it, by family."""
    return {family: one._asdict() for family, one in found.items()}


if __name__ == "__main__":
    raise SystemExit(main())
