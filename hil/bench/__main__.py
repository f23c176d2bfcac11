"""``python -m hil.bench``: what runs inside a bench's namespaces, started by :mod:`hil.bench.launch`.

The shared disk first: its target starts while this process imports the rest (:mod:`hil.bench.serve`), on another core.
So nothing is imported here that takes long.
"""

from __future__ import annotations

import argparse
import socket
import time
from pathlib import Path

from hil.bench import namespace, target
from hil.bench.order import Order, read_order
from hil.errors import HilError


def main() -> int:
    """Run one bench; 0 if it was told to stop, 3 if the laboratory broke."""
    parser = argparse.ArgumentParser(prog="python -m hil.bench", description="Started by `hil up`; not for people.")
    parser.add_argument("--cluster", required=True)
    parser.add_argument("--listen-fd", type=int, required=True)
    parser.add_argument("--run-dir", type=Path, required=True)
    arguments = parser.parse_args()

    listener = socket.socket(fileno=arguments.listen_fd)
    listener.set_inheritable(False)  # QEMU must not hold the cluster's name
    order = read_order(arguments.run_dir)
    disk: target.ScsiTarget | HilError | OSError
    try:
        disk = start_disk(order)
    except (HilError, OSError) as error:
        disk = error  # to be told to whoever follows the events
    from hil.bench.serve import serve

    return serve(listener, order, disk)


def start_disk(order: Order) -> target.ScsiTarget:
    """Make the namespace's devices and the disk, and begin to start its target. Raises ``LaboratoryError``."""
    namespace.prepare()
    disk_mib, data_disks, saved = int(order.config["disk_mib"]), int(order.config["data_disks"]), order.checkpoint
    if saved is None:
        path, election = order.run_dir / target.DISK, str(order.config["election"])
        shared = order.config["shared_mib"]
        target.make_disk(
            path,
            disk_mib,
            order.cluster_id,
            order.name,
            order.nodes,
            election,
            data_disks=data_disks,
            shared_mib=None if shared is None else int(shared),
            now_ns=time.time_ns(),
        )
        for lun in range(1, 1 + data_disks):
            target.make_data_disk(order.run_dir / target.image_name(lun), disk_mib, order.cluster_id, lun)
    else:
        saved.copy_files(order.run_dir)
    scsi = target.ScsiTarget(
        order.run_dir,
        namespace.RUN / target.CONTROL,
        target.serial_number(disk_mib),
        order.nodes,
        data_disks=data_disks,
        keep_data=bool(order.config["keep_data"]),
        restore=saved.target if saved else None,
    )
    scsi.start()
    return scsi


if __name__ == "__main__":
    raise SystemExit(main())
