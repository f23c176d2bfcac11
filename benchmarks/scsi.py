"""``./run bench scsi``: how fast our SCSI target is against tgt, on this machine, now; and what its ledger costs.

Both serve a raw file of the same size on the same file system to the same client, ``iscsi-perf -b 8`` (4 KiB):
reads and writes, sequential and random, at depth 1 and 32, in turns within each round. Then the memory of ours under
8 initiators. Exit status 1 when a bound is missed. Options: ``--rounds R --seconds S --together --directory D --json``.

The files lie in memory (``/dev/shm``) unless told otherwise: what a write into the page cache of a disk's file system
costs differs by a quarter from one file to the next, whoever writes, and the host's own writing out disturbs the rest.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

from benchmarks.iscsi import figures, table, targets
from benchmarks.iscsi.debian import unpacked
from benchmarks.iscsi.perf import BLOCK_BYTES, BLOCKS, Case, Initiator, collect, compile_writes
from benchmarks.iscsi.processes import Neighbours, Placement, cpu_seconds, placement, resident_bytes_max
from benchmarks.iscsi.scratch import scratch
from hil.errors import HilError, UsageError

DISK_BYTES = 64 * 1024 * 1024
INITIATORS = 8  # for the memory
LEDGER_BYTES_PER_S = 64 * 200_000  # more than any target here answers
_CHUNK_BYTES = 1024 * 1024
SYNC = (
    "Neither syncs to the host's disk: ours runs without --sync, tgt has its write cache on, and the client asks for "
    "no FUA and no SYNCHRONIZE CACHE."
)


def main() -> int:
    """Run the rounds and print the figures; 0 when every bound is met, 1 when not, more as ``hil.errors`` says."""
    parser = argparse.ArgumentParser(prog="./run bench scsi", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="how often each load is repeated (9)")
    parser.add_argument("--seconds", type=int, default=1, help="how long each load runs (1)")
    parser.add_argument(
        "--directory", type=Path, default=Path("/dev/shm"), help="where disks and ledger lie (/dev/shm)"
    )
    parser.add_argument("--together", action="store_true", help="targets and initiator on one CPU instead of on two")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # unwinds, so the targets are ended
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    try:
        check(arguments)
        return measure(arguments)
    except HilError as error:
        print(f"bench scsi: {error}", file=sys.stderr)
        return error.exit_status


def check(arguments: argparse.Namespace) -> None:
    """Raises ``UsageError`` for what cannot be measured."""
    for name in ("rounds", "seconds"):
        if getattr(arguments, name) < 1:
            raise UsageError(f"--{name} {getattr(arguments, name)}: 1 or more is legal")
    needed = len(figures.NAMES) * DISK_BYTES + LEDGER_BYTES_PER_S * len(figures.CASES) * arguments.seconds
    try:
        free = shutil.disk_usage(arguments.directory).free
    except OSError as error:
        raise UsageError(f"--directory {arguments.directory}: {error.strerror}") from None
    if free < needed:
        raise UsageError(
            f"--directory {arguments.directory}: {free >> 20} MiB are free, {needed >> 20} are needed: "
            "name another one, or fewer --seconds"
        )


def measure(arguments: argparse.Namespace) -> int:
    """Everything; the targets and what they wrote are gone when it returns."""
    where = placement(together=arguments.together)
    tree = unpacked()
    with scratch(arguments.directory) as directory:
        initiator = Initiator(where.initiator, compile_writes(tree / "include", directory))
        disks = {target: directory / f"{index}.raw" for index, target in enumerate(figures.NAMES)}
        for disk in disks.values():
            fill(disk)
        samples: figures.ByCase = {case: {target: [] for target in figures.NAMES} for case in figures.CASES}
        for index in range(arguments.rounds):
            with ExitStack() as stack:
                running = start(stack, directory, disks, where, tree)
                run_round(index, running, initiator, arguments.seconds, samples)
        with targets.ours(directory, disks[figures.OURS], where.target, ledger(directory)) as target:
            resident_bytes = load_memory(target, initiator, arguments.seconds)
    rows = [figures.summarise(case, samples[case]) for case in figures.CASES]
    about = {
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "directory": str(arguments.directory),
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
        print(f"{BLOCKS * BLOCK_BYTES} bytes per command, {arguments.rounds} rounds of {arguments.seconds} s")
        print(f"{where}; files in {arguments.directory}")
        print(f"{about['processors']} processors, Linux {about['linux']}, Python {about['python']}, tgt {about['tgt']}")
        print(SYNC)
    return 0 if figures.all_met(rows, resident_bytes) else 1


def start(
    stack: ExitStack, directory: Path, disks: dict[str, Path], where: Placement, tree: Path
) -> dict[str, targets.RunningTarget]:
    """The three targets, by name."""
    ours, bare, tgt = (disks[name] for name in figures.NAMES)
    return {
        figures.OURS: stack.enter_context(targets.ours(directory, ours, where.target, ledger(directory))),
        figures.NO_LEDGER: stack.enter_context(targets.ours(directory, bare, where.target)),
        figures.TGT: stack.enter_context(targets.tgt(directory, tgt, where.target, tree)),
    }


def ledger(directory: Path) -> list[str]:
    """The options for one that begins now."""
    path = directory / "ledger.bin"
    path.unlink(missing_ok=True)
    return ["--ledger", str(path)]


def run_round(
    index: int,
    running: dict[str, targets.RunningTarget],
    initiator: Initiator,
    seconds: int,
    samples: figures.ByCase,
) -> None:
    """Every load against every target; who comes first changes from round to round."""
    first = index % len(figures.NAMES)
    for case in figures.CASES:
        for name in figures.NAMES[first:] + figures.NAMES[:first]:
            samples[case][name].append(sample(running[name], initiator, case, seconds))
        rates = ", ".join(f"{name} {samples[case][name][-1].commands_per_s}" for name in figures.NAMES)
        print(f"round {index + 1}, {' '.join(map(str, case))}: {rates}", file=sys.stderr, flush=True)


def fill(disk: Path) -> None:
    """With data, written out: reads of a hole and first writes to one are another matter."""
    chunk = random.Random(0).randbytes(_CHUNK_BYTES)
    with disk.open("wb") as file:
        for _ in range(DISK_BYTES // len(chunk)):
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


def sample(target: targets.RunningTarget, initiator: Initiator, case: Case, seconds: int) -> figures.Sample:
    """One load against one target."""
    neighbours = Neighbours(target.pid)
    before = cpu_seconds(target.pid)
    rate = initiator.run(target.url, case, seconds)
    cpu_us = (cpu_seconds(target.pid) - before) * 1e6 / (rate * seconds)
    return figures.Sample(rate, cpu_us, neighbours.part())


def load_memory(target: targets.RunningTarget, initiator: Initiator, seconds: int) -> int:
    """Peak resident memory in bytes after all initiators read, then wrote, at the same time."""
    for direction in ("read", "write"):
        case = Case(direction, "random", 32)
        names = [f"iqn.2026-11.hil:load{index}" for index in range(INITIATORS)]
        collect([initiator.start(target.url, case, seconds, name) for name in names], seconds)
    return resident_bytes_max(target.pid)


if __name__ == "__main__":
    raise SystemExit(main())
