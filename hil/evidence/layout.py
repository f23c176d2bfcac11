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


SECRET: Final = (KEY, KNOWN_HOSTS, SEED)
"""Keys of a cluster: they never leave the host."""

_DISK: Final = re.compile(r"disk(?:-[1-7])?\.raw")
_BESIDE_DISK: Final = re.compile(rf"{_DISK.pattern}\.reservations|{re.escape(KEPT_DATA)}\.base[0-7]")
_CONSOLE: Final = re.compile(r"console-n(?:0|[1-9]\d?)\.(?:log|times)")
_OTHERS: Final = frozenset({MANIFEST, CLUSTER, EVENTS, LEDGER, KEPT_DATA, CAPTURE, BENCH_LOG, VERDICT})


def disk(lun: int) -> str:
    """The image of that LUN of the shared disk."""
    return f"disk-{lun}.raw" if lun else DISK


def reservations(lun: int) -> str:
    """Who may write to that LUN."""
    return f"{disk(lun)}.reservations"


def base(lun: int) -> str:
    """That LUN before anything was written: with the kept data it is the disk at any command."""
    return f"{KEPT_DATA}.base{lun}"


def is_disk(name: str) -> bool:
    """Whether it is the image of a LUN."""
    return _DISK.fullmatch(name) is not None


def is_base(name: str) -> bool:
    """Whether it is a LUN before anything was written."""
    return _BESIDE_DISK.fullmatch(name) is not None and name.startswith(KEPT_DATA)


def console(node: int) -> str:
    """The console of ``node``."""
    return f"console-n{node}.log"


def console_times(node: int) -> str:
    """When the console of ``node`` has shown what (:mod:`hil.console_times`)."""
    return f"console-n{node}.times"


def is_evidence(name: str) -> bool:
    """Whether a file of that name belongs to a run and may be handed on."""
    return name in _OTHERS or any(one.fullmatch(name) for one in (_DISK, _BESIDE_DISK, _CONSOLE))
