"""Whether a seed gives the same trace in another process, with another hash seed, on another Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
WANTED = ("3.11", "3.12", "3.13")
HASH_SEEDS = ("1", "4711")
SEEDS = (1, 3, 8)
_PROGRAM = """
import sys
from pathlib import Path
from hil.compiled.use import start
start(Path(sys.argv[1]) if sys.argv[1] else None)
from hil.sim.options import draw
from hil.sim.run import run
for seed in sys.argv[2:]:
    print(run(draw(int(seed))).digest)
"""


def interpreter(version: str) -> Path | None:
    """A Python of that version: the one that runs this, one on the path, or one of pyenv's; None: there is none."""
    candidates = [Path(sys.executable)]
    candidates += [Path(place) / f"python{version}" for place in os.get_exec_path()]
    candidates += sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"), reverse=True)
    return next((candidate for candidate in candidates if _is(candidate, version)), None)


def _is(candidate: Path, version: str) -> bool:
    """It runs, too: pyenv puts a script in the path for versions that are not chosen."""
    if not candidate.is_file():
        return False
    told = subprocess.run(
        [str(candidate), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        capture_output=True,
        text=True,
        check=False,
    )
    return told.returncode == 0 and told.stdout.strip() == version


def digests(python: Path, hash_seed: str, seeds: tuple[int, ...] = SEEDS, compiled: Path | None = None) -> list[str]:
    """Of these seeds, in a process of its own. compiled: of the modules that are there."""
    told = subprocess.run(
        [str(python), "-c", _PROGRAM, str(compiled or ""), *map(str, seeds)],
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=True,
        text=True,
    )
    return told.stdout.split()
