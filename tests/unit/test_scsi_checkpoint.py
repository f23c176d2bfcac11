"""A checkpoint: another process of the target goes on with the reservations and nexuses that one had."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.errors import UsageError
from hil.scsi.checkpoint import restore, save
from hil.scsi.iscsi import pdu as p
from hil.scsi.ledger import Ledger
from hil.scsi.medium import Medium
from hil.scsi.reservations import State
from hil.scsi.sense import NEXUS_LOSS, POWER_ON
from hil.scsi.target import Portal, Target
from tests.unit.scsi_fence import VICTIM, F, W, out, pair, status, write
from tests.unit.scsi_initiator import PORTAL, SERIAL, Initiator, make_target, write_10
from tests.unit.scsi_process import running
from tests.unit.scsi_reserve import CONFLICT, GOOD, PREEMPT_AND_ABORT, REGISTER_AND_IGNORE, WERO, in_cdb
from tests.unit.test_scsi_command_line import Client, portals, refused
from tests.unit.test_scsi_control import Control
from tests.unit.test_scsi_control import out as send_out


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    target = make_target(tmp_path, ledger=True)
    yield target
    target.units[0].medium.close()
    assert target.ledger is not None
    target.ledger.close()


def copy_of(directory: Path, tmp_path: Path) -> Target:
    """A new target on copies of the medium and the ledger."""
    directory.mkdir()
    for name in ("disk.raw", "ledger.bin"):
        shutil.copy(tmp_path / name, directory / name)
    return make_target(directory, ledger=True)


def test_registrations_reservation_and_nexuses_go_on_in_another_process(target: Target, tmp_path: Path) -> None:
    master, victim = pair(target)
    victim.session.end("gone")
    target.detach(victim.nexus, victim.session)
    assert NEXUS_LOSS in victim.nexus.attentions[0]
    path = str(tmp_path / "checkpoint")
    assert save(target, path) == 3
    before = target.units[0].reservations
    assert before.keys
    assert not before.aptpl

    other = copy_of(tmp_path / "other", tmp_path)
    restore(other, [PORTAL], path)
    assert other.units[0].reservations == before
    assert NEXUS_LOSS in other.nexuses[victim.nexus.identity].attentions[0]
    assert other.nexuses[master.nexus.identity].attentions.get(0, []) == []
    again = [Initiator(other, "iqn.test:master"), Initiator(other, "iqn.test:victim")]
    assert status(write(again[1])) == GOOD
    assert out(again[0], PREEMPT_AND_ABORT, 0x10, 0x11, WERO) == GOOD
    assert status(write(again[1])) == CONFLICT
    stranger = Initiator(other, "iqn.test:stranger", attentions=True)
    assert stranger.nexus.attentions[0] == [POWER_ON]
    other.units[0].medium.close()
    assert other.ledger is not None
    assert other.ledger.order_next == 6
    other.ledger.close()


def test_what_was_persistent_stays_so_and_write_protection_too(target: Target, tmp_path: Path) -> None:
    node = Initiator(target)
    kept = f"{target.units[0].medium.path}.reservations"
    target.units[0].restore(State({node.nexus.identity: 7}, aptpl=True), write_protected=True)
    assert Path(kept).exists()
    path = str(tmp_path / "checkpoint")
    save(target, path)
    other = copy_of(tmp_path / "other", tmp_path)
    restore(other, [PORTAL], path)
    assert other.units[0].medium.write_protected
    assert Path(f"{other.units[0].medium.path}.reservations").read_bytes() == Path(kept).read_bytes()
    other.units[0].medium.close()


def test_a_target_with_faults_or_commands_under_way_is_not_saved(target: Target, tmp_path: Path) -> None:
    _, victim = pair(target)
    path = tmp_path / "checkpoint"
    victim.command(write_10(0, 1), edtl=512, flags=F | W)  # its data is still to come
    with pytest.raises(UsageError, match="1 commands are under way"):
        save(target, str(path))
    target.faults.inject("delay-writes", VICTIM)
    write(victim)
    victim.session.end("gone")
    with pytest.raises(UsageError, match=r"faults \[1\] are in force"):
        save(target, str(path))
    assert not path.exists()
    target.faults.heal(None)
    save(target, str(path))


def test_a_file_that_does_not_belong_to_the_target_is_refused_by_name(target: Target, tmp_path: Path) -> None:
    pair(target)
    path = tmp_path / "checkpoint"
    save(target, str(path))
    whole = json.loads(path.read_text())

    def refusal(text: str, listening: list[Portal] | None = None) -> str:
        path.write_text(text)
        other = Target()
        medium = Medium(str(tmp_path / "other.raw"), 4 * 1024 * 1024)
        other.add_unit(0, medium, SERIAL)
        if listening is not None:
            other.ledger = Ledger(tmp_path / "copy.bin")
        try:
            with pytest.raises(UsageError) as error:
                restore(other, listening or [PORTAL], str(path))
        finally:
            medium.close()
            if other.ledger is not None:
                other.ledger.close()
        assert other.units[0].reservations == State() or listening is not None
        return str(error.value)

    assert "is damaged" in refusal("{")
    assert "is damaged" in refusal("[]")
    assert "is damaged: KeyError('units')" in refusal("{}")
    assert "is of version 9, not 1" in refusal(json.dumps({**whole, "version": 9}))
    assert "is about other units" in refusal(json.dumps({**whole, "units": []}))
    assert "belongs to a ledger of 3 commands: this one has None" in refusal(json.dumps(whole))
    assert target.ledger is not None
    target.ledger.flush()
    shutil.copy(target.ledger.path, tmp_path / "copy.bin")
    assert "has a nexus at 127.0.0.1:3260: listen there, too" in refusal(
        json.dumps(whole), [Portal("127.0.0.1", 9, None)]
    )
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        restore(target, [PORTAL], str(tmp_path / "none"))


def test_a_process_is_restored_by_its_command_line(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    with running(*portals(tmp_path), "--control", f"{tmp_path}/control") as process:
        with Client(process.addresses[0]) as client:
            assert client.log_in("iqn.2026-11.hil:n0") == 0
            client.command(b"\0")
            send_out(client, REGISTER_AND_IGNORE, 0, 0xABC)
        with Control(tmp_path / "control") as control:
            assert control.ask({"checkpoint": str(path)}) == {"ok": True, "commands": 2}
        addresses = process.addresses
        assert process.end() == (0, "")
    lun, ledger = f"{tmp_path}/disk.raw", f"{tmp_path}/ledger.bin"
    numbered = [
        argument for n, address in enumerate(addresses) for argument in ("--portal", f"{address}=iqn.2026-11.hil:n{n}")
    ]
    with running("--lun", lun, "--serial", SERIAL, "--ledger", ledger, *numbered, "--restore", str(path)) as process:
        with Client(process.addresses[0]) as client:
            assert client.log_in("iqn.2026-11.hil:n0") == 0
            client.command(b"\0")  # is told of the end of its session
            answer, data = client.command(in_cdb(0), edtl=8192, flags=F | p.READ)
            assert isinstance(answer, p.DataIn)
            assert data[8:] == (0xABC).to_bytes(8, "big")
        assert process.end() == (0, "")
    path.write_text("{}")
    assert "is damaged" in refused(
        "--lun", lun, "--serial", SERIAL, "--ledger", ledger, *numbered, "--restore", str(path)
    )


def test_portals_keep_their_numbers_and_a_refused_checkpoint_changes_nothing(target: Target, tmp_path: Path) -> None:
    first, second = Portal("127.0.0.1", 1, None), Portal("127.0.0.1", 2, None)
    for portal in (first, second):
        target.port_number(portal.address)
    node = target.nexus("iqn.test:a", second)
    target.units[0].restore(State({node.identity: 7}, aptpl=True), write_protected=False)
    path = str(tmp_path / "checkpoint")
    save(target, path)
    other = copy_of(tmp_path / "other", tmp_path)
    with pytest.raises(UsageError, match=r"has a nexus at 127\.0\.0\.1:2: listen there, too"):
        restore(other, [first], path)
    assert not Path(f"{other.units[0].medium.path}.reservations").exists()
    restore(other, [first, second], path)
    assert [other.port_number(portal.address) for portal in (first, second)] == [1, 2]
    other.units[0].medium.close()
