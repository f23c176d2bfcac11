"""Tasks: steps are answered in turn, errors come out of the yield, and the same answers give the same steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from guestd.core.disk import Disk
from guestd.core.effects import Effect, ReadSectors, ScsiCommand, WriteSectors
from guestd.core.inputs import ReadDone, ScsiDone, WriteDone
from guestd.dlm.change import SPREAD, STOP, Change
from guestd.dlm.desk import LockDesk
from guestd.dlm.manager import LockManager
from guestd.dlm.messages import Reason
from guestd.dlm.modes import Mode
from guestd.dlm.notices import Blocks
from guestd.tasks.engine import SYNCHRONIZE_CACHE, Engine, Outcome
from guestd.tasks.steps import (
    Acquire,
    Cancel,
    Convert,
    DiskError,
    Flush,
    Held,
    Read,
    Refused,
    Release,
    Signal,
    Together,
    Write,
)
from guestd.vdm.volume import Volume

if TYPE_CHECKING:
    from guestd.tasks.steps import Task


class Node:
    """An engine with a disk in memory and a lock manager that is alone in its cluster."""

    def __init__(self) -> None:
        self.effects: list[Effect] = []
        self.disk = Disk(self.effects)
        manager = LockManager(bytes(16), 0, 1)
        manager.found({})
        for barrier in (STOP, SPREAD):
            manager.told([(Change(0, 1, "join"), barrier)])
        self.desk = LockDesk(manager)
        self.engine = Engine(self.disk, lambda: self.desk)
        self.sectors: dict[int, bytes] = {}
        self.broken: set[int] = set()
        self.commands: list[Effect] = []

    def run(self, task: Task[object], before: Callable[[], None] | None = None) -> Outcome:
        """Its outcome, once nothing moves any more."""
        outcomes: list[Outcome] = []
        self.engine.start(task, outcomes.append)
        self.settle()
        assert len(outcomes) == 1, "it waits for something"
        return outcomes[0]

    def settle(self) -> None:
        while True:
            moved = self.desk.tell()
            for effect in self._taken():
                moved = True
                self._carry_out(effect)
            if not moved:
                return

    def _taken(self) -> list[Effect]:
        taken, self.effects[:] = self.effects[:], []
        self.commands += taken
        return taken

    def _carry_out(self, effect: Effect) -> None:
        if isinstance(effect, WriteSectors):
            for place in range(len(effect.data) // 512):
                self.sectors[effect.lba + place] = effect.data[512 * place :][:512]
            self.disk.done(WriteDone(effect.tag, effect.lba not in self.broken))
        elif isinstance(effect, ReadSectors):
            data = b"".join(self.sectors.get(effect.lba + place, bytes(512)) for place in range(effect.count))
            ok = effect.lba not in self.broken
            self.disk.done(ReadDone(effect.tag, ok, data if ok else b""))
        elif isinstance(effect, ScsiCommand):
            self.disk.done(ScsiDone(effect.tag, 0 if effect.cdb == SYNCHRONIZE_CACHE and not self.broken else -1))


def test_a_task_reads_and_writes_and_holds_a_lock_meanwhile() -> None:
    node = Node()

    def task() -> Task[bytes]:
        lock = yield Acquire(1, (b"a",), Mode.EX)
        assert isinstance(lock, Held)
        yield Write(7, b"x" * 1024, durable=True)
        found = yield Read(8, 1)
        lower = yield Convert(lock.number, Mode.PR, value=b"v" * 64)
        assert (lower.mode, lower.value, lower.valid) == (Mode.PR, b"v" * 64, True)
        yield Release(lock.number)
        return bytes(found)

    assert node.run(task()).get() == b"x" * 512
    assert isinstance(node.commands[0], WriteSectors)
    assert node.commands[0].durable
    assert node.engine.running_count == 0


def test_what_fails_comes_out_of_the_yield() -> None:
    node = Node()
    node.broken = {3}

    def task() -> Task[list[str]]:
        said = []
        for step in (Read(3, 1), Write(3, bytes(512)), Flush(), Release(99)):
            try:
                yield step
            except (DiskError, ValueError) as why:
                said.append(str(why))
        held = yield Acquire(1, (b"a",), Mode.EX)
        try:
            yield Acquire(2, (b"a",), Mode.PR, noqueue=True)
        except Refused as why:
            said.append(f"{why.reason} {why.mode}")
        yield Release(held.number)
        return said

    said = node.run(task()).get()
    assert said[:2] == ["read of 1 blocks at 3 failed", "write of 1 blocks at 3 failed"]
    assert said[2] == "SYNCHRONIZE CACHE ended with status -1"
    assert "99" in said[3]
    assert said[4] == f"{Reason.AGAIN} None"


def test_an_exception_ends_the_task_and_goes_to_who_started_it() -> None:
    node = Node()

    def task() -> Task[None]:
        yield Read(0, 1)
        raise KeyError("lost")

    assert isinstance(node.run(task()).error, KeyError)
    node.engine.start(task())
    with pytest.raises(KeyError):
        node.settle()


def test_who_waits_for_a_lock_is_told_of_and_gets_it() -> None:
    node = Node()
    wanted: list[Blocks] = []
    go = Signal()
    order = []

    def first() -> Task[None]:
        held = yield Acquire(1, (b"a",), Mode.EX, on_blocks=wanted.append)
        yield go
        order.append("first")
        yield Release(held.number)

    def second() -> Task[None]:
        held = yield Acquire(2, (b"a",), Mode.PR)
        order.append("second")
        yield Release(held.number)

    node.engine.start(first())
    node.settle()
    node.engine.start(second())
    node.settle()
    assert [notice.mode for notice in wanted] == [Mode.PR]
    assert node.engine.running_count == 2
    go.fire()
    node.settle()
    assert order == ["first", "second"]
    assert node.engine.running_count == 0


def test_who_waits_for_a_lock_can_be_cancelled_by_another_task() -> None:
    node = Node()
    asked: list[int] = []
    go = Signal()

    def first() -> Task[None]:
        held = yield Acquire(1, (b"a",), Mode.EX)
        yield go
        yield Release(held.number)

    def second() -> Task[Reason]:
        try:
            yield Acquire(2, (b"a",), Mode.PR, on_asked=asked.append)
        except Refused as why:
            return why.reason
        raise AssertionError("granted")

    def third() -> Task[None]:
        yield Cancel(asked[0])
        yield Cancel(99)  # nobody waits with that one

    outcomes: list[Outcome] = []
    node.engine.start(first())
    node.engine.start(second(), outcomes.append)
    node.settle()
    assert (len(asked), outcomes) == (1, [])
    assert node.run(third()).error is None
    assert outcomes[0].get() is Reason.CANCELLED
    go.fire()
    node.settle()
    assert node.engine.running_count == 0


def test_nothing_goes_on_after_the_end_of_a_life() -> None:
    node = Node()
    go = Signal()
    done = []

    def task() -> Task[None]:
        yield go
        done.append("on")

    node.engine.start(task())
    node.engine.stop()
    go.fire()
    node.settle()
    assert done == []


def test_several_at_once_end_together_and_keep_their_order() -> None:
    node = Node()
    go = Signal()

    def late() -> Task[str]:
        yield go
        return "late"

    def early() -> Task[str]:
        yield Read(0, 1)
        go.fire()
        return "early"

    def both() -> Task[list[str]]:
        found = yield Together((late(), early()))
        empty = yield Together(())
        return [*found, *empty]

    assert node.run(both()).get() == ["late", "early"]

    def broken() -> Task[None]:
        yield Read(1, 1)
        raise OSError("one of them")

    def all_of_them() -> Task[None]:
        yield Together((broken(), early(), broken()))

    assert str(node.run(all_of_them()).error) == "one of them"
    assert node.engine.running_count == 0


def test_a_signal_that_was_fired_answers_at_once_and_only_the_first_answer_counts() -> None:
    node = Node()
    signal = Signal()
    signal.fire(5)
    signal.fire(6)

    def task() -> Task[int]:
        found = yield signal
        return int(found)

    assert node.run(task()).get() == 5


def test_a_volume_is_a_range_of_the_disk_and_nothing_beyond_it() -> None:
    node = Node()
    volume = Volume(100, 8)

    def task() -> Task[bytes]:
        yield from volume.write(7, b"y" * 512)
        yield from volume.flush()
        found = yield from volume.read(6, 2)
        return found

    assert node.run(task()).get() == bytes(512) + b"y" * 512
    assert node.sectors == {107: b"y" * 512}
    for step in (volume.read(7, 2), volume.read(-1, 1), volume.read(0, 0), volume.write(8, bytes(512))):
        assert isinstance(node.run(step).error, ValueError)
