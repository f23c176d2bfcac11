"""Programs of this host that are packed for a guest run from what was packed, and from nothing else."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.lab import host_programs


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("programs")
    archive = host_programs.packed("git", "sqlite3", "fio")
    subprocess.run(["tar", "-xzf", "-", "-C", str(place)], input=archive, check=True)
    return place


@pytest.mark.parametrize(
    ("name", "option", "says"),
    [("git", "--version", "git version"), ("fio", "--version", "fio-"), ("sqlite3", "-version", "3.")],
)
def test_a_packed_program_runs_through_the_loader_and_the_libraries_that_it_brings(
    unpacked: Path, name: str, option: str, says: str
) -> None:
    script = (unpacked / "bin" / name).read_text().replace(host_programs.HOME, str(unpacked))
    _, command = script.splitlines()
    words = [*command.removeprefix("exec ").removesuffix(' "$@"').split(), option]
    watched = {"LD_DEBUG": "libs", "LD_DEBUG_OUTPUT": str(unpacked / f"{name}-used")}
    done = subprocess.run(words, env=watched, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(says)
    assert done.stderr == ""
    [told] = [one.read_text() for one in unpacked.glob(f"{name}-used.*")]
    begun = [line.rpartition(" ")[2] for line in told.splitlines() if "calling init" in line]
    assert begun
    assert [path for path in begun if not path.startswith(str(unpacked))] == []


def test_a_program_that_this_host_has_not_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(host_programs.ProgramMissing, match=r"fio is not on this host \(see packages.txt\)"):
        host_programs.packed("fio", "git")
