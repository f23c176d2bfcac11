"""The bundle of guestd: what is in it and how it is found. Packed and run by this Python, not by a guest's."""

from __future__ import annotations

import py_compile
import subprocess
import sys
from pathlib import Path

import pytest

from images import bundle, root

HOME = "usr/lib/hil"


def write_tree(tree: Path, main: str) -> list[str]:
    """A package guestd with bytecode for all its modules; their names."""
    files = {
        "guestd/__init__.py": "",
        "guestd/runtime/__init__.py": "",
        "guestd/runtime/main.py": main,
        "guestd/late.py": "NUMBER = 7",
    }
    for name, text in files.items():
        path = tree / HOME / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        py_compile.compile(str(path), dfile=f"/{HOME}/{name}", doraise=True)
    return [root.module_name(name) for name in files]


def run(tree: Path, names: list[str]) -> subprocess.CompletedProcess[str]:
    """Pack the modules and run the bundle where it is, with the modules themselves out of reach."""
    typed = "\0".join([bundle.MAIN, root.GUESTD, str(tree), HOME, "guestd.pyc", *names])
    subprocess.run([sys.executable, "-s", "-S", "-B", "-c", bundle.SCRIPT], input=typed, text=True, check=True)
    argv = [sys.executable, "-I", "-S", "-X", "utf8", str(tree / "guestd.pyc")]
    return subprocess.run(argv, capture_output=True, text=True, env={"HIL_STAGES": "init=1.0"}, check=False)


def test_the_bundle_runs_main_and_its_status_is_the_process_s(tmp_path: Path) -> None:
    main = "import os\ndef main():\n    print(os.environ['HIL_STAGES'], __file__)\n    return 7\n"
    done = run(tmp_path, write_tree(tmp_path, main))
    assert done.returncode == 7, done.stderr
    init, interpreter, file = done.stdout.split()
    assert init == "init=1.0"
    assert float(interpreter.removeprefix("interpreter=")) > 0
    assert file == f"/{HOME}/guestd/runtime/main.py"


def test_modules_of_guestd_that_are_imported_late_are_in_it_too(tmp_path: Path) -> None:
    main = "def main():\n    from guestd.late import NUMBER\n    return NUMBER\n"
    done = run(tmp_path, write_tree(tmp_path, main))
    assert done.returncode == 7, done.stderr


def test_a_module_that_is_left_out_is_found_in_its_place(tmp_path: Path) -> None:
    main = "def main():\n    from guestd.runtime.fuse.part import NUMBER\n    return NUMBER\n"
    write_tree(tmp_path, main)
    home = tmp_path / HOME
    for name, text in (("runtime/fuse/__init__.py", ""), ("runtime/fuse/part.py", "NUMBER = 8")):
        (home / "guestd" / name).parent.mkdir(exist_ok=True)
        (home / "guestd" / name).write_text(text)
    paths = [str(path.relative_to(home)) for path in sorted(home.rglob("*.py"))]
    for path in paths:
        py_compile.compile(str(home / path), doraise=True)  # with their names as they are here
    names = root.bundled(paths)
    assert sorted(names) == ["guestd", "guestd.late", "guestd.runtime", "guestd.runtime.main"]
    done = run(tmp_path, names)
    assert done.returncode == 8, done.stderr


def test_what_guestd_imports_of_the_library_comes_from_the_bundle_and_the_rest_from_its_place(tmp_path: Path) -> None:
    main = (
        "import json\n"
        "def main():\n"
        "    import json.tool, textwrap\n"
        "    return [m.__loader__.__class__.__name__ for m in (json, json.tool, textwrap)] != "
        "['type', 'SourceFileLoader', 'SourceFileLoader']\n"
    )
    done = run(tmp_path, write_tree(tmp_path, main))
    assert done.returncode == 0, done.stderr


def test_another_program_has_only_what_it_imports_and_finds_the_rest_in_its_place(tmp_path: Path) -> None:
    write_tree(tmp_path, "raise SystemExit('this one is not run')\n")
    home = tmp_path / HOME
    manager = "from guestd.late import NUMBER\n\ndef main():\n    print(__file__)\n    return NUMBER\n"
    (home / "guestd/runtime/event_manager").mkdir()
    for name, text in (("__init__.py", ""), ("main.py", manager)):
        path = home / "guestd/runtime/event_manager" / name
        path.write_text(text)
        py_compile.compile(str(path), dfile=f"/{path.relative_to(tmp_path)}", doraise=True)
    typed = "\0".join([bundle.MAIN, root.EVENT_MANAGER, str(tmp_path), HOME, "manager.pyc"])
    subprocess.run([sys.executable, "-s", "-S", "-B", "-c", bundle.SCRIPT], input=typed, text=True, check=True)
    argv = [sys.executable, "-I", "-S", "-X", "utf8", str(tmp_path / "manager.pyc")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (7, f"/{HOME}/guestd/runtime/event_manager/main.py\n"), done.stderr


def test_a_module_that_cannot_be_imported_is_not_packed(tmp_path: Path) -> None:
    names = write_tree(tmp_path, "import nothing_of_that_name\n")
    with pytest.raises(subprocess.CalledProcessError):
        run(tmp_path, names)
    assert not (tmp_path / "guestd.pyc").exists()


def test_a_module_is_named_after_its_file() -> None:
    assert root.module_name("guestd/a/b.py") == "guestd.a.b"
    assert root.module_name("guestd/a/__init__.py") == "guestd.a"
