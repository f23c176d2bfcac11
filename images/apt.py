"""A private apt: the host's sources and settings, but state, cache and "installed packages" of our own.

So any user can resolve and download packages, nothing of the host changes, and what the host has installed does not
change what is chosen. The only package "installed" in there claims to be all that a guest without package management
has no use for; it keeps 100 MB of dependencies away.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from images.commands import failure, find_tool
from images.errors import BuildError

STAGE_UPDATE = "package lists"
STAGE_DOWNLOAD = "download"
NETWORK_REMEDY = "check the network and the host's apt sources (`sudo apt-get update`), then `hil image build`"

# Depended on by what we install, without use in the guest. The epoch of their version exceeds any that is asked for.
NOT_IN_THE_GUEST = (
    "adduser", "debconf", "initramfs-tools", "kmod", "libcap2-bin", "libdb5.3", "libncursesw6", "libnsl2",
    "libsqlite3-0", "linux-base", "media-types", "passwd", "perl", "perl-base", "readline-common",
)  # fmt: skip

CONFIGURATION = """\
Dir::State "{root}/state";
Dir::State::status "{root}/status";
Dir::Cache "{root}/cache";
Dir::Log "{root}/log";
#clear APT::Update;
#clear DPkg;
#clear APT::Architectures;
APT::Architecture "amd64";
APT::Architectures:: "amd64";
APT::Sandbox::User "";
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Get::Assume-Yes "true";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
"""


def pseudo_package() -> str:
    """The dpkg status file of the private apt."""
    fields = {
        "Package": "hil-not-in-the-guest",
        "Status": "install ok installed",
        "Architecture": "amd64",
        "Multi-Arch": "foreign",
        "Version": "1",
        "Maintainer": "none",
        "Description": "what a guest does not need",
        "Provides": ", ".join(f"{name} (= 99:0)" for name in NOT_IN_THE_GUEST),
    }
    return "".join(f"{key}: {value}\n" for key, value in fields.items()) + "\n"


def wait_watching(process: subprocess.Popen[bytes], watch: Callable[[], None] | None) -> None:
    """Wait for the end of ``process``, calling ``watch`` five times a second."""
    while True:
        try:
            process.wait(timeout=0.2 if watch else None)
        except subprocess.TimeoutExpired:
            if watch is not None:
                watch()
        else:
            return


class PrivateApt:
    """apt-get with its own directories under ``root``; finished packages end up in ``archives``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.archives = root / "cache" / "archives"
        self.configuration = root / "apt.conf"

    def prepare(self) -> None:
        """Make the directories and write the configuration and the pseudo package."""
        for name in ("state/lists/partial", "cache/archives/partial", "log"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        self.configuration.write_text(CONFIGURATION.format(root=self.root))
        (self.root / "status").write_text(pseudo_package())

    def update(self) -> None:
        """Fetch the package lists; a ``BuildError`` when there are none, neither new nor old.

        One source of several out of reach is no failure (nor is it to apt-get): resolving tells whether it was needed.
        """
        text = self.run(STAGE_UPDATE, ["update"])
        if not any((self.root / "state/lists").glob("*_Packages*")):
            detail = failure(STAGE_UPDATE, ["apt-get update"], text, "").detail
            raise BuildError(STAGE_UPDATE, f"could not reach the package mirror: {detail}", NETWORK_REMEDY)

    def list_downloads(self, packages: Sequence[str]) -> list[tuple[str, int]]:
        """(file name, bytes) of all that is to be downloaded for ``packages``; what is there already is left out."""
        text = self.run(STAGE_DOWNLOAD, ["install", "--download-only", "--print-uris", *packages])
        fields = [line.split() for line in text.splitlines() if line.startswith("'")]
        return [(words[1], int(words[2])) for words in fields]

    def download(self, packages: Sequence[str], watch: Callable[[], None]) -> None:
        """Download ``packages`` (``name`` or ``name=version``) with what they need; ``watch`` is called meanwhile."""
        self.run(STAGE_DOWNLOAD, ["install", "--download-only", *packages], watch)

    def run(self, stage: str, arguments: Sequence[str], watch: Callable[[], None] | None = None) -> str:
        """Run apt-get; a ``BuildError`` with its last lines when it fails."""
        argv = [find_tool("apt-get", "apt", stage), "-q", "-c", str(self.configuration), *arguments]
        log = self.root / "log" / "apt-get.log"
        with log.open("w") as output:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
            try:
                wait_watching(process, watch)
            finally:
                if process.poll() is None:  # interrupted
                    process.terminate()
                    process.wait()
        text = log.read_text(errors="replace")
        if process.returncode != 0:
            raise failure(stage, argv, text, NETWORK_REMEDY)
        return text
