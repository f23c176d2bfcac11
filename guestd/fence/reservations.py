"""One node's hand on the reservations of one disk: one command at a time, each with what it came to.

A unit attention (SAM-5 5.14) is news about something else, told instead of carrying out the command: it is sent again.
"""

from __future__ import annotations

from guestd.fence import persistent_reserve as pr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from guestd.core.disk import Disk

    Ended = Callable[[int], None]  # called with the SCSI status, or pr.NO_ANSWER

_ATTENTIONS_MAX = 8  # in a row; an initiator has a handful at most


class Reservations:
    """Used by the stack of one node only."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    @property
    def lun(self) -> int:
        """Of which disk."""
        return self._disk.lun

    def register(self, key: int, then: Ended) -> None:
        """This node's path is registered with `key` from now on, whatever it was registered with; 0: with none."""
        self._out(pr.REGISTER_AND_IGNORE_EXISTING_KEY, 0, key, then)

    def reserve(self, key: int, then: Ended) -> None:
        """Only who is registered writes."""
        self._out(pr.RESERVE, key, 0, then)

    def preempt_and_abort(self, key: int, victim: int, then: Ended) -> None:
        """Remove a registration and abort its commands; with the own key: abort what this path has queued."""
        self._out(pr.PREEMPT_AND_ABORT, key, victim, then)

    def read_keys(self, then: Callable[[list[int] | None], None]) -> None:
        """All keys; None if they could not be read."""

        def ended(status: int, data: bytes) -> None:
            then(pr.parse_keys(data) if status == pr.GOOD else None)

        self._send(pr.read_keys(), b"", pr.KEYS_SIZE_MAX, ended)

    def _out(self, action: int, key: int, action_key: int, then: Ended) -> None:
        cdb, parameters = pr.out(action, key, action_key)
        self._send(cdb, parameters, 0, lambda status, _: then(status))

    def _send(
        self, cdb: bytes, data: bytes, reply_size: int, then: Callable[[int, bytes], None], told: int = 0
    ) -> None:
        def ended(status: int, reply: bytes, sense_key: int) -> None:
            if status == pr.CHECK_CONDITION and sense_key == pr.UNIT_ATTENTION and told < _ATTENTIONS_MAX:
                self._send(cdb, data, reply_size, then, told + 1)
            else:
                then(status, reply)

        self._disk.scsi(cdb, data, reply_size, ended)
