"""Which accelerator, proved by a start of the kernel and kept; how waits are scaled."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from hil import kvm, machine, preflight
from hil.errors import BadConfig
from hil.host import Host
from hil.machine import Accelerator

PATH = os.environ["PATH"]


@dataclass(frozen=True)
class Directory:
    path: Path


@pytest.fixture
def image(tmp_path: Path) -> Directory:
    (tmp_path / "vmlinux").touch()
    return Directory(tmp_path)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(machine.OVERRIDE, raising=False)


def host_with_qemu(tmp_path: Path, script: str) -> Host:
    (tmp_path / "bin").mkdir(exist_ok=True)
    qemu = tmp_path / "bin" / preflight.QEMU
    qemu.write_text(f"#!/bin/sh\necho $# >>{tmp_path}/calls\n[ $# -gt 1 ] || exit 0\n{script}\n", encoding="utf-8")
    qemu.chmod(0o755)
    return Host(root=tmp_path, command_path=f"{tmp_path}/bin:{PATH}", device_number=lambda _: None)


def starts(tmp_path: Path) -> int:
    """How often the fake QEMU was asked to start a machine (and not only for its version)."""
    return sum(int(line) > 1 for line in (tmp_path / "calls").read_text(encoding="utf-8").split())


@pytest.mark.parametrize("kind", ["kvm", "tcg"])
def test_the_environment_decides_when_it_is_set(kind: str, image: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(machine.OVERRIDE, kind)
    assert machine.accelerator(image).kind == kind


def test_another_value_in_the_environment_is_refused_with_the_legal_ones(
    image: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(machine.OVERRIDE, "xen")
    with pytest.raises(BadConfig, match=r"HIL_ACCELERATOR: 'xen' .* kvm, tcg"):
        machine.accelerator(image)


def test_without_the_device_machines_are_emulated_and_nothing_is_started(image: Directory, tmp_path: Path) -> None:
    found = machine.accelerator(image, Host(root=tmp_path, device_number=lambda _: None))
    assert (found.kind, "no /dev/kvm" in found.why) == ("tcg", True)


def usable(_: Host) -> kvm.KvmState:
    return kvm.KvmState(True, "")


def test_kvm_is_used_when_the_kernel_gets_through_its_start(
    image: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kvm, "look", usable)  # no device of this test can stand in for /dev/kvm
    host = host_with_qemu(tmp_path, "echo 'Kernel panic - not syncing: VFS: Unable to mount root fs'; exec sleep 60")
    assert machine.accelerator(image, host) == Accelerator("kvm", "the image's kernel starts on it")


def test_kvm_that_does_not_start_the_kernel_is_not_used_and_the_answer_is_kept(
    image: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kvm, "look", usable)
    host = host_with_qemu(tmp_path, "echo 'KVM: entry failed, hardware error 0x80000021'; exit 1")
    first = machine.accelerator(image, host)
    assert (first.kind, "entry failed" in first.why) == ("tcg", True)
    assert machine.accelerator(image, host) == first
    assert starts(tmp_path) == 1


def test_another_kernel_of_the_host_asks_for_another_proof(
    image: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kvm, "look", usable)
    host = host_with_qemu(tmp_path, "exit 1")
    machine.accelerator(image, host)
    (tmp_path / "proc/sys/kernel").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/osrelease").write_text("6.12.0\n", encoding="ascii")
    machine.accelerator(image, host)
    assert starts(tmp_path) == 2


def test_another_image_with_the_same_kernel_needs_no_new_proof(
    image: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kvm, "look", usable)
    host = host_with_qemu(tmp_path, "exit 1")
    machine.accelerator(image, host)
    other = tmp_path / "other"
    other.mkdir()
    (other / "vmlinux").touch()
    machine.accelerator(Directory(other), host)
    assert starts(tmp_path) == 1
    (other / "vmlinux").write_bytes(b"another kernel")
    machine.accelerator(Directory(other), host)
    assert starts(tmp_path) == 2


def test_a_damaged_cache_is_as_good_as_none(image: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kvm, "look", usable)
    (tmp_path / "cache/hil").mkdir(parents=True)
    (tmp_path / "cache/hil/accelerator.json").write_text('{"key": ', encoding="ascii")
    assert machine.accelerator(image, host_with_qemu(tmp_path, "exit 1")).kind == "tcg"


def test_a_command_that_hangs_is_ended_at_the_limit_and_gone() -> None:
    started = time.monotonic()
    said = machine.first_output(["sh", "-c", "echo $$; exec sleep 100"], b"never", 5, PATH)
    assert time.monotonic() - started < 60
    assert said is not None
    assert not Path(f"/proc/{int(said)}").exists()


def test_what_is_waited_for_ends_the_wait_at_once() -> None:
    started = time.monotonic()
    assert machine.first_output(["sh", "-c", "echo ready; exec sleep 60"], b"ready", 50, PATH) is None
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    ("loop_s", "kind", "factor"),
    [
        (machine.REFERENCE_LOOP_S / 4, "kvm", 1.0),  # a fast machine never shortens a wait
        (machine.REFERENCE_LOOP_S * 3, "kvm", 3.0),
        (machine.REFERENCE_LOOP_S, "tcg", 8.0),
        (machine.REFERENCE_LOOP_S * 3, "tcg", 24.0),
    ],
)
def test_waits_are_scaled_by_the_processor_and_by_emulation(loop_s: float, kind: str, factor: float) -> None:
    assert machine.scale(loop_s, kind) == pytest.approx(factor)


def test_the_speed_is_measured_once_per_boot(tmp_path: Path) -> None:
    first = machine.speed_factor("tcg")
    kept = (tmp_path / "cache/hil/speed.json").read_bytes()
    assert machine.speed_factor("tcg") == first >= 8.0
    assert (tmp_path / "cache/hil/speed.json").read_bytes() == kept
