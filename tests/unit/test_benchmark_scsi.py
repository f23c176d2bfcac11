"""``./run bench scsi``: what it makes of its samples, and how it ends what it started. Nothing here is about speed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import scsi
from benchmarks.iscsi import figures, processes
from benchmarks.iscsi.figures import NO_LEDGER, OURS, TGT, Row, Sample
from benchmarks.iscsi.perf import Case, Initiator, collect
from benchmarks.iscsi.scratch import scratch
from benchmarks.iscsi.table import table
from hil.errors import LaboratoryError, PreflightFailed

CASE = Case("read", "random", 32)


def rates(*commands_per_s: int) -> list[Sample]:
    """Twice as many rounds, of which the others are disturbed and do not count."""
    quiet = [Sample(rate, 10.0, 0.0) for rate in commands_per_s]
    return [*quiet, *(Sample(1, 99.0, 0.5) for _ in commands_per_s[1:])]


def row(ours: list[Sample], without: list[Sample], tgt: list[Sample]) -> Row:
    return figures.summarise(CASE, {OURS: ours, NO_LEDGER: without, TGT: tgt})


def test_a_ratio_is_taken_within_a_round() -> None:
    # The machine was half as fast in the second round, for both: the ratio is the same.
    found = row(rates(100, 50, 100), rates(100, 50, 100), rates(200, 100, 200))
    assert found.ratio == (0.5, 0.5, 0.5)
    assert found.commands_per_s == {OURS: 100, NO_LEDGER: 100, TGT: 200}


def test_rounds_that_others_disturbed_do_not_count() -> None:
    disturbed, quiet = Sample(1, 99.0, 0.5), Sample(50, 10.0, 0.1)
    found = row([disturbed, quiet, disturbed, quiet], rates(100, 100)[:1] * 4, [Sample(100, 10.0, 0.0)] * 4)
    assert found.ratio == (0.5, 0.5, 0.5)
    assert found.cpu_us[OURS] == 10.0
    assert found.neighbours == 0.0


def test_the_median_decides_and_the_spread_is_told() -> None:
    found = row(rates(90, 40, 95), rates(100, 100, 100), rates(100, 100, 100))
    assert found.ratio == (0.90, 0.40, 0.95)
    assert found.ratio_met
    assert [round(value, 2) for value in found.ledger_cost] == [0.10, 0.05, 0.60]


@pytest.mark.parametrize(("depth", "rate", "met"), [(1, 60, True), (1, 59, False), (32, 50, True), (32, 49, False)])
def test_the_bound_on_throughput_depends_on_the_depth(depth: int, rate: int, met: bool) -> None:
    samples = {OURS: rates(rate), NO_LEDGER: rates(rate), TGT: rates(100)}
    assert figures.summarise(Case("write", "sequential", depth), samples).ratio_met is met


def test_the_ledger_is_judged_by_throughput_over_all_loads() -> None:
    dear = row([Sample(81, 12.0, 0.0)], [Sample(100, 10.0, 0.0)], rates(100))
    free = row(rates(100), rates(100), rates(100))
    assert dear.ledger_cpu_cost == pytest.approx(0.2)
    assert figures.ledger_cost([dear]) == pytest.approx(0.19)
    assert not figures.all_met([dear], 1)
    assert figures.ledger_cost([dear, free]) == pytest.approx(0.1)  # 0.9 is the mean of 0.81 and 1
    assert figures.ledger_cost([free, row(rates(110), rates(100), rates(100))]) < 0
    assert figures.all_met([dear, free, free], 1)


def test_one_missed_bound_is_enough() -> None:
    good, bad = row(rates(100), rates(100), rates(100)), row(rates(10), rates(10), rates(100))
    assert figures.all_met([good], figures.RESIDENT_BYTES_MAX)
    assert not figures.all_met([good], figures.RESIDENT_BYTES_MAX + 1)
    assert not figures.all_met([good, bad], 0)


def test_the_table_names_what_is_missed() -> None:
    said = table([row(rates(100), rates(100), rates(100)), row(rates(10), rates(10), rates(100))], 160_000_000)
    assert said.count("MISS") == 2  # the ratio of the second line, and the memory
    assert "160.0 MB of 150: MISS" in said
    assert "MISS" not in table([row(rates(100), rates(100), rates(100))], 30_000_000)


def test_json_has_every_sample_and_every_bound() -> None:
    samples = {OURS: rates(100, 90), NO_LEDGER: rates(100, 100), TGT: rates(100, 100)}
    said = json.loads(json.dumps(figures.as_json([figures.summarise(CASE, samples)], 1, {CASE: samples})))
    [found] = said["rows"]
    assert (found["direction"], found["access"], found["depth"]) == CASE
    assert [sample["commands_per_s"] for sample in found["samples"]["ours"]] == [100, 90, 1]
    assert (found["ratio"]["bound"], found["ratio"]["met"], said["met"]) == (0.5, True, True)
    assert said["ledger_cost"] == {"value": pytest.approx(0.05), "bound": 0.1, "met": True}


@pytest.mark.parametrize("option", ["--rounds", "--seconds"])
def test_nothing_to_measure_is_refused(
    option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["scsi", option, "0"])
    assert scsi.main() == 2
    assert f"{option} 0: 1 or more is legal" in capsys.readouterr().err


def test_a_place_that_does_not_exist_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["scsi", "--directory", str(tmp_path / "none")])
    assert scsi.main() == 2
    assert f"--directory {tmp_path}/none: No such file" in capsys.readouterr().err


def test_a_place_that_is_too_small_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["scsi", "--seconds", "1000000000"])
    assert scsi.main() == 2
    assert "name another one, or fewer --seconds" in capsys.readouterr().err


def test_a_missing_program_is_named_with_its_package() -> None:
    with pytest.raises(PreflightFailed, match="iscsi-nothing is not installed: apt-get install nothing-bin"):
        processes.need("iscsi-nothing", "nothing-bin")


def test_one_cpu_is_not_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3})
    assert processes.placement(together=False) == (None, None)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 2, 3})
    assert processes.placement(together=False) == (3, 1)
    assert processes.placement(together=True) == (3, 3)


def test_a_process_that_ignores_sigterm_ends_with_its_block(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pause()"]
    with processes.started(argv, tmp_path / "log") as process:
        assert process.poll() is None
    assert process.returncode == -9


def test_a_process_does_not_outlive_the_benchmark(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys, signal; from benchmarks.iscsi.processes import on_cpu, started\n"
        f"with started(on_cpu(None, ['sleep', '600']), pathlib.Path({str(tmp_path / 'log')!r})) as process:\n"
        "    print(process.pid, flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as benchmark:
        assert benchmark.stdout is not None
        pid = int(benchmark.stdout.readline())
        wait(lambda: "sleep" in about(pid))
        benchmark.kill()
    wait(lambda: about(pid) == "" or ") Z " in about(pid))


def about(pid: int) -> str:
    """Its line in ``/proc``; empty when it is no more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_we_do_ourselves_is_not_taken_for_a_neighbour() -> None:
    assert processes.others_part(busy_s=3.0, own_s=2.0, elapsed_s=4.0) == 0.25
    assert processes.others_part(busy_s=2.0, own_s=2.01, elapsed_s=4.0) == 0.0


def test_what_a_killed_run_left_is_removed_and_what_is_in_use_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tmp_path / "hil-bench-left"
    left.mkdir()
    (left / "0.raw").touch()
    (tmp_path / "other").mkdir()
    later = time.time() + 3600
    with scratch(tmp_path) as young:
        assert left.exists()  # as young as one that another run is about to lock
        monkeypatch.setattr(time, "time", lambda: later)
        with scratch(tmp_path) as used:
            assert sorted(tmp_path.iterdir()) == sorted([young, used, tmp_path / "other"])
    assert list(tmp_path.iterdir()) == [tmp_path / "other"]


def test_cpu_time_and_memory_are_those_of_the_process() -> None:
    before = processes.cpu_seconds(os.getpid())
    while processes.cpu_seconds(os.getpid()) == before:
        pass
    assert processes.resident_bytes_max(os.getpid()) > 1_000_000


def test_a_load_that_finds_no_target_breaks_the_laboratory(tmp_path: Path) -> None:
    load = Initiator(None, tmp_path).start("iscsi://127.0.0.1:1/iqn.2026-11.hil:none/0", CASE, 1)
    with pytest.raises(LaboratoryError, match="iscsi-perf ended with status"):
        collect([load], 1)
