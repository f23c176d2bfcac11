"""Faults put into the file system on purpose; the histories must find each of them.

A mutant is a function that breaks one thing by `monkeypatch`; with the kind of history that shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from guestd.dlm.modes import Mode
from guestd.sfs import contents, file_locks, journal_form, lifetimes, mount, ranges, replay
from guestd.sfs.block import Kind, seal
from guestd.sfs.guard import Guard
from guestd.sfs.journal import Journal, Transaction
from guestd.sfs.journal_form import Head, describe
from guestd.sfs.level import SfsLevel
from tests.unit.sfs_crashes import History
from tests.unit.sfs_locks import lock_history
from tests.unit.sfs_model import CHURN, random_operations
from tests.unit.sfs_users import DEATHS, POWER, QUIET, SLOW_REPLAYS, Theme, history

if TYPE_CHECKING:
    from guestd.tasks.steps import Task

Patch = pytest.MonkeyPatch


def nothing(*_: Any, **__: Any) -> Iterator[None]:
    """A task that does nothing."""
    yield from ()


def write_with(
    *, pages_first: bool = True, described_first: bool = False, durable: bool = True, flushed: bool = True
) -> Callable[..., Task[None]]:
    """`Journal._write`, with one thing otherwise."""

    def write(self: Journal, transaction: Transaction, pages: dict[int, bytes]) -> Task[None]:
        blocks, uuid = self._blocks, self._superblock.uuid
        images = {number: seal(uuid, kind, number, body) for number, (kind, body) in transaction.blocks.items()}
        if pages_first:
            yield from blocks.write_all(pages)
        if images:
            self._number += 1
            at = self._superblock.transaction(self._slot)
            described = seal(uuid, Kind.TRANSACTION, at, describe(self._number, list(images.items())).encode())
            if described_first:
                yield from blocks.write_all(images)
            yield from blocks.write(at + 1, b"".join(images.values()))
            yield from blocks.flush()
            yield from blocks.write(at, described, durable=durable)
            self._live = transaction
            yield from blocks.write_all(images)
        if not pages_first:
            yield from blocks.write_all(pages)
        if flushed:
            yield from blocks.flush()

    return write


def contents_after_the_transaction(patch: Patch) -> None:
    """A file has new blocks before they are written."""
    patch.setattr(Journal, "_write", write_with(pages_first=False))


def in_place_before_the_journal(patch: Patch) -> None:
    """The blocks are changed before the transaction counts."""
    patch.setattr(Journal, "_write", write_with(described_first=True))


def description_not_durable(patch: Patch) -> None:
    """The transaction counts while the disk may still lose it."""
    patch.setattr(Journal, "_write", write_with(durable=False))


def next_transaction_too_early(patch: Patch) -> None:
    """The journal is written over while the blocks may not be in their places."""
    patch.setattr(Journal, "_write", write_with(flushed=False))


def torn_transaction_counts(patch: Patch) -> None:
    """The images are not compared with their checksums."""
    patch.setattr(journal_form.Description, "matches", lambda _self, _images: True)


def freed_blocks_used_at_once(patch: Patch) -> None:
    """A block is written for another file before the transaction that frees it counts."""
    patch.setattr(Journal, "pending", lambda _self, _group: 0)


def fsync_lies(patch: Patch) -> None:
    """It does not wait."""
    patch.setattr(Journal, "save", nothing)


def tail_comes_back(patch: Patch) -> None:
    """What was cut off is there again when the file grows."""
    patch.setattr(contents, "_zero_tail", nothing)


def lock_given_up_unsaved(patch: Patch) -> None:
    """Another node gets a lock before what was changed under it is on the disk."""
    patch.setattr(Journal, "settle", nothing)


def lock_given_up_uncleared(patch: Patch) -> None:
    """A replay may touch what another node has changed since."""

    def settle(self: Journal, key: Any) -> Task[None]:
        yield from self._mutex.take()
        if self._concerns(key):
            yield from self._commit()
        self._mutex.give()

    patch.setattr(Journal, "settle", settle)


def cleared_ignored(patch: Patch) -> None:
    """A transaction is carried out again although the head of the journal says that it is in place."""
    decode = journal_form.decode_head

    def decode_head(slot: int, body: bytes) -> Head:
        found = decode(slot, body)
        return Head(0, found.in_use, found.incarnation)

    patch.setattr(replay, "decode_head", decode_head)


def cache_kept(patch: Patch) -> None:
    """What is cached outlives the lock."""
    patch.setattr(Guard, "drop", lambda _self: None)


def dead_journal_not_replayed(patch: Patch) -> None:
    """A forced leave is acknowledged, and nothing done."""

    def recover(self: SfsLevel, position: Any) -> None:
        self._done.append(position)

    patch.setattr(SfsLevel, "_recover", recover)


def acknowledged_before_the_replay(patch: Patch) -> None:
    """The locks of a dead node are let go while its journal is being replayed."""
    recovered = SfsLevel._recovered
    recover = SfsLevel._recover

    def early(self: SfsLevel, position: Any) -> None:
        recover(self, position)
        if self.file_system is not None and not self._mounting:
            self._done.append(position)

    def silent(self: SfsLevel, system: Any, position: Any, outcome: Any, tries: int) -> None:
        recovered(self, system, position, outcome, tries)
        self._done.remove(position)

    patch.setattr(SfsLevel, "_recovered", silent)

    patch.setattr(SfsLevel, "_recover", early)


def only_the_own_journal(patch: Patch) -> None:
    """Who mounts first after a power failure replays its own journal only."""
    patch.setattr(mount, "_replay_unless_used", nothing)


def open_files_deleted(patch: Patch) -> None:
    """Nobody asks whether another node has it open."""

    def is_open(operation: Any, inode: Any) -> Task[bool]:
        yield from ()
        return bool(operation.cached((1, inode.number)).opens)

    patch.setattr(lifetimes, "_is_open", is_open)


def intentions_forgotten(patch: Patch) -> None:
    """Who locks a range does not lock what lies above it in the tree."""
    required = ranges.needed

    def needed(segments: Any) -> Any:
        return {node: mode for node, mode in required(segments).items() if mode in (Mode.PR, Mode.EX)}

    patch.setattr(file_locks, "needed", needed)


def locks_of_an_owner_not_lowered(patch: Patch) -> None:
    """What an owner unlocks stays locked."""

    def lower(_self: Any, _owner: Any, _wanted: Any) -> Task[None]:
        yield from ()

    patch.setattr(file_locks.FileLocks, "_lower", lower)


def crashes(seed: int) -> None:
    """On one node, a power failure at every command."""
    History(seed).crash_everywhere(3)


def churn(seed: int) -> None:
    """The same; blocks are freed and used again all the time."""
    History(seed, weights=CHURN, sync=0.1).crash_everywhere(3)


def cluster(theme: Theme) -> Callable[[int], None]:
    def run(seed: int) -> None:
        history(seed, theme)

    return run


@dataclass(frozen=True)
class Mutant:
    """seeds: in so many it must be found."""

    broken: Callable[[Patch], None]
    shown_by: Callable[[int], object]
    seeds: int = 10

    @property
    def name(self) -> str:
        return self.broken.__name__


MUTANTS = [
    Mutant(contents_after_the_transaction, crashes),
    Mutant(in_place_before_the_journal, crashes),
    Mutant(description_not_durable, crashes),
    Mutant(next_transaction_too_early, crashes),
    Mutant(torn_transaction_counts, crashes),
    Mutant(freed_blocks_used_at_once, churn),
    Mutant(fsync_lies, crashes),
    Mutant(tail_comes_back, random_operations),
    Mutant(lock_given_up_unsaved, cluster(QUIET)),
    Mutant(lock_given_up_uncleared, cluster(DEATHS), seeds=60),
    Mutant(cleared_ignored, cluster(DEATHS), seeds=60),
    Mutant(cache_kept, cluster(QUIET)),
    Mutant(dead_journal_not_replayed, cluster(DEATHS), seeds=60),
    Mutant(acknowledged_before_the_replay, cluster(SLOW_REPLAYS), seeds=40),
    Mutant(only_the_own_journal, cluster(POWER), seeds=60),
    Mutant(intentions_forgotten, lock_history),
    Mutant(locks_of_an_owner_not_lowered, lock_history),
    Mutant(open_files_deleted, cluster(QUIET), seeds=30),
]
