"""One TCP connection: ties framing, login and session to an asyncio transport.

Back-pressure: while the initiator does not read what it was sent, nothing more is received from it and nothing
received is processed, so a slow initiator holds at most one buffer of answers, and holds up nobody else.

Patience: given up are a connection that does not log in, one that is over and does not take its last answers, and one
whose host does not answer any more. An initiator that is merely silent keeps its session however long, because a node
that is frozen and thawed is to find it (spec S10.5). So it is the kernel that asks (TCP keepalive), and the kernel of
the other side that answers, not a NOP-In that a frozen initiator would owe us. Nor is there a TCP_USER_TIMEOUT: it
would also end the connection of one that is frozen with a full receive buffer. When a host dies with answers on their
way to it, the kernel gives up after its retransmissions, some 15 minutes; until then it costs one session, and the
next login of the same nexus ends it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from typing import TYPE_CHECKING, Final, cast

from hil.scsi.iscsi import pdu as p
from hil.scsi.iscsi.framing import DataDigestError, Framing, MalformedPdu
from hil.scsi.iscsi.joining import JOINED_BYTES_MAX, joined
from hil.scsi.iscsi.lobby import Lobby
from hil.scsi.iscsi.login import Login
from hil.scsi.iscsi.pending import WINDOW
from hil.scsi.iscsi.session import Session
from hil.scsi.target import Portal, Target

if TYPE_CHECKING:
    from hil.scsi.iscsi.digests import DigestSeal

_KEEPALIVE_PROBES: Final = 3
_BATCH_BYTES_MAX: Final = 1024 * 1024  # answers beyond that go out before more is processed
_NO_LINGER: Final = struct.pack("ii", 1, 0)

log = logging.getLogger("hil.scsi")


class Connection(asyncio.BufferedProtocol):
    """Made per connection by the listening socket of ``portal``."""

    def __init__(self, target: Target, portal: Portal, lobby: Lobby) -> None:
        self._target = target
        self._lobby = lobby
        self._portal = portal
        self._framing = Framing()
        self._tsih = target.next_tsih()
        self._login = Login(self, self._tsih, WINDOW, target.port_number(portal.address))
        self._session: Session | None = None
        self._seal: DigestSeal | None = None
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self._closing = False
        self._timer: asyncio.TimerHandle | None = None
        self._peer = ""

    def admit(self, initiator: str, target: str | None) -> None:
        """Of ``Admission``: the target's word, for this portal."""
        self._target.admit(self._portal, initiator, target)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._peer = ":".join(map(str, transport.get_extra_info("peername", ("?",))[:2]))
        connected = transport.get_extra_info("socket")
        if connected is not None:
            _keep_alive(connected, self._lobby.patience_s)
        self._limit("no login")
        self._lobby.enter(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._closing = True
        self._lobby.leave(self)
        if self._timer:
            self._timer.cancel()
        session, self._session = self._session, None
        if session is not None and session.nexus is not None:
            session.abandon_tasks()
            self._target.detach(session.nexus, session)
            self._target.flush_ledger()  # no answer will bring what was aborted to whoever reads it
            log.info(
                "%s left %s: %s", session.nexus.initiator, self._portal.address, session.ending or error or "closed"
            )

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._framing.space()

    def buffer_updated(self, count: int) -> None:
        self._framing.received(count)
        self._process()

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._paused = True
        if self._transport and not self._closing:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._paused = False
        if self._transport and not self._closing:
            self._process()
            if not self._paused and not self._closing:
                self._transport.resume_reading()

    def drop(self, reason: str) -> None:
        """Ends the connection without sending what waits."""
        self._closing = True
        log.info("%s at %s dropped: %s", self._peer, self._portal.address, reason)
        if self._transport:
            # Without lingering the peer gets a reset, not an orderly end that it might take for a logout.
            connected = self._transport.get_extra_info("socket")
            if connected is not None:
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self._transport.abort()

    def _process(self) -> None:
        """Takes every whole PDU that is there."""
        framing, over = self._framing, ""
        try:
            while not self._paused and not self._closing:
                session = self._session
                try:
                    found = framing.next()
                    if found is None:
                        break
                    if session is None:
                        self._log_in(*found)
                        framing = self._framing
                        continue
                    session.receive(framing.buffer, *found)
                except DataDigestError as error:
                    assert session is not None
                    session.receive_damaged(framing.buffer, error.offset)
                if session.ending:
                    over = session.ending
                    break
                if session.out_bytes > _BATCH_BYTES_MAX:
                    self._send(session)
        except MalformedPdu as error:
            over = str(error)  # what was taken before is answered all the same
        if self._session is not None:
            self._send_all(self._session)
        if over and not self._closing:
            self._close(over)

    def _wake(self) -> None:
        """A command that was held has ended, or another session's request ended some of ours."""
        if self._session is not None and not self._paused:  # else when the initiator has read what it was sent
            self._send_all(self._session)

    def _send_all(self, session: Session) -> None:
        self._send(session)
        while not self._paused and not self._closing and session.go_on():
            self._send(session)

    def _send(self, session: Session) -> None:
        """The ledger first: what was answered must be in it even if this process is killed now."""
        if self._target.ledger is not None:
            self._target.ledger.flush()
        out, transport = session.out, self._transport
        if not out or transport is None or self._closing:
            return
        session.out = []
        if self._seal is not None:
            out = self._seal.seal(out)
        if session.out_bytes <= JOINED_BYTES_MAX:  # nearly always, and then there is nothing to look at
            transport.write(b"".join(out))
        else:
            for piece in joined(out):
                transport.write(piece)
        session.out_bytes = 0

    def _log_in(self, offset: int, data: bytes | memoryview) -> None:
        request = p.parse(self._framing.buffer, offset)
        if not isinstance(request, p.LoginRequest) or self._transport is None:
            self._close("not a login request")
            return
        login = self._login
        self._transport.write(login.receive(request, bytes(data)))
        if login.refused:
            self._close(f"login refused: {login.refused}")
        elif login.finished:
            self._begin(login)

    def _begin(self, login: Login) -> None:
        """Full feature phase begins."""
        assert self._transport is not None
        if self._timer:
            self._timer.cancel()
        nexus = None if login.discovery else self._target.nexus(login.initiator, self._portal)
        host = self._transport.get_extra_info("sockname")[0]
        self._session = Session(self._target, nexus, login, host, self.drop, self._wake)
        header, data = (login.parameters[key] == "CRC32C" for key in ("HeaderDigest", "DataDigest"))
        if header or data:
            self._protect(header, data)
        if nexus is not None:
            self._lobby.leave(self)
            self._target.attach(nexus, self._session, self._target.lun_of(login.parameters["TargetName"]))
            digests = " and ".join(["header"] * header + ["data"] * data) or "no"
            log.info("%s logged in at %s, %s digests", nexus.initiator, self._portal.address, digests)

    def _protect(self, header: bool, data: bool) -> None:
        """Digests are in force, both ways."""
        from hil.scsi.iscsi.digests import DigestFraming, DigestSeal

        self._framing = DigestFraming(header=header, data=data, unread=self._framing.unread())
        self._seal = DigestSeal(header=header, data=data)

    def _close(self, reason: str) -> None:
        """Ends the connection after what waits was sent."""
        self._closing = True
        log.info("%s at %s closed: %s", self._peer, self._portal.address, reason)
        if self._transport:
            self._limit("does not take its last answers")
            self._transport.close()

    def _limit(self, what: str) -> None:
        """Drops the connection, because of ``what``, unless it gets on or is gone in time."""
        if self._timer:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._lobby.patience_s, self.drop, what)


def _keep_alive(connection: socket.socket, patience_s: float) -> None:
    """Has the kernel ask a silent peer and, after ``patience_s`` without any answer, end the connection."""
    seconds = max(1, round(patience_s / (1 + _KEEPALIVE_PROBES)))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, seconds)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, seconds)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_PROBES)
