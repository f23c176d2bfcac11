"""``./run bench scsi``: how fast our SCSI target is against tgt, on this machine, now; and what its ledger costs.

Both serve a raw file of the same size on the same file system to the same client, ``iscsi-perf -b 8`` (4 KiB):
reads and writes, sequential and random, at depth 1 and 32, in turns within each round. Then the memory of ours under
8 initiators. Exit status 1 when a bound is missed. Options: ``--rounds R --seconds S --together --json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.iscsi import figures, table, targets
from benchmarks.iscsi.debian import unpacked
from benchmarks.iscsi.perf import BLOCK_BYTES, BLOCKS, Case, Initiator, collect, compile_writes
from benchmarks.iscsi.processes import Placement, cpu_seconds, placement, resident_bytes_max
from hil.errors import HilError, UsageError
from hil.paths import cache_dir

DISK_BYTES = 64 * 1024 * 1024
INITIATORS = 8  # for the memory
_CHUNK_BYTES = 1024 * 1024
SYNC = (
    "neither syncs to the host's disk: ours runs without --sync, tgt has its write cache on, and the client asks for "
    "no FUA and no SYNCHRONIZE CACHE"
)


def main() -> int:
    """Run the rounds and print the figures; 0 when every bound is met, 1 when not, more as ``hil.errors`` says."""
    parser = argparse.ArgumentParser(prog="./run bench scsi", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often each load is repeated (5)")
    parser.add_argument("--seconds", type=int, default=2, help="how long each load runs (2)")
    parser.add_argument("--together", action="store_true", help="targets and initiator on one CPU instead of on two")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # unwinds, so the targets are ended
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    try:
        for name in ("rounds", "seconds"):
            if getattr(arguments, name) < 1:
                raise UsageError(f"--{name} {getattr(arguments, name)}: 1 or more is legal")
        return measure(arguments)
    except HilError as error:
        print(f"bench scsi: {error}", file=sys.stderr)
        return error.exit_status


def measure(arguments: argparse.Namespace) -> int:
    """Everything; the targets and what they wrote are gone when it returns."""
    where = placement(together=arguments.together)
    tree = unpacked()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=cache_dir() / "benchmarks")))
        initiator = Initiator(where.initiator, compile_writes(tree / "include", directory))
        running = start(stack, directory, where, tree)
        samples = run_rounds(running, initiator, arguments.rounds, arguments.seconds)
        resident_bytes = load_memory(running[figures.OURS], initiator, arguments.seconds)
    rows = [figures.summarise(case, samples[case]) for case in figures.CASES]
    about = {
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "placement": str(where),
        "processors": os.cpu_count(),
        "linux": platform.release(),
        "python": platform.python_version(),
        "tgt": targets.tgt_version(tree),
        "sync": SYNC,
    }
    if arguments.json:
        print(json.dumps(about | figures.as_json(rows, resident_bytes, samples)))
    else:
        print(f"\n{table.table(rows, resident_bytes)}\n")
        print(
            f"{BLOCKS * BLOCK_BYTES} bytes per command; medians of {arguments.rounds} rounds of {arguments.seconds} s"
        )
        print(f"{where}; {os.cpu_count()} processors, Linux {about['linux']}, Python {about['python']}")
        print(f"tgt {about['tgt']} with its defaults; {SYNC}")
    return 0 if figures.all_met(rows, resident_bytes) else 1


def start(stack: ExitStack, directory: Path, where: Placement, tree: Path) -> dict[str, targets.RunningTarget]:
    """The three targets, by name, each with a disk of its own."""
    disks = [directory / f"{name}.raw" for name in ("ours", "bare", "tgt")]
    for disk in disks:
        fill(disk)
    ledger = ("--ledger", str(directory / "ledger.bin"))
    return {
        figures.OURS: stack.enter_context(targets.ours(directory, disks[0], where.target, ledger)),
        figures.NO_LEDGER: stack.enter_context(targets.ours(directory, disks[1], where.target)),
        figures.TGT: stack.enter_context(targets.tgt(directory, disks[2], where.target, tree)),
    }


def fill(disk: Path) -> None:
    """With data, written out: reads of a hole and first writes to one are another matter."""
    chunk = random.Random(0).randbytes(_CHUNK_BYTES)
    with disk.open("wb") as file:
        for _ in range(DISK_BYTES // len(chunk)):
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


def run_rounds(
    running: dict[str, targets.RunningTarget], initiator: Initiator, rounds: int, seconds: int
) -> dict[Case, dict[str, list[figures.Sample]]]:
    """Every load against every target, ``rounds`` times; who comes first changes from round to round."""
    samples: dict[Case, dict[str, list[figures.Sample]]] = {
        case: {name: [] for name in figures.NAMES} for case in figures.CASES
    }
    for index in range(rounds):
        first = index % len(figures.NAMES)
        for case in figures.CASES:
            for name in figures.NAMES[first:] + figures.NAMES[:first]:
                samples[case][name].append(sample(running[name], initiator, case, seconds))
            rates = ", ".join(f"{name} {samples[case][name][-1].commands_per_s}" for name in figures.NAMES)
            print(f"round {index + 1}, {' '.join(map(str, case))}: {rates}", file=sys.stderr, flush=True)
    return samples


def sample(target: targets.RunningTarget, initiator: Initiator, case: Case, seconds: int) -> figures.Sample:
    """One load against one target."""
    before = cpu_seconds(target.pid)
    rate = initiator.run(target.url, case, seconds)
    return figures.Sample(rate, (cpu_seconds(target.pid) - before) * 1e6 / (rate * seconds or 1))


def load_memory(target: targets.RunningTarget, initiator: Initiator, seconds: int) -> int:
    """Peak resident memory in bytes after all initiators read, then wrote, at the same time."""
    for direction in ("read", "write"):
        case = Case(direction, "random", 32)
        names = [f"iqn.2026-11.hil:load{index}" for index in range(INITIATORS)]
        collect([initiator.start(target.url, case, seconds, name) for name in names], seconds)
    return resident_bytes_max(target.pid)


if __name__ == "__main__":
    raise SystemExit(main())
