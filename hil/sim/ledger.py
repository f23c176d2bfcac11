"""Every command that came to the simulated disk: who, what, where, and what became of it, in the order of the disk."""

from __future__ import annotations

from collections import Counter

from guestd.core.value import Value

DONE = "done"
REFUSED = "refused"  # RESERVATION CONFLICT
HELD = "held"  # in the disk's queue; lands later, or is aborted
LANDED = "landed"  # one that was held
ABORTED = "aborted"
TORN = "torn"  # only the beginning reached the medium
LOST = "lost"  # answered, and not written
FAILED = "failed"  # no answer, or an error: executed or not
ATTENTION = "attention"  # told a unit attention instead
DROPPED = "dropped"  # its machine was gone before the disk had it


class Entry(Value):
    """One command. ``life``: which boot of the node sent it; ``lba`` -1 for what has none."""

    at_us: int
    node: int
    life: int
    what: str  # read, write, read-keys, register, reserve, preempt-and-abort
    lba: int
    outcome: str
    lun: int = 0

    def __str__(self) -> str:
        where = (f" LUN {self.lun}" if self.lun else "") + ("" if self.lba < 0 else f" LBA {self.lba}")
        return f"{self.at_us / 1e6:.6f} n{self.node}.{self.life} {self.what}{where} {self.outcome}"


class Ledger:
    """Append only. Of reads only the number is kept: there are as many as everything else together."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.reads = 0

    def counts(self) -> Counter[str]:
        """How many commands there were of each outcome, reads that were done left out."""
        return Counter(entry.outcome for entry in self.entries)

    def of(self, node: int, *outcomes: str) -> list[Entry]:
        """The entries of one node with one of these outcomes; without any, all."""
        return [entry for entry in self.entries if entry.node == node and (not outcomes or entry.outcome in outcomes)]
