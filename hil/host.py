"""This host as the preflight sees it: files, commands and device nodes.

Every check reads the host through a :class:`Host`, so that a test shows it a small directory instead of the real one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

COMMAND_TIMEOUT_S = 20.0
"""For one short question to one command; QEMU's version on a loaded machine takes a second."""


def search_path() -> str:
    """PATH with the system's administrative directories: an ordinary user of Debian has no sbin in it."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


@dataclass(frozen=True)
class Output:
    """How a command ended: its exit status (None: it did not start or did not end in time) and all that it said."""

    status: int | None
    text: str


def misc_device_number(name: str) -> tuple[int, int] | None:
    """Major and minor number under which the kernel knows the misc device ``name``; None if it does not know it.

    Asked of udev's library, which reads sysfs and works without a running udevd: so a device that the kernel has and
    a container merely lacks the node of is told from one that is not there at all.
    """
    import pyudev

    try:
        number = pyudev.Devices.from_name(pyudev.Context(), "misc", name).device_number
    except (ImportError, OSError, pyudev.DeviceNotFoundError):  # no libudev, no sysfs, no such device
        return None
    return os.major(number), os.minor(number)


@dataclass(frozen=True)
class Host:
    """One host. ``root`` is where its file system starts, ``user_id`` who asks."""

    root: Path = Path("/")
    user_id: int = field(default_factory=os.getuid)
    user_name: str = field(default_factory=lambda: os.environ.get("USER") or _account_name(os.getuid()))
    command_path: str = field(default_factory=search_path)
    device_number: Callable[[str], tuple[int, int] | None] = misc_device_number

    def path(self, absolute: str) -> Path:
        """Where the host's file ``absolute`` lies."""
        return self.root / absolute.removeprefix("/")

    def text(self, absolute: str) -> str | None:
        """The text of a file, stripped; None if it cannot be read."""
        try:
            return self.path(absolute).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return None

    def matches(self, pattern: str) -> list[Path]:
        """The files that match an absolute shell pattern."""
        return sorted(self.root.glob(pattern.removeprefix("/")))

    def command(self, name: str) -> str | None:
        """The path of a command, or None."""
        return shutil.which(name, path=self.command_path)

    def output(self, arguments: Sequence[str]) -> Output:
        """Run a command to its end, without input, and return what it said on both streams."""
        try:
            done = subprocess.run(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=COMMAND_TIMEOUT_S,
                check=False,
                env=os.environ | {"PATH": self.command_path, "LC_ALL": "C"},
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return Output(None, str(error))
        return Output(done.returncode, done.stdout.decode(errors="replace").strip())

    def open_error(self, absolute: str) -> OSError | None:
        """Why a file cannot be opened for reading and writing; None if it can."""
        try:
            os.close(os.open(self.path(absolute), os.O_RDWR | os.O_CLOEXEC))
        except OSError as error:
            return error
        return None

    @property
    def is_debian(self) -> bool:
        """Debian or something that says it is like it: its package names hold."""
        lines = (self.text("/etc/os-release") or "").splitlines()
        values = [line.partition("=")[2].strip('"') for line in lines if line.startswith(("ID=", "ID_LIKE="))]
        return "debian" in " ".join(values).split()

    def as_root(self, command: str) -> str:
        """``command`` as this user has to type it to run it as root."""
        return command if self.user_id == 0 else f"sudo {command}"

    def install(self, package: str) -> str:
        """What to type to install a package, given its Debian name."""
        if self.is_debian:
            return self.as_root(f"apt-get install --no-install-recommends {package}")
        return f"install what Debian calls {package} with this distribution's package manager"


def _account_name(user_id: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        return str(user_id)
