"""The simulator's compiled modules: mypyc takes every module, values are the same ones, a failure is the interpreter's.

Here a few modules are compiled, in some seconds; all of them are compared by `./run bench sim`, by their digests.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from hil.compiled import cache, constants, sources, use, values
from hil.sim.campaign import SAME_RUN, Seeds, campaign, interpreted
from hil.sim.options import draw
from hil.sim.run import run
from tests.mutations.catalogue import BY_NAME

# What is asked of values, of either kind; each line of output is one answer.
_ASKED = """
import sys
from importlib import metadata
from pathlib import Path
from hil.compiled.use import in_use, use
use(Path(sys.argv[1]) if sys.argv[1] else None)
print(in_use(), file=sys.stderr)
from guestd.core.effects import Effect, Panic, WriteSectors
from guestd.core.value import replace
one = WriteSectors(1, 2, b"x")
print(one, replace(one, lba=3), WriteSectors(tag=1, lba=2, data=b"x", durable=False) == one)
print(one == replace(one, durable=True), one != Panic("x"), one == 1, len({one, replace(one), Panic("x"), Panic("x")}))
print(hash(one) == hash((1, 2, b"x", False)), isinstance(one, Effect), type(one).value_fields, type(one).value_defaults)
for wrong in (lambda: WriteSectors(1, 2),
              lambda: WriteSectors(1, 2, b"", True, 0, 5), lambda: WriteSectors(1, 2, b"", no=1),
              lambda: replace(one, no=1)):
    try:
        print(wrong())
    except TypeError:
        print("TypeError")
"""


def asked(modules: Path | None) -> tuple[str, list[str]]:
    """Whether they were compiled, and the answers."""
    told = subprocess.run(
        [sys.executable, "-c", _ASKED, str(modules or "")],
        env={**os.environ, "PYTHONPATH": str(sources.ROOT)},
        check=True,
        capture_output=True,
        text=True,
    )
    return told.stderr.strip(), told.stdout.splitlines()


def test_compiled_values_are_the_same_values(tmp_path: Path) -> None:
    tree = tmp_path / "given"
    files = sources.write_tree(tree)
    few = [file for file in files if file in ("guestd/core/value.py", "guestd/core/effects.py")]
    assert len(few) == 2
    program = "import sys; from pathlib import Path; from hil.compiled.build import compile_tree; "
    program += "compile_tree(Path(sys.argv[1]), sys.argv[3:], Path(sys.argv[2]))"
    modules = tmp_path / "modules"
    subprocess.run(
        [sys.executable, "-c", program, str(tree), str(modules), *few],
        env={**os.environ, "PYTHONPATH": str(sources.ROOT)},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    compiled, answers = asked(modules)
    assert compiled == "True"
    assert asked(None) == ("False", answers)
    assert answers[-4:] == ["TypeError"] * 4


@pytest.mark.timeout(600)  # most of a minute alone
def test_mypyc_takes_every_module_of_the_simulator(tmp_path: Path) -> None:
    """To C; that the C compiler takes that is for who builds it."""
    program = "import sys; from pathlib import Path; from hil.compiled import build, sources; "
    program += "tree = Path(sys.argv[1]); build.translate(tree, sources.write_tree(tree))"
    told = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "tree")],
        env={**os.environ, "PYTHONPATH": str(sources.ROOT)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert (tmp_path / "tree" / "build" / "guestd" / "membership" / "manager.c").exists()


def test_all_of_guestd_that_the_simulator_runs_is_compiled_but_for_what_says_why() -> None:
    names = sources.imported()
    assert set(names) >= sources.INTERPRETED
    assert {"guestd.core.node", "guestd.membership.manager", "hil.sim.world", "hil.checkers.fence"} <= set(names)


def test_what_differs_in_the_sources_is_what_it_says() -> None:
    text = (
        "from __future__ import annotations\nfrom guestd.core.value import Value\n\n\n"
        "class Base(Value):\n    first: int\n    second: int = 2\n\n\n"
        "class Derived(Base):\n    third: str\n\n    kept = ('_more',)\n    if TYPE_CHECKING:\n"
        "        _more: ClassVar[int]\n\n    def more(self) -> int:\n        object.__setattr__(self, '_more', 3)\n"
    )
    made = values.spelled_out({"one": text})["one"]
    assert "    def __init__(self, first: int, second: int = 2) -> None:" in made
    assert "    def __init__(self, first: int, second: int = 2, *, third: str) -> None:" in made
    assert "    _more: int\n" in made
    assert "        self._more = 3\n" in made
    assert "kept" not in made
    assert "return self.first == other.first and self.second == other.second and self.third == other.third" in made
    untouched = "class Other:\n    field: int = 3\n"
    assert values.spelled_out({"one": untouched})["one"] == untouched


def test_what_never_changes_is_told_to_the_compiler() -> None:
    future = "from __future__ import annotations\n"
    states = (
        f"{future}from guestd.core.enumeration import Enum\n\n\nclass State(Enum):\n    ON = 1\n    OFF = 2\n\n"
        "    def other(self) -> State:\n        return State.OFF if self is State.ON else State.ON\n\n\n"
        "FIRST, _LAST = State.ON, State.OFF\n_COUNT = 3\n_changes = 0\n_TWICE = 1\n_TWICE = 2\n"
        "_known: dict[int, int] = {}\n_T = TypeVar('_T')\nTYPE_CHECKING = False\n\n\n"
        "def more() -> None:\n    global _changes\n    _changes = 1\n"
    )
    user = (
        f"{future}from states import (\n    State as Is,\n)\n\n\ndef shown(one: Is, at: Is = Is.ON) -> str:\n"
        "    é = one is Is.ON and at is not Is.OFF\n    match one:\n        case Is.ON:\n"
        '            return f"{Is.ON}{é}"\n    return str(Is.value)\n'
    )
    made = constants.named({"states": states, "user": user, "other": "X = 1\n", "none": "def f() -> int: ...\n"})
    assert "return _member_State_OFF if self is _member_State_ON else _member_State_ON\n" in made["states"]
    assert "\n_member_State_ON: Final = State.ON\n_member_State_OFF: Final = State.OFF\n" in made["states"]
    assert "\nFIRST: Final = State.ON; _LAST: Final = State.OFF\n_COUNT: Final = 3\n_changes = 0\n" in made["states"]
    assert "\n_TWICE = 1\n_TWICE = 2\n_known: Final[dict[int, int]] = {}\n_T = TypeVar('_T')\n" in made["states"]
    assert "\nTYPE_CHECKING = False\n" in made["states"]
    assert ")\nfrom states import _member_State_ON, _member_State_OFF\n" in made["user"]
    assert "é = one is _member_State_ON and at is not _member_State_OFF\n" in made["user"]
    assert "at: Is = Is.ON) -> str:\n" in made["user"]  # when the module is made
    assert 'case Is.ON:\n            return f"{Is.ON}{é}"\n    return str(Is.value)\n' in made["user"]
    assert made["none"] == "def f() -> int: ...\n"
    for text in made.values():
        ast.parse(text)


def test_a_process_that_has_imported_guestd_is_told_that_it_is_too_late(tmp_path: Path) -> None:
    (tmp_path / "guestd/core").mkdir(parents=True)
    (tmp_path / "guestd/core/value.so").touch()
    with pytest.raises(RuntimeError, match=r"guestd\.core\.value: imported before"):
        use.use(tmp_path)
    assert not use.in_use()
    use.use(None)
    assert not use.in_use()


def test_sources_that_changed_are_not_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    checkout = tmp_path / "checkout"
    (checkout / "guestd").mkdir(parents=True)
    (checkout / "hil").mkdir()
    (checkout / "hil/errors.py").touch()
    source = checkout / "guestd/one.py"
    source.write_text("1\n")
    monkeypatch.setattr(cache, "ROOT", checkout)
    assert cache.found() is None

    def fake(_home: Path, place: Path) -> None:
        place.mkdir()

    monkeypatch.setattr(cache, "_build", fake)
    place = cache.built()
    assert cache.found() == place == cache.built()
    source.write_text("2\n")
    assert cache.found() is None
    others = {cache.built()}
    for number in range(3, 3 + cache.KEPT):
        source.write_text(f"{number}\n")
        others.add(cache.built())
    assert sum(one.is_dir() for one in others) == cache.KEPT
    assert not place.is_dir()


def test_what_cannot_be_built_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))  # no gcc
    monkeypatch.setattr(cache, "_BUILD", "hil.no_such_module")
    with pytest.raises(cache.NotBuilt, match="no_such_module"):
        cache.built()
    assert cache.found() is None
    assert not list((tmp_path / "hil/simulator").glob("building-*"))

    def absent(_name: str) -> str:
        raise metadata.PackageNotFoundError("mypy")

    monkeypatch.setattr(metadata, "version", absent)
    assert cache.found() is None
    with pytest.raises(cache.NotBuilt, match="mypy"):
        cache.built()


def test_a_seed_that_failed_compiled_is_told_as_the_interpreter_has_it() -> None:
    with BY_NAME["barrier-skipped"].applied():
        failed = next(one for one in (run(draw(seed, "quick")) for seed in range(20)) if not one.passed)
        told = interpreted(failed)
    assert (told.digest, told.claim, told.violation) == (failed.digest, failed.claim, failed.violation)
    assert told.story
    assert not failed.story
    # Now it passes, as if only the compiled modules had the fault.
    told = interpreted(failed)
    assert not told.passed
    assert told.claim == SAME_RUN
    assert told.violation is not None
    assert failed.digest in told.violation
    assert "interpreted: passed" in told.violation


def test_a_campaign_runs_what_was_built() -> None:
    """With whatever modules are there; without any it is the same campaign."""
    place = cache.found()
    if place is None:
        pytest.skip("the compiled modules are not built (./run bench sim does)")
    told: dict[int, Any] = {one.options.seed: one.digest for one in campaign(Seeds(0, 4), "quick", None, 1, None)}
    again = campaign(Seeds(0, 4), "quick", None, 1, None, compiled=place)
    assert {one.options.seed: one.digest for one in again} == told
