"""The shared disk of a cluster: its image file and the process of its SCSI target."""

from __future__ import annotations

import hashlib
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Self

from guestd.membership import layout, persistent
from hil.bench.partitions import data_disk_tables, partition_tables
from hil.bench.volumes import make_volumes, shared_size
from hil.errors import LaboratoryError

TARGET_NAME = "iqn.2026-11.hil:shared"
FIRST_PORT = 3260
DISK = "disk.raw"
LEDGER = "ledger.bin"
KEPT_DATA = "kept.data"
CONTROL = "disk.control"
"""The control socket's name, in the bench's ``/run``."""
READY_TIMEOUT_S = 30.0


def initiator_name(node: int) -> str:
    """The iSCSI name of ``node``: with its portal it is the node's I_T nexus."""
    return f"iqn.2026-11.hil:n{node}"


def portal_port(node: int) -> int:
    """The TCP port, on the loopback of the bench's namespace, that is ``node``'s own path to the disk."""
    return FIRST_PORT + node


def node_of_portal(address: str | None) -> int | None:
    """The node whose path ``HOST:PORT`` is; None: everybody's."""
    return None if address is None else int(address.rpartition(":")[2]) - FIRST_PORT


def portal_address(node: int) -> str:
    """``HOST:PORT`` of ``node``'s path, as the target calls it."""
    return f"127.0.0.1:{portal_port(node)}"


def image_name(lun: int) -> str:
    """The file of that LUN, in the directory of the run."""
    return f"disk-{lun}.raw" if lun else DISK


def serial_number(size_mib: int) -> str:
    """The serial number of LUN 0, 16 hex digits; those of the further ones count up (``hil.scsi.identity``).

    The same for all clusters with disks of this size, for a saved machine has seen its disk already. Which cluster a
    disk belongs to is written on it (``cluster_id``).
    """
    return hashlib.blake2b(f"hil shared disk, {size_mib} MiB".encode(), digest_size=8).hexdigest()


def make_disk(
    path: Path,
    size_mib: int,
    cluster_id: str,
    name: str,
    nodes: int,
    election: str = "paxos",
    *,
    data_disks: int = 0,
    shared_mib: int | None = None,
    now_ns: int = 0,
) -> None:
    """Make the sparse disk image with partitions, a fresh membership database and an empty shared file system.

    ``election``, ``data_disks``: of the cluster file; they are written in the database, so that no node goes by other
    ones. ``shared_mib``: of it (:func:`hil.bench.volumes.shared_size`). ``now_ns``: the time of day, of the root
    directory.
    """
    size = size_mib * 1024 * 1024
    table, backup = partition_tables(size, cluster_id)
    with open(path, "xb") as disk:
        disk.truncate(size)
        disk.write(table)
        disk.seek(layout.DATABASE_OFFSET)
        disk.write(persistent.format_database(cluster_id, name, nodes, election, data_disks))
        for offset, data in make_volumes(cluster_id, nodes, size, shared_size(size_mib, nodes, shared_mib), now_ns):
            disk.seek(offset)
            disk.write(data)
        disk.seek(size - len(backup))
        disk.write(backup)


def make_data_disk(path: Path, size_mib: int, cluster_id: str, lun: int) -> None:
    """Make the sparse image of LUN 1, 2 …: a partition table and nothing else."""
    size = size_mib * 1024 * 1024
    table, backup = data_disk_tables(size, cluster_id, lun)
    with open(path, "xb") as disk:
        disk.truncate(size)
        disk.write(table)
        disk.seek(size - len(backup))
        disk.write(backup)


class ScsiTarget:
    """The target's process; a context manager that returns when it listens. ``start`` before that saves time."""

    def __init__(
        self,
        run_dir: Path,
        control: Path,
        serial: str,
        nodes: int,
        *,
        data_disks: int = 0,
        keep_data: bool,
        restore: Path | None = None,
    ) -> None:
        """``control``: where its control socket is to be; ``restore``: what the target was saved as, to go on from."""
        self._ready: int | None = None
        self._command = [sys.executable, "-m", "hil.scsi", "--serial", serial]
        for lun in range(1 + data_disks):
            self._command += ["--lun", str(run_dir / image_name(lun))]
        self._command += ["--ledger", str(run_dir / LEDGER), "--control", str(control)]
        if keep_data:
            self._command += ["--keep-data", str(run_dir / KEPT_DATA)]
        if restore is not None:
            self._command += ["--restore", str(restore)]
        for node in range(nodes):
            self._command += ["--portal", f"{portal_address(node)}={initiator_name(node)}"]

    def start(self) -> None:
        """Begin: it takes a tenth of a second until it listens."""
        self._ready, ready_writer = os.pipe()
        try:
            self.process = subprocess.Popen(
                [*self._command, "--ready-fd", str(ready_writer)], stdin=subprocess.DEVNULL, pass_fds=[ready_writer]
            )
        finally:
            os.close(ready_writer)

    def __enter__(self) -> Self:
        if self._ready is None:
            self.start()
        assert self._ready is not None
        # The pipe tells both: a byte when it listens, end of file when it died first.
        answered, _, _ = select.select([self._ready], [], [], READY_TIMEOUT_S)
        alive = bool(answered) and bool(os.read(self._ready, 1))
        os.close(self._ready)
        if not alive:
            self.process.kill()
            raise LaboratoryError("the SCSI target did not start; its words are in bench.log")
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
