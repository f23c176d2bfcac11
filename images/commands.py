"""Runs the few programs the builder needs, and turns their failures into a ``BuildError``."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from images.errors import BuildError

LINES_SHOWN = 6
NO_SPACE = ("No space left on device", "enough free space")  # the latter is apt's


def find_tool(name: str, package: str, stage: str) -> str:
    """The path of a program; a ``BuildError`` that names its Debian package when the host lacks it."""
    # An ordinary user's PATH often lacks sbin.
    path = shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")
    if path is None:
        raise BuildError(stage, f"the program {name} is not installed", f"sudo apt-get install {package}")
    return path


def failure(stage: str, argv: Sequence[str], output: str, remedy: str) -> BuildError:
    """What a failed command becomes: its name, its last lines, what to type."""
    lines = [line for line in output.splitlines() if line.strip()][-LINES_SHOWN:]
    if any(text in output for text in NO_SPACE):
        remedy = "free 500 MB, or point XDG_CACHE_HOME at a roomier place; then `hil image build`"
    shown = "".join(f"\n    | {line}" for line in lines)
    return BuildError(stage, f"{os.path.basename(argv[0])} failed{shown}", remedy)


def run(stage: str, argv: Sequence[str], *, remedy: str, env: Mapping[str, str] | None = None, typed: str = "") -> str:
    """Run a command to its end and return what it printed (both streams); a ``BuildError`` when it fails.

    ``typed`` is what it finds on its standard input.
    """
    done = subprocess.run(
        argv,
        input=typed,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=dict(os.environ, LC_ALL="C.UTF-8") if env is None else env,
        check=False,
    )
    if done.returncode != 0:
        raise failure(stage, argv, done.stdout, remedy)
    return done.stdout
