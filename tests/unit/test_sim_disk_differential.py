"""The simulated disk and the real SCSI target are given the same commands, and must answer and keep the same.

Random sequences of what guestd sends: its own bytes of PERSISTENT RESERVE, and writes and reads of the regions. After
every service action each node reads the keys, at which it is told what happened to it: whether there was a unit
attention, and keys and generation, must be the same. One difference is wanted and left out: the target tells a unit
attention at a write or read too, which Linux sends again without a word.
"""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from guestd.core.inputs import ReadDone, ScsiDone, WriteDone
from guestd.fence import persistent_reserve as pr
from guestd.fence.keys import key_of
from guestd.membership import layout
from hil.scsi.sense import Status
from tests.unit.scsi_initiator import make_target
from tests.unit.scsi_reserve import Node as Initiator
from tests.unit.sim_machine import Bench, Machine

NODES, STEPS = 3, 60
PREEMPT = 0x04
ACTIONS = (pr.RESERVE, PREEMPT, pr.PREEMPT_AND_ABORT, pr.REGISTER_AND_IGNORE_EXISTING_KEY)
UNIT_ATTENTION = 6


class Both:
    """One node, at both disks."""

    def __init__(self, machine: Machine, initiator: Initiator) -> None:
        self.machine, self.initiator = machine, initiator

    def out(self, action: int, key: int, action_key: int) -> tuple[int, int]:
        """The statuses."""
        self.machine.out(action, key, action_key)
        done = self.machine.answered()
        assert isinstance(done, ScsiDone)
        return done.status, self.initiator.execute(*pr.out(action, key, action_key)).status

    def keys(self) -> tuple[tuple[bool, bytes], tuple[bool, bytes]]:
        """Of each: whether there was a unit attention first, and the answer, generation included."""
        told = False
        while True:
            self.machine.keys()
            done = self.machine.answered()
            assert isinstance(done, ScsiDone)
            if done.status == Status.GOOD:
                break
            assert (done.status, done.sense_key) == (Status.CHECK_CONDITION, UNIT_ATTENTION)
            told = True
        really_told = False
        while (outcome := self.initiator.execute(pr.read_keys())).status != Status.GOOD:
            assert (outcome.status, outcome.sense[2]) == (Status.CHECK_CONDITION, UNIT_ATTENTION)
            really_told = True
        return (told, done.data), (really_told, bytes(outcome.data))

    def write(self, node: int, data: bytes) -> tuple[bool, bool]:
        """Whether it was refused."""
        self.machine.write(layout.COMMIT_SECTOR, data, node=node)
        done = self.machine.answered()
        assert isinstance(done, WriteDone)
        lba = layout.region_lba(node, layout.COMMIT_SECTOR)
        cdb = struct.pack(">BxQI2x", 0x8A, lba, len(data) // 512)
        status = self.initiator.execute(cdb, data).status
        assert status in (Status.GOOD, Status.RESERVATION_CONFLICT)
        assert done.ok is not done.conflict
        return done.conflict, status == Status.RESERVATION_CONFLICT

    def read(self) -> tuple[bytes, bytes]:
        """All regions."""
        self.machine.read(NODES)
        done = self.machine.answered()
        assert isinstance(done, ReadDone)
        cdb = struct.pack(">BxQI2x", 0x88, layout.REGIONS_LBA, NODES * layout.REGION_SECTORS)
        return done.data, bytes(self.initiator.execute(cdb).data)


@pytest.mark.parametrize("seed", range(40))
def test_the_simulated_disk_answers_as_the_real_target_does(seed: int, tmp_path: Path) -> None:  # S6.2, S6.3, S10.6
    randomness = random.Random(f"differential {seed}")
    bench = Bench(NODES, latency_us_max=1000)
    target = make_target(tmp_path)
    both = [Both(machine, Initiator(target, f"n{machine.number}")) for machine in bench.machines]
    keys = [key_of(node, life) for node in range(NODES) for life in (1, 2)]
    registered = [0] * NODES
    conflicts = 0
    for step in range(STEPS):
        number = randomness.randrange(NODES)
        node = both[number]
        if randomness.random() < 0.5:
            action = randomness.choice(ACTIONS)
            registers = action == pr.REGISTER_AND_IGNORE_EXISTING_KEY
            own = 0 if registers else randomness.choice([registered[number], randomness.choice(keys)])
            other = 0 if action == pr.RESERVE else randomness.choice(keys)
            if registers and randomness.random() < 0.15:
                other = 0  # takes its registration back
            simulated, real = node.out(action, own, other)
            assert simulated == real, f"step {step}: node {number} {action:#x} {own:x} {other:x}"
            conflicts += real == Status.RESERVATION_CONFLICT
            if registers:
                registered[number] = other
            for one in both:
                simulated_keys, real_keys = one.keys()
                assert simulated_keys == real_keys, f"step {step}: node {number} {action:#x} {own:x} {other:x}"
        elif randomness.random() < 0.7:
            data = randomness.randbytes(512) * layout.COPIES
            simulated_refused, refused = node.write(randomness.randrange(NODES), data)
            assert simulated_refused is refused, f"step {step}: a write of node {number}"
            conflicts += refused
        else:
            simulated_data, real_data = node.read()
            assert simulated_data == real_data, f"step {step}: a read of node {number}"
    assert conflicts  # a sequence in which nobody is ever refused shows nothing
    simulated_data, real_data = both[0].read()
    assert simulated_data == real_data
