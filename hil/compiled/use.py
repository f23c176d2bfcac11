"""Put the compiled modules in the place of the sources, in this process."""

from __future__ import annotations

import gc
import importlib
import platform
import sys
from importlib.abc import MetaPathFinder
from importlib.util import spec_from_file_location
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from pathlib import Path
    from types import ModuleType


_REPLACED = ("guestd.", "hil.checkers.", "hil.scsi.", "hil.sim.")


class _Finder(MetaPathFinder):
    """Modules by their names; what is not among them is found as ever."""

    def __init__(self, modules: Path) -> None:
        self.places = {
            ".".join(place.relative_to(modules).with_suffix("").parts): place for place in modules.rglob("*.so")
        }

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        place = self.places.get(fullname)
        return None if place is None else spec_from_file_location(fullname, place)


def in_use() -> bool:
    """Whether this process runs the compiled modules."""
    return any(isinstance(finder, _Finder) for finder in sys.meta_path)


def use(place: Path | None) -> None:
    """From now on, for as long as this process lasts; None: the sources, as ever.

    Raises RuntimeError if some of them was imported already: a process has either all of them or none.
    """
    if place is None or in_use():
        return
    finder = _Finder(place)
    there = sorted(name for name in finder.places if name in sys.modules)
    if there:
        raise RuntimeError(f"{', '.join(there)}: imported before the compiled modules were to be used")
    sys.meta_path.insert(0, finder)


def start(place: Path | None) -> None:
    """:func:`use`, for a process that simulates: everything is imported at once, in one order, whatever asks for it.

    Compiled modules that import each other are sensitive to which of them comes first. What a new process has imported
    by itself (the command line that its parent was started as) is forgotten first: nothing has been made of it yet.
    """
    if place is not None and not in_use():
        for name in [name for name in sys.modules if name.startswith(_REPLACED)]:
            del sys.modules[name]
    use(place)
    importlib.import_module("hil.sim.options")
    importlib.import_module("hil.sim.run")
    # What is imported stays: the collector, which comes before each run, need not look through it.
    gc.collect()
    gc.freeze()


def named(place: Path | None) -> str:
    """What runs, for people."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{python}, {'interpreted' if place is None else 'compiled by mypyc'}"
