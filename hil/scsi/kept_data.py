"""What reached the medium, kept in an append-only file beside the ledger: ``--keep-data``.

A header, then a frame per piece: the number of the command in the ledger, where it went, and the bytes (none for an
unmapped piece, which reads as zeros). ``FILE.base0`` is LUN 0 as it was when the file was begun; so base and frames
together are the medium at any moment (``crash_states``).

The frames of a command are with the kernel before its record in the ledger is: every command in the ledger has all of
its data here; after a kill there may be frames of a command that the ledger does not know.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from hil.errors import HilError, UsageError
from hil.scsi.placement import Piece
from hil.scsi.sparse_copy import sparse_copy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

_MAGIC: Final = b"HILKDATA"
_VERSION: Final = 1
_HEADER: Final = struct.Struct("<8sII16x")
_FRAME: Final = struct.Struct("<IHBxQQQ")  # mark, LUN, flags; order, LBA, length in bytes
_MARK: Final = 0x46524D31
_UNMAPPED: Final = 0x01
_POWER_LOSS: Final = 0x02


class NotKeptData(HilError):
    """The file is something else, of another version, or damaged in the middle."""


class Frame(NamedTuple):
    """``power_loss``: not by a command, but just before command ``order``."""

    order: int
    lun: int
    piece: Piece
    power_loss: bool


class KeptData:
    """The writer; goes on in an existing file. Raises ``UsageError`` when the file cannot be used."""

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = os.fspath(path)
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise UsageError(f"kept data {self.path} cannot be opened for writing: {error.strerror}") from None
        self._waiting: list[bytes | bytearray | memoryview] = []
        try:
            self.begins = self._continue()
        except BaseException:
            os.close(self._fd)
            raise

    def _continue(self) -> bool:
        """True for a new file. A last frame that was cut short is dropped."""
        if os.fstat(self._fd).st_size < _HEADER.size:
            os.ftruncate(self._fd, 0)
            os.write(self._fd, _HEADER.pack(_MAGIC, _VERSION, _FRAME.size))
            return True
        end = _HEADER.size
        try:
            with open(self.path, "rb") as file:
                for end, _ in _frames(file, self.path):  # noqa: B007
                    pass
        except NotKeptData as error:
            raise UsageError(str(error)) from None
        os.ftruncate(self._fd, end)
        return False

    def keep_base(self, lun: int, medium: str) -> None:
        """Copies the medium as it is now, for a file that begins. Raises ``UsageError``."""
        base = base_path(self.path, lun)
        if self.begins:
            try:
                sparse_copy(medium, base)
            except OSError as error:
                raise UsageError(f"kept data: {medium} cannot be copied to {base}: {error.strerror}") from None
        elif not os.path.exists(base):
            raise UsageError(f"kept data {self.path} goes on, but {base} is missing: begin with a new file")

    def add(self, order: int, lun: int, piece: Piece, *, power_loss: bool = False) -> None:
        """In the file after the next ``flush``; the data must stay as it is until then."""
        flags = (_UNMAPPED if piece.data is None else 0) | (_POWER_LOSS if power_loss else 0)
        self._waiting.append(_FRAME.pack(_MARK, lun, flags, order, piece.lba, piece.length))
        if piece.data is not None:
            self._waiting.append(piece.data)

    def flush(self) -> None:
        """Raises ``OSError``."""
        if not self._waiting:
            return
        data = b"".join(self._waiting)
        self._waiting.clear()
        done = os.write(self._fd, data)
        while done < len(data):
            done += os.write(self._fd, data[done:])

    def close(self) -> None:
        """What was not flushed is lost."""
        os.close(self._fd)


def base_path(path: str | PathLike[str], lun: int) -> str:
    """Where the medium of ``lun`` is kept as it was at the beginning."""
    return f"{os.fspath(path)}.base{lun}"


def read_frames(path: str | PathLike[str]) -> Iterator[Frame]:
    """All that is in the file now, but a last one that is cut short. Raises ``NotKeptData``, ``OSError``."""
    with open(path, "rb") as file:
        for _, frame in _frames(file, os.fspath(path)):
            yield frame


def _frames(file: BinaryIO, path: str) -> Iterator[tuple[int, Frame]]:
    """Each with the offset of its end."""
    found = file.read(_HEADER.size)
    if len(found) < _HEADER.size or _HEADER.unpack(found) != (_MAGIC, _VERSION, _FRAME.size):
        raise NotKeptData(f"{path} is no kept data of version {_VERSION}: it does not begin with {_MAGIC.decode()}")
    end = _HEADER.size
    while len(found := file.read(_FRAME.size)) == _FRAME.size:
        mark, lun, flags, order, lba, length = _FRAME.unpack(found)
        if mark != _MARK:
            raise NotKeptData(f"{path} is damaged at offset {end}: no frame begins there")
        data = None if flags & _UNMAPPED else file.read(length)
        if data is not None and len(data) < length:
            return
        end += _FRAME.size + (0 if data is None else length)
        yield end, Frame(order, lun, Piece(lba, data, length), bool(flags & _POWER_LOSS))
