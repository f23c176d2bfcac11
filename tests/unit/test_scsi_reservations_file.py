"""APTPL: registrations over a restart of the target, kept in a file that is whole or refused (SPC-4 5.13.5)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hil.errors import UsageError
from hil.scsi.reservation_file import ReservationFile
from hil.scsi.reservations import State, Type
from hil.scsi.sense import Sense
from hil.scsi.target import Target
from tests.unit.scsi_initiator import make_target
from tests.unit.scsi_process import running
from tests.unit.scsi_reserve import (
    CLEAR,
    GOOD,
    REGISTER,
    REGISTER_AND_IGNORE,
    RESERVE,
    WERO,
    Node,
    generation,
    keys,
    out_cdb,
    out_data,
    refusal,
    reservation,
)
from tests.unit.test_scsi_command_line import refused

APTPL = 1


def restarted(target: Target, directory: Path) -> Target:
    target.units[0].medium.close()
    return make_target(directory)


@pytest.mark.parametrize("kind", Type)
def test_what_was_to_persist_is_there_after_a_restart_and_the_generation_starts_anew(
    tmp_path: Path, kind: Type
) -> None:
    target = make_target(tmp_path)
    one, two = Node(target, "a"), Node(target, "b")
    one.register(0x10, APTPL)
    two.register(2**64 - 1, APTPL)
    one.out(RESERVE, 0x10, kind=kind)
    found = reservation(one)
    target = restarted(target, tmp_path)
    one, two = Node(target, "a"), Node(target, "b")
    assert (keys(one), reservation(one), generation(one)) == ([0x10, 2**64 - 1], found, 0)
    assert one.out(REGISTER, 0x10, 0x20) == GOOD
    target.units[0].medium.close()


def test_without_aptpl_nothing_is_kept_and_the_latest_registration_decides(tmp_path: Path) -> None:
    kept = tmp_path / "disk.raw.reservations"
    target = make_target(tmp_path)
    one = Node(target, "a")
    one.register(1)
    assert not kept.exists()
    one.register(2, APTPL)
    assert kept.exists()
    one.out(REGISTER_AND_IGNORE, 0, 3)
    assert not kept.exists()
    target = restarted(target, tmp_path)
    assert keys(Node(target, "a")) == []
    target.units[0].medium.close()


def test_a_clear_is_kept_too(tmp_path: Path) -> None:
    target = make_target(tmp_path)
    one = Node(target, "a")
    one.register(1, APTPL)
    one.out(RESERVE, 1, kind=WERO)
    assert one.out(CLEAR, 1) == GOOD
    target = restarted(target, tmp_path)
    assert (keys(Node(target, "a")), reservation(Node(target, "a"))) == ([], None)
    target.units[0].medium.close()


def test_a_change_that_cannot_be_kept_is_refused_and_has_not_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = make_target(tmp_path)
    one = Node(target, "a")
    one.register(1, APTPL)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    outcome = one.execute(out_cdb(REGISTER), out_data(1, 2, APTPL))
    assert refusal(outcome) == Sense(0x5, 0x55, 0x04)
    assert (keys(one), generation(one)) == ([1], 1)
    target.units[0].medium.close()


STATE = State({("iqn.test:a", "h:1"): 1, ("iqn.test:é", "[::1]:2"): 2}, WERO, ("iqn.test:a", "h:1"), 7, aptpl=True)


def test_a_file_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    file = ReservationFile(str(tmp_path / "r"))
    assert file.load() == State()
    file.save(STATE)
    assert file.load() == STATE._replace(generation=0)
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**6), st.integers(1, 255), st.booleans())
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, where: int, what: int, cut: bool) -> None:
    file = ReservationFile(str(tmp_path / "r"))
    file.save(STATE)
    content = bytearray((tmp_path / "r").read_bytes())
    where %= len(content)
    content[where] ^= what
    (tmp_path / "r").write_bytes(content[:where] if cut else content)
    with pytest.raises(UsageError, match=f"reservations file {tmp_path}/r is damaged"):
        file.load()


@pytest.mark.parametrize("content", [b"", b"\n", b"[]", b"HILPR 2 00\n{}"])
def test_what_is_no_such_file_is_refused_at_the_start(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "disk.raw.reservations").write_bytes(content)
    said = refused("--lun", f"{tmp_path}/disk.raw:1M", "--listen", "127.0.0.1:0")
    assert f"reservations file {tmp_path}/disk.raw.reservations is damaged" in said


def test_the_option_puts_the_file_elsewhere(tmp_path: Path) -> None:
    place = tmp_path / "kept"
    ReservationFile(f"{place}.1").save(STATE)
    luns = ("--lun", f"{tmp_path}/a:1M", "--lun", f"{tmp_path}/b:1M")
    arguments = (*luns, "--listen", "127.0.0.1:0", "--reservations", str(place))
    with running(*arguments) as target:
        assert target.end() == (0, "")
    Path(f"{place}.1").write_bytes(b"x")
    assert f"{place}.1 is damaged" in refused(*arguments)
