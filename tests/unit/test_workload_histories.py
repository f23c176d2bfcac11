"""What the programs of a load say, against real guestds over real sockets, and what is found of what must not be."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from guestd.locks import Locks
from hil.errors import ClaimFailed
from hil.workloads import histories, on_node
from hil.workloads.on_node import record
from tests.unit.test_guestd_runtime import Trio, trio
from tests.unit.test_program_socket import joined

__all__ = ["trio"]  # a fixture

ROOT = Path(__file__).parents[2]


def start(trio: Trio, node: int, serial: int, *kinds: str) -> subprocess.Popen[str]:
    """The program of a node, on this host."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "HIL_SHARED": str(trio.directory),
        "HIL_GUESTD": str(trio.directory / f"programs{node}"),
    }
    command = [sys.executable, str(Path(on_node.__file__)), "one", str(node), str(serial), "5", *kinds]
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_real_programs_say_what_is_so(trio: Trio) -> None:  # S7.1, S7.3
    joined(trio)
    programs = [start(trio, node, node + 1, "files", "locks") for node in range(3)]
    said: list[list[str]] = [[] for _ in programs]
    try:
        for program, lines in zip(programs, said, strict=True):
            assert program.stdout is not None
            while not {"wrote", "took"} <= {line.split()[0] for line in lines} or len(lines) < 40:
                line = program.stdout.readline()
                assert line, program.stderr and program.stderr.read()
                lines.append(line.rstrip("\n"))
        for program, lines in zip(programs, said, strict=True):
            rest, complaints = program.communicate(timeout=120)  # which ends its input
            lines.extend(rest.splitlines())
            assert (program.returncode, complaints) == (0, "")
    finally:
        for program in programs:
            program.kill()
            program.wait()
            for pipe in (program.stdin, program.stdout, program.stderr):
                assert pipe is not None
                pipe.close()
    for lines in said:
        assert sorted(line for line in lines if line.startswith("ended")) == [
            "ended files as asked",
            "ended locks as asked",
        ]
    acknowledged = histories.written(said)
    log = (trio.directory / "load" / "one").read_bytes()
    assert histories.check_log(log, acknowledged, acknowledged) == sum(acknowledged.values())
    assert histories.check_locks(said, 1) == sum(line.startswith("took") for lines in said for line in lines)
    with Locks(str(trio.directory / "programs0")) as locks:
        assert not [one for one in locks.show()["own"] if one["name"] == "program:queue"]


# -- what must not be


def log_of(*records: tuple[str, int]) -> bytes:
    return b"".join(record(writer, number) for writer, number in records)


GOOD = [("a", 1), ("b", 1), ("a", 2), ("b", 2), ("a", 3)]


def test_a_log_may_have_more_than_was_acknowledged() -> None:
    assert histories.check_log(log_of(*GOOD), {"a": 2}, "abc") == 5
    assert histories.check_log(b"", {}, "a") == 0


@pytest.mark.parametrize(
    ("log", "why"),
    [
        (log_of(*GOOD[:2]), "record 3 of a was on the medium, and 1 is its last"),
        (b"", "record 3 of a was on the medium, and 0 is its last"),
        (log_of(*GOOD, ("a", 3)), "line 6: record 3 of a is there twice"),
        (log_of(("a", 1), ("a", 3)), "line 2: record 3 of a comes after 1"),
        (log_of(*GOOD)[:-20], "its end is torn"),
        (log_of(("a", 1)).replace(b"a 1", b"a 2"), "line 1: a torn record"),
        (log_of(("a", 1))[:-30] + b"\n" + log_of(("a", 2)), "line 1: a torn record"),
        (bytes(512) + b"\n" + log_of(*GOOD), "line 1: a torn record"),
        (log_of(("d", 1)), "record 1 of d, which nobody has written"),
        (b"a 1 other %08x\n" % zlib.crc32(b"a 1 other"), "record 1 of a, which nobody has written"),
        (b"\n", "line 1: a torn record"),
    ],
)
def test_what_is_lost_doubled_torn_or_nobodys_is_found(log: bytes, why: str) -> None:
    with pytest.raises(ClaimFailed, match=why):
        histories.check_log(log, {"a": 3}, "abc")


def test_records_are_of_many_sizes_and_lie_across_sectors() -> None:
    sizes = {len(record("n0-1", number)) for number in range(1, 200)}
    assert min(sizes) < 100
    assert max(sizes) > 512


def took(*words: str) -> list[str]:
    return [f"took queue {word}" for word in words]


def test_values_that_are_lost_begin_a_new_generation() -> None:
    one = took("g1 1 first", "g1 3 next", "g2 1 lost", "g2 4 next")
    other = took("g1 2 next", "g2 2 next", "g2 3 next")
    assert histories.check_locks([one, other], 1) == 7
    assert histories.check_locks([], 1) == 0


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        (took("g1 1 first", "g1 2 next"), took("g1 2 next"), "at once: both have found count 1"),
        (took("g1 1 first", "g1 3 next", "g1 2 next"), [], "gone back from count 3 to 1"),
        (took("g1 1 first", "g1 1 next"), [], "gone back from count 1 to 0"),
        (took("g1 1 first", "g2 1 lost", "g1 2 next"), [], "gone back to one before it was lost"),
        (took("g1 1 first"), took("g2 1 first"), "was gone, and said to be valid: 2 times"),
    ],
)
def test_two_holders_and_values_that_go_back_are_found(one: list[str], other: list[str], why: str) -> None:
    with pytest.raises(ClaimFailed, match=why):
        histories.check_locks([one, other], 1)


def test_a_virtual_disk_is_judged_unless_a_change_is_under_way() -> None:
    said = [
        ["begins a 1 1", "made a 1 1", "begins b 1 1", "made b 1 1", "begins b 1 2"],
        ["begins c 1 1", "refused c full"],
    ]
    known = histories.made(said)
    assert known == {"a": (1, 1), "b": None, "c": None}
    assert histories.check_volumes(known, {"a": (1, 1), "b": (1, 2)}, known) == 1
    assert histories.check_volumes(known, {}, {**known, "a": None}) == 0, "it has changed meanwhile"
    with pytest.raises(ClaimFailed, match="a has nothing, and was made with 1 and 1"):
        histories.check_volumes(known, {}, known)
    with pytest.raises(ClaimFailed, match="a has 1 and 2, and was made with 1 and 1"):
        histories.check_volumes(known, {"a": (1, 2)}, known)
    gone = histories.made([["begins a 0 0", "made a 0 0"]])
    with pytest.raises(ClaimFailed, match="a has 1 and 1, and was made with nothing"):
        histories.check_volumes(gone, {"a": (1, 1)}, gone)
