"""Eight initiators write at random while faults strike at random; then the disk is compared with the ledger."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from hil.scsi.crash_states import CrashStates, Unflushed
from hil.scsi.kept_data import read_frames
from hil.scsi.ledger import Entry, read_all
from hil.scsi.medium import BLOCK_BYTES
from tests.scsi_campaign.commands import ABORTED, ORWRITE, WRITE_SAME, Sent
from tests.scsi_campaign.load import Load, name_of
from tests.scsi_campaign.matching import match
from tests.scsi_campaign.replay import Replay
from tests.scsi_campaign.sources import Kept, Known
from tests.scsi_campaign.stamps import different_bits, read_stamp, split
from tests.scsi_campaign.storm import Storm
from tests.scsi_campaign.work import BLOCKS, INITIATORS
from tests.unit.scsi_process import TargetProcess, running

PEAK_KIB_MAX: Final = 150 * 1024
_CALM_S: Final = 30


class Files:
    """Of one target."""

    def __init__(self, directory: Path) -> None:
        self.disk = directory / "disk.raw"
        self.ledger = directory / "ledger.bin"
        self.data = directory / "data.bin"
        self.control = directory / "control"
        self.reservations = directory / "reservations"

    def arguments(self, ports: Sequence[int] = (0,) * INITIATORS) -> list[str]:
        return [
            f"--lun={self.disk}:{BLOCKS * BLOCK_BYTES}",
            f"--ledger={self.ledger}",
            f"--keep-data={self.data}",
            f"--control={self.control}",
            f"--reservations={self.reservations}",
            *(f"--portal=127.0.0.1:{port}={name_of(number)}" for number, port in enumerate(ports)),
        ]


class Result:
    """What is left when the load is over, and the target has ended, which took ``peak_kib`` of memory at most."""

    def __init__(self, files: Files, load: Load, storm: Storm, peak: int) -> None:
        self.peak_kib = peak
        self.files = files
        self.load = load
        self.storm = storm
        self.records = list(read_all(files.ledger))
        self.entries = [record for record in self.records if isinstance(record, Entry)]
        self.medium = files.disk.read_bytes()
        self.sent: dict[int, Sent] = {}


def run(directory: Path, seconds: float, seed: int) -> Result:
    """Load and faults for ``seconds``; then everything is healed, answered, read once more, and the target ends."""
    files = Files(directory)
    with running(*files.arguments()) as target:
        load = Load(target.addresses, seed)
        storm = Storm(files.control, target.addresses, f"{seed} faults")
        storm.start()
        end = time.monotonic() + seconds
        try:
            load.run(lambda: time.monotonic() >= end, working=True, seconds_max=seconds + _CALM_S)
        finally:
            storm.stop()
        storm.heal_all()
        load.run(load.quiet, working=False, seconds_max=_CALM_S)
        node = load.nodes[0]
        load.ask((each, each.work.probe()) for each in load.nodes)
        load.ask((node, node.work.read_at(lba, 64)) for lba in range(0, BLOCKS, 64))
        peak = peak_kib(target)
        assert peak < PEAK_KIB_MAX, f"the target took {peak} KiB of memory"
        load.close()
        assert target.end() == (0, "")
    return Result(files, load, storm, peak)


def peak_kib(target: TargetProcess) -> int:
    """The most memory that the process has had."""
    status = Path(f"/proc/{target.process.pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s*(\d+) kB", status)
    assert found is not None
    return int(found[1])


def check(result: Result) -> Counter[str]:
    """Every claim of the ledger. Returns what was counted."""
    _check_answers(result)
    kept = Kept(read_frames(result.files.data))
    by_data = Replay(BLOCKS, kept)
    by_word = Replay(BLOCKS, Known(result.sent))
    for record in result.records:
        by_data.take(record)
        by_word.take(record)
    kept.end()
    by_data.end()
    by_word.end()
    _check_faults(result, by_data)
    check_medium(by_data, result.medium)
    check_medium(by_word, result.medium)
    by_data.counts["blocks that say who wrote them"] = _check_stamps(result, by_word)
    with CrashStates(result.files.ledger, result.files.data) as states:
        for state in states:  # noqa: B007
            pass
        assert state.read(0, BLOCKS, Unflushed.KEPT) == result.medium, "the last crash state is not the medium"
    assert by_word.counts["reads checked"] > 0
    return by_data.counts + _count_answers(result)


def _count_answers(result: Result) -> Counter[str]:
    counts: Counter[str] = Counter()
    for node in result.load.nodes:
        counts["logins"] += len(node.logins)
        counts["logins refused"] += node.refused_logins
        counts["commands aborted by their initiator"] += sum(sent.status == ABORTED for log in node.log for sent in log)
        counts["commands without an answer"] += sum(sent.status is None for log in node.log for sent in log)
    return counts


def _check_answers(result: Result) -> None:
    for node in result.load.nodes:
        mine = [entry for entry in result.entries if entry.nexus.initiator == name_of(node.number)]
        unknown = match(node, mine)
        late = [sent for sent in unknown if sent in node.log[-1]]
        assert not late, f"lost: {late[:3]}"
        result.sent |= {sent.order: sent for log in node.log for sent in log if sent.order >= 0}
    assert sorted(result.sent) == list(range(len(result.entries)))


def _check_faults(result: Result, replay: Replay) -> None:
    """Everything that was injected is in the ledger as it was asked for, and was healed."""
    assert set(replay.known) == set(result.storm.injected) == set(replay.healed)
    for number, request in result.storm.injected.items():
        about = replay.known[number]
        for name in ("fault", "portal", "initiator", "lun", "lba", "seconds"):
            assert about[name] == request.get(name), (about, request)
    assert replay.counts["blocks lost"] == result.storm.reverted_blocks


def check_medium(replay: Replay, medium: bytes) -> None:
    """Block by block."""
    assert len(medium) == len(replay.disk) * BLOCK_BYTES
    for lba, (block, found) in enumerate(zip(replay.disk, split(medium), strict=True)):
        if found != block.data:
            different = different_bits(found, block.data)
            assert different <= block.bits, (
                f"block {lba}: {different} bits are not as command {block.by} left them; it holds {read_stamp(found)}, "
                f"not {read_stamp(block.data)}"
            )


def _check_stamps(result: Result, replay: Replay) -> int:
    """What a block says about itself, against what the ledger names as the last command that changed it."""
    checked = 0
    everything = {(sent.initiator, sent.sequence): sent for sent in result.sent.values()}
    for lba, (block, found) in enumerate(zip(replay.disk, split(result.medium), strict=True)):
        stamp = read_stamp(found)
        if stamp is None or block.bits or (block.by >= 0 and result.sent[block.by].opcode == ORWRITE):
            continue
        sent = everything[stamp.initiator, stamp.sequence]
        assert sent.order == block.by, f"block {lba} says that {sent} wrote it, the ledger says {result.sent[block.by]}"
        entry = result.entries[sent.order]
        if not entry.faults and sent.opcode not in WRITE_SAME:
            assert stamp.lba == lba, f"block {lba} says that it is block {stamp.lba}: {entry}"
        checked += 1
    assert checked > 0
    return checked
