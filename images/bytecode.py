"""Compiles Python files with the guest's own interpreter, run on the host from the unpacked tree.

Its bytecode is what the guest reads, and the image's bytes do not depend on the Python that builds it. "Unchecked" pyc
files (PEP 552) hold a hash of the source that nobody compares: no clock goes in, and importing a module does not look
at its source. Without them every import costs half as much again under emulation.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from images.commands import run

STAGE = "python"
LIBRARIES = "usr/lib/x86_64-linux-gnu"

# The names come on the standard input, one per line: argument lists have an end.
SCRIPT = """\
import py_compile, sys
root = sys.argv[1]
unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
for name in sys.stdin.read().splitlines():
    py_compile.compile(f"{root}/{name}", dfile=f"/{name}", doraise=True, invalidation_mode=unchecked)
"""


def compile_files(python_tree: Path, tree: Path, names: Iterable[str]) -> None:
    """Compile ``names`` (relative to ``tree``) into their ``__pycache__``, with the interpreter in ``python_tree``.

    A syntax error becomes a ``BuildError`` that shows it.
    """
    in_order = sorted(names)
    run_python(python_tree, SCRIPT, [str(tree)], "".join(f"{name}\n" for name in in_order))
    for cache in {(tree / name).parent / "__pycache__" for name in in_order}:
        cache.chmod(0o755)
        for compiled in cache.iterdir():
            compiled.chmod(0o644)


def run_python(python_tree: Path, script: str, arguments: list[str], typed: str) -> None:
    """Run ``script`` with the interpreter in ``python_tree``; ``typed`` is its standard input."""
    libraries = python_tree / LIBRARIES
    argv = [
        str(libraries / "ld-linux-x86-64.so.2"),
        "--library-path",
        str(libraries),
        str(python_tree / "usr/bin/python3.11"),
        *("-s", "-S", "-B", "-X", "utf8", "-c", script, *arguments),
    ]
    # PYTHONHASHSEED: a set's order must not reach the bytes.
    env = {"PYTHONHOME": str(python_tree / "usr"), "PYTHONHASHSEED": "0", "PATH": "/usr/bin:/bin"}
    remedy = "if the file above is guestd's, correct it; else `hil image build --refresh`"
    run(STAGE, argv, remedy=remedy, env=env, typed=typed)
