"""Which Debian packages a guest is made of, and the lock that keeps a choice once made.

``packages/lock.json`` of the cache holds name, version and SHA-256 of each. It is written at the first resolution and
changes only on request (``refresh``) or with the list below: so the image's digest does not move with the mirror.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from images.apt import NETWORK_REMEDY, STAGE_DOWNLOAD, STAGE_UPDATE, PrivateApt
from images.commands import run
from images.errors import BuildError

Progress = Callable[[str, int, int], None]

REQUESTED = (
    "busybox-static",
    "dropbear-bin",
    "iproute2",
    "libfuse3-3",  # guestd mounts the shared file system with it
    "libpython3.11-stdlib",
    "linux-image-cloud-amd64",
    "ncurses-base",  # terminal descriptions, for the line editing of an interactive Python
    "openssh-sftp-server",
    "python3.11-minimal",
    "sg3-utils",
)


@dataclass(frozen=True)
class Package:
    """A package as locked: ``file`` is its name in the archive directory, ``sha256`` that of the file."""

    name: str
    version: str
    file: str
    sha256: str


def hash_file(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class PackageStore:
    """The packages of a cache: ``directory`` is ``$XDG_CACHE_HOME/hil/packages``."""

    def __init__(self, directory: Path) -> None:
        self.apt = PrivateApt(directory / "apt")
        self.lock_path = directory / "lock.json"

    def path(self, package: Package) -> Path:
        """Where the package's file is (or will be)."""
        return self.apt.archives / package.file

    def read_lock(self) -> list[Package] | None:
        """The locked packages, sorted by name; None when there is no lock for the present list of packages."""
        try:
            lock = json.loads(self.lock_path.read_text())
            packages = [Package(**fields) for fields in lock["packages"]]
            return packages if lock["requested"] == list(REQUESTED) else None
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def resolve(self, progress: Progress) -> list[Package]:
        """Let apt choose versions, download them and write the lock."""
        progress(STAGE_UPDATE, 0, 1)
        self.apt.prepare()
        self.apt.update()
        progress(STAGE_UPDATE, 1, 1)
        for old in self.apt.archives.glob("*.deb"):
            old.rename(old.with_suffix(".kept"))  # out of apt's sight, so that it lists the whole choice
        try:
            wanted = self.apt.list_downloads(REQUESTED)
        finally:
            for kept in self.apt.archives.glob("*.kept"):
                kept.rename(kept.with_suffix(".deb"))
        self.download(list(REQUESTED), wanted, progress)
        packages = sorted((self.inspect(name) for name, _ in wanted), key=lambda package: package.name)
        lock = {"requested": list(REQUESTED), "packages": [asdict(package) for package in packages]}
        temporary = self.lock_path.with_suffix(".new")
        temporary.write_text(json.dumps(lock, indent=1) + "\n")
        temporary.rename(self.lock_path)
        return packages

    def inspect(self, file: str) -> Package:
        """Read name and version out of a downloaded package."""
        path = self.apt.archives / file
        if not path.exists():
            raise BuildError(STAGE_DOWNLOAD, f"{file} was not downloaded", NETWORK_REMEDY)
        text = run(STAGE_DOWNLOAD, ["dpkg-deb", "-W", "--showformat=${Package} ${Version}", str(path)], remedy="")
        name, version = text.split()
        return Package(name, version, file, hash_file(path))

    def fetch(self, packages: list[Package], progress: Progress) -> None:
        """Download what is missing of the locked packages and check every file against the lock."""
        missing = [package for package in packages if not self.path(package).exists()]
        if missing:
            exact = [f"{package.name}={package.version}" for package in missing]
            self.apt.prepare()
            progress(STAGE_UPDATE, 0, 1)
            self.apt.update()  # the lists may be gone, or older than the mirror
            progress(STAGE_UPDATE, 1, 1)
            try:
                self.download(exact, self.apt.list_downloads(exact), progress)
            except BuildError as error:
                remedy = f"{error.remedy}; if the mirror no longer has a version: `hil image build --refresh`"
                raise BuildError(error.stage, error.detail, remedy) from error
        for package in packages:
            path = self.path(package)
            if not path.exists() or hash_file(path) != package.sha256:
                path.unlink(missing_ok=True)
                detail = f"{package.file} is not the file that was locked (SHA-256 differs); removed it"
                raise BuildError(STAGE_DOWNLOAD, detail, "`hil image build` downloads it again")

    def download(self, packages: list[str], wanted: list[tuple[str, int]], progress: Progress) -> None:
        """Download with progress in bytes."""
        total = sum(size for _, size in wanted)
        partial = self.apt.archives / "partial"

        def size_now(file: str) -> int:
            for path in (self.apt.archives / file, partial / file):
                try:
                    return path.stat().st_size
                except FileNotFoundError:
                    continue
            return 0

        def watch() -> None:
            progress(STAGE_DOWNLOAD, min(sum(size_now(file) for file, _ in wanted), total), total)

        watch()
        self.apt.download(packages, watch)
        progress(STAGE_DOWNLOAD, total, total)
