"""What the programs of a load have said, held against what is there afterwards: pure functions.

Each takes the lines of :mod:`hil.workloads.on_node` and raises :class:`hil.errors.ClaimFailed` with what is wrong.
What was said has come out of the node, so it counts whoever has died since.
"""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from hil.errors import ClaimFailed
from hil.workloads.on_node import record

Lines = Sequence[str]


def words(lines: Lines, beginning: str) -> list[list[str]]:
    """Those that begin so, without that word."""
    return [line.split()[1:] for line in lines if line.partition(" ")[0] == beginning]


# -- files


def written(programs: Iterable[Lines]) -> dict[str, int]:
    """The last record of each writer that it has held for done."""
    last: dict[str, int] = {}
    for lines in programs:
        for writer, number in words(lines, "wrote"):
            last[writer] = max(int(number), last.get(writer, 0))
    return last


def check_log(log: bytes, acknowledged: Mapping[str, int], writers: Iterable[str], where: str = "the log") -> int:
    """No record is torn, doubled, lost or nobody's (spec S7.3); how many there are.

    ``acknowledged``: what was held for done when the log had not been read yet.
    """
    found: Counter[str] = Counter()
    known = set(writers)
    if log and not log.endswith(b"\n"):
        raise ClaimFailed(f"{where}: its end is torn: {log.rpartition(bytes([10]))[2][-80:]!r}")
    for place, line in enumerate(log.splitlines(), 1):
        text, _, checksum = line.rpartition(b" ")
        parts = text.split()
        if checksum != b"%08x" % zlib.crc32(text) or len(parts) < 2 or not parts[1].isdigit():
            raise ClaimFailed(f"{where}, line {place}: a torn record: {line[:80]!r}")
        writer, number = parts[0].decode(), int(parts[1])
        if line + b"\n" != record(writer, number) or writer not in known:
            raise ClaimFailed(f"{where}, line {place}: record {number} of {writer}, which nobody has written")
        if number != found[writer] + 1:
            what = "is there twice" if number <= found[writer] else f"comes after {found[writer]}"
            raise ClaimFailed(f"{where}, line {place}: record {number} of {writer} {what}")
        found[writer] = number
    for writer, number in acknowledged.items():
        if found[writer] < number:
            raise ClaimFailed(
                f"{where}: record {number} of {writer} was on the medium, and {found[writer]} is its last"
            )
    return found.total()


# -- locks


def check_locks(programs: Iterable[Lines], beginnings: int) -> int:
    """No two have held a lock at once, and no value has gone back (spec S7.1); how often one was taken.

    Each holder leaves a count that is one higher than the one that it found. So two at once have the same one, and a
    value that goes back brings a count, or a generation, again. ``beginnings``: how often the programs have begun when
    none ran: only then nobody has left a value yet.
    """
    holders: dict[tuple[str, str, str], int] = {}
    first: Counter[str] = Counter()
    for index, lines in enumerate(programs):
        newest: dict[str, tuple[str, int]] = {}
        over: defaultdict[str, set[str]] = defaultdict(set)
        for name, generation, count, how in words(lines, "took"):
            other = holders.setdefault((name, generation, count), index)
            if other != index:
                raise ClaimFailed(f"two programs have held lock {name} at once: both have found count {int(count) - 1}")
            before, last = newest.get(name, (generation, 0))
            if before != generation:
                over[name].add(before)
            if generation in over[name]:
                raise ClaimFailed(f"the value of lock {name} has gone back to one before it was lost")
            if before == generation and int(count) <= last:
                raise ClaimFailed(f"the value of lock {name} has gone back from count {last} to {int(count) - 1}")
            newest[name] = generation, int(count)
            first[name] += how == "first"
    for name, times in first.items():
        if times > beginnings:
            raise ClaimFailed(f"the value of lock {name} was gone, and said to be valid: {times} times none was left")
    return len(holders)


# -- virtual disks


def made(programs: Iterable[Lines]) -> dict[str, tuple[int, int] | None]:
    """Parts and copies of each virtual disk, as was last told; None: a change was begun and has not ended."""
    known: dict[str, tuple[int, int] | None] = {}
    for lines in programs:
        for line in lines:
            word, _, rest = line.partition(" ")
            if word in ("begins", "refused"):
                known[rest.split()[0]] = None
            elif word == "made":
                name, parts, copies = rest.split()
                known[name] = int(parts), int(copies)
    return known


def check_volumes(
    before: Mapping[str, tuple[int, int] | None],
    there: Mapping[str, tuple[int, int]],
    after: Mapping[str, tuple[int, int] | None],
) -> int:
    """Each virtual disk is as was told (spec S7.2); how many were looked at.

    ``there`` was read between ``before`` and ``after``: what has changed meanwhile is not judged.
    """
    looked_at = 0
    for name, wanted in before.items():
        if wanted is None or after.get(name) != wanted:
            continue
        looked_at += 1
        found = there.get(name, (0, 0))
        if found != wanted:
            raise ClaimFailed(
                f"virtual disk {name} has {_shown(found)}, and was made with {_shown(wanted)} (parts and copies)"
            )
    return looked_at


def _shown(size: tuple[int, int]) -> str:
    return f"{size[0]} and {size[1]}" if size[0] else "nothing"
