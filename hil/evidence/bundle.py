"""One file of one run: a tar archive, compressed by Zstandard, to be attached to a ticket.

The same files make the same bytes: members in one order, without times and owners. What comes from outside is unpacked
with suspicion: only plain files with the names of a run's (:mod:`hil.evidence.layout`), all in one directory, up to a
size; nothing that a header says is followed anywhere.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import zstandard

from hil import paths
from hil.errors import UsageError
from hil.evidence import layout

SUFFIX: Final = ".tar.zst"
LEVEL: Final = 9
"""A run of a few MiB takes a tenth of a second; beyond it little is gained."""
UNPACKED_BYTES_MAX: Final = 4 << 30
DISK_BYTES_MAX: Final = 1 << 30
"""A larger image of the shared disk is left out: holes have to be read, too."""
WINDOW_BYTES_MAX: Final = 128 << 20
_BLOCK: Final = tarfile.BLOCKSIZE
_PIECE: Final = 1 << 20
_HOLE: Final = 4096


def pack(run_dir: Path, target: Path) -> list[str]:
    """Make ``target`` of the run in ``run_dir``; what was left out and why, in words.

    Raises :class:`UsageError` if it is no run, or ``target`` cannot be written.
    """
    members, left_out = _members(run_dir)
    top = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{run_dir.parent.name}-{run_dir.name}").strip("-.") or "run"
    pending = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with open(pending, "wb") as file:
            compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
            with (
                compressor.stream_writer(file, closefd=False) as stream,
                tarfile.open(fileobj=stream, mode="w|", format=tarfile.USTAR_FORMAT) as archive,
            ):
                for path in members:
                    _add(archive, path, f"{top[:99]}/{path.name}")
        pending.replace(target)
    except OSError as error:
        raise UsageError(f"{target}: {error.strerror}") from None
    finally:
        pending.unlink(missing_ok=True)
    return left_out


def _members(run_dir: Path) -> tuple[list[Path], list[str]]:
    """The manifest first: who reads knows at once what it is."""
    names = sorted(path.name for path in run_dir.iterdir() if layout.is_evidence(path.name))
    if layout.MANIFEST not in names:
        raise UsageError(f"{run_dir} has no {layout.MANIFEST}: not the folder of a run")
    taken, left_out, total = [], [], 0
    about = {name: (run_dir / name).lstat() for name in names}
    for name in sorted(names, key=lambda name: (about[name].st_size, name)):  # the large ones have to stand back
        size = about[name].st_size
        limit = DISK_BYTES_MAX if layout.is_disk(name) or layout.is_base(name) else UNPACKED_BYTES_MAX - total
        if not stat.S_ISREG(about[name].st_mode):
            left_out.append(f"{name}: no plain file")
        elif size > min(limit, UNPACKED_BYTES_MAX - total):
            left_out.append(f"{name}: with its {size >> 20} MiB it would be too large")
        else:
            taken.append(name)
            total += size
    return [run_dir / name for name in sorted(taken, key=lambda name: (name != layout.MANIFEST, name))], left_out


def _add(archive: tarfile.TarFile, path: Path, name: str) -> None:
    with open(path, "rb") as file:
        about = tarfile.TarInfo(name)
        about.mode = 0o644
        about.size = file.seek(0, 2)  # what is written meanwhile is not in it
        file.seek(0)
        archive.addfile(about, file)


@contextlib.contextmanager
def unpacked(bundle: Path) -> Iterator[Path]:
    """A directory with the content of ``bundle``, within the block. Raises :class:`UsageError` for what is none."""
    with tempfile.TemporaryDirectory(prefix="bundle-", dir=paths.cache_dir()) as directory:
        unpack(bundle, Path(directory))
        yield Path(directory)


def unpack(bundle: Path, directory: Path) -> None:
    """Write the files of ``bundle`` into ``directory``. Raises :class:`UsageError`, and names what is wrong."""
    try:
        with open(bundle, "rb") as file:
            decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES_MAX)
            with decompressor.stream_reader(file) as stream:
                _take_all(stream, directory)
    except zstandard.ZstdError as error:
        raise UsageError(f"{bundle} is no bundle: {error}") from None
    except tarfile.HeaderError:
        raise UsageError(f"{bundle} is no bundle: what is compressed in it is no tar archive") from None
    except _NotABundle as error:
        raise UsageError(f"{bundle} is no bundle of a run, or is damaged: {error}") from None
    except OSError as error:
        raise UsageError(f"{bundle}: {error.strerror or error}") from None


class _NotABundle(Exception):
    """Why."""


def _take_all(stream: BinaryIO, directory: Path) -> None:
    """Header by header: nothing is interpreted but a plain file's."""
    top, total = "", 0
    seen: set[str] = set()
    while (header := _exactly(stream, _BLOCK)) != bytes(_BLOCK):
        about = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
        inside, slash, name = about.name.partition("/")
        if about.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or not slash or not layout.is_evidence(name):
            raise _NotABundle(f"{about.name[:80]!r} is no file of a run's folder (docs/evidence.md)")
        if name in seen or (top and inside != top):
            raise _NotABundle(f"{about.name[:80]!r} is there twice, or in another directory than the others")
        top = inside
        seen.add(name)
        total += about.size
        if about.size < 0 or total > UNPACKED_BYTES_MAX:
            raise _NotABundle(f"unpacked it has more than {UNPACKED_BYTES_MAX >> 20} MiB")
        _take(stream, about.size, directory / name)
    if layout.MANIFEST not in seen:
        raise _NotABundle(f"there is no {layout.MANIFEST} in it")
    if len(stream.read(_PIECE)) > tarfile.RECORDSIZE or stream.read(1):  # what fills the record; and the checksum
        raise _NotABundle("something comes after its end")


def _take(stream: BinaryIO, size: int, path: Path) -> None:
    with open(path, "xb") as file:
        left = size
        while left:
            piece = _exactly(stream, min(left, _PIECE))
            left -= len(piece)
            for start in range(0, len(piece), _HOLE):
                part = piece[start : start + _HOLE]
                if part.count(0) == len(part):
                    file.seek(len(part), 1)  # holes of the disk stay holes
                else:
                    file.write(part)
        file.truncate(size)
    _exactly(stream, -size % _BLOCK)


def _exactly(stream: BinaryIO, size: int) -> bytes:
    parts = []
    while size:
        part = stream.read(size)
        if not part:
            raise _NotABundle("it is cut short")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
