"""`hil` where no cluster runs: exit statuses, messages, and what it costs to start."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hil.cli import failure, lifecycle, main
from hil.errors import BenchDied, ClaimFailed, InvalidRun, UnknownNode

TREE = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.bench.address.running_clusters", list)
    monkeypatch.delenv("HIL_DEBUG", raising=False)


def hil(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main.main(arguments)
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.parametrize(
    "line",
    [
        "status",
        "power on 0",
        "power cycle all",
        "reset 0",
        "shutdown 0",
        "link cut 0",
        "panic 0",
        "console 0",
        "ssh 0",
        "events",
    ],
)
def test_every_verb_on_a_cluster_says_how_to_start_one(capsys: pytest.CaptureFixture[str], line: str) -> None:
    status, out, err = hil(capsys, *line.split())
    assert (status, out) == (2, "")
    assert err == "hil: no cluster is running; `hil up` starts one\n"


def test_a_named_cluster_that_does_not_run_is_told_with_those_that_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hil.bench.address.running_clusters", lambda: ["alpha", "beta"])
    status, _, err = hil(capsys, "status", "--name", "gamma")
    assert (status, err) == (2, "hil: no cluster 'gamma' is running; running: alpha, beta\n")
    status, _, err = hil(capsys, "status")
    assert (status, err) == (2, "hil: several clusters are running, name one with --name: alpha, beta\n")


def test_list_without_a_cluster_is_empty_and_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert hil(capsys, "list")[:2] == (0, "")
    status, out, err = hil(capsys, "list", "--json")
    assert (status, json.loads(out), err) == (0, [], "")


@pytest.mark.parametrize("line", ["down", "down demo", "down --name demo"])
def test_down_of_what_is_not_running_is_fine(capsys: pytest.CaptureFixture[str], line: str) -> None:
    status, out, err = hil(capsys, *line.split())
    assert (status, err) == (0, "")
    assert "not running" in out or "no cluster is running" in out


def test_down_with_two_names_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = hil(capsys, "down", "a", "--name", "b")
    assert (status, err) == (2, "hil: down a --name b: these are two names\n")


def test_a_simulated_cluster_cannot_stay_up(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = hil(capsys, "up", "--backend", "sim")
    assert status == 2
    assert err.startswith("hil: --backend sim: a simulated cluster lives in the process that simulates it")
    assert "`hil run SCENARIO --backend sim`" in err


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--seed 1", "--seed 1: guests follow from no seed; `--backend sim` does"),
        ("--backend sim --keep", "--keep: a simulated cluster ends with the process that simulates it"),
        ("--backend sim --seed -1", "Invalid value for '--seed'"),
        ("--backend guests", "'guests' is not one of 'qemu', 'sim'"),
    ],
)
def test_what_only_one_back_end_can_is_refused_by_name(
    capsys: pytest.CaptureFixture[str], line: str, told: str
) -> None:
    status, _, err = hil(capsys, "run", "mass_reboot", *line.split())
    assert status == 2
    assert told in err


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("up --nodes 1", "nodes = 1:"),
        ("up --nodes 65", "legal: 2 to 64"),
        ("up --name Demo", "name = 'Demo':"),
        ("up nowhere.toml", "cluster file nowhere.toml: No such file"),
        ("up --nodes many", "--nodes"),
        ("up --nosuch", "--nosuch"),
        ("nosuch", "No such command 'nosuch'. There are: doctor, up, down, list, status, "),
        ("image nosuch", "There are: build, list"),
        ("power", "`hil power --help` shows what it takes"),
        ("power away 0", "Invalid value for 'action': 'away' is not one of 'on', 'off', 'cycle'."),
        ("run mass_reboot --nodes 1", "legal: 2 to 64"),
        ("run mass_reboot --name Demo", "name = 'Demo':"),
        ("link heal 0 --silent", "leave --silent, --direction and --from out"),
        ("demo nosuch", "'nosuch'"),
        ("demo power-failure --nodes 99", "legal: 2 to 64"),
        ("events --since -1", "--since"),
        ("run mass_reboot --repeat 0", "--repeat"),
    ],
)
def test_what_is_not_legal_is_refused_by_name(capsys: pytest.CaptureFixture[str], line: str, told: str) -> None:
    status, out, err = hil(capsys, *line.split())
    assert (status, out) == (2, "")
    assert err.startswith("hil: ")
    assert told in err
    assert "Traceback" not in err


def test_an_unknown_scenario_is_told_with_those_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = hil(capsys, "run", "nosuch")
    assert status == 2
    there = sorted(path.stem for path in (TREE / "scenarios").glob("[!_]*.py"))
    assert f"there are: {', '.join(there)}" in err


def test_run_without_a_scenario_lists_them_with_their_story(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = hil(capsys, "run")
    assert status == 0
    assert "mass_reboot          Power failure and mass reboot" in out


def test_without_a_verb_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = hil(capsys)
    assert status == 2
    assert "Commands" in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = hil(capsys, "--version")
    assert (status, out.startswith("hil ")) == (0, True)


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def refuse(wanted: object) -> None:
        raise error

    monkeypatch.setattr(lifecycle, "json", type("Broken", (), {"dumps": staticmethod(refuse)}))


@pytest.mark.parametrize(
    ("error", "status"),
    [(ClaimFailed("x"), 1), (UnknownNode("x"), 2), (BenchDied("x"), 3), (InvalidRun("x"), 4)],
)
def test_each_kind_of_error_has_its_exit_status_and_no_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    fail_with(monkeypatch, error)
    assert hil(capsys, "list", "--json") == (status, "", "hil: x\n")


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, BenchDied("x"))
    monkeypatch.setenv("HIL_DEBUG", "1")
    status, _, err = hil(capsys, "list", "--json")
    assert status == 3
    assert err.startswith("Traceback")
    assert err.endswith("hil: x\n")


def test_an_exception_nobody_foresaw_is_status_3_with_its_traceback_on_a_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fail_with(monkeypatch, KeyError("surprise"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    status, _, err = hil(capsys, "list", "--json")
    assert status == 3
    assert "Traceback" not in err
    (file,) = tmp_path.iterdir()
    assert str(file) in err
    assert "KeyError: 'surprise'" in file.read_text()


def test_an_interrupt_is_status_130(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, KeyboardInterrupt())
    status, _, err = hil(capsys, "list", "--json")
    assert (status, err) == (130, "hil: interrupted\n")


def test_the_error_of_the_image_builder_is_meant_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    from images import BuildError

    assert failure.report(BuildError("download", "no network", "connect this host, then `hil image build`")) == 3
    assert capsys.readouterr().err == (
        "hil: guest image, download: no network\n  connect this host, then `hil image build`\n"
    )


def python(*arguments: str, **options: object) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"PYTHONPATH": str(TREE)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, **options)  # type: ignore[call-overload, no-any-return]


def test_nobody_reading_the_output_is_quiet() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as nobody:
        done = subprocess.run(
            [sys.executable, "-m", "hil.cli", "list", "--json"],
            stdout=nobody,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(TREE)},
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, "")


def test_closed_standard_streams_are_no_fault_of_hil() -> None:
    """Their numbers must not be given to the next file or socket either: children would write into it."""
    program = (
        "import os, sys; [os.close(i) for i in (0, 1, 2)]; sys.stdin = sys.stdout = sys.stderr = None;"
        " from hil.cli import main; sys.argv = ['hil', 'list', '--json'];"
        " main.signal.signal = lambda *_: None\n"
        "try: main.run()\n"
        "except SystemExit as end: status = end.code\n"
        "os._exit(status + 40 * all(os.path.samefile(f'/proc/self/fd/{i}', '/dev/null') for i in (0, 1, 2)))"
    )
    assert python("-c", program).returncode == 40


def test_a_full_disk_is_named_with_what_to_do_and_is_no_fault_of_hil(capsys: pytest.CaptureFixture[str]) -> None:
    assert failure.report(OSError(errno.ENOSPC, "No space left on device", "/state/hil/runs")) == 3
    told = capsys.readouterr().err
    assert told.startswith("hil: /state/hil/runs: No space left on device\n  free some space")
    assert "fault of hil" not in told


def test_listing_loads_none_of_the_big_libraries() -> None:
    program = (
        "import sys; from hil.cli.main import main; main(['list', '--json']);"
        " print(sorted({'libvirt', 'fabric', 'pytest', 'rich.table', 'hil.client'} & set(sys.modules)))"
    )
    assert python("-c", program).stdout.splitlines()[-1] == "[]"
