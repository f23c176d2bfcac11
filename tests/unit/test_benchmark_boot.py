"""``./run bench boot``: what it makes of its samples, how it reads consoles and archives. Nothing is about speed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from benchmarks import boot
from benchmarks.boots import figures, floor, neighbours
from benchmarks.boots.figures import STAGES, Figures, Joined, Round
from benchmarks.iscsi.processes import cpu_seconds
from hil.errors import LaboratoryError
from images import cpio

REACHED = {name: float(at) for at, name in enumerate(STAGES)}


def found(*pairs: tuple[float, float], joined_s: float = 8.0) -> Figures:
    """Of (floor, node) pairs in quiet rounds, and as many less one that others disturbed."""
    quiet = [Round(least, node, REACHED, 0.1) for least, node in pairs]
    disturbed = [Round(1.0, 99.0, REACHED, 0.9) for _ in pairs[1:]]
    return Figures((*disturbed, *quiet), (Joined(99.0, 0.9), Joined(joined_s, 0.1)))


def test_a_ratio_is_taken_within_a_round() -> None:
    # The machine was half as fast in the second round, for both.
    assert found((2.0, 3.0), (4.0, 6.0), (2.0, 3.0)).ratio == 1.5


def test_rounds_that_others_disturbed_do_not_count() -> None:
    said = found((2.0, 2.0), (2.0, 3.0), (2.0, 2.5))
    assert (said.ratio, said.joined_s) == (1.25, 8.0)


@pytest.mark.parametrize(("node_s", "joined_s", "met"), [(3.0, 25.0, True), (3.01, 25.0, False), (3.0, 25.01, False)])
def test_both_bounds_must_hold(node_s: float, joined_s: float, met: bool) -> None:
    made = found((2.0, node_s), joined_s=joined_s)
    assert made.met is met
    assert figures.table(made).count("MISS") == (not met)
    assert json.loads(json.dumps(figures.as_json(made)))["met"] is met


def test_the_table_tells_when_a_stage_is_reached_and_what_it_takes() -> None:
    lines = figures.table(found((2.0, 3.0))).splitlines()
    assert lines[3].split()[:3] == ["2.00", "1.00", "initramfs:"]


def test_stages_are_those_of_the_last_boot_on_the_host_s_clock() -> None:
    told = {"initramfs": 1.5, "modules": 1.6, "root": 1.7, "init": 1.8, "interpreter": 2.2, "python": 2.4}
    events = [
        {"t": 1.0, "kind": "machine-starting", "node": 0},
        {"t": 2.0, "kind": "machine-started", "node": 0},
        {"t": 10.0, "kind": "machine-starting", "node": 0},
        {"t": 10.1, "kind": "machine-starting", "node": 1},
        {"t": 10.25, "kind": "machine-started", "node": 0},
        {"t": 13.0, "kind": "guestd-started", "node": 0, "guest_t": 2.5, "stages": told},
    ]
    assert figures.stages(events, 0) == pytest.approx(
        {
            "machine": 0.25,
            "kernel": 0.5,
            "initramfs": 2.0,
            "modules": 2.1,
            "root": 2.2,
            "init": 2.3,
            "python": 2.7,
            "imports": 2.9,
            "guestd": 3.0,
        }
    )
    assert figures.stages(events, 0).keys() == STAGES.keys()


def test_a_line_of_the_console_is_seen_when_it_comes_and_older_ones_are_not(tmp_path: Path) -> None:
    path = tmp_path / "console"
    path.write_bytes(b"hil: floor\r\n")
    with floor.console(path) as console:
        seen = threading.Event()

        def wait() -> None:
            console.wait_line(floor.LINE)
            seen.set()

        waiting = threading.Thread(target=wait)
        waiting.start()
        with path.open("ab") as file:
            file.write(b"something else\r\n")
            file.flush()
            assert not seen.wait(0.2)
            file.write(b"hil: floor\r\n")
        assert seen.wait(10)
        waiting.join()


def test_a_console_that_ends_without_the_line_breaks_the_laboratory(tmp_path: Path) -> None:
    path = tmp_path / "console"
    path.touch()
    with floor.console(path) as console:
        console.process.kill()
        with pytest.raises(LaboratoryError, match="without 'hil: floor'"):
            console.wait_line(floor.LINE)


def test_a_file_is_found_in_the_first_of_two_archives() -> None:
    archive = cpio.pack([cpio.directory("bin"), cpio.regular("bin/busybox", b"\x7fELF1"), cpio.regular("x", b"y")])
    both = archive + cpio.pack([cpio.regular("late", b"")])
    assert floor.initramfs_file(both, "bin/busybox") == b"\x7fELF1"
    assert floor.initramfs_file(both, "x") == b"y"
    with pytest.raises(LaboratoryError, match="no late"):
        floor.initramfs_file(archive, "late")


def test_what_a_process_of_the_cluster_does_is_not_a_neighbour_s(monkeypatch: pytest.MonkeyPatch) -> None:
    argv = [sys.executable, "-c", "while True: pass", "cluster-x"]
    with subprocess.Popen(argv) as process:
        # All that the machine does is this process.
        monkeypatch.setattr(neighbours, "busy_seconds", lambda: cpu_seconds(process.pid))
        process.send_signal(signal.SIGSTOP)  # while somebody looks: its times are read one after the other
        own, strange = neighbours.Neighbours("cluster-x"), neighbours.Neighbours("cluster-y")
        begin = cpu_seconds(process.pid)
        process.send_signal(signal.SIGCONT)
        while cpu_seconds(process.pid) - begin < 0.3:
            time.sleep(0.01)
        process.send_signal(signal.SIGSTOP)
        parts = own.part(), strange.part()
        process.kill()
    assert parts[0] < parts[1] / 4


def test_nothing_to_measure_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["boot", "--rounds", "0"])
    assert boot.main() == 2
    assert "--rounds 0: 1 or more is legal" in capsys.readouterr().err
