"""Which runs are kept: all that failed, and of the others the newest, by number, size and age.

| environment | default | of the runs that did not fail |
|---|---|---|
| ``HIL_RUNS_KEPT`` | 50 | how many, of all clusters together |
| ``HIL_RUNS_MIB`` | 4096 | how many MiB they take together |
| ``HIL_RUNS_DAYS`` | 30 | how old they get |

What begins prunes; a run that still goes on is never touched.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hil.errors import UsageError
from hil.evidence.runs import RUNNING, Run, everything

KEPT, MIB, DAYS = "HIL_RUNS_KEPT", "HIL_RUNS_MIB", "HIL_RUNS_DAYS"
DEFAULTS: Final = {KEPT: 50, MIB: 4096, DAYS: 30}
_DAY_S: Final = 86_400


@dataclass(frozen=True)
class Limits:
    """The newest that keep within all three stay."""

    runs: int
    mib: int
    days: int

    @classmethod
    def of_environment(cls) -> Limits:
        """Raises :class:`UsageError` for a value that is no number."""
        return cls(_number(KEPT), _number(MIB), _number(DAYS))


def _number(variable: str) -> int:
    text = os.environ.get(variable, "") or str(DEFAULTS[variable])
    if not text.isascii() or not text.isdecimal():
        raise UsageError(f"{variable}={text}: legal are whole numbers from 0; default: {DEFAULTS[variable]}")
    return int(text)


def superfluous(runs: list[Run], limits: Limits, now: float, *, failed: bool = False) -> list[Run]:
    """Those to be removed of ``runs`` (the newest first); ``failed``: those that failed are no better than others."""
    removed, count, size = [], 0, 0
    for run in runs:
        if run.verdict == RUNNING or (run.failed and not failed):
            continue
        count, size = count + 1, size + run.size
        if count > limits.runs or size > limits.mib << 20 or now - run.began > limits.days * _DAY_S:
            removed.append(run)
    return removed


def prune(limits: Limits | None = None, *, failed: bool = False, dry_run: bool = False) -> list[Run]:
    """Remove what is superfluous; what that was. Two at once are fine.

    ``limits``: None: those of the environment. Raises as :meth:`Limits.of_environment`.
    """
    removed = superfluous(everything(), limits or Limits.of_environment(), time.time(), failed=failed)
    if not dry_run:
        for run in removed:
            shutil.rmtree(run.path, ignore_errors=True)
            _remove_empty(run.path.parent)
    return removed


def _remove_empty(cluster: Path) -> None:
    """What is left of a cluster without runs: a link to the newest that there was."""
    if (cluster / "latest").is_symlink() and not (cluster / "latest").exists():
        (cluster / "latest").unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # another run has begun
            cluster.rmdir()
