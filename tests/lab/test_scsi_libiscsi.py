"""The target against initiators written by others: Debian's libiscsi tools, its conformance tests, and QEMU."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hil.scsi import identity
from hil.scsi.ledger import read_ledger
from tests.lab.digests_preferred import digests_preferred
from tests.unit.scsi_process import TARGET, TREE, TargetProcess, running

SERIAL = "00112233445566aa"

# Every family of the tool, each run in a process of its own; with the names of the tests that skip, and why they may.
_NOT_REMOVABLE = "the shared disk is no removable medium"
_SANITIZE = "the tool sends SANITIZE only with --allow-sanitize"
_NO_COPY = "no EXTENDED COPY: nodes write themselves what the ledger says they wrote"
# GET LBA STATUS of the tool is only right with LBPPBE=0 (it takes the LBA that follows for the one it asked for), and
# these only run with more.
_PHYSICAL_BLOCKS = "one logical block per physical block"
_REFUSED = {"ZeroBlocks": "the rest of it, once 0 blocks were refused as WSNZ=1 says"}
_SKIPS: dict[str, dict[str, str]] = {
    "SCSI.CompareAndWrite": {"InvalidDataOutSize": _PHYSICAL_BLOCKS},
    "SCSI.ExtendedCopy": dict.fromkeys(
        ("Simple", "ParamHdr", "DescrLimits", "DescrType", "ValidTgtDescr", "ValidSegDescr"), _NO_COPY
    ),
    "SCSI.NoMedia": {"NoMediaSBC": _NOT_REMOVABLE},
    "SCSI.PreventAllow": dict.fromkeys(
        ("Simple", "Eject", "ITNexusLoss", "Logout", "WarmReset", "ColdReset", "LUNReset", "2ITNexuses"), _NOT_REMOVABLE
    ),
    "SCSI.ReceiveCopyResults": dict.fromkeys(("CopyStatus", "OpParams"), _NO_COPY),
    "SCSI.Sanitize": dict.fromkeys(
        (
            *("BlockErase", "BlockEraseReserved", "CryptoErase", "CryptoEraseReserved", "ExitFailureMode"),
            *("InvalidServiceAction", "Overwrite", "OverwriteReserved", "Readonly", "Reservations", "Reset"),
        ),
        _SANITIZE,
    ),
    "SCSI.StartStopUnit": dict.fromkeys(("Simple", "PwrCnd", "NoLoej"), _NOT_REMOVABLE),
    "SCSI.WriteAtomic16": {"VPD": "the part about alignment and granularity, where nothing is demanded"},
    "SCSI.WriteSame10": {**dict.fromkeys(("UnmapUnaligned", "InvalidDataOutSize"), _PHYSICAL_BLOCKS), **_REFUSED},
    "SCSI.WriteSame16": {**dict.fromkeys(("UnmapUnaligned", "InvalidDataOutSize"), _PHYSICAL_BLOCKS), **_REFUSED},
}
FAMILIES = (
    *("SCSI.CompareAndWrite", "SCSI.ExtendedCopy", "SCSI.GetLBAStatus", "SCSI.Inquiry", "SCSI.Mandatory"),
    *("SCSI.ModeSense6", "SCSI.NoMedia", "SCSI.OrWrite", "SCSI.Prefetch10", "SCSI.Prefetch16", "SCSI.PreventAllow"),
    *("SCSI.PrinReadKeys", "SCSI.PrinServiceactionRange", "SCSI.PrinReportCapabilities", "SCSI.ProutRegister"),
    *("SCSI.ProutReserve", "SCSI.ProutClear", "SCSI.ProutPreempt", "SCSI.Read6", "SCSI.Read10", "SCSI.Read12"),
    *("SCSI.Read16", "SCSI.ReadCapacity10", "SCSI.ReadCapacity16", "SCSI.ReadDefectData10", "SCSI.ReadDefectData12"),
    *("SCSI.ReadOnly", "SCSI.ReceiveCopyResults", "SCSI.ReportSupportedOpcodes", "SCSI.Reserve6", "SCSI.Sanitize"),
    *("SCSI.StartStopUnit", "SCSI.TestUnitReady", "SCSI.Unmap", "SCSI.Verify10", "SCSI.Verify12", "SCSI.Verify16"),
    *("SCSI.Write10", "SCSI.Write12", "SCSI.Write16", "SCSI.WriteAtomic16", "SCSI.WriteSame10", "SCSI.WriteSame16"),
    *("SCSI.WriteVerify10", "SCSI.WriteVerify12", "SCSI.WriteVerify16", "SCSI.MultipathIO"),
    *("iSCSI.iSCSIcmdsn", "iSCSI.iSCSIdatasn", "iSCSI.iSCSIResiduals", "iSCSI.iSCSITMF"),
)

# A unit that is write-protected when the tool comes, which no option of the target's command line makes.
_PROTECTED_TARGET = """
import asyncio, sys
from hil.scsi.medium import Medium
from hil.scsi.server import serve
from hil.scsi.target import Portal, Target

target = Target()
with Medium(sys.argv[1], 64 * 1024 * 1024) as medium:
    medium.write_protected = True
    target.add_unit(0, medium, sys.argv[2])
    asyncio.run(serve(target, [Portal("127.0.0.1", 0, None)], int(sys.argv[3])))
"""


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


def test_discovery_lists_every_portal_with_its_tag(tmp_path: Path) -> None:
    portals = ("--listen", "127.0.0.1:0", "--listen", "127.0.0.2:0", "--portal", "127.0.0.3:0=iqn.test:another")
    with running("--lun", f"{tmp_path}/disk.raw:64M", *portals) as process:
        _, one, two = process.addresses
        found = run(tool("iscsi-ls"), f"iscsi://{two}")
        assert sorted(re.findall(r"Portal:(\S+)", found)) == [f"{one},2", f"{two},3"]


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


def conformance(family: str, *urls: str) -> None:
    """Nothing fails, and exactly the tests skip that may."""
    said = run(tool("iscsi-test-cu"), "--dataloss", "--fail", "-V", "-t", family, *urls)
    counts = re.search(r"tests +(\d+) +(\d+) +(\d+) +(\d+) +(\d+)", said)
    assert counts, said[-4000:]
    total, ran, passed, failed, inactive = map(int, counts.groups())
    assert total == ran == passed > 0, said[-4000:]
    assert (failed, inactive) == (0, 0)
    assert skipped(said) == _SKIPS.get(family, {}).keys()


def skipped(said: str) -> set[str]:
    """The tests that say that they skip something."""
    _, *tests = re.split(r"^  Test: (\S+) \.\.\.", said, flags=re.MULTILINE)
    return {name for name, text in zip(tests[::2], tests[1::2], strict=True) if "[SKIP" in text}


def test_the_tool_has_no_other_families() -> None:
    listed = run(tool("iscsi-test-cu"), "--list").split()
    assert sorted(FAMILIES) == sorted({name for name in listed if re.fullmatch(r"i?SCSI\.[^.]+", name)})


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in ("SCSI.ReadOnly", "SCSI.MultipathIO")])
def test_conformance(target: TargetProcess, family: str) -> None:
    conformance(family, target.url())


def test_conformance_over_two_paths(tmp_path: Path) -> None:
    portals = ("--listen", "127.0.0.1:0", "--listen", "127.0.0.2:0")
    with running("--lun", f"{tmp_path}/disk.raw:64M", "--serial", SERIAL, *portals) as process:
        conformance("SCSI.MultipathIO", process.url(0), process.url(1))
        assert process.end() == (0, "")


def test_conformance_of_a_write_protected_unit(tmp_path: Path) -> None:
    ready, give = os.pipe()
    arguments = (f"{tmp_path}/disk.raw", SERIAL, str(give))
    with subprocess.Popen([sys.executable, "-c", _PROTECTED_TARGET, *arguments], cwd=TREE, pass_fds=[give]) as process:
        os.close(give)
        try:
            with os.fdopen(ready) as stream:
                [address] = stream.readline().split()[1:]
            conformance("SCSI.ReadOnly", f"iscsi://{address}/{TARGET}/0")
        finally:
            process.terminate()


@pytest.mark.parametrize(
    "family",
    [
        *("SCSI.Inquiry", "SCSI.Read10", "SCSI.Write10", "SCSI.Write16", "SCSI.ProutPreempt"),
        *("iSCSI.iSCSIcmdsn", "iSCSI.iSCSIdatasn", "iSCSI.iSCSIResiduals", "iSCSI.iSCSITMF"),
    ],
)
def test_conformance_with_header_digests(tmp_path: Path, family: str) -> None:
    with digesting_target(tmp_path) as target:
        with digests_preferred(target.addresses[0]) as address:
            conformance(family, f"iscsi://{address}/{TARGET}/0")
        assert set(digests_of_logins(target)) == {"header"}


@contextmanager
def digesting_target(tmp_path: Path) -> Iterator[TargetProcess]:
    lun, ledger = f"{tmp_path}/disk.raw:64M", f"{tmp_path}/ledger.bin"
    arguments = ("--lun", lun, "--serial", SERIAL, "--ledger", ledger, "--listen", "127.0.0.1:0", "--verbose")
    with running(*arguments) as process:
        yield process


def digests_of_logins(target: TargetProcess) -> list[str]:
    """What the target says of every login; ends it."""
    status, said = target.end()
    assert status == 0
    return re.findall(r"logged in at \S+, (.*) digests", said)


def qemu_writes_and_reads(url: str, *iscsi_options: str) -> None:
    """QEMU's monitor does the I/O; no guest runs. ``scsi-block`` does not start without a proper INQUIRY."""
    drive = f"file={url},if=none,id=disk,format=raw,cache=none"
    said = run(
        tool("qemu-system-x86_64"),
        *("-nodefaults", "-display", "none", "-machine", "q35,accel=tcg", "-S", "-m", "32", "-monitor", "stdio"),
        *("-iscsi", ",".join(("initiator-name=iqn.2026-11.hil:n0", *iscsi_options)), "-drive", drive),
        *("-device", "virtio-scsi-pci", "-device", "scsi-block,drive=disk,share-rw=on"),
        stdin='qemu-io disk "write -P 0x5a 1M 1M"\nqemu-io disk "flush"\nqemu-io disk "read -P 0x5a 1M 1M"\nquit\n',
    )
    assert "wrote 1048576/1048576" in said
    assert "read 1048576/1048576" in said
    assert "verification failed" not in said


@pytest.mark.parametrize(
    ("offered", "agreed"), [("NONE-CRC32C", "no"), ("CRC32C-NONE", "header"), ("CRC32C", "header"), ("NONE", "no")]
)
def test_qemu_gets_the_header_digests_that_it_prefers(tmp_path: Path, offered: str, agreed: str) -> None:
    with digesting_target(tmp_path) as target:
        qemu_writes_and_reads(target.url(), f"header-digest={offered}")
        assert set(digests_of_logins(target)) == {agreed}


def test_qemu_opens_the_unit_for_pass_through_and_reads_what_it_wrote(target: TargetProcess, tmp_path: Path) -> None:
    qemu_writes_and_reads(target.url())
    with (tmp_path / "disk.raw").open("rb") as disk:
        disk.seek(1024 * 1024 - 1)
        assert disk.read(1024 * 1024 + 2) == b"\0" + b"\x5a" * 1024 * 1024 + b"\0"
    names = Counter(entry.name for entry in read_ledger(tmp_path / "ledger.bin"))
    assert names["SYNCHRONIZE CACHE (10)"] >= 1
    assert {entry.nexus.initiator for entry in read_ledger(tmp_path / "ledger.bin")} == {"iqn.2026-11.hil:n0"}
    assert identity.wwid(SERIAL).endswith(SERIAL)
