"""The target is killed in the middle of writes, again and again; each time the disk is compared with the ledger."""

from __future__ import annotations

import signal
import socket
import struct
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from random import Random, SystemRandom
from typing import Any, Final

from hil.scsi.crash_states import CrashStates, Unflushed
from hil.scsi.kept_data import read_frames
from hil.scsi.ledger import Entry, read_all
from hil.scsi.sense import Status
from tests.scsi_campaign.campaign import Files, check_medium
from tests.scsi_campaign.commands import REGISTER_OPCODE, Sent
from tests.scsi_campaign.load import Load, Node, name_of
from tests.scsi_campaign.matching import match_session
from tests.scsi_campaign.possible import Possible
from tests.scsi_campaign.replay import Block, Replay
from tests.scsi_campaign.sources import Kept, Known
from tests.scsi_campaign.stamps import split
from tests.scsi_campaign.storm import DATA_FAULTS, Storm
from tests.scsi_campaign.strikes import is_for
from tests.scsi_campaign.tail import Tail
from tests.scsi_campaign.work import BLOCKS, INITIATORS, key_of
from tests.unit.scsi_process import TargetProcess, running
from tests.unit.scsi_reserve import RESERVE, WERO, in_cdb, out_cdb, out_data

_WAIT_S: Final = 30
_READ_KEYS, _READ_RESERVATION = 0, 1


class Kills:
    """One run. ``counts`` are of the replay, and of what was killed."""

    def __init__(self, directory: Path, seed: int, *, faults: bool) -> None:
        self.files = Files(directory)
        self.random = Random(f"{seed} kills")
        self.ports = _free_ports()
        addresses = [f"127.0.0.1:{port}" for port in self.ports]
        self.load = Load(addresses, seed, long_transfers=False, aborts=False, registers=True)
        self.sent: dict[int, Sent] = {}
        self.replay = Replay(BLOCKS, Known(self.sent))
        self.keys: list[set[int]] = [{0} for _ in range(INITIATORS)]
        self.counts: Counter[str] = Counter()
        self._addresses = addresses
        self._seed = seed
        self._faults = faults
        self._tail = Tail(self.files.ledger)
        self._must_be_found: set[int] = set()

    def run(self, kills: int) -> Counter[str]:
        """Kills, and at last a target that ends in order. Returns what was counted."""
        for turn in range(kills):
            with running(*self.files.arguments(self.ports)) as target:
                self._begin()
                self._work_until_killed(target, turn)
            self._look_at_what_is_left()
        with running(*self.files.arguments(self.ports)) as target:
            self._begin()
            node = self.load.nodes[0]
            self.load.ask((node, node.work.read_at(lba, 64)) for lba in range(0, BLOCKS, 64))
            self.load.close()
            assert target.end() == (0, "")
        self._look_at_what_is_left()
        self.replay.end()
        check_medium(self.replay, self.files.disk.read_bytes())
        self._check_kept()
        return self.counts + self.replay.counts

    # -- while a target lives ------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Everybody logs in again, and the registrations and the reservation are there."""
        self.load.run(self.load.quiet, working=False, seconds_max=_WAIT_S)
        self._take_records()
        assert self._must_be_found <= self.replay.found, "the next target did not find what the kill left"
        self.replay.found.clear()
        if self.keys[0] == {0}:
            self._register()
        else:
            self._check_registrations()

    def _register(self) -> None:
        for node in self.load.nodes:  # one after the other: in this order READ KEYS tells them
            [sent] = self.load.ask([(node, node.work.register())])
            assert sent.status == Status.GOOD
            self.keys[node.number] = {key_of(sent)}
        node = self.load.nodes[0]
        [key] = self.keys[0]
        [sent] = self.load.ask([(node, node.work.raw(out_cdb(RESERVE, WERO), out_data(key)))])
        assert sent.status == Status.GOOD

    def _check_registrations(self) -> None:
        node = self.load.nodes[0]
        data = self._persistent_reserve_in(node, _READ_KEYS)
        keys = struct.unpack(f">{len(data) // 8 - 1}Q", data[8:])
        assert len(keys) == INITIATORS, f"registered keys: {keys}"
        for key, legal in zip(keys, self.keys, strict=True):
            assert key in legal, f"{key:x} is registered, {legal} was"
        self.keys = [{key} for key in keys]
        data = self._persistent_reserve_in(node, _READ_RESERVATION)
        assert (int.from_bytes(data[8:16], "big"), data[21]) == (keys[0], WERO), data.hex()

    def _persistent_reserve_in(self, node: Node, action: int) -> bytes:
        [sent] = self.load.ask([(node, node.work.raw(in_cdb(action), read_bytes=8192))])
        assert sent.status == Status.GOOD, sent
        return node.last_data

    def _work_until_killed(self, target: TargetProcess, turn: int) -> None:
        storm = Storm(
            self.files.control, self._addresses, f"{self._seed} faults {turn}",
            kinds=DATA_FAULTS, at_once=5 if self._faults else 0,
        )  # fmt: skip
        kill = threading.Timer(self.random.uniform(0.05, 0.35), target.process.kill)
        storm.start()
        kill.start()
        try:
            self.load.run(self._all_lost, working=True, seconds_max=_WAIT_S, reconnect=False)
        finally:
            kill.join()
            storm.stop()
        assert target.end(signal.SIGKILL) == (-signal.SIGKILL, "")
        self.counts["kills"] += 1

    def _all_lost(self) -> bool:
        return all(node.socket is None for node in self.load.nodes)

    # -- after it ------------------------------------------------------------------------------------------------

    def _look_at_what_is_left(self) -> None:
        """Ledger and kept data can be read, the medium is as the ledger says, or as somebody unanswered wanted it."""
        unanswered = self._take_records()
        self.replay.killed()
        for _ in read_frames(self.files.data):
            pass
        self.counts["commands without an answer or a record"] += len(unanswered)
        self._note_registrations()
        faults = [
            about
            for number, about in self.replay.known.items()
            if number not in self.replay.healed or self.replay.healed[number].order == self.replay.order_next
        ]
        possible = Possible(self.replay.disk, unanswered, faults, self._is_for)
        self._must_be_found = set()
        for lba, found in enumerate(split(self.files.disk.read_bytes())):
            block = self.replay.disk[lba]
            if found == block.data:
                continue
            assert possible.has(lba, found), (
                f"block {lba} is neither what command {block.by} left, the last one in the ledger, "
                f"nor what one without an answer would have written"
            )
            # Where bits may have been flipped on the way it cannot be told from outside what the ledger knows of.
            if not block.bits:
                self._must_be_found.add(lba)
            self.replay.disk[lba] = Block(found)
        self.counts["blocks of commands without a record"] += len(self._must_be_found)

    def _is_for(self, about: Mapping[str, Any], sent: Sent) -> bool:
        nexus = name_of(sent.initiator), self._addresses[sent.initiator]
        return is_for(about, nexus, sent.opcode, sent.lba, sent.blocks)

    def _take_records(self) -> list[Sent]:
        """What is new in the ledger. Returns what was sent in the last sessions and is not there."""
        records = self._tail.more()
        entries = [record for record in records if isinstance(record, Entry)]
        assert not [entry for entry in entries if entry.conflict], "a registration was lost"
        missing: list[Sent] = []
        for node in self.load.nodes:
            mine = [entry for entry in entries if entry.nexus.initiator == name_of(node.number)]
            log = [sent for sent in node.log[-1] if sent.order < 0] if node.log else []
            missing += match_session(log, sorted(mine, key=lambda entry: entry.arrival_ns))
            self.sent |= {sent.order: sent for sent in log if sent.order >= 0}
        for record in records:
            self.replay.take(record)
        return missing

    def _note_registrations(self) -> None:
        """A key that was asked for without an answer may be registered, or not."""
        for node in self.load.nodes:
            for sent in node.log[-1]:
                if sent.opcode == REGISTER_OPCODE and sent.cdb[1] != RESERVE:
                    if sent.status == Status.GOOD:
                        self.keys[node.number] = {key_of(sent)}
                    elif sent.status is None:
                        self.keys[node.number].add(key_of(sent))

    def _check_kept(self) -> None:
        """All of it once more, from the kept data."""
        kept = Kept(read_frames(self.files.data))
        replay = Replay(BLOCKS, kept)
        for record in read_all(self.files.ledger):
            replay.take(record)
        kept.end()
        medium = self.files.disk.read_bytes()
        check_medium(replay, medium)
        with CrashStates(self.files.ledger, self.files.data) as states:
            for state in states:  # noqa: B007
                pass
            assert state.read(0, BLOCKS, Unflushed.KEPT) == medium, "the last crash state is not the medium"


def _free_ports() -> list[int]:
    """Below those that the host gives to clients: one of these must not take a port while the target is dead.

    Not from the seed: the same campaign may run in another checkout at the same time.
    """
    random = SystemRandom()
    found: list[int] = []
    while len(found) < INITIATORS:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found
