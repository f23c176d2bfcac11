"""The bench from when its disk is starting: sets up the rest in one ``ExitStack``, serves until it is told to stop, and
tears down in reverse.
"""

from __future__ import annotations

import signal
import socket
import sys
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hil import warm
from hil.bench import checkpoint, interconnect, namespace, seed, target
from hil.bench.beginning import Beginning
from hil.bench.capture import captured
from hil.bench.cluster import Bench
from hil.bench.log import EventLog
from hil.bench.order import Order
from hil.bench.server import Server
from hil.config import ClusterConfig, TimingOverrides, make_config
from hil.console_times import ConsoleTimes
from hil.errors import HilError, UsageError
from hil.evidence import layout
from hil.qemu.domain import MachineSpec
from hil.qemu.hypervisor import Hypervisor
from hil.qemu.machine import Machine
from hil.view import RECORDING

INTERCONNECT_PORT = 7400
LAST_WORDS_TIMEOUT_S = 2.0
FIRST_READER_TIMEOUT_S = 10.0
"""Whoever starts a bench connects to it at once; on a busy host that may take seconds."""


def serve(listener: socket.socket, order: Order, disk: target.ScsiTarget | HilError | OSError) -> int:
    """Run the bench; 0 if it was told to stop, 3 if the laboratory broke. ``disk`` is starting, or why it could not."""
    history = order.checkpoint.history(order.name, order.run_dir) if order.checkpoint else ()
    log = EventLog(order.run_dir / layout.EVENTS, order.nodes, history)
    bench, server = Bench(log), Server(listener, log)
    log.on_broken = bench.stop_requested.set
    server.start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: bench.stop_requested.set())
    status = 0
    try:
        with ExitStack() as stack:
            _set_up(stack, order, bench, disk)
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
    if status:
        server.await_reader(FIRST_READER_TIMEOUT_S)
    server.finish(LAST_WORDS_TIMEOUT_S)
    return status


def _failed(log: EventLog, reason: str) -> int:
    log.emit("bench-stopping", reason=reason, failed=True)
    return 3


def _set_up(stack: ExitStack, order: Order, bench: Bench, scsi: target.ScsiTarget | HilError | OSError) -> None:
    """The rest of the hardware, then a new cluster on it or the one of a checkpoint."""
    log, saved = bench.log, order.checkpoint
    if saved is None:
        log.emit(
            "bench-started",
            recording=RECORDING,
            cluster=order.name,
            cluster_id=order.cluster_id,
            nodes=order.nodes,
            accelerator=order.accelerator,
            image=order.image.name,
            run_dir=str(order.run_dir),
            timing=order.timing,
            timing_factor=order.timing_factor,
        )
    if isinstance(scsi, Exception):
        raise scsi
    config = make_config(**order.config)
    interconnect.prepare()
    if config.capture:
        stack.enter_context(captured(order.run_dir, log))
    hosts = [f"{namespace.MANAGEMENT_PREFIX}{node + 1}" for node in range(config.nodes)]
    if saved is None:
        guests_seed = seed.make_seed(order.run_dir, _guest_config(order, config), hosts)
    else:
        guests_seed = seed.load_seed(order.run_dir)
    initrd, waiting = namespace.RUN / "initrd.cpio", namespace.RUN / "waiting.cpio"
    seed.write_initrd(order.image / "initrd.cpio", initrd, guests_seed)
    seed.write_initrd(order.image / "initrd.cpio", waiting, seed.WAITING)
    hypervisor = stack.enter_context(Hypervisor(namespace.RUN / "libvirt", bench.on_lifecycle, bench.on_reboot))
    stack.enter_context(scsi)
    log.emit("disk-started", pid=scsi.process.pid)
    bench.watch_disk(scsi.process, namespace.RUN / target.CONTROL)
    stack.callback(bench.stop_requested.set)  # from then on the disk ends because we end it, a failed set-up or not
    versions = hypervisor.versions(order.accelerator)
    if saved is not None and (why := saved.why_of_no_use(order.image_digest, versions)) is not None:
        raise UsageError(why)
    # Nodes of a checkpoint go on with the times that they have, whatever the machine's factor is then.
    told = config.model_copy(update={"timing": TimingOverrides(**order.timing)})
    bench.facts = checkpoint.Facts(
        told, order.accelerator, order.image_digest, versions, order.cluster_id, order.run_dir
    )
    specs = [_machine_spec(order, config, node, initrd) for node in range(config.nodes)]
    stack.enter_context(ConsoleTimes([spec.console for spec in specs], log.now))
    bench.adopt([Machine(spec, hypervisor, log) for spec in specs])
    stack.callback(bench.power_off, list(range(config.nodes)))
    if saved is None:
        names = [warm.key(spec, order.image_digest, config.disk_mib, versions) for spec in specs]
        bench.start(Beginning(guests_seed, waiting, order.image_digest, None if order.cold else names))
    else:
        bench.go_on(saved, Beginning(guests_seed, waiting, order.image_digest, None))


def _guest_config(order: Order, config: ClusterConfig) -> dict[str, Any]:
    """What guestd finds in ``/run/hil/config.json``."""
    from hil.scsi import identity

    prefix = namespace.INTERCONNECT_PREFIX
    first = target.serial_number(config.disk_mib)
    return {
        "cluster": order.name,
        "cluster_id": order.cluster_id,
        "nodes": order.nodes,
        "disk": {
            "wwid": identity.wwid(first),
            "data": [identity.wwid(identity.following(first, lun)) for lun in range(1, 1 + config.data_disks)],
        },
        "interconnect": {
            "broadcast": f"{prefix}255",
            "addresses": [f"{prefix}{node + 1}" for node in range(order.nodes)],
            "port": INTERCONNECT_PORT,
        },
        "timing": order.timing,
        "fence": config.fence,
        "election": config.election,
    }


def _machine_spec(order: Order, config: ClusterConfig, node: int, initrd: Path) -> MachineSpec:
    return MachineSpec(
        cluster=order.name,
        node=node,
        accelerator=order.accelerator,
        memory_mib=config.memory_mib,
        kernel=order.image / "vmlinux",
        initrd=initrd,
        root=order.image / "root.erofs",
        console=order.run_dir / layout.console(node),
        channel=namespace.RUN / f"n{node}.guestd",
        portal_port=target.portal_port(node),
        initiator=target.initiator_name(node),
        target=target.TARGET_NAME,
        luns=1 + config.data_disks,
    )
