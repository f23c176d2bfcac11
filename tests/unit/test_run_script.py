"""`./run` in a small copy of the checkout: what it says, what it refuses, what it leaves alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[2]

FEDORA = "ID=fedora\nVERSION_ID=40\n"
DEBIAN_13 = 'ID=debian\nVERSION_ID="13"\n'
DEBIAN_12 = 'ID=debian\nVERSION_ID="12"\n'

# All that the script itself uses, and nothing of what it would install.
BASE_COMMANDS = (
    *("awk", "basename", "cat", "date", "dirname", "env", "grep", "id", "mkdir", "mv", "printf"),
    *("sed", "sh", "sha256sum", "tail", "tr"),
)


class Checkout:
    """A copy of what `run` reads, with commands of the test's own on its path."""

    def __init__(self, root: Path) -> None:
        self.root = root / "a checkout"
        self.bin = root / "bin"
        self.root.mkdir()
        self.bin.mkdir()
        for name in ("run", "packages.txt", "pyproject.toml", "constraints.txt"):
            shutil.copy(TREE / name, self.root / name)
        for name in BASE_COMMANDS:
            if found := shutil.which(name):
                (self.bin / name).symlink_to(found)
        self.calls = root / "calls"
        self.os_release = root / "os-release"
        # The list without what lies at fixed places of this machine, where no test can take it away.
        lines = (self.root / "packages.txt").read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if "command:" in line or "library:" in line]
        (self.root / "packages.txt").write_text("\n".join(kept) + "\n", encoding="utf-8")
        # `run` appends the system's sbin itself; here it must not find this machine's commands there.
        script = self.root / "run"
        text = script.read_text(encoding="utf-8")
        assert 'export PATH="$PATH:/usr/sbin:/sbin"' in text
        script.write_text(text.replace('export PATH="$PATH:/usr/sbin:/sbin"', 'export PATH="$PATH"'), encoding="utf-8")

    def command(self, name: str, script: str = "") -> None:
        (self.bin / name).unlink(missing_ok=True)
        note = f'printf "%s\\n" "{name} $*" >>"{self.calls}"'
        (self.bin / name).write_text(f"#!/bin/sh\n{note}\n{script}\n", encoding="utf-8")
        (self.bin / name).chmod(0o755)

    def run(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": str(self.bin),
            "HOME": str(self.root.parent),
            "HIL_OS_RELEASE": str(self.os_release),
        }
        return subprocess.run(
            [self.root / "run", *arguments],
            cwd=cwd or self.root,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def called(self) -> list[str]:
        return self.calls.read_text(encoding="utf-8").splitlines() if self.calls.exists() else []


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.mark.parametrize("os_release", [FEDORA, DEBIAN_13])
@pytest.mark.parametrize("command", ["demo", "test", "lint", "hil"])
def test_another_distribution_is_told_what_is_missing_and_nothing_is_installed(
    checkout: Checkout, os_release: str, command: str
) -> None:
    checkout.os_release.write_text(os_release, encoding="utf-8")
    for name in ("apt-get", "sudo", "dnf"):
        checkout.command(name)
    done = checkout.run(command)
    assert done.returncode == 2
    assert "not Debian 12" in done.stderr
    for missing in ("command:qemu-system-x86_64", "Debian: qemu-system-x86", "command:tini", "library:libvirt"):
        assert missing in done.stderr
    assert checkout.called() == []
    assert not (checkout.root / ".venv").exists()


def test_without_an_os_release_file_nothing_is_installed_either(checkout: Checkout) -> None:
    checkout.command("apt-get")
    assert checkout.run("demo").returncode == 2
    assert checkout.called() == []


def test_a_user_who_may_not_install_is_told_what_to_ask_for(checkout: Checkout) -> None:
    checkout.os_release.write_text(DEBIAN_12, encoding="utf-8")
    checkout.command("id", "echo 1000")
    checkout.command("sudo", "exit 1")
    checkout.command("apt-get")
    checkout.command("dpkg-query", "echo 'tini installed'; echo 'gcc not-installed'; exit 1")
    done = checkout.run("demo")
    assert done.returncode == 2
    told = done.stderr.split()
    assert "qemu-system-x86" in told
    assert "gcc" in told
    assert "tini" not in told
    assert not any(call.startswith("apt-get") for call in checkout.called())


def test_only_what_is_missing_is_installed_and_lists_are_fetched_when_the_first_try_fails(checkout: Checkout) -> None:
    checkout.os_release.write_text(DEBIAN_12, encoding="utf-8")
    checkout.command("id", "echo 0")
    packages = [line.split()[0] for line in (checkout.root / "packages.txt").read_text().splitlines()]
    present = [name for name in packages if name not in ("tini", "nftables")]
    checkout.command("dpkg-query", "".join(f"echo '{name} installed'\n" for name in present))
    # It can install once its lists have been fetched; then it fails for good, so that the script ends there.
    checkout.command("apt-get", 'echo "E: Unable to locate package tini"; [ "$1" = update ]')
    done = checkout.run("demo")
    apt = [call for call in checkout.called() if call.startswith("apt-get")]
    install = "apt-get install -y --no-install-recommends tini nftables"
    assert apt == [install, "apt-get update", install]
    assert done.returncode == 2
    assert "Unable to locate package tini" in done.stderr
    log = done.stderr.rsplit("All of it: ", 1)[1].strip()
    assert "Unable to locate package tini" in Path(log).read_text(encoding="utf-8")


@pytest.mark.parametrize("arguments", [["frobnicate"], []])
def test_an_unknown_or_missing_command_lists_the_commands_and_ends_with_2(
    checkout: Checkout, arguments: list[str]
) -> None:
    done = checkout.run(*arguments)
    assert done.returncode == 2
    for name in ("demo", "test", "lint", "hil", "bench", "nightly", "mutations"):
        assert name in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("arguments", [["bench"], ["bench", "scsi"], ["bench", "cluster disk"]])
def test_an_unknown_benchmark_lists_the_ones_that_exist(checkout: Checkout, arguments: list[str]) -> None:
    (checkout.root / "benchmarks").mkdir()
    for name in ("__init__.py", "cluster.py", "disk.py"):
        (checkout.root / "benchmarks" / name).touch()
    done = checkout.run(*arguments)
    assert done.returncode == 2
    assert "What exists: cluster disk\n" in done.stderr
    assert not (checkout.root / ".run.lock").exists()


def test_help_is_found_from_another_directory(checkout: Checkout, tmp_path: Path) -> None:
    done = checkout.run("help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: ./run COMMAND" in done.stdout


@pytest.fixture
def ready(checkout: Checkout) -> Checkout:
    """A checkout whose set-up is complete, with tools that only say how they were called."""
    checkout.os_release.write_text(DEBIAN_12, encoding="utf-8")
    packages = [line.split()[0] for line in (checkout.root / "packages.txt").read_text().splitlines()]
    checkout.command("dpkg-query", "".join(f"echo '{name} installed'\n" for name in packages))
    (checkout.root / ".venv/bin").mkdir(parents=True)
    inputs = b"".join((checkout.root / name).read_bytes() for name in ("pyproject.toml", "constraints.txt"))
    version = subprocess.run(["/usr/bin/python3", "-V"], capture_output=True, check=True).stdout
    hashed = os.fsencode(checkout.root.resolve()) + b"\n" + version + inputs
    stamp = subprocess.run(["sha256sum"], input=hashed, capture_output=True, check=True).stdout
    (checkout.root / ".venv/set-up-complete").write_bytes(stamp)
    for name in ("hil", "ruff", "mypy", "python"):
        checkout.command(name)
        shutil.move(checkout.bin / name, checkout.root / ".venv/bin" / name)
    return checkout


def test_a_second_run_installs_nothing_and_says_nothing_about_it(ready: Checkout) -> None:
    done = ready.run("demo", "--nodes", "3")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    # No `hil image build` before: the demo looks at the host first, and builds then.
    assert [call for call in ready.called() if not call.startswith("dpkg")] == ["hil demo power-failure --nodes 3"]


def test_changed_pins_make_the_environment_stale(ready: Checkout) -> None:
    with (ready.root / "constraints.txt").open("a", encoding="utf-8") as pins:
        pins.write("another==1\n")
    ready.command("sha256sum", "exit 1")  # ends the set-up before it makes anything
    assert ready.run("hil", "list").returncode != 0
    assert not any(call.startswith("hil") for call in ready.called())


def test_test_runs_lint_and_all_suites_and_passes_arguments_through(ready: Checkout) -> None:
    assert ready.run("test").returncode == 0
    assert [call for call in ready.called() if not call.startswith("dpkg")] == [
        "hil image build",
        "ruff check .",
        "ruff format --check --quiet .",
        "mypy ",
        "python -m pytest -n auto --dist loadfile --durations=15 tests/unit tests/tables tests/model tests/regressions",
        "python -m pytest -m not nightly --durations=40 tests/lab scenarios",
    ]
    ready.calls.unlink()
    assert ready.run("test", "-k", "barrier or fence", "tests/unit").returncode == 0
    assert ready.called()[-1] == "python -m pytest -k barrier or fence tests/unit"


def test_mutations_passes_arguments_through(ready: Checkout) -> None:
    assert ready.run("mutations", "--only", "no-fence").returncode == 0
    assert [call for call in ready.called() if not call.startswith("dpkg")] == [
        "python -m tests.mutations --only no-fence"
    ]


def test_nightly_adds_its_packages_once_and_passes_arguments_through(ready: Checkout) -> None:
    assert ready.run("nightly", "-k", "fuzz or kill").returncode == 0
    installs = "python -m pip install -e .[nightly]"
    nightly = "python -m pytest -o testpaths=tests/nightly scenarios -m nightly -s -k fuzz or kill"
    assert [call for call in ready.called() if not call.startswith("dpkg")] == [installs, nightly]
    ready.calls.unlink()
    assert ready.run("nightly", "-k", "fuzz or kill").returncode == 0
    assert [call for call in ready.called() if not call.startswith("dpkg")] == [nightly]


def test_the_first_failure_decides_the_exit_status_and_the_tests_run_all_the_same(ready: Checkout) -> None:
    (ready.root / ".venv/bin/mypy").write_text("#!/bin/sh\nexit 3\n", encoding="utf-8")
    (ready.root / ".venv/bin/python").write_text("#!/bin/sh\necho tested $*\nexit 5\n", encoding="utf-8")
    done = ready.run("test")
    assert done.returncode == 3
    assert done.stdout.count("tested") == 2
    assert "lint failed" in done.stderr
    assert "tests without machines failed" in done.stderr


def test_what_boots_no_machine_fails_and_the_machines_are_tried_all_the_same(ready: Checkout) -> None:
    python = "case $* in *tests/unit*) exit 1 ;; *) echo machines ;; esac"
    (ready.root / ".venv/bin/python").write_text(f"#!/bin/sh\n{python}\n", encoding="utf-8")
    done = ready.run("test")
    assert (done.returncode, done.stdout) == (1, "machines\n")


def test_together_the_two_runs_of_tests_go_over_all_that_there_are() -> None:
    pyproject = tomllib.loads((TREE / "pyproject.toml").read_text(encoding="utf-8"))
    script = (TREE / "run").read_text(encoding="utf-8")
    told = [line.partition("=")[2].strip("'") for line in script.splitlines() if "_TESTS='" in line]
    assert " ".join(told).split() == pyproject["tool"]["pytest"]["ini_options"]["testpaths"]


def test_the_script_is_posix_shell() -> None:
    dash = shutil.which("dash")
    assert dash is not None, "Debian's /bin/sh"
    subprocess.run([dash, "-n", TREE / "run"], check=True)


def test_every_package_of_the_list_has_a_proof_of_a_known_kind() -> None:
    lines = (TREE / "packages.txt").read_text(encoding="utf-8").splitlines()
    entries = [line.split() for line in lines if line and not line.startswith("#")]
    assert [entry for entry in entries if len(entry) != 2] == []
    kinds = {proof.partition(":")[0] for _, proof in entries}
    assert kinds <= {"command", "file", "user", "library", "python"}
