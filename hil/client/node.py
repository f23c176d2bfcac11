"""One node of a cluster, as its client sees it."""

from __future__ import annotations

import contextlib
import logging
import shlex
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hil.errors import LaboratoryError
from hil.evidence import layout
from hil.view import NodeView

if TYPE_CHECKING:
    from hil.client.cluster import Cluster

SSH_USER = "root"
SSH_PATIENCE_S = 60.0
"""For a handshake with an emulated processor that is busy booting; on an idle one it takes 0.3 s."""


_SILENT = logging.NullHandler()


class Exchanged(NamedTuple):
    """What a command on a node has said."""

    status: int
    said: bytes
    complained: str
    """Its standard error."""


class Node:
    """A handle; what it tells comes from the cluster's view, what it does goes through the cluster's bench."""

    def __init__(self, cluster: Cluster, node_id: int) -> None:
        self.cluster = cluster
        self.id = node_id

    def __repr__(self) -> str:
        return f"<node {self.id} of {self.cluster.name}>"

    def __int__(self) -> int:
        return self.id

    @property
    def view(self) -> NodeView:
        """What is known of this node after the events read so far."""
        return self.cluster.view.nodes[self.id]

    @property
    def console_path(self) -> Path:
        """The console of this node over all its boots."""
        return self.cluster.run_dir / layout.console(self.id)

    def console(self) -> str:
        """All that this node's console has shown so far, over all its boots."""
        return console_text(self.console_path)

    def open_ssh(self) -> socket.socket:
        """A socket connected to this node's SSH server (it lives in the bench's network, not in the host's)."""
        return self.cluster.caller.call_for_socket("open_ssh", node=self.id)

    def ssh(self, command: str, timeout: float | None = 60.0) -> Any:
        """Run a shell command on the node over SSH; fabric's ``Result`` (``stdout``, ``stderr``, ``exited``).

        A command that ends with another status than 0 does not raise. Raises :class:`LaboratoryError` if the node
        does not answer, its host key is not the cluster's, or the command takes longer than ``timeout`` seconds.
        """
        with self.connection() as connection:
            return connection.run(command, hide=True, warn=True, in_stream=False, timeout=timeout)

    def send(self, command: str, data: bytes, timeout: float = 60.0) -> None:
        """Run a shell command on the node over SSH that gets ``data`` as its standard input.

        Raises :class:`LaboratoryError` as :meth:`ssh` does, and if the command ends with another status than 0.
        """
        done = self.exchange(command, data, timeout)
        if done.status != 0:
            why = done.complained.strip()
            raise LaboratoryError(f"node {self.id}: {command!r} ended with status {done.status}: {why}")

    def exchange(self, command: str, data: bytes, timeout: float = 60.0) -> Exchanged:
        """As :meth:`send`, but what the command says and how it ends is the caller's to judge."""
        with self.connection() as connection:
            connection.open()
            channel = connection.transport.open_session()
            channel.settimeout(timeout)
            channel.exec_command(command)
            channel.sendall(data)
            channel.shutdown_write()
            said = channel.makefile("rb").read()
            complained = channel.makefile_stderr("rb").read()
            return Exchanged(channel.recv_exit_status(), said, complained.decode(errors="replace"))

    def write_file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """A file of the node, as a whole and with its directory, on the medium when this returns.

        Who reads it meanwhile sees the old one or the new one: so programs get to ``/shared`` that run there already.
        Raises :class:`LaboratoryError`.
        """
        place, new = shlex.quote(path), shlex.quote(f"{path}.new")
        home = shlex.quote(path.rpartition("/")[0] or "/")
        made = f"mkdir -p {home} && cat >{new} && chmod {mode:o} {new} && sync {new} && mv {new} {place} && sync {home}"
        self.send(made, data)

    @contextlib.contextmanager
    def connection(self) -> Iterator[Any]:
        """A fabric ``Connection`` over SSH; what goes wrong with it in the block is a :class:`LaboratoryError`."""
        # Imported here: fabric and what it needs take half a second that no other verb should pay.
        import fabric
        import invoke
        import paramiko

        # What breaks a connection is raised; that a node has lost its power is not to be told a second time, on stderr.
        logging.getLogger("paramiko").addHandler(_SILENT)
        run_dir = self.cluster.run_dir
        with self.open_ssh() as connected:
            connection = fabric.Connection(
                self._address(),
                user=SSH_USER,
                config=fabric.Config(overrides={"load_ssh_configs": False}, lazy=True),
                connect_kwargs={
                    "sock": connected,
                    "key_filename": str(run_dir / layout.KEY),
                    "look_for_keys": False,
                    "allow_agent": False,
                    "banner_timeout": SSH_PATIENCE_S,
                    "auth_timeout": SSH_PATIENCE_S,
                },
            )
            connection.client.set_missing_host_key_policy(paramiko.RejectPolicy())
            connection.client.load_host_keys(str(run_dir / layout.KNOWN_HOSTS))
            try:
                with connection:
                    yield connection
            except (paramiko.SSHException, OSError, EOFError, invoke.exceptions.CommandTimedOut) as error:
                raise LaboratoryError(f"node {self.id}: SSH failed: {error}") from None
            finally:
                connection.client.close()  # also after a handshake that failed, before its socket goes away

    def _address(self) -> str:
        from hil.bench.namespace import MANAGEMENT_PREFIX

        return f"{MANAGEMENT_PREFIX}{self.id + 1}"


def console_text(path: Path) -> str:
    """The text of a console file; empty if there is none yet. Serial consoles end lines with CR LF."""
    if not path.exists():
        return ""
    return path.read_bytes().decode(errors="replace").replace("\r\n", "\n")


def console_tail(path: Path, lines: int = 15) -> str:
    """The last ``lines`` lines of a console, indented, for an error message."""
    text = console_text(path).splitlines()[-lines:]
    return "\n".join(f"    {line}" for line in text) if text else "    (nothing on the console)"
