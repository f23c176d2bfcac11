"""Faults put into VDM on purpose; the tests of deaths or the histories must find each of them.

A mutant is a function that breaks one thing by `monkeypatch`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from guestd.dlm.modes import Mode
from guestd.tasks.steps import Flush, Read, Write
from guestd.vdm import layout, locks, manager, resync, tables
from guestd.vdm.dirty import DirtyLog, regions_in
from guestd.vdm.level import VdmLevel
from guestd.vdm.manager import VirtualDisks
from guestd.vdm.virtual_disk import VirtualDisk

if TYPE_CHECKING:
    from guestd.tasks.steps import Task

Patch = pytest.MonkeyPatch
Mutant = Callable[[Patch], None]


def nothing(*_arguments: Any) -> Task[None]:
    """A task that does nothing."""
    yield from ()


def no_intent(patch: Patch) -> None:
    """A change begins with the records."""
    whole = tables.writes
    patch.setattr(tables, "writes", lambda *arguments: whole(*arguments)[1:])


def intent_last(patch: Patch) -> None:
    """The intent is written after what it intends."""
    whole = tables.writes

    def turned(*arguments: Any) -> Any:
        first, *rest = whole(*arguments)
        return (*rest, first)

    patch.setattr(tables, "writes", turned)


def one_copy_only(patch: Patch) -> None:
    """The second copy of the record is forgotten."""
    whole = tables.writes
    patch.setattr(tables, "writes", lambda *arguments: (*whole(*arguments)[:2], *whole(*arguments)[3:]))


def not_durable(patch: Patch) -> None:
    """Tables are written into the disk's cache."""

    def write(self: VirtualDisks, writes: Any, then: Any) -> Task[None]:
        for lba, data in writes:
            yield Write(lba, data)
        self._tables = self._last = then

    patch.setattr(VirtualDisks, "_write", write)


def nothing_recovered(patch: Patch) -> None:
    """A forced leave is acknowledged at once."""

    patch.setattr(VdmLevel, "_recover", nothing)


def no_resynchronisation(patch: Patch) -> None:
    """The logs of dead nodes are emptied, and nothing else."""

    patch.setattr(resync, "resynchronise", nothing)
    patch.setattr(manager, "resynchronise", nothing)


def log_after_the_write(patch: Patch) -> None:
    """A region is put into the log only when it has been written to."""

    def write(self: VirtualDisk, log: DirtyLog, block: int, data: bytes, durable: bool) -> Task[None]:
        regions = log.regions(block, len(data) // 512)
        for copy in range(layout.COPIES):
            yield from self._write(copy, block, data, durable)
        yield from log.begin(regions)
        log.end(regions, cached=not durable)

    patch.setattr(VirtualDisk, "_write_mirror", write)


def log_forgets_the_cache(patch: Patch) -> None:
    """Regions leave the log although a write to them was never flushed."""
    end = DirtyLog.end

    def forgetful(self: DirtyLog, regions: Any, *, failed: bool = False, **_options: bool) -> None:
        end(self, regions, failed=failed)

    patch.setattr(DirtyLog, "end", forgetful)
    patch.setattr("guestd.vdm.dirty.CLEAN_MAX", 0)
    patch.setattr(DirtyLog._write, "__defaults__", (0,))


def new_mirror_not_in_the_log(patch: Patch) -> None:
    """A mirror is made without a word that its copies differ."""

    def only_the_change(_log: Any, _disk: Any, _first: int, change: Task[None]) -> Task[None]:
        return change

    patch.setattr(manager, "initial", only_the_change)


def new_regions_have_failed_before_they_are_there(patch: Patch) -> None:
    """Whoever tidies up meanwhile takes them out of the log."""

    def early(log: DirtyLog, disk: Any, from_unit: int, change: Task[None]) -> Task[None]:
        first = from_unit * layout.UNIT_BLOCKS
        regions = log.regions(first, disk.units * layout.UNIT_BLOCKS - first)
        yield from log.begin(regions)
        log.end(regions, failed=True)
        yield from change

    patch.setattr(manager, "initial", early)


def resynchronised_under_writes(patch: Patch) -> None:
    """Nobody is asked to stop writing meanwhile, and it takes its time."""
    whole = resync._copy

    def copy(disk: Any, block: int, count: int) -> Task[None]:
        data = yield from resync._read_copy(disk, 0, block, count)
        for _ in range(5):
            yield Read(layout.TABLES_LBA, 1)
        yield (
            Write(layout.EXTENTS_LBA + disk.copies[1][0].first * 128 + block, data)
            if len(disk.copies[1]) == 1
            else Flush()
        )
        if len(disk.copies[1]) != 1:
            yield from whole(disk, block, count)

    def resynchronise(
        owner: VirtualDisks, slot: int, identity: int, dirty: int, region_blocks: int, own: DirtyLog | None = None
    ) -> Task[None]:
        disk = yield from owner.read_record(slot)
        if disk is not None and disk.id == identity and len(disk.copies) > 1:
            for region in regions_in(dirty):
                yield from resync._copy_region(disk, region * region_blocks, region_blocks)
            yield Flush()
        if own is not None:
            own.synchronised(dirty)

    patch.setattr(resync, "_copy", copy)
    patch.setattr(resync, "resynchronise", resynchronise)
    patch.setattr(manager, "resynchronise", resynchronise)


def stale_tables(patch: Patch) -> None:
    """Whoever has read the tables once believes them for ever."""
    current = VirtualDisks._current

    def trusting(self: VirtualDisks, lock: Any) -> Any:
        if self._tables is not None:
            return self._tables, ()
        found = yield from current(self, lock)
        return found

    patch.setattr(VirtualDisks, "_current", trusting)


def deleted_while_open(patch: Patch) -> None:
    """Nobody asks whether a disk is open."""

    patch.setattr(VirtualDisks, "_take_alone", staticmethod(nothing))


def growth_untold(patch: Patch) -> None:
    """Who makes a disk grow tells nobody."""

    patch.setattr(VirtualDisks, "_tell_grown", nothing)


def intent_of_a_dead_node_ignored(patch: Patch) -> None:
    """Tables are what the header says."""
    patch.setattr(tables, "_pending", lambda *_arguments: None)
    patch.setattr(tables, "_digest", lambda _sectors: 0)


def sync_waits_for_the_recovery(patch: Patch) -> None:
    """A disk that is open asks for `sync` again like any user of a lock."""
    take = locks.Locks.take

    def patient(self: locks.Locks, name: Any, mode: Any, **options: Any) -> Any:
        if mode is Mode.PR:
            options["recovery"] = False
        return take(self, name, mode, **options)

    patch.setattr(locks.Locks, "take", patient)


def map_given_up_before_sync(patch: Patch) -> None:
    """A disk that is closed waits for `map` first."""
    drop = VirtualDisk._drop_sync

    def late(self: VirtualDisk) -> Task[None]:
        while self._background:
            yield self._background[0]
        yield from drop(self)

    patch.setattr(VirtualDisk, "_drop_sync", late)


def no_gate(patch: Patch) -> None:
    """Those who have a mirror open come back at once."""
    take = locks.Locks.take
    turns = [0]

    def early(self: locks.Locks, name: Any, mode: Any, **options: Any) -> Any:
        turns[0] += name[-1] == locks.SYNC
        if turns[0] > 5000:  # no time passes between them
            raise RuntimeError("by turns for ever")
        return take(self, name, Mode.NL if name[-1] == locks.GATE else mode, **options)

    patch.setattr(locks.Locks, "take", early)


def join_waits_for_the_recovery(patch: Patch) -> None:
    """A join takes its locks like any user."""
    take = locks.Locks.take

    def patient(self: locks.Locks, name: Any, mode: Any, **options: Any) -> Any:
        if name == locks.TABLES and mode is Mode.NL:
            options["recovery"] = False
        return take(self, name, mode, **options)

    patch.setattr(locks.Locks, "take", patient)


def opening_waits_for_the_recovery(patch: Patch) -> None:
    """Also for the level above that has to recover."""
    view = VirtualDisks.view
    patch.setattr(VirtualDisks, "view", lambda self, **_options: view(self))


MUTANTS: list[Mutant] = [
    join_waits_for_the_recovery,
    opening_waits_for_the_recovery,
    sync_waits_for_the_recovery,
    map_given_up_before_sync,
    no_gate,
    no_intent,
    intent_last,
    one_copy_only,
    not_durable,
    nothing_recovered,
    no_resynchronisation,
    log_after_the_write,
    log_forgets_the_cache,
    new_mirror_not_in_the_log,
    new_regions_have_failed_before_they_are_there,
    resynchronised_under_writes,
    stale_tables,
    deleted_while_open,
    growth_untold,
    intent_of_a_dead_node_ignored,
]
