"""Where ``hil`` keeps things on the host, following the XDG base directory specification.

* cache (may be deleted at any time): ``$XDG_CACHE_HOME/hil``: images, packages, libvirt's capability cache.
* state: ``$XDG_STATE_HOME/hil/runs/<cluster>/<UTC time>/`` (evidence of runs; ``latest`` points at the newest),
  ``$XDG_STATE_HOME/hil/checkpoints/<name>/``.

Sockets are in neither: the bench's own is an abstract one, the machines' lie on a tmpfs in the bench's mount
namespace, so the kernel removes all of them with the last process (spec S10.1).
"""

from __future__ import annotations

import datetime
import os
from pathlib import Path


def _xdg(variable: str, fallback: str) -> Path:
    value = os.environ.get(variable, "")
    # The specification: a relative path there is invalid and ignored.
    base = Path(value) if value.startswith("/") else Path.home() / fallback
    return base / "hil"


def cache_dir() -> Path:
    """The cache directory, made if missing."""
    path = _xdg("XDG_CACHE_HOME", ".cache")
    path.mkdir(parents=True, exist_ok=True)
    return path


def runs_dir() -> Path:
    """The directory of all runs, one directory per cluster name; not necessarily existing."""
    return state_dir() / "runs"


def state_dir() -> Path:
    """The directory of all that is to be kept; not necessarily existing."""
    return _xdg("XDG_STATE_HOME", ".local/state")


def new_run_dir(cluster: str) -> Path:
    """Make the directory of a new run of ``cluster`` and point ``latest`` at it (what is in it: docs/evidence.md)."""
    parent = runs_dir() / cluster
    parent.mkdir(parents=True, exist_ok=True)
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    path = parent / stamp
    path.mkdir(parents=True)  # who prunes may just have removed an empty directory
    pending = parent / f".latest-{stamp}"
    pending.symlink_to(stamp)
    pending.replace(parent / "latest")
    return path


def latest_run_dir(cluster: str) -> Path | None:
    """The newest run of ``cluster``, or None if there never was one."""
    path = runs_dir() / cluster / "latest"
    return path.resolve() if path.exists() else None
