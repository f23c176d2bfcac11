"""Python's binding of libfuse, mfusepy, which Debian does not package: one file, from the environment that builds."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from images.errors import BuildError

NAME = "mfusepy"
FILE = f"{NAME}.py"


def content() -> bytes:
    """The module's source. A `BuildError` if it is not installed."""
    found = importlib.util.find_spec(NAME)
    if found is None or found.origin is None:
        raise BuildError("root", f"the Python package {NAME} is not installed", "run the command by ./run")
    return Path(found.origin).read_bytes()
