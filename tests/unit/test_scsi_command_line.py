"""The target process: what it refuses by name, that it says when it is ready, and how it ends."""

from __future__ import annotations

import signal
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pytest

from hil.scsi.iscsi import pdu as p
from hil.scsi.iscsi.negotiation import parse_text
from hil.scsi.ledger import read_ledger, read_nexuses
from hil.scsi.medium import parse_lun
from tests.unit.scsi_initiator import read_10, write_10
from tests.unit.scsi_process import TREE, command_line, running

LISTEN = ("--listen", "127.0.0.1:0")


def refused(*arguments: str) -> str:
    ended = subprocess.run(command_line(*arguments), cwd=TREE, capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 2, ended
    assert "Traceback" not in ended.stderr
    return ended.stderr


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("a.raw", ("a.raw", None)),
        ("a.raw:64M", ("a.raw", 64 * 1024**2)),
        ("/d:x/a:512", ("/d:x/a", 512)),
        ("a:1GiB", ("a", 1024**3)),
        ("a:b", ("a:b", None)),
    ],
)
def test_a_lun_is_a_file_with_or_without_a_size(text: str, parsed: tuple[str, int | None]) -> None:
    assert parse_lun(text) == parsed


def test_what_cannot_be_a_lun_is_refused_by_name(tmp_path: Path) -> None:
    missing = tmp_path / "missing.raw"
    assert f"LUN file {missing} does not exist: give FILE:SIZE" in refused("--lun", str(missing), *LISTEN)
    assert "its directory does not exist" in refused("--lun", f"{tmp_path}/no/disk:1M", *LISTEN)
    small = tmp_path / "small.raw"
    small.write_bytes(bytes(1024 * 1024))
    assert "is too small: it has 1048576 bytes, 2097152 are asked for" in refused("--lun", f"{small}:2M", *LISTEN)
    odd = tmp_path / "odd.raw"
    odd.write_bytes(bytes(100))
    assert "100 bytes are too small or no whole blocks" in refused("--lun", str(odd), *LISTEN)
    assert "is not a regular file" in refused("--lun", "/dev/null", *LISTEN)
    small.chmod(0o444)
    message = refused("--lun", str(small), *LISTEN)
    assert "is read-only" in message or "Permission denied" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "where to listen?"),
        (("--listen", "127.0.0.1"), "HOST:PORT is, as 127.0.0.1:3260"),
        (("--listen", "127.0.0.1:70000"), "port 0 to 65535"),
        (("--portal", "127.0.0.1:0"), "HOST:PORT=INITIATOR is"),
        (("--portal", "127.0.0.1:0="), "HOST:PORT=INITIATOR is"),
        (("--listen", "127.0.0.1:9", "--listen", "127.0.0.1:9"), "portal 127.0.0.1:9 is given twice"),
        (("--listen", "192.0.2.1:0"), "portal 192.0.2.1:0 cannot be listened on"),
        ((*LISTEN, "--serial", "12"), "16 hexadecimal digits are"),
        ((*LISTEN, "--ledger", "/nowhere/ledger"), "ledger /nowhere/ledger cannot be opened"),
        ((*LISTEN, "--patience", "nan"), "'nan': 1 to 3600 seconds are legal"),
        ((*LISTEN, "--patience", "soon"), "'soon': 1 to 3600 seconds are legal"),
        ((*LISTEN, "--frobnicate"), "unrecognized arguments"),
    ],
)
def test_a_command_line_that_is_not_legal_says_what_is(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    assert message in refused("--lun", f"{tmp_path}/disk.raw:1M", *arguments)


def test_a_lun_in_use_and_a_port_in_use_are_refused_and_the_first_target_goes_on(tmp_path: Path) -> None:
    disk = f"{tmp_path}/disk.raw"
    with running("--lun", f"{disk}:1M", *LISTEN) as target:
        assert "is in use by another target" in refused("--lun", disk, *LISTEN)
        taken = target.addresses[0]
        assert f"portal {taken} cannot be listened on" in refused("--lun", f"{disk}2:1M", "--listen", taken)
        assert target.end() == (0, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_with_initiators_connected(tmp_path: Path, number: signal.Signals) -> None:
    """One has a session, one discovers, one has yet to log in."""
    with running("--lun", f"{tmp_path}/d:1M", *LISTEN) as target, ExitStack() as stack:
        one, two, _ = (stack.enter_context(Client(target.addresses[0])) for _ in range(3))
        one.log_in("iqn.test:a")
        assert two.log_in("iqn.test:b", "SessionType=Discovery") == 0
        assert target.end(number) == (0, "")


class Client:
    """A blocking initiator of few words."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=10)
        self.cmd_sn = 1
        self.keys: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *about: object) -> None:
        self.socket.close()

    def send(self, request: p.Pdu, data: bytes = b"") -> tuple[p.Pdu, bytes]:
        self.socket.sendall(p.build(request, data))
        return self.receive()

    def receive(self) -> tuple[p.Pdu, bytes]:
        """Raises ``EOFError`` when the target closed the connection."""
        header = p.parse(self._exactly(48))
        assert header is not None
        length = header.lengths & 0xFFFFFF
        return header, self._exactly(length + 3 & ~3)[:length]

    def _exactly(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            try:
                more = self.socket.recv(count - len(found))
            except ConnectionResetError:
                more = b""
            if not more:
                raise EOFError
            found += more
        return found

    def log_in(self, name: str, *keys: str) -> int:
        """The status of the answer; its text is in ``keys``."""
        offers = (f"InitiatorName={name}", "TargetName=iqn.2026-11.hil:shared", "InitialR2T=No", *keys)
        text = "".join(f"{offer}\0" for offer in offers).encode()
        login = p.LoginRequest(0x43, p.FINAL | 1 << 2 | 3, 0, 0, 0, b"\x80\0\0\0\0\1", 0, 1, 0, self.cmd_sn, 0)
        answer, said = self.send(login, text)
        assert isinstance(answer, p.LoginResponse)
        self.keys = dict(parse_text(said))
        return answer.status

    def command(self, cdb: bytes, data: bytes = b"", *, edtl: int = 0, flags: int = p.FINAL) -> tuple[p.Pdu, bytes]:
        request = p.ScsiCommand(1, flags, 0, 0, self.cmd_sn, edtl, self.cmd_sn, 0, cdb.ljust(16, b"\0"))
        self.cmd_sn += 1
        return self.send(request, data)


def portals(tmp_path: Path) -> tuple[str, ...]:
    nodes = [f"--portal=127.0.0.1:0=iqn.2026-11.hil:n{node}" for node in range(2)]
    return (f"--lun={tmp_path}/disk.raw:1M", f"--ledger={tmp_path}/ledger.bin", "--serial=00112233445566aa", *nodes)


def test_a_portal_with_a_declared_initiator_refuses_every_other(tmp_path: Path) -> None:
    with running(*portals(tmp_path)) as target:
        assert [nexus.initiator[-2:] for nexus in read_nexuses(tmp_path / "ledger.bin")] == ["n0", "n1"]
        with Client(target.addresses[1]) as client:
            assert client.log_in("iqn.2026-11.hil:n0") == 0x0202
            with pytest.raises(EOFError):
                client.receive()
        with Client(target.addresses[1]) as client:
            assert client.log_in("iqn.2026-11.hil:n1") == 0


def test_a_second_login_drops_the_first_connection(tmp_path: Path) -> None:
    with running(*portals(tmp_path)) as target, Client(target.addresses[0]) as first:
        first.log_in("iqn.2026-11.hil:n0")
        with Client(target.addresses[0]) as second:
            assert second.log_in("iqn.2026-11.hil:n0") == 0
            with pytest.raises(EOFError):
                first.receive()


def test_after_sigkill_the_ledger_has_every_answered_command_and_the_target_goes_on(tmp_path: Path) -> None:
    written = 0
    for turn in range(3):
        with running(*portals(tmp_path)) as target, Client(target.addresses[0]) as client:
            client.log_in("iqn.2026-11.hil:n0")
            client.command(b"\0")
            for lba in range(50):
                answer, _ = client.command(write_10(lba, 1), bytes([turn]) * 512, edtl=512, flags=p.FINAL | p.WRITE)
                assert isinstance(answer, p.ScsiResponse)
                assert answer.status == 0
                written += 1
            target.end(signal.SIGKILL)
        entries = list(read_ledger(tmp_path / "ledger.bin"))
        assert [entry.order for entry in entries] == list(range(len(entries)))
        assert sum(entry.writes and entry.changed for entry in entries) == written
    assert (tmp_path / "disk.raw").read_bytes()[: 50 * 512] == bytes([2]) * 50 * 512


@pytest.mark.parametrize(
    "rubbish", [b"\xff" * 48, bytes(48), b"GET / HTTP/1.1\r\n\r\n" * 10, b"\x43\x87\0\0\0\xff\xff\xff" + bytes(40)]
)
def test_rubbish_ends_its_own_connection_and_no_other(tmp_path: Path, rubbish: bytes) -> None:
    with running(*portals(tmp_path)) as target, Client(target.addresses[0]) as good:
        good.log_in("iqn.2026-11.hil:n0")
        good.command(b"\0")
        with Client(target.addresses[1]) as bad:
            bad.socket.sendall(rubbish)
            with pytest.raises(EOFError):
                bad.receive()
        _, data = good.command(read_10(0, 1), edtl=512, flags=p.FINAL | p.READ)
        assert data == bytes(512)
        assert target.end() == (0, "")


def test_an_initiator_that_never_reads_holds_up_nobody_and_takes_little_memory(tmp_path: Path) -> None:
    with running(*portals(tmp_path)) as target, Client(target.addresses[0]) as slow:
        slow.log_in("iqn.2026-11.hil:n0")
        slow.socket.settimeout(0.5)
        read = p.ScsiCommand(0x41, p.FINAL | p.READ, 0, 0, 0, 1024 * 1024, 1, 0, read_10(0, 2048))
        requests = b"".join(p.build(read._replace(itt=itt)) for itt in range(20000))
        with pytest.raises(TimeoutError):
            slow.socket.sendall(requests * 10)
        with Client(target.addresses[1]) as other:
            other.log_in("iqn.2026-11.hil:n1")
            other.command(b"\0")
            _, data = other.command(read_10(0, 1), edtl=512, flags=p.FINAL | p.READ)
            assert data == bytes(512)
        status = Path(f"/proc/{target.process.pid}/status").read_text(encoding="ascii")
        peak_kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
        assert peak_kib < 150 * 1024
