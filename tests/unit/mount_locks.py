"""Locks on byte ranges and whole files in one process's memory, for the file system in mount_memory."""

from __future__ import annotations

from dataclasses import dataclass

from guestd.sfs.requests import LAST_BYTE, LockKind


@dataclass(frozen=True)
class Hold:
    """What an owner holds, or wants."""

    owner: int
    process: int
    first: int
    last: int
    kind: LockKind

    def stands_in_the_way_of(self, other: Hold) -> bool:
        overlaps = self.first <= other.last and other.first <= self.last
        return overlaps and self.owner != other.owner and LockKind.EXCLUSIVE in (self.kind, other.kind)

    def without(self, other: Hold) -> list[Hold]:
        """What is left of it when the same owner says something new of `other`'s range."""
        if self.owner != other.owner or self.first > other.last or other.first > self.last:
            return [self]
        left = []
        if self.first < other.first:
            left.append(Hold(self.owner, self.process, self.first, other.first - 1, self.kind))
        if self.last > other.last:
            left.append(Hold(self.owner, self.process, other.last + 1, self.last, self.kind))
        return left


class LockTable:
    """The locks of one inode, of one sort; who waits is served in order, as far as nobody stands in the way."""

    def __init__(self) -> None:
        self.held: list[Hold] = []
        self.waiting: list[tuple[int, Hold]] = []  # request number, what it wants

    def in_the_way_of(self, wanted: Hold) -> Hold | None:
        return next((hold for hold in self.held if hold.stands_in_the_way_of(wanted)), None)

    def ask(self, number: int, wanted: Hold, *, wait: bool) -> bool | None:
        """True: it is held now; False: others hold it; None: it waits."""
        if wanted.kind is not LockKind.NONE and self.in_the_way_of(wanted) is not None:
            if not wait:
                return False
            self.waiting.append((number, wanted))
            return None
        self._set(wanted)
        return True

    def granted(self) -> list[int]:
        """The numbers of those that need not wait any more."""
        served = []
        for number, wanted in list(self.waiting):
            if self.in_the_way_of(wanted) is None:
                self._set(wanted)
                self.waiting.remove((number, wanted))
                served.append(number)
        return served

    def give_up(self, number: int) -> bool:
        """Whether that request waited; it does not any more."""
        before = len(self.waiting)
        self.waiting = [(waiting, wanted) for waiting, wanted in self.waiting if waiting != number]
        return len(self.waiting) < before

    def drop(self, owner: int) -> None:
        """All that an owner holds ends."""
        self._set(Hold(owner, 0, 0, LAST_BYTE, LockKind.NONE))

    def _set(self, wanted: Hold) -> None:
        self.held = [left for hold in self.held for left in hold.without(wanted)]
        if wanted.kind is not LockKind.NONE:
            self.held.append(wanted)
