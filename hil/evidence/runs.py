"""The runs that are kept: which there are, what came of each, and which one somebody means."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hil import paths
from hil.errors import UsageError
from hil.evidence import layout
from hil.verdict import Verdict

RUNNING: Final = "running"
UNJUDGED: Final = "unjudged"
"""It ended in order, and nobody had claimed anything of it: ``hil up``."""
CUT_SHORT: Final = "cut short"
"""Its bench was killed before anybody judged it."""

_TAIL_BYTES: Final = 1 << 16
"""After ``bench-stopping`` come the ends of the machines only."""
_BEGINNING_S: Final = 3600.0
"""So long a folder without events may be one of a run that begins."""
_LOOKS, _LOOK_S = 3, 0.005
"""Another one who looks holds the lock, too, for an instant."""
_STAMP: Final = "%Y%m%dT%H%M%S.%fZ"


@dataclass(frozen=True)
class Run:
    """One folder."""

    path: Path
    verdict: str
    """One of :class:`hil.verdict.Verdict`, or ``running``, ``unjudged``, ``cut short``."""
    size: int
    """Bytes that it takes on the disk; the holes of the shared disk take none."""
    began: float
    """Seconds since the epoch."""
    test: str | None = None

    @property
    def name(self) -> str:
        """As it is typed: CLUSTER/TIME."""
        return f"{self.path.parent.name}/{self.path.name}"

    @property
    def failed(self) -> bool:
        """Whether it was judged and did not pass."""
        return self.verdict not in (Verdict.PASSED, RUNNING, UNJUDGED, CUT_SHORT)

    def as_dict(self) -> dict[str, Any]:
        """Keys are stable."""
        return {
            "run": self.name,
            "path": str(self.path),
            "verdict": str(self.verdict),
            "test": self.test,
            "bytes": self.size,
            "began": datetime.datetime.fromtimestamp(self.began, datetime.UTC).isoformat(timespec="seconds"),
            "age_s": round(time.time() - self.began),
        }


def everything() -> list[Run]:
    """All that are kept, the newest first."""
    found = [look(path) for path in directories()]
    return sorted(found, key=lambda run: (run.began, run.name), reverse=True)


def directories() -> list[Path]:
    """Of all runs."""
    return [path for path in paths.runs_dir().glob("*/*") if path.is_dir() and not path.is_symlink()]


def look(path: Path) -> Run:
    """What is known of the run in ``path``, whatever state it is in."""
    said = verdict_of(path)
    verdict = RUNNING if in_use(path) else str(said.get("verdict", ""))  # a cluster that is kept goes on, judged or not
    if not verdict:
        verdict = UNJUDGED if _ended(path) else CUT_SHORT
    test = said.get("test")
    return Run(path, verdict, _size(path), _began(path), str(test) if test else None)


def verdict_of(path: Path) -> dict[str, Any]:
    """What ``verdict.json`` says; nothing where there is none, or none that can be read."""
    try:
        said = json.loads((path / layout.VERDICT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def in_use(path: Path) -> bool:
    """Whether the run still goes on: whoever writes its events holds a lock on them, which the kernel drops with it."""
    try:
        with open(path / layout.EVENTS, "rb") as events:
            for _ in range(_LOOKS):
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(events, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return False
                time.sleep(_LOOK_S)
    except FileNotFoundError:
        return time.time() - _began(path) < _BEGINNING_S
    except OSError:  # a file system without locks
        return False
    return True


def newest(cluster: str | None = None) -> Path | None:
    """The newest run of ``cluster``, or of all."""
    found = [path for path in directories() if cluster in (None, path.parent.name)]
    return max(found, key=lambda path: (path.name, path.parent.name), default=None)


def find(run: str | None) -> Path:
    """The directory of ``run``: itself, CLUSTER/TIME, the newest of a cluster, or (None) the newest of all.

    Raises :class:`UsageError` listing the clusters that have left one.
    """
    if run is not None and Path(run).is_dir():
        return Path(run).resolve()
    if run is not None and run.count("/") == 1 and (paths.runs_dir() / run).is_dir():
        return (paths.runs_dir() / run).resolve()
    if (found := newest(run)) is not None:
        return found.resolve()
    clusters = sorted({path.parent.name for path in directories()})
    there = f"there are runs of: {', '.join(clusters)}" if clusters else f"there are no runs in {paths.runs_dir()}"
    raise UsageError(f"no run {run!r}, and no such directory or bundle; {there}" if run else there)


@contextlib.contextmanager
def opened(run: str | None) -> Iterator[tuple[Path, str]]:
    """The directory of ``run`` as :func:`find` knows it, or of a bundle's content, within the block; what to type."""
    if run is not None and Path(run).is_file():
        from hil.evidence.bundle import SUFFIX, unpacked  # a library that what only prunes does without

        if not run.endswith(SUFFIX):
            raise UsageError(f"{run} is no run: legal are a run's directory, a cluster's name, a bundle (*{SUFFIX})")
        with unpacked(Path(run)) as directory:
            yield directory, run
    else:
        directory = find(run)
        yield directory, str(directory)


def _ended(path: Path) -> bool:
    try:
        with open(path / layout.EVENTS, "rb") as events:
            events.seek(max(0, os.fstat(events.fileno()).st_size - _TAIL_BYTES))
            return b'"kind":"bench-stopping"' in events.read()
    except OSError:
        return False


def _size(path: Path) -> int:
    total = 0
    with contextlib.suppress(OSError), os.scandir(path) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                total += entry.stat(follow_symlinks=False).st_blocks * 512
    return total


def _began(path: Path) -> float:
    """By its name, or (a folder that somebody has made) by its time."""
    try:
        return datetime.datetime.strptime(path.name, _STAMP).replace(tzinfo=datetime.UTC).timestamp()
    except ValueError:
        try:
            return path.stat().st_mtime
        except OSError:
            return 0.0
