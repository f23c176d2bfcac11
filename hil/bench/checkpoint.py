"""The bench's verb that saves a whole living cluster, and the way back.

One consistent cut: the virtual processors of all nodes are stopped, then what is under way at the shared disk ends,
then everything is saved, then all go on. To the nodes no time has passed: QEMU's clocks stand while its processors do.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import libvirt

from hil import checkpoint
from hil.bench.disk_control import FaultControl
from hil.bench.log import EventLog
from hil.config import ClusterConfig
from hil.errors import LaboratoryError, UsageError
from hil.evidence import layout
from hil.files import copy_sparse
from hil.qemu.machine import Machine

QUIET_TIMEOUT_S = 10.0
"""For the disk's last commands, and for orders that a guest has not read: both take milliseconds."""

QUIET_PERIOD_S = 0.005
"""Neither the target nor a guest tells when it has nothing more to do."""

KEPT = (layout.LEDGER, layout.KEPT_DATA, *layout.SECRET)
"""Files of the run directory that the cluster needs to go on, besides those of its disks; some need not be there."""


@dataclass(frozen=True)
class Facts:
    """What a checkpoint must know of the cluster that it is of."""

    config: ClusterConfig
    accelerator: str
    image_digest: str
    versions: str
    cluster_id: str
    run_dir: Path


class CheckpointVerbs(ABC):
    """Verbs are called from the clients' threads."""

    log: EventLog
    machines: list[Machine]
    facts: Facts | None = None

    @property
    @abstractmethod
    def disk(self) -> FaultControl:
        """The connection to the SCSI target."""

    def save_checkpoint(self, path: str, replace: bool = False) -> dict[str, Any]:
        """Save the cluster as the new directory ``path`` (absolute); it goes on in every case.

        Raises :class:`UsageError` for a cluster that cannot be saved as it is, and for a path that is taken.
        """
        place = Path(path)
        if self.facts is None:
            raise LaboratoryError("the cluster is not there yet")
        if not place.is_absolute():
            raise UsageError(f"checkpoint {path}: an absolute path is legal")
        if place.exists() and not replace:
            raise UsageError(f"checkpoint {place.name} exists; --replace replaces it")
        started = time.monotonic()
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            pending = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
        except OSError as error:
            raise UsageError(f"checkpoint {path} cannot be made: {error.strerror}") from None
        try:
            told = self._save(pending, self.facts)
            if place.exists():  # the old one is there until the new one is whole
                place.rename(pending / "replaced")
            pending.rename(place)
            shutil.rmtree(place / "replaced", ignore_errors=True)
        except OSError as error:
            raise LaboratoryError(f"checkpoint {place.name} cannot be saved: {error.strerror}") from None
        finally:
            shutil.rmtree(pending, ignore_errors=True)
        told |= {"checkpoint": place.name, "seconds": round(time.monotonic() - started, 3)}
        self.log.emit("checkpoint-saved", **told)
        return {"path": str(place), **told}

    def _save(self, pending: Path, facts: Facts) -> dict[str, Any]:
        with ExitStack() as stack:
            held = [(machine, stack.enter_context(machine.held())) for machine in self.machines]
            on = [(machine, domain) for machine, domain in held if domain is not None]
            self._refuse_unfit()
            _wait_for(lambda: self._orders_taken([machine for machine, _ in on]))
            stopped = time.monotonic()
            try:
                _for_all(lambda pair: pair[0].suspend(pair[1]), on)
                spread_s = time.monotonic() - stopped
                _wait_for(lambda: self._target_saved(pending / checkpoint.TARGET))
                lines, files = self._copy(pending, on, facts)
            finally:
                _for_all(lambda pair: pair[0].resume(pair[1]), on)
            stopped_s = time.monotonic() - stopped
            status = self.log.status()
        manifest = {
            "config": facts.config.model_dump(),
            "accelerator": facts.accelerator,
            "image": facts.image_digest,
            "versions": facts.versions,
            "cluster_id": facts.cluster_id,
            "created": checkpoint.now(),
            "epoch": status["epoch"],
            "master": status["master"],
            "members": status["members"],
            "lines": lines,
        }
        checkpoint.describe(pending, manifest, files)
        size = checkpoint.load(pending, verify=False).size
        return {"bytes": size, "stopped_s": round(stopped_s, 3), "spread_s": round(spread_s, 4)}

    def _copy(
        self, pending: Path, on: list[tuple[Machine, libvirt.virDomain]], facts: Facts
    ) -> tuple[dict[str, Any], list[str]]:
        """Everything into ``pending``; how far each node's line has come, and the files."""

        def save(pair: tuple[Machine, libvirt.virDomain]) -> dict[str, Any]:
            machine, domain = pair
            return machine.save(domain, pending / checkpoint.memory_file(machine.node))

        lines = dict(zip([str(machine.node) for machine, _ in on], _for_all(save, on), strict=True))
        (pending / layout.EVENTS).write_bytes(b"".join(self.log.follow(0, follow=False)))
        luns = range(1 + facts.config.data_disks)
        images = [layout.disk(lun) for lun in luns]
        for name in images:
            copy_sparse(facts.run_dir / name, pending / name)
        consoles = [of(machine.node) for machine in self.machines for of in (layout.console, layout.console_times)]
        beside = [of(lun) for lun in luns for of in (layout.reservations, layout.base)]
        copied = [name for name in (*KEPT, *beside, *consoles) if (facts.run_dir / name).exists()]
        for name in copied:
            shutil.copy2(facts.run_dir / name, pending / name)
        memories = [checkpoint.memory_file(machine.node) for machine, _ in on]
        return lines, [*memories, *images, checkpoint.TARGET, layout.EVENTS, *copied]

    def _refuse_unfit(self) -> None:
        status = self.log.status()
        for node in status["nodes"]:
            if node["power"] not in ("running", "off"):
                raise UsageError(
                    f"node {node['id']} is {node['power']}: a checkpoint is of nodes that run or are off;"
                    f" `hil power cycle {node['id']}` or `hil power off {node['id']}` first"
                )
        if status["faults"]:
            told = "; ".join(f"{node}: {', '.join(faults)}" for node, faults in status["faults"].items())
            raise UsageError(f"faults are in force ({told}): heal them before a checkpoint")

    @staticmethod
    def _orders_taken(machines: list[Machine]) -> str | None:
        waiting = [machine.node for machine in machines if machine.orders_unread()]
        return f"node {waiting[0]} has not taken its last order" if waiting else None

    def _target_saved(self, path: Path) -> str | None:
        try:
            self.disk.ask({"checkpoint": str(path)})
        except UsageError as error:  # commands are under way; nothing new comes, the processors stand
            return str(error)
        return None


def restore(machines: list[Machine], saved: checkpoint.Checkpoint) -> None:
    """Put the machines where ``saved`` has them, suspended. Raises :class:`LaboratoryError`."""
    on = [machine for machine in machines if machine.node in saved.on]

    def put(machine: Machine) -> None:
        memory = saved.path / checkpoint.memory_file(machine.node)
        machine.restore(memory, saved.manifest.lines[str(machine.node)])

    _for_all(put, on)


def go_on(machines: list[Machine]) -> None:
    """Resume all that are on, at the same instant."""
    with ExitStack() as stack:
        held = [(machine, stack.enter_context(machine.held())) for machine in machines]
        _for_all(lambda pair: pair[0].resume(pair[1]), [pair for pair in held if pair[1] is not None])


T = TypeVar("T")
R = TypeVar("R")


def _for_all(work: Callable[[T], R], items: list[T]) -> list[R]:
    """``work`` of all at once; the first error when all have ended."""
    with ThreadPoolExecutor(max_workers=max(1, len(items))) as pool:
        return [future.result() for future in [pool.submit(work, item) for item in items]]


def _wait_for(why_not: Callable[[], str | None]) -> None:
    deadline = time.monotonic() + QUIET_TIMEOUT_S
    while (phrase := why_not()) is not None:
        if time.monotonic() > deadline:
            raise UsageError(f"the cluster cannot be saved now: {phrase}")
        time.sleep(QUIET_PERIOD_S)
