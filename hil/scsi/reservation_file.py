"""Where registrations and reservation survive the end of the target (APTPL, SPC-4 5.13.5): a small file.

Two lines: a header with a checksum, and JSON. Replaced as a whole (written beside, flushed, renamed), so after a kill
or a power failure it is the old one or the new one. A damaged one is refused at the start: to go on without would let
a node that was fenced out write again.
"""

from __future__ import annotations

import contextlib
import json
import os
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from hil.errors import UsageError
from hil.scsi.reservations import ALL_REGISTRANTS, State, Type

if TYPE_CHECKING:
    from hil.scsi.reservations import Identity

_MAGIC: Final = b"HILPR 1 "  # and the checksum in hexadecimal


class ReservationFile:
    """The file at ``path``; there is none as long as nobody asks for persistence."""

    def __init__(self, path: str) -> None:
        self.path = path

    def load(self) -> State:
        """What was saved; the generation starts at 0 (SPC-4 5.13.6). Raises ``UsageError`` for a damaged file."""
        try:
            with open(self.path, "rb") as file:
                header, _, body = file.read().partition(b"\n")
        except FileNotFoundError:
            return State()
        except OSError as error:
            raise UsageError(f"reservations file {self.path} cannot be read: {error.strerror}") from None
        if header != _header(body):
            raise self._damaged("its checksum does not match")
        try:
            return _state(json.loads(body))
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged(repr(error)) from None

    def save(self, state: State) -> None:
        """On the disk when this returns; without APTPL there is no file afterwards. Raises ``OSError``."""
        if not state.aptpl:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)
                self._flush_directory()
            return
        body = json.dumps(_document(state), ensure_ascii=True).encode()
        beside = f"{self.path}.new"
        with open(beside, "wb") as file:
            file.write(_header(body) + b"\n" + body)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, self.path)
        self._flush_directory()

    def _flush_directory(self) -> None:
        fd = os.open(os.path.dirname(self.path) or ".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def _damaged(self, why: str) -> UsageError:
        return UsageError(
            f"reservations file {self.path} is damaged: {why}; "
            "remove it to start without registrations, when no node that was fenced out is running any more"
        )


def _header(body: bytes) -> bytes:
    return _MAGIC + blake2b(body, digest_size=16).hexdigest().encode()


def _document(state: State) -> dict[str, Any]:
    return {
        "registrations": [[*nexus, f"{key:016x}"] for nexus, key in state.keys.items()],
        "type": state.type,
        "holder": state.holder,
    }


def _state(document: dict[str, Any]) -> State:
    keys = {_identity(row[:2]): int(row[2], 16) for row in document["registrations"]}
    kind = None if document["type"] is None else Type(document["type"])
    holder = None if document["holder"] is None else _identity(document["holder"])
    if (holder is None) != (kind is None or kind in ALL_REGISTRANTS) or (holder is not None and holder not in keys):
        raise ValueError(f"reservation of type {kind} held by {holder}")
    return State(keys, kind, holder, aptpl=True)


def _identity(row: list[str]) -> Identity:
    initiator, portal = row
    return initiator, portal
