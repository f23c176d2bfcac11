"""``python -m hil.bench``: what runs inside a bench's namespaces, started by :mod:`hil.bench.launch`.

Sets up the cluster's hardware in one ``ExitStack``, serves until it is told to stop, and tears down in reverse.
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import sys
import traceback
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hil import warm
from hil.bench import checkpoint, namespace, seed, target
from hil.bench.beginning import Beginning
from hil.bench.cluster import Bench
from hil.bench.log import EventLog
from hil.bench.server import Server
from hil.checkpoint import TARGET, Checkpoint, load
from hil.config import ClusterConfig, make_config
from hil.errors import HilError, UsageError
from hil.faults import link
from hil.qemu.domain import MachineSpec
from hil.qemu.hypervisor import Hypervisor
from hil.qemu.machine import Machine

INTERCONNECT_PORT = 7400
LAST_WORDS_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Order:
    """What the launcher wants: the cluster file's content, what the host offers, and where evidence goes."""

    config: ClusterConfig
    accelerator: str
    image: Path
    image_digest: str
    run_dir: Path
    cluster_id: str
    cold: bool
    """Boot all nodes; no saved machines."""
    checkpoint: Checkpoint | None
    """What the cluster goes on from; None: it is new."""


def main() -> int:
    """Run one bench; 0 if it was told to stop, 3 if the laboratory broke."""
    parser = argparse.ArgumentParser(prog="python -m hil.bench", description="Started by `hil up`; not for people.")
    parser.add_argument("--cluster", required=True)
    parser.add_argument("--listen-fd", type=int, required=True)
    parser.add_argument("--run-dir", type=Path, required=True)
    arguments = parser.parse_args()

    listener = socket.socket(fileno=arguments.listen_fd)
    listener.set_inheritable(False)  # QEMU must not hold the cluster's name
    order = _read_order(arguments.run_dir)
    history = order.checkpoint.history(order.config.name, order.run_dir) if order.checkpoint else ()
    log = EventLog(order.run_dir / "events.jsonl", order.config.nodes, history)
    bench, server = Bench(log), Server(listener, log)
    log.on_broken = bench.stop_requested.set
    server.start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: bench.stop_requested.set())
    status = 0
    try:
        with ExitStack() as stack:
            _set_up(stack, order, bench)
            server.open(bench)
            bench.stop_requested.wait()
            if log.broken is not None:
                status = _failed(log, log.broken)
    except (HilError, OSError) as error:
        status = _failed(log, str(error))
        print(f"hil.bench: {error}", file=sys.stderr)
    except Exception as error:  # noqa: BLE001 - whoever follows the events must hear why the bench ends
        status = _failed(log, f"the bench has a bug: {error!r}")
        traceback.print_exc()
    server.open(None)
    log.close()
    server.finish(LAST_WORDS_TIMEOUT_S)
    return status


def _failed(log: EventLog, reason: str) -> int:
    log.emit("bench-stopping", reason=reason, failed=True)
    return 3


def _read_order(run_dir: Path) -> Order:
    data: dict[str, Any] = json.loads((run_dir / "cluster.json").read_text(encoding="utf-8"))
    settings = data["settings"]
    saved = load(Path(settings["checkpoint"]), verify=False) if settings.get("checkpoint") else None
    return Order(
        config=make_config(**data["config"]),
        accelerator=settings["accelerator"],
        image=Path(settings["image"]),
        image_digest=settings["image_digest"],
        cold=settings["cold"],
        run_dir=run_dir,
        cluster_id=saved.manifest.cluster_id if saved else uuid.uuid4().hex,
        checkpoint=saved,
    )


def _set_up(stack: ExitStack, order: Order, bench: Bench) -> None:
    """The hardware, then a new cluster on it or the one of a checkpoint."""
    config, log, saved = order.config, bench.log, order.checkpoint
    if saved is None:
        log.emit(
            "bench-started",
            cluster=config.name,
            nodes=config.nodes,
            accelerator=order.accelerator,
            image=order.image.name,
            run_dir=str(order.run_dir),
        )
    namespace.prepare()
    serial = target.serial_number(config.disk_mib)
    if saved is None:
        target.make_disk(order.run_dir / target.DISK, config.disk_mib, order.cluster_id, config.name, config.nodes)
    else:
        checkpoint.copy_files(saved, order.run_dir)
    control = namespace.RUN / "disk.control"
    restore = saved.path / TARGET if saved else None
    scsi = target.ScsiTarget(order.run_dir, control, serial, config.nodes, keep_data=config.keep_data, restore=restore)
    scsi.start()  # what follows goes on beside it
    link.prepare()
    hosts = [f"{namespace.MANAGEMENT_PREFIX}{node + 1}" for node in range(config.nodes)]
    if saved is None:
        guests_seed = seed.make_seed(order.run_dir, _guest_config(order, serial), hosts)
    else:
        guests_seed = seed.load_seed(order.run_dir)
    initrd, waiting = namespace.RUN / "initrd.cpio", namespace.RUN / "waiting.cpio"
    seed.write_initrd(order.image / "initrd.cpio", initrd, guests_seed)
    seed.write_initrd(order.image / "initrd.cpio", waiting, seed.WAITING)
    hypervisor = stack.enter_context(Hypervisor(namespace.RUN / "libvirt", bench.on_lifecycle, bench.on_reboot))
    stack.enter_context(scsi)
    log.emit("disk-started", pid=scsi.process.pid)
    bench.watch_disk(scsi.process, control)
    stack.callback(bench.stop_requested.set)  # from then on the disk ends because we end it, a failed set-up or not
    versions = hypervisor.versions(order.accelerator)
    if saved is not None and (why := saved.why_of_no_use(order.image_digest, versions)) is not None:
        raise UsageError(why)
    bench.facts = checkpoint.Facts(
        config, order.accelerator, order.image_digest, versions, order.cluster_id, order.run_dir
    )
    specs = [_machine_spec(order, node, initrd) for node in range(config.nodes)]
    bench.adopt([Machine(spec, hypervisor, log) for spec in specs])
    stack.callback(bench.power_off, list(range(config.nodes)))
    if saved is None:
        names = [warm.key(spec, order.image_digest, config.disk_mib, versions) for spec in specs]
        bench.start(Beginning(guests_seed, waiting, order.image_digest, None if order.cold else names))
    else:
        bench.go_on(saved, Beginning(guests_seed, waiting, order.image_digest, None))


def _guest_config(order: Order, serial: str) -> dict[str, Any]:
    """What guestd finds in ``/run/hil/config.json``."""
    from hil.scsi import identity

    prefix = namespace.INTERCONNECT_PREFIX
    return {
        "cluster": order.config.name,
        "cluster_id": order.cluster_id,
        "nodes": order.config.nodes,
        "disk": {"wwid": identity.wwid(serial)},
        "interconnect": {"prefix": prefix, "broadcast": f"{prefix}255", "port": INTERCONNECT_PORT},
        "timing": order.config.timing.resolved(order.accelerator).model_dump(),
    }


def _machine_spec(order: Order, node: int, initrd: Path) -> MachineSpec:
    return MachineSpec(
        cluster=order.config.name,
        node=node,
        accelerator=order.accelerator,
        memory_mib=order.config.memory_mib,
        kernel=order.image / "vmlinux",
        initrd=initrd,
        root=order.image / "root.erofs",
        console=order.run_dir / f"console-n{node}.log",
        channel=namespace.RUN / f"n{node}.guestd",
        portal_port=target.portal_port(node),
        initiator=target.initiator_name(node),
        target=target.TARGET_NAME,
    )


if __name__ == "__main__":
    raise SystemExit(main())
