"""Translate a tree of sources to C by mypyc, and that to extension modules by the C compiler, on all processors.

``python -m hil.compiled.build DIRECTORY``: makes ``DIRECTORY/sources`` and, beside it, ``DIRECTORY/modules`` with the
extension modules. mypyc belongs to mypy, the compiler and Python's headers to what ``./run`` needs anyway.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hil.compiled.sources import write_tree

if TYPE_CHECKING:
    from collections.abc import Sequence

FLAGS: Final = ("-O2", "-fPIC", "-fwrapv", "-fno-semantic-interposition", "-fno-plt", "-DNDEBUG", "-w")
_LINKED: Final = ("-shared", "-Wl,-Bsymbolic")  # calls between modules go straight there
_MYPY: Final = ("--explicit-package-bases", "--ignore-missing-imports", "--follow-imports=silent")


def translate(tree: Path, files: Sequence[str]) -> Sequence[Any]:
    """To C, below ``tree/build``; returns setuptools' descriptions of the extension modules.

    Changes the working directory, for mypyc names everything relative to it. Exits with status 1, and says why on
    standard output, for a module that mypyc does not take.
    """
    from mypyc.build import mypycify

    os.chdir(tree)
    made: Sequence[Any] = mypycify([*_MYPY, *files], opt_level="2", debug_level="0", multi_file=True)
    return made


def compile_tree(tree: Path, files: Sequence[str], modules: Path) -> None:
    """These files of it, all together. Raises CalledProcessError if the C compiler fails."""
    extensions = translate(tree, files)
    places = {*(place for one in extensions for place in one.include_dirs), sysconfig.get_path("include"), "build"}
    include = [f"-I{place}" for place in sorted(places)]

    def compiled(source: str) -> str:
        made = str(Path("build") / f"{source.replace('/', '_')}.o")
        subprocess.run(["gcc", *FLAGS, *include, "-c", source, "-o", made], check=True)
        return made

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        objects = dict(pool.map(lambda source: (source, compiled(source)), {s for e in extensions for s in e.sources}))
        for one in extensions:
            made = modules / f"{one.name.replace('.', '/')}.so"
            made.parent.mkdir(parents=True, exist_ok=True)
            parts = [objects[source] for source in one.sources]
            subprocess.run(["gcc", *_LINKED, *FLAGS, "-o", str(made), *parts], check=True)


if __name__ == "__main__":
    _directory = Path(sys.argv[1]).resolve()
    compile_tree(_directory / "sources", write_tree(_directory / "sources"), _directory / "modules")
