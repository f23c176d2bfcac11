"""Claim: what a program was told is on the medium is there for everybody, once and whole, whoever has died since; and
no two hold a lock on a file (S7.3, A12, A13).

By what programs are told (:mod:`hil.sim.filers`). A life counts as dead from the loss of its power, or from its key's
removal from the disk: what it is told then does no harm.

A log only grows. Whoever reads it finds the records that were acknowledged before, and what anybody has found there
before, as its beginning. But what a node's own programs find there may not be on the medium yet, and die with the node.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, cast

from hil.checkers.checker import Checker
from hil.checkers.observation import Observation
from hil.sim.filers import LOGS, RECORD_SIZE, record

if TYPE_CHECKING:
    from hil.checkers.checker import Bench
    from hil.checkers.observation import Life, Removal
    from hil.sim.filers import Filer
    from hil.sim.world import World

_LOST = (errno.EIO, errno.ENODEV)
"""What a program is told when its node has lost the file system, or leaves."""


class FilesKept(Checker):
    """A model of the logs, the counter and the names."""

    claim = "what is on the medium of the shared file system stays, and locks on files exclude (S7.3, A12, A13)"
    needs = (Observation.INSIDE,)

    def __init__(self) -> None:
        self._acknowledged: dict[bytes, set[int]] = {log: set() for log in LOGS}
        self._writers: dict[int, tuple[int, int]] = {}  # record -> node and life that has begun to append it
        self._found: dict[bytes, list[int]] = {log: [] for log in LOGS}  # what everybody has to find from now on
        self._begun = 0
        self._counted = 0
        self._names: dict[bytes, tuple[int, bool | None]] = {}  # how often changed; whether it exists, None: unknown
        self._over: set[tuple[int, int]] = set()  # (node, incarnation)

    def begin(self, bench: Bench) -> None:
        """Of a simulated cluster."""
        super().begin(bench)
        self.world = cast("World", bench)
        self.world.filers.listener = self

    # -- logs

    def appends(self, filer: Filer, log: bytes, number: int) -> None:
        """From now on it may be found there."""
        self._writers[number] = filer.node.number, filer.life

    def appended(self, filer: Filer, log: bytes, number: int) -> None:
        """From now on it has to be."""
        if not self._is_over(filer):
            self._acknowledged[log].add(number)

    def reads(self, filer: Filer, log: bytes) -> tuple[frozenset[int], int]:
        """What it has to find."""
        return frozenset(self._acknowledged[log]), len(self._found[log])

    def has_read(self, filer: Filer, log: bytes, begun: object, contents: bytes) -> None:
        """Whether that may be."""
        if self._is_over(filer):
            return
        required, length = cast("tuple[frozenset[int], int]", begun)
        name, where = log.decode(), f"a program on node {filer.node.number}"
        numbers = self._numbers(name, contents, where)
        before = self._found[log]
        if numbers[:length] != before[:length]:
            self.fail(f"{where} reads in {name} {numbers[:length]}, where {before[:length]} was read before")
        missing = required.difference(numbers)
        if missing:
            self.fail(f"{where} does not find in {name} the records {sorted(missing)}, which were acknowledged")
        certain = self._certain(filer, log, numbers)
        if certain[: len(before)] != before[: len(certain)]:
            self.fail(f"{where} reads in {name} {certain}, and {before} was read meanwhile")
        if len(certain) > len(before):
            self._found[log] = certain

    def _numbers(self, name: str, contents: bytes, where: str) -> list[int]:
        numbers = []
        for start in range(0, len(contents), RECORD_SIZE):
            piece = contents[start : start + RECORD_SIZE]
            number = int(piece[:16]) if piece[:16].isdigit() else -1
            if piece != record(number):
                self.fail(f"{where} reads in {name} at {start} {piece!r}, which is no record")
            if number not in self._writers:
                self.fail(f"{where} reads in {name} record {number}, which nobody has written")
            numbers.append(number)
        if len(set(numbers)) != len(numbers):
            self.fail(f"{where} reads in {name} a record twice: {numbers}")
        return numbers

    def _certain(self, filer: Filer, log: bytes, numbers: list[int]) -> list[int]:
        """Up to the last one that must be on the medium: it was acknowledged, or has come from another node."""
        here = filer.node.number, filer.life
        for count in range(len(numbers), 0, -1):
            number = numbers[count - 1]
            if number in self._acknowledged[log] or self._writers[number] != here:
                return numbers[:count]
        return []

    # -- the counter

    def has_locked(self, filer: Filer) -> int:
        """It has to find at least so much."""
        return self._counted

    def counts(self, filer: Filer, begun: object, value: int) -> None:
        """Whether that may be."""
        if not self._is_over(filer) and not cast("int", begun) <= value <= self._begun:
            self.fail(
                f"a program on node {filer.node.number} has the counter's lock and reads {value}; {begun} were"
                f" acknowledged before, {self._begun} have begun"
            )
        self._begun += 1

    def counted(self, filer: Filer) -> None:
        """One more is on the medium."""
        if not self._is_over(filer):
            self._counted += 1

    # -- names

    def changes(self, filer: Filer, name: bytes) -> None:
        """It is not known whether it exists."""
        self._names[name] = self._names.get(name, (0, None))[0] + 1, None

    def changed(self, filer: Filer, name: bytes, *, exists: bool) -> None:
        """It is known."""
        if not self._is_over(filer):
            self._names[name] = self._names[name][0] + 1, exists

    def looks(self, name: bytes) -> tuple[int, bool | None]:
        """What is known."""
        return self._names[name]

    def has_looked(self, filer: Filer, name: bytes, begun: object, *, exists: bool) -> None:
        """Whether that may be."""
        known = self._names[name]
        if known != begun or known[1] is None or self._is_over(filer):
            return
        if known[1] != exists:
            found = "is not there" if known[1] else "is still there"
            self.fail(f"{name.decode()} {found} for a program on node {filer.node.number}")

    # -- the rest

    def failed(self, filer: Filer, what: str, error: int) -> None:
        """Only a node that loses the file system says so."""
        if error not in _LOST and not self._is_over(filer):
            self.fail(f"{what} of a program on node {filer.node.number} failed: {errno.errorcode.get(error, error)}")

    def ended(self, node: Life) -> None:
        """A life has lost its power, has panicked or has left."""
        self._over.add((node.number, node.incarnation))

    def removed(self, removal: Removal) -> None:
        """Its writes are refused from now on."""
        self._over.add((removal.node, removal.incarnation))

    def _is_over(self, filer: Filer) -> bool:
        return (filer.node.number, filer.node.incarnation) in self._over
