"""Initiators that are slow, stop in the middle of something, or die: the others go on, and memory stays bounded."""

from __future__ import annotations

import asyncio
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from hil.scsi.iscsi import pdu as p
from hil.scsi.iscsi.connection import Connection
from hil.scsi.iscsi.lobby import WAITING_MAX, Lobby
from hil.scsi.iscsi.pending import WINDOW
from hil.scsi.ledger import read_ledger
from hil.scsi.sense import Status
from hil.scsi.target import Target
from tests.unit.scsi_initiator import PORTAL, make_target, read_10, write_10
from tests.unit.scsi_process import TargetProcess, running
from tests.unit.test_scsi_command_line import Client

F, R, W = p.FINAL, p.READ, p.WRITE
MIB = 1024 * 1024
BLOCKS_PER_MIB = 2048
PATTERN = bytes(range(256)) * (MIB // 256)


@contextmanager
def target_of(tmp_path: Path, *arguments: str) -> Iterator[TargetProcess]:
    """One disk of 8 MiB whose every MiB is ``PATTERN``, at a portal for whoever comes."""
    (tmp_path / "disk.raw").write_bytes(PATTERN * 8)
    files = (f"--lun={tmp_path}/disk.raw", f"--ledger={tmp_path}/ledger.bin")
    with running(*files, "--listen=127.0.0.1:0", *arguments) as process:
        yield process


def logged_in(stack: ExitStack, process: TargetProcess, name: str, *keys: str) -> Client:
    client = stack.enter_context(Client(process.addresses[0]))
    assert client.log_in(f"iqn.test:{name}", *keys) == 0
    client.command(b"\0")  # POWER ON is told
    return client


def assert_served(client: Client) -> None:
    """It is: reads, writes, and reads what it wrote."""
    mark = client.cmd_sn.to_bytes(4, "big") * 128
    answer, _ = client.command(write_10(100, 1), mark, edtl=512, flags=F | W)
    assert isinstance(answer, p.ScsiResponse)
    assert answer.status == Status.GOOD
    assert client.command(read_10(100, 1), edtl=512, flags=F | R)[1] == mark


def peak_mib(process: TargetProcess) -> float:
    status = Path(f"/proc/{process.process.pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def login_text(name: str) -> bytes:
    return f"InitiatorName=iqn.test:{name}\0TargetName=iqn.2026-11.hil:shared\0".encode()


LOGIN = p.LoginRequest(0x43, F | 1 << 2 | 3, 0, 0, 0, b"\x80\0\0\0\0\1", 0, 1, 0, 1, 0)
NOT_LOGGED_IN = {
    "that sends nothing": b"",
    "that stops in a header": p.build(LOGIN, login_text("dead"))[:20],
    "that stops in the text": p.build(LOGIN, login_text("dead"))[:60],
    "that never leaves the login phase": p.build(LOGIN._replace(flags=1 << 2), login_text("dead")),
}


def test_a_connection_that_does_not_log_in_is_given_up(tmp_path: Path) -> None:
    with target_of(tmp_path, "--patience=4") as process, ExitStack() as stack:
        good = logged_in(stack, process, "good")
        dead = []
        for sent in NOT_LOGGED_IN.values():
            dead.append(stack.enter_context(Client(process.addresses[0])).socket)
            dead[-1].sendall(sent)
        assert_served(good)
        for one in dead:
            everything(one)
        time.sleep(4)  # the patience of whoever has logged in does not end
        assert_served(good)
        assert process.end() == (0, "")


def test_a_crowd_that_never_logs_in_holds_up_nobody_who_does(tmp_path: Path) -> None:
    with target_of(tmp_path) as process, ExitStack() as stack:
        resource.prlimit(process.process.pid, resource.RLIMIT_NOFILE, (250, 250))
        crowd = [stack.enter_context(Client(process.addresses[0])).socket for _ in range(200)]
        assert_served(logged_in(stack, process, "good"))
        for one in crowd[: 200 - WAITING_MAX]:
            everything(one)
        assert process.end() == (0, "")


def test_more_connections_than_descriptors_hold_nobody_up_for_long(tmp_path: Path) -> None:
    with target_of(tmp_path, "--patience=4") as process, ExitStack() as stack:
        good = logged_in(stack, process, "good")
        resource.prlimit(process.process.pid, resource.RLIMIT_NOFILE, (40, 40))
        crowd = [stack.enter_context(Client(process.addresses[0])).socket for _ in range(60)]
        assert_served(good)
        for one in crowd:
            everything(one)
        assert_served(logged_in(stack, process, "late"))
        assert_served(good)
        status, said = process.end()
        assert status == 0
        assert said == "hil.scsi: connections wait: Too many open files\n"


@pytest.mark.parametrize("cut", [1, 47, 48, 300])
def test_an_initiator_that_stops_in_the_middle_of_a_pdu_can_go_on_later(tmp_path: Path, cut: int) -> None:
    with target_of(tmp_path) as process, ExitStack() as stack:
        stopped, good = (logged_in(stack, process, name) for name in ("stopped", "good"))
        command = p.ScsiCommand(1, F | W, 0, 0, 9, 512, stopped.cmd_sn, 0, write_10(0, 1))
        whole = p.build(command, b"s" * 512)
        stopped.socket.sendall(whole[:cut])
        for _ in range(10):
            assert_served(good)
        stopped.socket.sendall(whole[cut:])
        answer, _ = stopped.receive()
        assert isinstance(answer, p.ScsiResponse)
        assert answer.status == Status.GOOD
        assert good.command(read_10(0, 1), edtl=512, flags=F | R)[1] == b"s" * 512


def test_an_initiator_that_stops_reading_gets_everything_when_it_reads_on(tmp_path: Path) -> None:
    """All that its window allows, 1 MiB each."""
    with target_of(tmp_path) as process, ExitStack() as stack:
        slow = logged_in(stack, process, "slow", "MaxRecvDataSegmentLength=262144")
        good = logged_in(stack, process, "good")
        first = slow.cmd_sn
        for number in range(first, first + WINDOW):
            lba = number % 8 * BLOCKS_PER_MIB
            read = p.ScsiCommand(1, F | R, 0, 0, number, MIB, number, 0, read_10(lba, BLOCKS_PER_MIB))
            slow.socket.sendall(p.build(read))
        header = slow.receive()[0]
        assert isinstance(header, p.DataIn)
        assert header.itt == first
        for _ in range(10):
            assert_served(good)
        assert peak_mib(process) < 150
        held = offset = header.lengths & 0xFFFFFF
        while held < WINDOW * MIB:
            header, data = slow.receive()
            assert isinstance(header, p.DataIn)
            assert header.offset == offset % MIB
            if (lba := header.itt % 8 * BLOCKS_PER_MIB) or header.offset:  # the others wrote into the first 256 KiB
                assert data == PATTERN[header.offset : header.offset + len(data)]
            held += len(data)
            offset = (offset + len(data)) % MIB
        assert_served(good)
        assert process.end() == (0, "")


def test_initiators_that_stop_in_the_middle_of_writes_take_little_memory(tmp_path: Path) -> None:
    """Each has a whole window of writes under way, and data for none of them to the end."""
    with target_of(tmp_path) as process, ExitStack() as stack:
        good = logged_in(stack, process, "good")
        for name in range(8):
            dead = logged_in(stack, process, f"dead{name}")
            first = dead.cmd_sn
            for number in range(first, first + WINDOW):
                write = p.ScsiCommand(1, F | W, 0, 0, number, MIB, number, 0, write_10(0, BLOCKS_PER_MIB))
                dead.socket.sendall(p.build(write, bytes(32 * 1024)))
            asked, _ = dead.receive()
            assert isinstance(asked, p.R2T)
            out = p.DataOut(p.Op.DATA_OUT, 0, 0, 0, asked.itt, asked.ttt, 0, 0, asked.offset)
            dead.socket.sendall(p.build(out, bytes(128 * 1024)))
        assert_served(good)
        # 8 windows of 128 commands with 32 KiB each are 32 MiB, and what was asked for with R2Ts another 8 times 4 MiB.
        assert peak_mib(process) < 150
        assert good.command(read_10(0, 1), edtl=512, flags=F | R)[1] == PATTERN[:512]
        assert process.end()[0] == 0


def reset(client: Client) -> None:
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.socket.close()


@pytest.mark.parametrize("die", [lambda client: client.socket.close(), reset], ids=["FIN", "RST"])
def test_what_a_dead_initiator_had_begun_is_aborted_and_the_ledger_says_so(
    tmp_path: Path, die: Callable[[Client], None]
) -> None:
    with target_of(tmp_path) as process, ExitStack() as stack:
        good, dying = (logged_in(stack, process, name) for name in ("good", "dying"))
        asked, _ = dying.command(write_10(0, 2), edtl=1024, flags=F | W)
        assert isinstance(asked, p.R2T)
        dying.socket.sendall(p.build(p.DataOut(p.Op.DATA_OUT, 0, 0, 0, asked.itt, asked.ttt, 0, 0, 0), b"d" * 512))
        die(dying)
        deadline = time.monotonic() + 10
        while not any(entry.status == Status.TASK_ABORTED for entry in read_ledger(tmp_path / "ledger.bin")):
            assert time.monotonic() < deadline, "the write is not in the ledger"
            assert_served(good)
        [aborted] = [one for one in read_ledger(tmp_path / "ledger.bin") if one.status == Status.TASK_ABORTED]
        assert (aborted.nexus.initiator, aborted.name, aborted.changed) == ("iqn.test:dying", "WRITE (10)", False)
        again = stack.enter_context(Client(process.addresses[0]))
        again.log_in("iqn.test:dying")
        answer, sense = again.command(b"\0")
        assert isinstance(answer, p.ScsiResponse)
        assert (sense[14], sense[15]) == (0x29, 0x07)  # I_T NEXUS LOSS OCCURRED
        assert again.command(read_10(0, 2), edtl=1024, flags=F | R)[1] == PATTERN[:1024]


def test_a_connection_that_is_over_and_does_not_take_its_answers_is_given_up(tmp_path: Path) -> None:
    target = make_target(tmp_path)
    asyncio.run(log_out_and_read_nothing(target))
    target.units[0].medium.close()


async def log_out_and_read_nothing(target: Target) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # else the kernel would take it all
        lobby = Lobby(patience_s=60)
        await asyncio.get_running_loop().create_server(lambda: Connection(target, PORTAL, lobby), sock=listener)
        with await asyncio.to_thread(Client, "{}:{}".format(*listener.getsockname())) as client:
            await asyncio.to_thread(client.log_in, "iqn.test:a", "MaxRecvDataSegmentLength=262144")
            lobby.patience_s = 0.5
            await asyncio.to_thread(client.command, b"\0")
            size = BLOCKS_PER_MIB - 64  # all of it is one batch, with the answer to the logout
            read = p.ScsiCommand(0x41, F | R, 0, 0, 1, size * 512, 1, 0, read_10(0, size))
            logout = p.LogoutRequest(p.Op.LOGOUT_REQUEST | p.IMMEDIATE, F, 0, 9, 0, 1, 0)
            client.socket.sendall(p.build(read) + p.build(logout))
            assert len(target.sessions) == 1
            await asyncio.to_thread(wait_until_gone, target)
            received = await asyncio.to_thread(everything, client.socket)
            assert received < size * 512


def wait_until_gone(target: Target) -> None:
    deadline = time.monotonic() + 10
    while target.sessions:
        assert time.monotonic() < deadline, "the session is still there"
        time.sleep(0.02)


def everything(connection: socket.socket) -> int:
    """How many bytes still come; fails by the time-out of the socket when the target does not close it."""
    count = 0
    with suppress(ConnectionResetError):
        while piece := connection.recv(MIB):
            count += len(piece)
    return count


def test_the_kernel_asks_whether_the_host_of_a_silent_initiator_is_alive(tmp_path: Path) -> None:
    with target_of(tmp_path, "--patience=8") as process, ExitStack() as stack:
        logged_in(stack, process, "silent")
        port = int(process.addresses[0].rpartition(":")[2])
        deadline = time.monotonic() + 10
        while not (timers := keepalive_timers(port)):  # as long as an acknowledgement is under way the timer is its
            assert time.monotonic() < deadline, "no keepalive timer"
            time.sleep(0.05)
        [seconds] = timers
        assert 0 <= seconds <= 2


def keepalive_timers(port: int) -> list[float]:
    """Seconds until it runs out, for each established connection whose own end is ``port``."""
    found = []
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        _, local, _, state, _, timer, *_ = line.split()
        kind, _, ticks = timer.partition(":")
        if int(local.rpartition(":")[2], 16) == port and state == "01" and kind == "02":
            found.append(int(ticks, 16) / 100)
    return found
