"""Packs a program of a guest, as guestd, with what it imports of the standard library, into one file of bytecode.

Each module that Python looks for on its path is a handful of system calls and of requests to an emulated disk; in one
file they are read at once, and found in a dictionary. The modules also lie in the root one by one, for people, for
tracebacks and for whatever is imported later. The work is done by the guest's interpreter (see :mod:`images.bytecode`).
"""

from __future__ import annotations

from pathlib import Path

from images import bytecode

# What the file does when it is run. MODULES becomes (name, whether it is a package, code) of every module,
# "the.program" the name of that of which `main` is run.
MAIN = """\
import os, sys, time
os.environ["HIL_STAGES"] = f"{os.environ.get('HIL_STAGES', '')} interpreter={time.monotonic():.2f}"
from _frozen_importlib import ModuleSpec

class Bundle:
    modules = {name: (is_package, code) for name, is_package, code in "MODULES"}

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name not in cls.modules:
            return None
        is_package, code = cls.modules[name]
        spec = ModuleSpec(name, cls, origin=code.co_filename)
        spec.has_location = True  # so that the module gets __file__
        if is_package:  # those of its modules that are not here are in its directory
            spec.submodule_search_locations = [code.co_filename.rpartition("/")[0]]
        return spec

    @staticmethod
    def create_module(spec):
        return None

    @classmethod
    def exec_module(cls, module):
        exec(cls.modules[module.__name__][1], module.__dict__)

sys.meta_path.insert(-1, Bundle)  # before the finder that looks on the path
from the.program import main
raise SystemExit(main())
"""

# Imports the program to see what it needs. Modules that the interpreter holds anyway (built in, frozen) stay out.
SCRIPT = """\
import sys
held = set(sys.modules)
main, program, root, home, target, *names = sys.stdin.read().split("\\0")
sys.path.insert(0, f"{root}/{home}")
__import__(program)
imported = set(sys.modules) - held
import marshal, os
from importlib.util import MAGIC_NUMBER, cache_from_source
found = {}
for name in names:
    path = f"{root}/{home}/{name.replace('.', '/')}"
    is_package = os.path.isdir(path)
    found[name] = (is_package, cache_from_source(f"{path}/__init__.py" if is_package else f"{path}.py"))
for name in imported:
    cached = getattr(sys.modules[name], "__cached__", None)
    if cached:
        found[name] = (hasattr(sys.modules[name], "__path__"), cached)

def entry(name, is_package, path):
    with open(path, "rb") as file:
        return name, is_package, marshal.loads(file.read()[16:])

code = compile(main.replace("the.program", program), f"/{target}", "exec")
entries = tuple(entry(name, *found[name]) for name in sorted(found))

def fill(code):
    consts = (fill(c) if hasattr(c, "co_consts") else entries if c == "MODULES" else c for c in code.co_consts)
    return code.replace(co_consts=tuple(consts))

with open(f"{root}/{target}", "wb") as file:
    # The flags say "unchecked hash": the file is all there is, and nobody compares it with a source.
    file.write(MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8) + marshal.dumps(fill(code)))
"""


def write(python_tree: Path, tree: Path, home: str, target: str, program: str, names: list[str]) -> None:
    """Write ``target`` from the compiled modules ``names`` under ``home`` (both relative to ``tree``), and from all
    that the module ``program``, which is there too, imports.

    A module that cannot be imported becomes a ``BuildError`` that shows the traceback.
    """
    typed = "\0".join([MAIN, program, str(tree), home, target, *names])
    bytecode.run_python(python_tree, SCRIPT, [], typed)
    (tree / target).chmod(0o644)
