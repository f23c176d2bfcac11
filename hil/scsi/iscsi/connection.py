"""One TCP connection: ties framing, login and session to an asyncio transport.

Back-pressure: while the initiator does not read what it was sent, nothing more is received from it and nothing
received is processed, so a slow initiator holds at most one buffer of answers, and holds up nobody else.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, cast

from hil.scsi.iscsi import pdu as p
from hil.scsi.iscsi.framing import Framing, MalformedPdu
from hil.scsi.iscsi.login import Login
from hil.scsi.iscsi.pending import WINDOW
from hil.scsi.iscsi.session import Session
from hil.scsi.target import Portal, Target

_LOGIN_TIMEOUT_S: Final = 30.0  # a connection that has not logged in by then only takes up a descriptor
_JOINED_BYTES_MAX: Final = 128 * 1024  # up to here one copy is cheaper than one more call to send
_BATCH_BYTES_MAX: Final = 1024 * 1024  # answers beyond that go out before more is processed

log = logging.getLogger("hil.scsi")


class Connection(asyncio.BufferedProtocol):
    """Made per connection by the listening socket of ``portal``."""

    def __init__(self, target: Target, portal: Portal) -> None:
        self._target = target
        self._portal = portal
        self._framing = Framing()
        self._tsih = target.next_tsih()
        self._login = Login(self, self._tsih, WINDOW)
        self._session: Session | None = None
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
        self._timer = asyncio.get_running_loop().call_later(_LOGIN_TIMEOUT_S, self.drop, "no login")

    def connection_lost(self, error: Exception | None) -> None:
        self._closing = True
        if self._timer:
            self._timer.cancel()
        session, self._session = self._session, None
        if session is not None and session.nexus is not None:
            session.abort_tasks(None)
            self._target.detach(session.nexus, session)
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
            self._transport.abort()

    def _process(self) -> None:
        """Takes every whole PDU that is there."""
        framing, over = self._framing, ""
        try:
            while not self._paused and not self._closing:
                found = framing.next()
                if found is None:
                    break
                session = self._session
                if session is None:
                    self._log_in(*found)
                    continue
                session.receive(framing.buffer, *found)
                if session.ending:
                    over = session.ending
                    break
                if session.out_bytes > _BATCH_BYTES_MAX:
                    self._send(session)
        except MalformedPdu as error:
            over = str(error)  # what was taken before is answered all the same
        if self._session is not None:
            self._send(self._session)
        if over and not self._closing:
            self._close(over)

    def _wake(self) -> None:
        """A command that was held has ended, or another session's request ended some of ours."""
        if self._session is not None:
            self._send(self._session)

    def _send(self, session: Session) -> None:
        """The ledger first: what was answered must be in it even if this process is killed now."""
        if self._target.ledger is not None:
            self._target.ledger.flush()
        out, transport = session.out, self._transport
        if not out or transport is None or self._closing:
            return
        session.out = []
        if len(out) == 1:
            transport.write(out[0])
        elif session.out_bytes <= _JOINED_BYTES_MAX:
            transport.write(b"".join(out))
        else:
            for piece in out:
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
        host, port = self._transport.get_extra_info("sockname")[:2]
        address = Portal(host, port, None).address
        self._session = Session(self._target, nexus, login, address, self.drop, self._wake)
        if nexus is not None:
            self._target.attach(nexus, self._session)
            log.info("%s logged in at %s", nexus.initiator, self._portal.address)

    def _close(self, reason: str) -> None:
        """Ends the connection after what waits was sent."""
        self._closing = True
        log.info("%s at %s closed: %s", self._peer, self._portal.address, reason)
        if self._transport:
            self._transport.close()
