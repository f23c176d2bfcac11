"""Who may import whom, and what no file may name."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[2]

OWN = ("hil", "images", "guestd", "scenarios", "benchmarks", "tests")

MAY_IMPORT = {
    # guestd runs on a node with nothing but Debian's Python; images packs guestd's files without running them.
    "guestd": {"guestd"},
    "images": {"images"},
    "hil": {"hil", "images", "guestd"},
    # Scenarios use the client API, whatever is behind it.
    "scenarios": {"hil", "scenarios"},
    "benchmarks": {"hil", "images", "benchmarks"},
}
FOR_GUESTS = "guest_*.py"  # programs of benchmarks: they run on a node, beside guestd

# The client API and what judges its events: with either back end behind it.
SCENARIOS_MAY_USE = ("hil.checkers", "hil.client", "hil.config", "hil.errors", "hil.play", "hil.scenario", "hil.view")

# The target also runs alone, the bench without a person in front of it; the client knows nothing of its commands.
HIL_MAY_NOT_IMPORT = {
    "hil/scsi": ("hil.bench", "hil.cli", "hil.client", "hil.qemu", "hil.faults", "hil.plugin", "images", "guestd"),
    "hil/qemu": ("hil.bench.cluster", "hil.bench.server", "hil.cli", "hil.client", "hil.faults", "hil.plugin"),
    # The library works through the client; what carries faults out is the bench and knows nothing of it.
    "hil/faults": ("hil.cli", "hil.plugin", "hil.qemu", "hil.scenario", "hil.sim.backend"),
    "hil/checkers": ("hil.bench", "hil.cli", "hil.client", "hil.faults", "hil.plugin", "hil.qemu", "hil.sim"),
    "hil/bench": ("hil.cli", "hil.client", "hil.faults", "hil.plugin", "hil.sim"),
    "hil/evidence": ("hil.cli", "hil.plugin", "hil.qemu"),
    "hil/client": ("hil.cli", "hil.plugin", "hil.sim"),
    "hil/live": ("hil.bench", "hil.plugin", "hil.qemu", "hil.sim"),
    "hil/shell": ("hil.bench", "hil.plugin", "hil.qemu", "hil.sim"),
    "hil/sim": ("hil.bench.cluster", "hil.bench.server", "hil.cli", "hil.plugin", "hil.qemu"),
}

# The connection, kept locks, the watcher and the commands are for other programs; see below.
PROGRAMS = ("connection", "kept_locks", "guestctl", "guestctl_services", "watcher")

IMPURE = {
    *("asyncio", "logging", "multiprocessing", "os", "pathlib", "secrets", "select", "selectors", "signal"),
    *("socket", "subprocess", "threading", "time"),
}


def sources(*directories: str) -> list[Path]:
    return sorted(path for name in directories for path in (TREE / name).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """The full names of everything that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


@pytest.mark.parametrize("layer", MAY_IMPORT)
def test_a_layer_imports_only_what_lies_below_it(layer: str) -> None:
    wrong = [
        f"{path.relative_to(TREE)} imports {name}"
        for path in sources(layer)
        for name in imports(path)
        if name.partition(".")[0] in OWN
        and name.partition(".")[0] not in ({"guestd"} if path.match(FOR_GUESTS) else MAY_IMPORT[layer])
    ]
    assert wrong == []


@pytest.mark.parametrize("part", HIL_MAY_NOT_IMPORT)
def test_a_part_of_the_host_imports_nothing_above_it(part: str) -> None:
    wrong = [
        f"{path.relative_to(TREE)} imports {name}"
        for path in sources(part)
        for name in imports(path)
        if any(within(name, banned) for banned in HIL_MAY_NOT_IMPORT[part])
    ]
    assert wrong == []


def test_scenarios_use_only_the_client_api() -> None:
    def legal(name: str) -> bool:
        return name == "hil.Cluster" or any(within(name, allowed) for allowed in SCENARIOS_MAY_USE)

    used = [(path, name) for path in sources("scenarios") for name in imports(path) if name.startswith("hil")]
    assert [f"{path.name} imports {name}" for path, name in used if not legal(name)] == []


def test_guestd_needs_only_the_standard_library() -> None:
    wrong = [
        f"{path.relative_to(TREE)} imports {name}"
        for path in sources("guestd")
        for name in imports(path)
        if name.partition(".")[0] not in sys.stdlib_module_names | {"guestd"}
        # The image has it beside guestd; imported when the file system is mounted.
        and not (path == TREE / "guestd" / "runtime" / "fuse" / "library.py" and within(name, "mfusepy"))
    ]
    assert wrong == []


def test_the_pure_part_of_guestd_has_no_clock_randomness_io_or_threads() -> None:
    wrong = [
        f"{path.relative_to(TREE)} imports {name}"
        for path in sources("guestd")
        # Watchers are programs too.
        if not {"runtime", "watchers"} & set(path.relative_to(TREE / "guestd").parts)
        and path not in [TREE / "guestd" / f"{name}.py" for name in PROGRAMS]
        for name in imports(path)
        if name.partition(".")[0] in IMPURE
        or within(name, "guestd.runtime")
        # The class is for type annotations of what is handed in; the module's functions are the global generator.
        or (within(name, "random") and name not in ("random", "random.Random"))
    ]
    assert wrong == []


def test_guestd_does_not_import_what_it_has_for_other_programs() -> None:
    for_programs = ("client", "locks", *PROGRAMS)
    importers = [
        path.name
        for path in sources("guestd")
        for name in imports(path)
        if path.stem not in for_programs
        and path.parent not in (TREE / "guestd" / "watchers", TREE / "guestd" / "runtime" / "event_manager")
        and any(within(name, f"guestd.{module}") for module in (*for_programs, "watchers"))
    ]
    assert importers == []


def test_importing_a_small_process_does_not_import_the_clients_libraries() -> None:
    heavy = "{'fabric', 'libvirt', 'pydantic', 'rich', 'hil.client'}"
    program = f"import sys, hil; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=TREE, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


SKIPPED_DIRECTORIES = {".git", ".hypothesis", ".vagrant", ".venv", "__pycache__", "build", "reports"}
TEXT_SUFFIXES = {"", ".cfg", ".ini", ".json", ".md", ".py", ".sh", ".toml", ".txt", ".yaml", ".yml"}


def texts() -> Iterator[tuple[Path, str]]:
    for path in sorted(TREE.rglob("*")):
        parts = path.relative_to(TREE).parts
        hidden = any(part in SKIPPED_DIRECTORIES or part.endswith(("_cache", ".egg-info")) for part in parts)
        if hidden or path.suffix not in TEXT_SUFFIXES or not path.is_file():
            continue
        yield path.relative_to(TREE), path.read_text(encoding="utf-8", errors="replace")


# Character classes keep these patterns from finding themselves.
PLACES = {
    "the host of a package registry": r"(?:py[p]i|pythonhosted|np[m]js)[.](?:org|com)|index[-_]url|find[-_]links",
    "a home directory": r"/(?:ho[m]e|Us[e]rs)/\w+|(?<![\w$}])/ro[o]t/\w",
    "this checkout's place": r"(?<![\w.])/wo[r]k/",
}


@pytest.mark.parametrize("what", PLACES)
def test_no_file_names(what: str) -> None:
    pattern = re.compile(PLACES[what])
    assert [f"{path}: {found[0]}" for path, text in texts() if (found := pattern.search(text))] == []


def test_constraints_pin_every_line_to_one_version() -> None:
    lines = (TREE / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert [line for line in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", line)] == []


def test_only_the_constraints_hold_versions() -> None:
    import tomllib

    project = tomllib.loads((TREE / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    for group in project["project"]["optional-dependencies"].values():
        wanted += group
    assert [name for name in wanted if not re.fullmatch(r"[A-Za-z0-9._-]+", name)] == []
    pinned = (TREE / "constraints.txt").read_text(encoding="utf-8").lower()
    assert [name for name in wanted if f"\n{name.lower()}==" not in pinned] == []


@pytest.mark.parametrize("path", sources("guestd"), ids=lambda path: str(path.relative_to(TREE)))
def test_no_generator_waits_for_something_while_it_is_closed(path: Path) -> None:
    """A life that is over closes its tasks: what they would wait for in a `finally` never comes."""
    cleaning = [
        one for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Try) for one in node.finalbody
    ]
    waits = [
        found.lineno for one in cleaning for found in ast.walk(one) if isinstance(found, (ast.Yield, ast.YieldFrom))
    ]
    assert not waits
