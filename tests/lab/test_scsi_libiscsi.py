"""The target against initiators written by others: Debian's libiscsi tools, its conformance tests, and QEMU."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.scsi import identity
from hil.scsi.ledger import read_ledger
from tests.unit.scsi_process import TargetProcess, running

SERIAL = "00112233445566aa"

# Families that run. In the others the operation is missing and all tests skip, which the tool counts as passed.
FAMILIES = (
    *("SCSI.Read6", "SCSI.Read10", "SCSI.Read12", "SCSI.Read16", "SCSI.Write10", "SCSI.Write12", "SCSI.Write16"),
    *("SCSI.ReadCapacity10", "SCSI.Inquiry", "SCSI.Mandatory", "SCSI.TestUnitReady", "SCSI.ModeSense6"),
    *("SCSI.Verify10", "SCSI.Verify12", "SCSI.Verify16", "SCSI.ReadCapacity16"),
    *("iSCSI.iSCSIcmdsn", "iSCSI.iSCSIdatasn", "iSCSI.iSCSITMF"),
)


# The tool probes for these two at every start; the DpoFua tests skip what they would ask of the first.
MAY_BE_MISSING = {"REPORT_SUPPORTED_OPCODES", "PERSISTENT RESERVE IN"}


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: apt-get install libiscsi-bin qemu-system-x86 qemu-block-extra")
    return found


def run(*arguments: str, stdin: str | None = None) -> str:
    ended = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False, input=stdin)
    assert ended.returncode == 0, ended
    return ended.stdout + ended.stderr


@pytest.fixture
def target(tmp_path: Path) -> Iterator[TargetProcess]:
    lun, ledger = f"{tmp_path}/disk.raw:64M", f"{tmp_path}/ledger.bin"
    with running("--lun", lun, "--serial", SERIAL, "--ledger", ledger, "--listen", "127.0.0.1:0") as process:
        yield process
        assert process.end() == (0, "")


def test_discovery_lists_the_target_and_its_unit(target: TargetProcess) -> None:
    found = run(tool("iscsi-ls"), "-s", f"iscsi://{target.addresses[0]}")
    assert f"Target:iqn.2026-11.hil:shared Portal:{target.addresses[0]},1" in found
    assert re.search(r"Lun:0 +Type:DIRECT_ACCESS", found)


def test_inquiry_and_capacity_are_understood(target: TargetProcess) -> None:
    assert "Product:SHARED DISK" in run(tool("iscsi-inq"), target.url())
    assert "Designator Type:(3) NAA" in run(tool("iscsi-inq"), "-e", "1", "-c", "131", target.url())
    assert "Total size:67108864" in run(tool("iscsi-readcapacity16"), target.url())


@pytest.mark.parametrize("depth", [1, 32])
def test_a_load_of_reads_is_answered_and_every_one_is_in_the_ledger(
    target: TargetProcess, tmp_path: Path, depth: int
) -> None:
    said = run(tool("iscsi-perf"), "-b", "8", "-m", str(depth), "-t", "2", target.url())
    assert re.search(r"iops average [1-9]", said)
    entries = list(read_ledger(tmp_path / "ledger.bin"))
    assert [entry.order for entry in entries] == list(range(len(entries)))
    assert Counter(entry.status for entry in entries if entry.name == "READ (16)").keys() == {0}
    assert sum(entry.blocks == 8 for entry in entries) > 1000


@pytest.mark.parametrize("family", FAMILIES)
def test_conformance(target: TargetProcess, family: str) -> None:
    said = run(tool("iscsi-test-cu"), "--dataloss", "--fail", "-n", "-t", family, target.url())
    counts = re.search(r"tests +(\d+) +(\d+) +(\d+) +(\d+) +(\d+)", said)
    assert counts, said
    total, ran, passed, failed, inactive = map(int, counts.groups())
    assert total == ran == passed > 0, said
    assert (failed, inactive) == (0, 0), said
    assert set(re.findall(r"(\S.*?) is not implemented", said.replace("[SKIPPED] ", ""))) <= MAY_BE_MISSING, said


def test_qemu_opens_the_unit_for_pass_through_and_reads_what_it_wrote(target: TargetProcess, tmp_path: Path) -> None:
    """QEMU's monitor does the I/O; no guest runs. ``scsi-block`` does not start without a proper INQUIRY."""
    drive = f"file={target.url()},if=none,id=disk,format=raw,cache=none"
    said = run(
        tool("qemu-system-x86_64"),
        *("-nodefaults", "-display", "none", "-machine", "q35,accel=tcg", "-S", "-m", "32", "-monitor", "stdio"),
        *("-iscsi", "initiator-name=iqn.2026-11.hil:n0", "-drive", drive),
        *("-device", "virtio-scsi-pci", "-device", "scsi-block,drive=disk,share-rw=on"),
        stdin='qemu-io disk "write -P 0x5a 1M 1M"\nqemu-io disk "flush"\nqemu-io disk "read -P 0x5a 1M 1M"\nquit\n',
    )
    assert "wrote 1048576/1048576" in said
    assert "read 1048576/1048576" in said
    assert "verification failed" not in said
    with (tmp_path / "disk.raw").open("rb") as disk:
        disk.seek(1024 * 1024 - 1)
        assert disk.read(1024 * 1024 + 2) == b"\0" + b"\x5a" * 1024 * 1024 + b"\0"
    names = Counter(entry.name for entry in read_ledger(tmp_path / "ledger.bin"))
    assert names["SYNCHRONIZE CACHE (10)"] >= 1
    assert {entry.nexus.initiator for entry in read_ledger(tmp_path / "ledger.bin")} == {"iqn.2026-11.hil:n0"}
    assert identity.wwid(SERIAL).endswith(SERIAL)
