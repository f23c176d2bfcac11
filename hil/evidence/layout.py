"""The layout of a run's folder: every file of it by name (docs/evidence.md). Both back ends leave the same."""

from __future__ import annotations

import re
from typing import Final

FORMAT: Final = 1
"""Of the folder, in its manifest; raised when a file is called otherwise or says something else."""

MANIFEST: Final = "manifest.json"
CLUSTER: Final = "cluster.json"
"""What was asked for, and what the host found out beforehand: the order to the bench."""
EVENTS: Final = "events.jsonl"
LEDGER: Final = "ledger.bin"
KEPT_DATA: Final = "kept.data"
DISK: Final = "disk.raw"
CAPTURE: Final = "interconnect.pcap"
BENCH_LOG: Final = "bench.log"
VERDICT: Final = "verdict.json"
KEY: Final = "id_ed25519"
KNOWN_HOSTS: Final = "known_hosts"
SEED: Final = "seed.json"
"""What the guests were told, their host keys among it."""

RESERVATIONS: Final = f"{DISK}.reservations"
BASE: Final = f"{KEPT_DATA}.base0"
"""The disk before anything was written: with the kept data it is the disk at any command."""

SECRET: Final = (KEY, KNOWN_HOSTS, SEED)
"""Keys of a cluster: they never leave the host."""

_CONSOLE: Final = re.compile(r"console-n(?:0|[1-9]\d?)\.(?:log|times)")
_OTHERS: Final = frozenset(
    {MANIFEST, CLUSTER, EVENTS, LEDGER, KEPT_DATA, BASE, DISK, RESERVATIONS, CAPTURE, BENCH_LOG, VERDICT}
)


def console(node: int) -> str:
    """The console of ``node``."""
    return f"console-n{node}.log"


def console_times(node: int) -> str:
    """When the console of ``node`` has shown what (:mod:`hil.console_times`)."""
    return f"console-n{node}.times"


def is_evidence(name: str) -> bool:
    """Whether a file of that name belongs to a run and may be handed on."""
    return name in _OTHERS or _CONSOLE.fullmatch(name) is not None
