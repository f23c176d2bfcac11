"""A connection of the SCSI target: what goes out before it ends."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.scsi.iscsi import pdu as p
from hil.scsi.iscsi.connection import Connection
from hil.scsi.iscsi.framing import DATA_SEGMENT_BYTES_MAX
from hil.scsi.iscsi.lobby import Lobby
from hil.scsi.target import Target
from tests.fuzz.logins import proper
from tests.fuzz.virtual_loop import VirtualLoop
from tests.fuzz.wire import Wire
from tests.unit.scsi_initiator import PORTAL, make_target

WHOLE = (2**30,)
PING = p.build(p.NopOut(p.Op.NOP_OUT | p.IMMEDIATE, p.FINAL, 0, 0, 5, p.NO_TAG, 1, 0), b"ping")
TOO_LONG = struct.pack(">BBxxI40x", p.Op.NOP_OUT | p.IMMEDIATE, p.FINAL, DATA_SEGMENT_BYTES_MAX + 1)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    target = make_target(tmp_path)
    yield target
    target.units[0].medium.close()


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    loop.close()


def test_what_came_before_a_malformed_pdu_is_answered_before_the_connection_ends(
    target: Target, loop: VirtualLoop
) -> None:
    received: list[bytes] = []

    def talk() -> None:
        connection = Connection(target, PORTAL, Lobby())
        addresses = {"peername": ("127.0.0.1", 1), "sockname": (PORTAL.host, PORTAL.port)}
        wire = Wire(loop, connection, received.append, addresses)
        wire.send(proper("iqn.test:a"), WHOLE)
        wire.send(PING + TOO_LONG, WHOLE)
        assert wire.is_closing()

    loop.turn(talk)
    loop.turn()
    login, answer = received
    assert isinstance(p.parse(login), p.LoginResponse)
    assert isinstance(p.parse(answer), p.NopIn)
    assert answer[48:] == b"ping"
    assert not target.sessions
