"""Unpacks the wanted files of Debian packages into a directory. No maintainer script is run, no privilege needed."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

from images.commands import failure, find_tool

STAGE = "unpack"
REMEDY = "`hil image build --refresh` downloads the packages again"


def read_archive(deb: Path) -> tarfile.TarFile:
    """The file system archive of a package, in memory (the largest is 120 MB)."""
    argv = [find_tool("dpkg-deb", "dpkg", STAGE), "--fsys-tarfile", str(deb)]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0:
        raise failure(STAGE, argv, done.stderr.decode(errors="replace"), REMEDY)
    return tarfile.open(fileobj=io.BytesIO(done.stdout), mode="r:")


def write_file(path: Path, content: bytes, permissions: int) -> None:
    """Write a file with exactly these permissions, whatever the umask; replaces, never writes through a link."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    path.chmod(permissions)


def write_symlink(path: Path, target: str) -> None:
    """Make a symbolic link; replaces what is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def unpack(deb: Path, tree: Path, place: Callable[[str], str | None]) -> None:
    """Unpack ``deb`` into ``tree``. ``place`` maps a name in the archive to a path in the tree; None: not wanted.

    Directories arise from the files in them. Owner and set-user-ID bits are dropped: all is root's in the image.
    """
    with read_archive(deb) as archive:
        for member in archive:
            where = None if member.isdir() else place(member.name)
            if where is None:
                continue
            path = tree / where
            if member.issym():
                write_symlink(path, member.linkname)
            elif member.isreg() or member.islnk():
                content = archive.extractfile(member)  # follows a hard link within the archive
                assert content is not None
                write_file(path, content.read(), member.mode & 0o755)


def set_directory_permissions(tree: Path) -> None:
    """0755 for every directory: made under whatever umask."""
    for directory, _, _ in os.walk(tree):
        os.chmod(directory, 0o755)
