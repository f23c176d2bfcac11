"""`hil disk` without machines: its options come from the target's table, its record from a run that is over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hil.cli import main
from hil.cli.disk import parse_lba
from hil.errors import UsageError
from hil.scsi import identity
from hil.scsi.command import Command
from hil.scsi.faults.kinds import KINDS
from hil.scsi.faults.selection import Selection
from hil.scsi.medium import Medium
from tests.unit.scsi_fence import F, out, pair, status, write
from tests.unit.scsi_initiator import PORTAL, SERIAL, SIZE_BYTES, make_target, read_10, write_10
from tests.unit.scsi_reserve import CONFLICT, GOOD, PREEMPT_AND_ABORT, WERO
from tests.unit.test_scsi_crash_states import FUA, Disk, letters


def hil(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main.main(arguments)
    out, err = capsys.readouterr()
    return status, out, err


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """Of a run: four commands, of which a fault struck one, and a power failure."""
    disk = Disk(tmp_path, ledger="ledger.bin", data="kept.data")
    disk.write(10, b"1", 2)
    disk.flush()
    disk.target.faults.inject("misdirected", Selection(), 1, parameters={"shift": 90})
    disk.write(10, b"2")
    disk.node.command(read_10(10, 1), edtl=512, flags=F | 0x40)
    cache = disk.target.faults.inject("volatile-cache", Selection())
    disk.write(12, b"3")
    disk.target.lose_power([disk.node.nexus])
    disk.target.faults.heal(cache.number)
    disk.write(13, b"4", flags=FUA)
    disk.end()
    return tmp_path


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_the_table_is_a_verb_with_its_parameters(capsys: pytest.CaptureFixture[str], kind: str) -> None:
    status, out, _ = hil(capsys, "disk", kind, "--help")
    assert status == 0
    for parameter in KINDS[kind].parameters:
        assert f"--{parameter}" in out
    assert ("--direction" in out) == bool(KINDS[kind].directions)


@pytest.mark.parametrize(("text", "found"), [(None, None), ("7", (7, 7)), ("0-0", (0, 0)), ("2048-4095", (2048, 4095))])
def test_a_range_of_blocks_is_two_numbers_or_one(text: str | None, found: tuple[int, int] | None) -> None:
    assert parse_lba(text) == found


@pytest.mark.parametrize("text", ["", "-", "a", "5-", "-5", "9-8", "1-2-3", "1.5", "\u0661"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="a block or a range is legal"):
        parse_lba(text)


def test_the_ledger_of_a_run_shows_commands_and_faults_in_their_order(
    capsys: pytest.CaptureFixture[str], run_dir: Path
) -> None:
    status, out, err = hil(capsys, "disk", "ledger", "--run", str(run_dir), "--json")
    assert (status, err) == (0, "")
    lines = [json.loads(line) for line in out.splitlines()]
    told = [line.get("event") or line["operation"] for line in lines]
    assert told == [
        "WRITE (10)", "SYNCHRONIZE CACHE (10)", "fault-injected", "fault-healed", "WRITE (10)", "READ (10)",
        "fault-injected", "WRITE (10)", "power-lost", "reverted", "fault-healed", "WRITE (10)",
    ]  # fmt: skip
    assert [line["order"] for line in lines if "operation" in line] == list(range(6))
    assert lines[4]["faults"] == [1]
    [placed] = lines[4]["placed"]
    assert (placed["lba"], placed["blocks"], placed["unmapped"]) == (100, 1, False)
    assert placed["digest"] == lines[4]["digest"]
    assert lines[9]["lba"] == 12


@pytest.mark.parametrize(
    ("options", "orders"),
    [
        ([], [0, 1, 2, 3, 4, 5]),
        (["--writes"], [0, 2, 4, 5]),
        (["--since", "4"], [4, 5]),
        (["--lba", "11"], [0, 1]),  # a flush is about all blocks
        (["--lba", "100", "--writes"], [2]),  # where it really went
        (["--lba", "12-13", "--writes"], [4, 5]),
        (["--node", "0", "--last", "2"], [4, 5]),
        (["--writes", "-n", "1"], [5]),
        (["--lun", "0", "--writes"], [0, 2, 4, 5]),
        (["--lun", "1"], []),
    ],
)
def test_the_ledger_is_narrowed_by_what_was_asked_for(
    capsys: pytest.CaptureFixture[str], run_dir: Path, options: list[str], orders: list[int]
) -> None:
    _, out, _ = hil(capsys, "disk", "ledger", "--run", str(run_dir), "--json", *options)
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["order"] for line in lines if "operation" in line] == orders


def test_what_a_node_wrote_after_it_was_preempted_is_found(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    target = make_target(tmp_path, ledger=True)
    master, victim = pair(target)
    assert status(write(victim)) == GOOD
    assert out(master, PREEMPT_AND_ABORT, 0x10, 0x11, WERO) == GOOD
    assert status(write(victim)) == CONFLICT
    assert status(write(master)) == GOOD
    assert target.ledger is not None
    target.ledger.close()
    target.units[0].medium.close()
    _, told, _ = hil(capsys, "disk", "ledger", "--run", str(tmp_path), "--fenced")
    [line] = told.splitlines()
    assert "n1   WRITE (10)" in line
    assert "RESERVATION CONFLICT; not written" in line


def test_a_command_to_a_further_lun_says_to_which(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    target = make_target(tmp_path, ledger=True)
    target.add_unit(1, Medium(str(tmp_path / "disk-1.raw"), SIZE_BYTES), identity.following(SERIAL, 1))
    nexus = target.nexus("iqn.test:a", PORTAL)
    nexus.attentions.clear()
    for lun in (0, 1):
        command = Command(nexus, lun, write_10(7, 1), bytes(512), 0)
        outcome = target.execute(command)
        assert outcome is not None
        target.record(nexus, command, outcome)
    assert target.ledger is not None
    target.ledger.close()
    for unit in target.units.values():
        unit.medium.close()
    _, told, _ = hil(capsys, "disk", "ledger", "--run", str(tmp_path))
    assert [line.partition("WRITE (10)")[2].strip() for line in told.splitlines()] == ["LBA 7+1", "LUN 1 LBA 7+1"]
    _, told, _ = hil(capsys, "disk", "ledger", "--run", str(tmp_path), "--lun", "1", "--json")
    assert [json.loads(line)["lun"] for line in told.splitlines()] == [1]


def test_the_ledger_reads_well(capsys: pytest.CaptureFixture[str], run_dir: Path) -> None:
    _, out, _ = hil(capsys, "disk", "ledger", "--run", str(run_dir))
    assert "WRITE (10)             LBA 10+1           struck by fault 1; placed LBA 100+1" in out
    assert "-- fault-injected number=1 fault=misdirected" in out
    assert "-- power-lost node=0 lun=0" in out


@pytest.mark.parametrize(
    ("order", "options", "expected"),
    [
        (0, [], "...."),
        (0, ["--unflushed", "kept"], "11.."),
        (1, [], "11.."),
        (4, ["--unflushed", "kept"], "113."),
        (4, ["--unflushed", "lost"], "11.."),
        (5, ["--unflushed", "random", "--seed", "7"], "11.4"),
    ],
)
def test_the_disk_as_it_was_at_a_command_is_written_out(
    capsys: pytest.CaptureFixture[str], run_dir: Path, order: int, options: list[str], expected: str
) -> None:
    out_file = run_dir / "at.raw"
    status, out, _ = hil(capsys, "disk", "at", str(order), "--out", str(out_file), "--run", str(run_dir), *options)
    assert status == 0
    assert f"LUN 0 after command {order}" in out
    assert letters(out_file.read_bytes()[10 * 512 : 14 * 512]) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["at", "9", "--out", "{run}/new"], "command 9 is not in the ledger: 0 to 5 are"),
        (["at", "0", "--out", "{run}/ledger.bin"], "it exists; name another file"),
        (["at", "0", "--out", "{run}/new", "--lun", "3"], "base3 is missing: run with kept data (hil up --keep-data)"),
        (["at", "0", "--out", "{run}/new", "--unflushed", "some"], "lost, kept, random are legal"),
        (["at", "0", "--out", "{run}/new", "--name", "x"], "--run and --name"),
        (["ledger", "--name", "x"], "--run and --name"),
        (["ledger", "--node", "7"], "there are: 0"),
        (["ledger", "--lba", "x"], "a block or a range is legal"),
    ],
)
def test_what_cannot_be_done_is_refused_with_what_is_legal_and_leaves_nothing(
    capsys: pytest.CaptureFixture[str], run_dir: Path, arguments: list[str], message: str
) -> None:
    before = sorted(run_dir.iterdir())
    status, out, err = hil(
        capsys, "disk", *(argument.format(run=run_dir) for argument in arguments), "--run", str(run_dir)
    )
    assert (status, out) == (2, "")
    assert message in err
    assert sorted(run_dir.iterdir()) == before


def test_a_run_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "no such directory" in hil(capsys, "disk", "ledger", "--run", str(tmp_path / "no"))[2]
    status, _, err = hil(capsys, "disk", "ledger", "--run", str(tmp_path))
    assert (status, "ledger.bin does not exist" in err) == (2, True)
