"""Contents in runs are what a table of single blocks is; a large piece that is written goes through as one."""

from __future__ import annotations

import random

from guestd.core.effects import WriteSectors
from guestd.core.inputs import WriteDone
from guestd.sfs.block import BLOCK_SIZE
from guestd.sfs.blocks import PLAIN_BLOCKS_MAX
from guestd.sfs.keys import INODE
from guestd.sfs.runs import REST_BLOCKS_MAX, Run, Runs
from tests.unit.sfs_disk import CachedDisk, Cut
from tests.unit.sfs_node import SoloNode, formatted

KEY = (INODE, 7)
BLOCKS = 5000
MEBIBYTE = bytes(range(256)) * 4096


def block(value: int) -> bytes:
    return value.to_bytes(4, "little") * (BLOCK_SIZE // 4)


def test_runs_hold_what_a_table_of_blocks_holds() -> None:
    draw = random.Random(1)
    runs, table = Runs(), dict[int, bytes]()
    for step in range(3000):
        first, count = draw.randrange(300), draw.choice((1, 1, 2, 5, 40))
        if draw.random() < 0.7:
            values = [step * 64 + place for place in range(count)]
            runs.put(Run(KEY, first, b"".join(block(value) for value in values)))
            table.update({first + place: block(value) for place, value in enumerate(values)})
        elif draw.random() < 0.8:
            runs.drop(first, count)
            for number in range(first, first + count):
                table.pop(number, None)
        else:
            for run in runs.lowest(count):
                runs.remove(run)
                for number in range(run.first, run.end):
                    del table[number]
        assert runs.count == len(table)
        at = draw.randrange(300)
        assert runs.block(at) == table.get(at)
        pieces = runs.pieces(at, at + 50)
        assert [one for low, high, _ in pieces for one in range(low, high)] == list(range(at, at + 50))
        for low, high, data in pieces:
            right = [table.get(number) for number in range(low, high)]
            assert right == [None] * len(right) if data is None else data == b"".join(filter(None, right))
    assert sorted(number for run in runs.all() for number in range(run.first, run.end)) == sorted(table)


def test_the_rest_of_a_run_is_in_short_runs_and_is_another_one() -> None:
    runs = Runs()
    large = Run(KEY, 100, MEBIBYTE)
    runs.put(large)
    runs.drop(200, 1)
    assert runs.count == 255
    assert max(run.count for run in runs.all()) == REST_BLOCKS_MAX
    runs.remove(large)  # what was written is not what waits now
    assert runs.count == 255


def test_lowest_goes_on_until_there_are_enough() -> None:
    runs = Runs()
    for first in (50, 10, 30):
        runs.put(Run(KEY, first, block(first) * 4))
    assert [run.first for run in runs.lowest(1)] == [10]
    assert [run.first for run in runs.lowest(5)] == [10, 30]
    assert [run.first for run in runs.lowest(100)] == [10, 30, 50]


def node() -> SoloNode:
    return SoloNode(CachedDisk(formatted(BLOCKS)[1]), BLOCKS)


def step(solo: SoloNode, *, writes_fail: bool = False) -> None:
    """One command of the disk ends."""
    solo.desk.tell()
    (effect,) = solo.effects
    solo.effects.clear()
    if isinstance(effect, WriteSectors) and writes_fail:
        solo.queue.done(WriteDone(effect.tag, False))
    else:
        solo._carry_out(effect)


def test_a_mebibyte_goes_to_the_disk_in_one_command_without_being_copied() -> None:
    solo = node()
    system = solo.mount()
    inode = solo.run(system.create(system.root, b"file", 0o644, 0, 0, 1)).inode
    data = bytes(MEBIBYTE)
    solo.engine.start(system.write(inode, 0, data, 2))
    solo.desk.tell()
    (command,) = solo.effects
    assert isinstance(command, WriteSectors)
    assert command.data is data
    solo.settle()
    assert solo.run(system.read(inode, 0, len(data))) is data
    assert len(data) == PLAIN_BLOCKS_MAX * BLOCK_SIZE


def test_who_writes_more_than_may_wait_does_not_wait_for_a_commit() -> None:
    solo = node()
    system = solo.mount()
    inode = solo.run(system.create(system.root, b"file", 0o644, 0, 0, 1)).inode
    solo.run(system.sync())
    commits = system.journal.commits
    ended: list[int] = []
    solo.engine.start(system.write(inode, 0, MEBIBYTE * 12, 2), lambda outcome: ended.append(outcome.get()))
    assert not ended, "it waits for room"
    solo.settle()
    assert ended == [12 << 20]
    assert system.journal.commits == commits
    solo.run(system.fsync(inode))
    assert solo.run(system.read(inode, 11 << 20, 1 << 20)) == MEBIBYTE


def test_who_waits_for_room_hears_that_nothing_can_be_written_any_more() -> None:
    solo = node()
    system = solo.mount()
    inode = solo.run(system.create(system.root, b"file", 0o644, 0, 0, 1)).inode
    errors: list[str] = []
    solo.engine.start(system.write(inode, 0, MEBIBYTE * 12, 2), lambda outcome: errors.append(str(outcome.error)))
    while not errors:
        step(solo, writes_fail=True)
    assert "contents cannot be written" in errors[0]


def test_fsync_ends_when_the_transaction_counts_and_the_blocks_are_put_in_place_behind_it() -> None:
    solo = node()
    system = solo.mount()
    inode = solo.run(system.create(system.root, b"file", 0o644, 0, 0, 1)).inode
    solo.run(system.write(inode, 0, MEBIBYTE, 2))
    ended: list[object] = []
    solo.engine.start(system.fsync(inode), ended.append)
    commands = 0
    while not ended:
        step(solo)
        commands += 1
    assert commands == 2  # a flush for the contents; the transaction, durably
    assert system.journal.is_to_be_put_in_place
    # Power fails now: what was promised is there.
    cut = Cut(solo.disk.base, solo.disk.log)
    cut.move_to(len(solo.disk.log))
    after = SoloNode(CachedDisk(cut.left(random.Random(1), 0.0, torn=False)), BLOCKS)
    again = after.mount(2)
    found = after.run(again.lookup(again.root, b"file")).inode
    assert after.run(again.read(found, 0, len(MEBIBYTE))) == MEBIBYTE
    solo.settle()
    assert not system.journal.is_to_be_put_in_place


def test_what_cannot_be_put_in_place_fails_the_journal() -> None:
    solo = node()
    system = solo.mount()
    told: list[str] = []
    system.journal.on_failure(told.append)
    inode = solo.run(system.create(system.root, b"file", 0o644, 0, 0, 1)).inode
    ended: list[object] = []
    solo.engine.start(system.fsync(inode), ended.append)
    while not ended:
        step(solo)
    solo.broken.update(range(8 * BLOCKS))
    solo.settle()
    assert len(told) == 1
    assert "put in place" in told[0]
