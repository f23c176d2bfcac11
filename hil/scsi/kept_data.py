"""What reached the medium, kept in an append-only file beside the ledger: ``--keep-data``.

A header, then a frame per piece: the number of the command in the ledger, where it went, and the bytes (none for an
unmapped piece, which reads as zeros). ``FILE.base0`` is LUN 0 as it was when the file was begun; so base and frames
together are the medium at any moment (``crash_states``).

The frames of a command are with the kernel before its record in the ledger is: every command in the ledger has all of
its data here. After a kill there may be frames of a command that the ledger does not know. The next target, which gives
that command's number to another, drops them, and takes down what it finds on the medium instead (``found_data``).
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
_VERSION: Final = 2
_HEADER: Final = struct.Struct("<8sII16sQ")  # magic, version, bytes of a frame's head, which ledger, its first order
_FRAME: Final = struct.Struct("<IHBxQQQ")  # mark, LUN, flags; order, LBA, length in bytes
_MARK: Final = 0x46524D31
_UNMAPPED: Final = 0x01
_POWER_LOSS: Final = 0x02
_FOUND: Final = 0x04
_FATES: Final = 0x08
_LOSERS: Final = struct.Struct("<I")  # how many; then the number of each nexus
_FATE: Final = struct.Struct("<QI")  # LBA, how many versions; then a byte for each


class NotKeptData(HilError):
    """The file is something else, of another version, or damaged in the middle."""


class Header(NamedTuple):
    """``identity``: the ledger it belongs to. ``order_first``: of the first command after the base."""

    identity: bytes
    order_first: int


class PowerLoss(NamedTuple):
    """The nexuses of ``losers`` lost power, and with it what they had in the cache.

    ``fates``: LBA to a byte for each version in the cache that could be lost, oldest first; 1: it survived. What they
    had written and was not in the cache any more, or never, was on the medium: it survived.
    """

    losers: frozenset[int]
    fates: dict[int, bytes]

    def survived(self, lba: int, newer: int) -> bool:
        """As ``VolatileCache.lose`` asks, of a cache that may hold older versions than the target's did."""
        fate = self.fates.get(lba, b"")
        return newer >= len(fate) or bool(fate[-1 - newer])


class Frame(NamedTuple):
    """``power_loss`` and ``found``: not by a command, but before command ``order``.

    A power loss has a frame with ``loss`` and an empty piece, then one for each block that it changed.
    """

    order: int
    lun: int
    piece: Piece
    power_loss: bool = False
    found: bool = False
    loss: PowerLoss | None = None


class KeptData:
    """The writer; goes on in an existing file. Raises ``UsageError`` when the file cannot be used.

    ``begins``: there was none. First ``keep_base``, then ``follow``, then ``add``.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = os.fspath(path)
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise UsageError(f"kept data {self.path} cannot be opened for writing: {error.strerror}") from None
        self._waiting: list[bytes | bytearray | memoryview] = []
        try:
            self.begins = os.fstat(self._fd).st_size == 0
            if not self.begins:
                self._identity()
        except BaseException:
            os.close(self._fd)
            raise

    def follow(self, ledger: str, identity: bytes, order_next: int, losers: int = 0, pieces: int = 0) -> None:
        """Belongs to ``ledger`` from now on, whose next command has the number ``order_next``.

        Since the last command the ledger has ``losers`` nexuses that lost power, and ``pieces`` lost or found.
        A last frame that was cut short is dropped, and frames of what is not in the ledger are. Raises
        ``UsageError`` for data that belongs to another one. A new file has its header only now: until the base is
        there it is none.
        """
        if self.begins:
            os.write(self._fd, _HEADER.pack(_MAGIC, _VERSION, _FRAME.size, identity, order_next))
        elif self._identity() != identity:
            raise UsageError(f"kept data {self.path} belongs to another ledger than {ledger}: begin with new files")
        else:
            os.ftruncate(self._fd, self._end_of_known(order_next, losers, pieces))

    def _identity(self) -> bytes:
        try:
            with open(self.path, "rb") as file:
                return _header(file, self.path).identity
        except NotKeptData as error:
            raise UsageError(str(error)) from None

    def _end_of_known(self, order_next: int, losers: int, pieces: int) -> int:
        """Where the last frame ends of what the ledger has, as ``follow`` is told."""
        end = _HEADER.size
        try:
            for end_of_frame, frame in _frames_of(self.path):
                if frame.order >= order_next:
                    if frame.loss is not None:
                        losers -= len(frame.loss.losers)
                    else:
                        pieces -= 1
                    by_command = not (frame.power_loss or frame.found)
                    if frame.order > order_next or by_command or losers < 0 or pieces < 0:
                        break
                end = end_of_frame
        except NotKeptData as error:
            raise UsageError(str(error)) from None
        return end

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

    def add(self, order: int, lun: int, piece: Piece, *, power_loss: bool = False, found: bool = False) -> None:
        """In the file after the next ``flush``; the data must stay as it is until then."""
        flags = (_UNMAPPED if piece.data is None else 0) | (_POWER_LOSS if power_loss else 0) | (_FOUND if found else 0)
        self._waiting.append(_FRAME.pack(_MARK, lun, flags, order, piece.lba, piece.length))
        if piece.data is not None:
            self._waiting.append(piece.data)

    def add_power_loss(self, order: int, lun: int, loss: PowerLoss) -> None:
        """In the file after the next ``flush``, before the pieces that are different by it."""
        data = _pack_loss(loss)
        self._waiting.append(_FRAME.pack(_MARK, lun, _POWER_LOSS | _FATES, order, 0, len(data)))
        self._waiting.append(data)

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
    return (frame for _, frame in _frames_of(os.fspath(path)))


def read_header(path: str | PathLike[str]) -> Header:
    """Raises ``NotKeptData``, ``OSError``."""
    with open(path, "rb") as file:
        return _header(file, os.fspath(path))


def _header(file: BinaryIO, path: str) -> Header:
    found = file.read(_HEADER.size)
    if len(found) == _HEADER.size:
        *legal, identity, order_first = _HEADER.unpack(found)
        if legal == [_MAGIC, _VERSION, _FRAME.size]:
            return Header(identity, order_first)
    raise NotKeptData(f"{path} is no kept data of version {_VERSION}: it does not begin with {_MAGIC.decode()}")


def _frames_of(path: str) -> Iterator[tuple[int, Frame]]:
    with open(path, "rb") as file:
        _header(file, path)
        yield from _frames(file, path)


def _frames(file: BinaryIO, path: str) -> Iterator[tuple[int, Frame]]:
    """Each with the offset of its end."""
    end = _HEADER.size
    while len(found := file.read(_FRAME.size)) == _FRAME.size:
        mark, lun, flags, order, lba, length = _FRAME.unpack(found)
        if mark != _MARK:
            raise NotKeptData(f"{path} is damaged at offset {end}: no frame begins there")
        data = None if flags & _UNMAPPED else file.read(length)
        if data is not None and len(data) < length:
            return
        end += _FRAME.size + (0 if data is None else length)
        if data is not None and flags & _FATES:
            yield end, Frame(order, lun, Piece(0, b"", 0), power_loss=True, loss=_unpack_loss(data))
        else:
            yield end, Frame(order, lun, Piece(lba, data, length), bool(flags & _POWER_LOSS), bool(flags & _FOUND))


def _pack_loss(loss: PowerLoss) -> bytes:
    losers = sorted(loss.losers)
    parts = [_LOSERS.pack(len(losers)), struct.pack(f"<{len(losers)}I", *losers)]
    for lba, fate in loss.fates.items():
        parts += (_FATE.pack(lba, len(fate)), fate)
    return b"".join(parts)


def _unpack_loss(data: bytes) -> PowerLoss:
    (count,) = _LOSERS.unpack_from(data)
    losers = struct.unpack_from(f"<{count}I", data, _LOSERS.size)
    offset = _LOSERS.size + 4 * count
    fates = {}
    while offset < len(data):
        lba, versions = _FATE.unpack_from(data, offset)
        offset += _FATE.size
        fates[lba] = data[offset : offset + versions]
        offset += versions
    return PowerLoss(frozenset(losers), fates)
