"""Task management functions (RFC 7143 11.5, 11.6): a row each."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from hil.scsi.iscsi.answers import lun_number
from hil.scsi.iscsi.pdu import TaskManagementRequest

if TYPE_CHECKING:
    from hil.scsi.iscsi.session import Session


class Response(IntEnum):
    """RFC 7143 11.6.1."""

    COMPLETE = 0
    NO_SUCH_TASK = 1
    NO_SUCH_LUN = 2
    REASSIGNMENT_NOT_SUPPORTED = 4
    NOT_SUPPORTED = 5


def manage(session: Session, request: TaskManagementRequest) -> Response:
    """Carries ``request`` out; everything that it aborts is over, and in the ledger, when this returns."""
    row = _FUNCTIONS.get(request.flags & 0x7F)
    if row is None:
        return Response.NOT_SUPPORTED
    needs_unit, function = row
    if needs_unit and lun_number(request.lun) not in session.target.units:
        return Response.NO_SUCH_LUN
    return function(session, request)


def _abort_task(session: Session, request: TaskManagementRequest) -> Response:
    task = session.tasks.by_itt.get(request.referenced_itt)
    if task is not None and task.command.lun == lun_number(request.lun):
        session.abort(task)
        return Response.COMPLETE
    return Response.NO_SUCH_TASK  # never was, or has finished: commands wait only for their data, or held by a fault


def _abort_task_set(session: Session, request: TaskManagementRequest) -> Response:
    assert session.nexus is not None
    session.target.abort_task_set(session.nexus, lun_number(request.lun))
    return Response.COMPLETE


def _clear_task_set(session: Session, request: TaskManagementRequest) -> Response:
    assert session.nexus is not None
    session.target.clear_tasks(lun_number(request.lun), session.nexus)
    return Response.COMPLETE


def _reset_unit(session: Session, request: TaskManagementRequest) -> Response:
    session.target.reset_unit(lun_number(request.lun))
    return Response.COMPLETE


def _warm_reset(session: Session, request: TaskManagementRequest) -> Response:
    session.target.reset()
    return Response.COMPLETE


def _cold_reset(session: Session, request: TaskManagementRequest) -> Response:
    """As a warm reset, and every session ends (RFC 7143 11.5.1): this one once its answer is sent."""
    _warm_reset(session, request)
    for _, other in session.target.all_sessions():
        if other is not session:
            other.end("TARGET COLD RESET by another initiator")
    session.ending = "TARGET COLD RESET"
    return Response.COMPLETE


def _reassign(session: Session, request: TaskManagementRequest) -> Response:
    return Response.REASSIGNMENT_NOT_SUPPORTED


# Function code: whether its LUN must exist, and what to do. CLEAR ACA (3) is not supported.
_FUNCTIONS: Final[dict[int, tuple[bool, Callable[[Session, TaskManagementRequest], Response]]]] = {
    1: (True, _abort_task),
    2: (True, _abort_task_set),
    4: (True, _clear_task_set),
    5: (True, _reset_unit),
    6: (False, _warm_reset),
    7: (False, _cold_reset),
    8: (False, _reassign),
}
