"""A mount namespace of its own in which a file system is mounted through FUSE, and programs that run in there."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

TREE = Path(__file__).parents[2]
LIMIT_S = 60.0
DEVICE = "/dev/fuse"


def missing() -> str | None:
    """Why nothing can be mounted on this machine; None: it can."""
    if not os.path.exists(DEVICE):
        return f"there is no {DEVICE}"
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return f"{DEVICE} cannot be opened by this user"
    return None


class MountWorld:
    """The server of tests.unit.mount_server with `points`, until `end`. Who is not root gets a user namespace, too.

    server: another one that says and takes the same; options: its words before the points.
    """

    def __init__(
        self, *points: Path, keep: bool = False, server: str = "tests.unit.mount_server", options: tuple[str, ...] = ()
    ) -> None:
        self.points = points
        self._serves = server
        self._options = [*options, *(["--keep"] if keep else [])]
        for point in points:
            point.mkdir(exist_ok=True)
        namespaces = ["--mount", "--propagation", "private"]
        self._enter = ["--mount"]
        if os.getuid() != 0:
            namespaces += ["--user", "--map-root-user"]
            self._enter += ["--user", "--preserve-credentials"]
        self._started: list[subprocess.Popen[bytes]] = []
        self._server = self._serve(["unshare", *namespaces])
        try:
            self.said_by_server("mounted")
        except BaseException:
            self.end()
            raise

    @property
    def point(self) -> Path:
        return self.points[0]

    def run(self, *command: str, at: Path | None = None, fails: bool = False) -> str:
        """Run a program in the mount point `at`; what it printed. It must end well, or with `fails` not well."""
        with self.start(*command, at=at) as process:
            printed, _ = process.communicate(timeout=LIMIT_S)
        text = printed.decode()
        assert (process.returncode != 0) == fails, f"{command} ended with {process.returncode}:\n{text}"
        return text

    def python(self, program: str, *arguments: str, at: Path | None = None) -> str:
        return self.run(sys.executable, "-c", program, *arguments, at=at)

    def start(self, *command: str, at: Path | None = None) -> subprocess.Popen[bytes]:
        """Start a program there. Its process id is the program's own; all that it prints is in its output."""
        return self._popen([*self._inside(), "sh", "-c", 'cd "$0" && exec "$@"', str(at or self.point), *command])

    def start_python(self, program: str, *arguments: str, at: Path | None = None) -> subprocess.Popen[bytes]:
        return self.start(sys.executable, "-c", program, *arguments, at=at)

    def said_by_server(self, expected: str) -> None:
        """Wait for the next line that the server prints."""
        said = line(self._server)
        assert said == expected, said

    def report(self) -> dict[str, Any]:
        """What the server has counted since the last report."""
        assert self._server.stdin is not None
        self._server.stdin.write(b"?")
        found: dict[str, Any] = json.loads(line(self._server))
        return found

    def wait_waiting(self, count: int) -> None:
        """Wait until so many requests wait for their answers."""
        for _ in range(int(LIMIT_S * 20)):
            if self.report()["waiting"] == count:
                return
            select.select([], [], [], 0.05)
        raise AssertionError(f"{self.report()['waiting']} requests wait, not {count}")

    def unmount(self) -> None:
        """The server is told to unmount, and does."""
        assert self._server.stdin is not None
        self._server.stdin.close()
        self.said_by_server("unmounted")

    def kill_server(self) -> None:
        """The server dies; the namespace stays, kept by a process that does nothing else."""
        program = "import sys; print('here', flush=True); sys.stdin.read()"
        keeper = self._popen([*self._inside(), sys.executable, "-c", program])
        assert line(keeper) == "here"
        _end(self._server)
        self._server = keeper

    def serve_again(self) -> None:
        """Another server at the same point, in the namespace that a dead one has left."""
        self._server = self._serve(self._inside())
        self.said_by_server("mounted")

    def mounts(self) -> list[str]:
        """The mount points of file systems of ours in the namespace."""
        lines = self.run("cat", "/proc/self/mounts", at=Path("/")).splitlines()
        return [fields[1] for fields in map(str.split, lines) if fields[2] == "fuse.sfs"]

    def end(self) -> None:
        for process in self._started:
            _end(process)

    def _inside(self) -> list[str]:
        return ["nsenter", "--target", str(self._server.pid), *self._enter]

    def _serve(self, prefix: list[str]) -> subprocess.Popen[bytes]:
        return self._popen([*prefix, sys.executable, "-m", self._serves, *self._options, *map(str, self.points)])

    def _popen(self, argv: list[str]) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        found = {**os.environ, "PYTHONPATH": str(TREE)}  # who enters a namespace leaves the directory
        process = subprocess.Popen(
            argv, bufsize=0, cwd=TREE, env=found, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT
        )
        self._started.append(process)
        return process


def line(process: subprocess.Popen[bytes]) -> str:
    """The next line that a process prints; an assertion if it ends, or takes too long."""
    assert process.stdout is not None
    text = b""
    while not text.endswith(b"\n"):
        ready, _, _ = select.select([process.stdout], [], [], LIMIT_S)
        assert ready, f"{process.args!r} has printed no line for {LIMIT_S:.0f} s, but {text!r}"
        letter = os.read(process.stdout.fileno(), 1)  # no more: what comes after stays where select sees it
        assert letter, f"{process.args!r} has ended with {process.wait()}, having printed {text!r}"
        text += letter
    return text.decode().rstrip("\n")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None and not stream.closed:
            try:
                stream.close()
            except BrokenPipeError:
                continue
