"""How the nodes of a cluster begin: from saved machines where there are some, else by a boot, saved on the way.

A machine that boots to be saved gets an initrd without the cluster's files; its guestd loads and waits. It is saved
there, and then told to begin, as is every machine that was saved earlier (``hil.warm``, ``guestd.runtime.begin``).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hil import warm
from hil.bench.checkpoint import go_on
from hil.bench.seed import Seed, as_text
from hil.errors import HilError, LaboratoryError
from hil.qemu.machine import Machine


class Beginning:
    """One cluster's. Methods are called from several threads, for different machines."""

    def __init__(self, seed: Seed, waiting_initrd: Path, image_digest: str, names: list[str] | None) -> None:
        """``names``: the warm entry of each node; None: none is used or made (``--cold``)."""
        self._seed = as_text(seed)
        self._waiting_initrd = waiting_initrd
        self._image_digest = image_digest
        self._names = names
        self._to_save: set[int] = set()
        self._restored: list[Machine] = []

    def power_on(self, machine: Machine) -> bool:
        """Start ``machine`` for the first time. Raises :class:`LaboratoryError`."""
        if self._names is None:
            return machine.power_on()
        name = self._names[machine.node]
        memory = warm.find(name)
        if memory is not None:
            try:
                started = machine.power_on_saved(memory)
                self._restored += [machine] if started else []
                return started
            except LaboratoryError as error:
                # Whole and yet useless: of a QEMU that was changed under its version, say.
                print(f"hil.bench: node {machine.node} boots: {error}", file=sys.stderr)
                warm.discard(name)
                machine.power_off()
        self._to_save.add(machine.node)
        return machine.power_on(self._waiting_initrd)

    def go(self) -> None:
        """Those that were saved begin, all at once: so they need one epoch to form their cluster."""
        for machine in self._restored:
            machine.begin(self._seed)  # it lies ready when the processor goes on
        go_on(self._restored)
        self._restored.clear()

    def waits(self, machine: Machine) -> dict[str, Any] | None:
        """``machine``'s guestd waits: save it, once, and have it begin. What the event about the saving says."""
        told = None
        try:
            if machine.node in self._to_save and self._names is not None:
                self._to_save.discard(machine.node)
                told = self._save(machine, self._names[machine.node])
            machine.begin(self._seed)
        except HilError as error:  # the machine is gone, which is told elsewhere
            print(f"hil.bench: node {machine.node} does not begin: {error}", file=sys.stderr)
        return told

    def _save(self, machine: Machine, name: str) -> dict[str, Any]:
        """A cache that cannot be written is no reason for the node not to begin."""
        try:
            with warm.saving(name, machine.node, self._image_digest) as path:
                machine.save_waiting(path)
                size = path.stat().st_size
        except (HilError, OSError) as error:
            return {"saved": False, "reason": str(error)}
        return {"saved": True, "entry": name, "bytes": size}
