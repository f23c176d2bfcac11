"""The login phase of one connection (RFC 7143 6.3, 11.12, 11.13).

Two stages, security (AuthMethod=None is all there is) and operational negotiation; an initiator may skip the first.
Each request is answered by one response; ``finished`` says that full feature phase follows, ``refused`` that the
connection ends.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, Protocol

from hil.scsi.iscsi.framing import DATA_SEGMENT_BYTES_MAX
from hil.scsi.iscsi.negotiation import TEXT_BYTES_MAX, BadText, Parameters, build_text, parse_text
from hil.scsi.iscsi.pdu import CONTINUE, FINAL, LoginRequest, LoginResponse, Op, build

OPERATIONAL: Final = 1
FULL_FEATURE: Final = 3
_STAGES: Final = {0: (0, 1, 3), 1: (1, 3)}  # current stage: stages that may come next (RFC 7143 11.12.3)
_NAME_BYTES_MAX: Final = 223  # RFC 7143 4.2.7.1
_REQUESTS_MAX: Final = 64  # a login that has not ended by then never will


class LoginStatus(IntEnum):
    """Status class and detail (RFC 7143 11.13.5)."""

    SUCCESS = 0x0000
    INITIATOR_ERROR = 0x0200
    AUTHENTICATION_FAILED = 0x0201
    NOT_AUTHORISED = 0x0202
    TARGET_NOT_FOUND = 0x0203
    UNSUPPORTED_VERSION = 0x0205
    MISSING_PARAMETER = 0x0207
    SESSION_TYPE_NOT_SUPPORTED = 0x0209
    SESSION_DOES_NOT_EXIST = 0x020A
    INVALID_REQUEST = 0x020B
    SERVICE_UNAVAILABLE = 0x0301
    OUT_OF_RESOURCES = 0x0302


class LoginRefused(Exception):
    """Ends the login with this status."""

    def __init__(self, status: LoginStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Admission(Protocol):
    """Whether somebody may come in; asked as soon as the names are known."""

    def admit(self, initiator: str, target: str | None) -> None:
        """``target`` None: a discovery session. Raises ``LoginRefused``."""


class Login:
    """Takes login requests, gives the bytes to answer."""

    def __init__(self, admission: Admission, tsih: int, window: int, portal_group: int) -> None:
        """``portal_group``: tag of the portal group to which the initiator came."""
        self.parameters = Parameters()
        self.finished = False
        self.refused = ""
        self.cid = 0
        self.exp_cmd_sn = 0
        self.stat_sn = 0
        self._admission = admission
        self._tsih = tsih
        self._window = window
        self._portal_group = portal_group
        self._text = b""
        self._admitted = False
        self._operational = False
        self._requests = 0

    @property
    def discovery(self) -> bool:
        """SessionType=Discovery was asked for."""
        return self.parameters["SessionType"] == "Discovery"

    @property
    def initiator(self) -> str:
        """Name of the initiator, set once the first request was taken."""
        return self.parameters["InitiatorName"]

    def receive(self, request: LoginRequest, data: bytes) -> bytes:
        """The answer to ``request``."""
        try:
            return self._receive(request, data)
        except BadText as error:
            refused = LoginRefused(LoginStatus.INITIATOR_ERROR, str(error))
        except LoginRefused as error:
            refused = error
        self.refused = str(refused)
        return self._respond(request, 0, [], refused.status)

    def _receive(self, request: LoginRequest, data: bytes) -> bytes:
        flags = request.flags
        stage, following = flags >> 2 & 3, flags & 3
        self._check(request, stage, following)
        self._text += data
        if len(self._text) > TEXT_BYTES_MAX:
            raise LoginRefused(LoginStatus.INITIATOR_ERROR, f"more than {TEXT_BYTES_MAX} bytes of text")
        if flags & CONTINUE:
            return self._respond(request, stage << 2, [])
        text, self._text = self._text, b""
        answers = self._negotiate(parse_text(text), stage)
        transit = bool(flags & FINAL)
        if transit and following == FULL_FEATURE:
            self.finished = True
        return self._respond(request, FINAL | stage << 2 | following if transit else stage << 2, answers)

    def _check(self, request: LoginRequest, stage: int, following: int) -> None:
        self._requests += 1
        if self._requests == 1:
            self.cid = request.cid
            self.exp_cmd_sn = request.cmd_sn
            self.stat_sn = request.exp_stat_sn
        if request.version_min > 0:
            raise LoginRefused(LoginStatus.UNSUPPORTED_VERSION, f"version {request.version_min}: only 0 is legal")
        if request.tsih:  # would add a connection to a session, or take one over; sessions have one connection here
            raise LoginRefused(LoginStatus.SESSION_DOES_NOT_EXIST, f"TSIH {request.tsih}: only 0 is legal")
        transit, more = request.flags & FINAL, request.flags & CONTINUE
        if stage not in _STAGES or (transit and (more or following not in _STAGES[stage] or following == stage)):
            raise LoginRefused(LoginStatus.INVALID_REQUEST, f"stage {stage} to {following} is not legal")
        if self._operational and stage != OPERATIONAL:
            raise LoginRefused(LoginStatus.INVALID_REQUEST, "back to security negotiation")
        if request.cid != self.cid or self._requests > _REQUESTS_MAX:
            raise LoginRefused(LoginStatus.INVALID_REQUEST, "another connection id, or a login without end")

    def _negotiate(self, pairs: list[tuple[str, str]], stage: int) -> list[tuple[str, str]]:
        answers = []
        for name, offered in pairs:
            answer = self.parameters.answer(name, offered)
            if name == "AuthMethod" and answer == "Reject":
                raise LoginRefused(LoginStatus.AUTHENTICATION_FAILED, f"AuthMethod={offered}: only None is legal")
            if answer is not None:
                answers.append((name, answer))
        if not self._admitted:
            self._admit()
            if self.parameters["TargetName"]:  # RFC 7143 13.9: with a target's name only
                answers.insert(0, ("TargetPortalGroupTag", str(self._portal_group)))
        if stage == OPERATIONAL and not self._operational:
            self._operational = True
            answers.append(("MaxRecvDataSegmentLength", str(DATA_SEGMENT_BYTES_MAX)))
        return answers

    def _admit(self) -> None:
        """RFC 7143 6.3: the first request names the initiator and, unless it is for discovery, the target."""
        initiator, target = self.initiator, self.parameters["TargetName"]
        if not initiator or (not self.discovery and not target):
            raise LoginRefused(LoginStatus.MISSING_PARAMETER, "InitiatorName and TargetName are needed")
        if len(initiator.encode()) > _NAME_BYTES_MAX:
            raise LoginRefused(LoginStatus.INITIATOR_ERROR, f"InitiatorName longer than {_NAME_BYTES_MAX} bytes")
        if self.parameters["SessionType"] not in ("Normal", "Discovery"):
            raise LoginRefused(LoginStatus.SESSION_TYPE_NOT_SUPPORTED, "SessionType: Normal and Discovery are legal")
        self._admission.admit(initiator, None if self.discovery else target)
        self._admitted = True

    def _respond(
        self,
        request: LoginRequest,
        flags: int,
        answers: list[tuple[str, str]],
        status: LoginStatus = LoginStatus.SUCCESS,
    ) -> bytes:
        response = LoginResponse(
            Op.LOGIN_RESPONSE,
            flags,
            0,
            0,
            0,
            request.isid,
            self._tsih if self.finished else 0,
            request.itt,
            self.stat_sn,
            self.exp_cmd_sn,
            (self.exp_cmd_sn + self._window - 1) & 0xFFFFFFFF,
            status,
        )
        self.stat_sn = (self.stat_sn + 1) & 0xFFFFFFFF
        return build(response, build_text(answers))
