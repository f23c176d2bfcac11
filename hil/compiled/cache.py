"""Where the compiled modules are kept: in the cache, by what they were made of. Sources that changed have others."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

from hil.compiled.build import FLAGS
from hil.compiled.sources import ROOT
from hil.paths import cache_dir

KEPT: Final = 3
"""So many builds stay, the newest ones: of different checkouts and Pythons."""

_BUILD: Final = "hil.compiled.build"
_MADE_OF: Final = ("guestd", "hil/checkers", "hil/compiled", "hil/scsi", "hil/sim", "hil/errors.py")


class NotBuilt(Exception):
    """There is no mypyc or no compiler here, or one of them does not take the sources; says where all of it stands."""


def found() -> Path | None:
    """The directory of the modules that were made of these very sources by this Python; None: not built yet."""
    key = _key()
    place = None if key is None else _home() / key
    return place if place is not None and place.is_dir() else None


def built() -> Path:
    """The same; built now if need be, in two to five minutes. Raises :class:`NotBuilt`."""
    key = _key()
    if key is None:
        raise NotBuilt("mypy is not installed")
    home = _home()
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # who comes second finds what the first has built
        place = home / key
        if not place.is_dir():
            _build(home, place)
            _prune(home)
        return place


def _build(home: Path, place: Path) -> None:
    log = home / "build.log"
    with tempfile.TemporaryDirectory(dir=home, prefix="building-") as directory:
        command = [sys.executable, "-m", _BUILD, directory]
        with log.open("w") as told:
            status = subprocess.run(command, cwd=ROOT, stdout=told, stderr=subprocess.STDOUT, check=False).returncode
        if status:
            lines = log.read_text().splitlines()
            why = [line for line in lines if ": error:" in line] or lines
            raise NotBuilt(f"{' / '.join(why[-3:])} (all of it: {log})")
        (Path(directory) / "modules").rename(place)


def _prune(home: Path) -> None:
    builds = [place for place in home.iterdir() if place.is_dir() and not place.name.startswith("building-")]
    for old in sorted(builds, key=lambda place: place.stat().st_mtime)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def _home() -> Path:
    home = cache_dir() / "simulator"
    home.mkdir(exist_ok=True)
    return home


def _key() -> str | None:
    """Of everything that they are made of and by; None: without mypy they cannot be made."""
    try:
        mypy = metadata.version("mypy")
    except metadata.PackageNotFoundError:
        return None
    digest = hashlib.sha256(f"{sysconfig.get_config_var('SOABI')} {sys.version} {mypy} {FLAGS}".encode())
    for place in _files():
        digest.update(f"\n{place.relative_to(ROOT)}\n".encode() + place.read_bytes())
    return digest.hexdigest()[:32]


def _files() -> Iterator[Path]:
    for name in _MADE_OF:
        place = ROOT / name
        yield from [place] if place.is_file() else sorted(place.rglob("*.py"))
