"""The control socket of the target process: faults from outside, over real connections."""

from __future__ import annotations

import json
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from hil.scsi.fenced_writes import writes_after_removal
from hil.scsi.iscsi import pdu as p
from hil.scsi.ledger import read_all
from hil.scsi.sense import Status
from tests.unit.scsi_initiator import read_10, write_10
from tests.unit.scsi_process import TargetProcess, running
from tests.unit.scsi_reserve import PREEMPT, PREEMPT_AND_ABORT, REGISTER_AND_IGNORE, RESERVE, WERO, out_cdb, out_data
from tests.unit.test_scsi_command_line import Client, portals, refused

F, W, R = p.FINAL, p.WRITE, p.READ
NEW = b"n" * 512


class Control:
    """One connection to the socket at ``path``."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10)
        self.socket.connect(str(path))
        self.file = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *about: object) -> None:
        self.file.close()
        self.socket.close()

    def ask(self, request: Any) -> Any:
        self.socket.sendall((request if isinstance(request, bytes) else json.dumps(request).encode()) + b"\n")
        return json.loads(self.file.readline())


@pytest.fixture
def target(tmp_path: Path) -> Iterator[TargetProcess]:
    with running(*portals(tmp_path), "--control", f"{tmp_path}/control") as process:
        yield process
        assert process.end() == (0, "")
    assert not (tmp_path / "control").exists()


@pytest.fixture
def control(target: TargetProcess, tmp_path: Path) -> Iterator[Control]:
    with Control(tmp_path / "control") as control:
        yield control


def node(target: TargetProcess, number: int) -> Client:
    client = Client(target.addresses[number])
    assert client.log_in(f"iqn.2026-11.hil:n{number}") == 0
    client.command(b"\0")  # POWER ON is told
    return client


def out(client: Client, action: int, key: int = 0, action_key: int = 0) -> None:
    answer, _ = client.command(out_cdb(action, WERO), out_data(key, action_key), edtl=24, flags=F | W)
    assert isinstance(answer, p.ScsiResponse)
    assert answer.status == Status.GOOD


def send_write(client: Client) -> None:
    """Without waiting for an answer."""
    number = client.cmd_sn
    client.cmd_sn += 1
    client.socket.sendall(p.build(p.ScsiCommand(1, F | W, 0, 0, number, 512, number, 0, write_10(0, 1)), NEW))


def wait_until_held(control: Control) -> dict[str, Any]:
    """Returns what is held; the write is on its way over another connection."""
    for _ in range(10000):
        [fault] = control.ask({"status": True})["faults"]
        if fault["held"]:
            [held] = fault["held"]
            return dict(held)
    raise AssertionError("no write is held")


@pytest.mark.parametrize(("action", "lands"), [(PREEMPT_AND_ABORT, False), (PREEMPT, True)])
def test_a_write_that_is_delayed_while_its_node_is_preempted(  # A3
    target: TargetProcess, control: Control, tmp_path: Path, action: int, lands: bool
) -> None:
    with node(target, 0) as master, node(target, 1) as victim:
        out(victim, REGISTER_AND_IGNORE, 0, 0x11)
        out(master, REGISTER_AND_IGNORE, 0, 0x10)
        out(master, RESERVE, 0x10)
        assert control.ask({"fault": "delay-writes", "portal": target.addresses[1]}) == {"ok": True, "fault": 1}
        send_write(victim)
        held = wait_until_held(control)
        assert held == {
            "initiator": "iqn.2026-11.hil:n1", "portal": target.addresses[1], "lun": 0,
            "operation": "WRITE (10)", "lba": 0, "blocks": 1,
        }  # fmt: skip
        out(master, action, 0x10, 0x11)
        assert control.ask({"heal": "all"}) == {"ok": True, "released": int(lands)}
        if lands:  # the answer comes by itself, nothing was sent to ask for it
            answer, _ = victim.receive()
            assert isinstance(answer, p.ScsiResponse)
            assert answer.status == Status.GOOD
        _, data = master.command(read_10(0, 1), edtl=512, flags=F | R)
        assert (data == NEW) == lands
        assert control.ask({"status": True})["faults"] == []
    found = list(writes_after_removal(read_all(tmp_path / "ledger.bin")))
    assert [entry.write.changed for entry in found] == ([True] if lands else [])


def test_a_node_that_dies_with_a_write_hanging_leaves_none_behind(
    target: TargetProcess, control: Control
) -> None:  # A4
    control.ask({"fault": "hang", "direction": "write", "initiator": "iqn.2026-11.hil:n1", "count": 2, "lun": None})
    with node(target, 1) as victim:
        send_write(victim)
        wait_until_held(control)
    with node(target, 1) as again:
        [fault] = control.ask({"status": True})["faults"]
        assert (fault["held"], fault["left"], fault["struck"]) == ([], 1, 1)
        assert control.ask({"heal": 1}) == {"ok": True, "released": 0}
        _, data = again.command(read_10(0, 1), edtl=512, flags=F | R)
        assert data == bytes(512)


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (b"rubbish", "Expecting value"),
        (b"\xff\xff", "codec can't decode"),
        (b"[" * 60000, ""),
        ([], "an object with one of fault, heal, status, power-loss, checkpoint, watch is legal"),
        ({"heal": 1, "status": True}, "an object with one of"),
        ({"fault": "no such"}, "fault 'no such' does not exist: hang, delay-writes, slow, error"),
        ({"fault": "hang", "lbas": 1}, "'lbas' is not known: fault, portal, initiator, lun, direction, lba, count"),
        ({"fault": "hang", "lba": 1}, "lba 1: [first, last] is legal"),
        ({"fault": "hang", "lba": [1]}, "lba [1]: [first, last] is legal"),
        ({"fault": "hang", "lba": [2, 1]}, "LBA 2 to 1 is no range"),
        (
            {"fault": "hang", "direction": "up"},
            "direction 'up': read, write, flush, reserve, other, media, any are legal",
        ),
        ({"fault": "torn", "direction": "read"}, "fault torn of direction read: write are legal"),
        ({"fault": "hang", "seconds": 0}, "for 0 seconds: more than 0"),
        ({"fault": "slow"}, "fault slow needs ms: milliseconds"),
        ({"fault": "slow", "parameters": {"ms": "1"}}, "ms '1': 1 to 3600000 is legal"),
        ({"fault": "slow", "parameters": {"ms": 1, "spread": "wide"}}, "fixed, uniform, exponential is legal"),
        ({"fault": "hang", "parameters": {"ms": 1}}, "parameter 'ms' is not known: it takes none"),
        ({"fault": "volatile-cache", "count": 1}, "strikes no commands"),
        ({"checkpoint": "relative"}, "the absolute path of a file is legal"),
        ({"checkpoint": "/nowhere/at/all"}, "cannot be written: No such file or directory"),
        ({"checkpoint": "/tmp/a\0b"}, "cannot be written: embedded null byte"),
        ({"checkpoint": "/tmp/\ud800"}, "cannot be written: "),
        ({"fault": "hang", "initiator": "x" * 17000}, "at most 223 bytes are legal"),
        ({"fault": "misdirected", "parameters": {"shift": 0}}, "not 0, is legal"),
        ({"fault": "refuse-login", "lun": 0}, "a login is for all of them"),
        ({"heal": [1, "x"]}, "a list of such"),
        ({"heal": [7]}, "fault 7 does not exist"),
        ({"power-loss": "all"}, "a list of iSCSI names is legal"),
        ({"power-loss": ["iqn.2026-11.hil:n9"]}, "initiator iqn.2026-11.hil:n9 was never here"),
        ({"fault": "delay-writes", "count": True}, "count True: a number is legal"),
        ({"fault": "delay-writes", "count": -1}, "count -1: 1 or more is legal"),
        ({"fault": ["delay-writes"]}, "the name of a kind is legal"),
        ({"fault": None}, "fault None: the name of a kind is legal"),
        ({"fault": "delay-writes", "portal": "nowhere"}, "portal nowhere does not exist: 127.0.0.1:"),
        ({"fault": "delay-writes", "lun": 9}, "LUN 9 does not exist: 0 are legal"),
        ({"heal": 7}, "fault 7 does not exist: none are injected now"),
        ({"heal": True}, 'the number of a fault, a list of such, or "all" is legal'),
    ],
)
def test_a_request_that_is_not_legal_is_answered_with_what_is(control: Control, request_: Any, error: str) -> None:
    answer = control.ask(request_)
    assert not answer["ok"]
    assert error in answer["error"]
    assert control.ask({"status": True}) == {"ok": True, "faults": [], "commands": 0}


def test_a_line_without_end_ends_its_connection_only(control: Control, tmp_path: Path) -> None:
    with Control(tmp_path / "control") as other, pytest.raises(OSError):  # noqa: PT012
        while True:
            other.socket.sendall(b" " * 100000)
    assert control.ask({"status": True})["ok"]


def test_the_socket_is_for_this_user_and_for_one_target(
    target: TargetProcess, control: Control, tmp_path: Path
) -> None:
    path = tmp_path / "control"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    message = refused("--lun", f"{tmp_path}/b:1M", "--listen", "127.0.0.1:0", "--control", str(path))
    assert f"control socket {path} is in use by another target" in message
    assert control.ask({"status": True})["ok"]


def test_a_socket_that_a_killed_target_left_is_replaced_and_nothing_else_is(tmp_path: Path) -> None:
    path = tmp_path / "control"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    arguments = ("--lun", f"{tmp_path}/b:1M", "--listen", "127.0.0.1:0", "--control", str(path))
    with running(*arguments) as target:
        assert target.end() == (0, "")
    path.write_text("a file")
    assert f"control socket {path} cannot be made" in refused(*arguments)
    assert path.read_text() == "a file"
