"""The shared disk of a running cluster: faults of the paths to it, and what its ledger says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from hil.errors import UsageError
from hil.evidence.layout import DISK, KEPT_DATA, LEDGER
from hil.scsi.faults.kinds import VOLATILE_CACHE
from hil.scsi.ledger_reader import read_all, read_ledger

if TYPE_CHECKING:
    from hil.client.cluster import Cluster
    from hil.client.node import Node
    from hil.scsi.crash_states import CrashStates
    from hil.scsi.ledger_records import Entry, Record
    from hil.view import View


class Disk:
    """``cluster.disk``."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def inject(
        self,
        kind: str,
        nodes: Iterable[Node] | Node | None = None,
        *,
        direction: str | None = None,
        lba: tuple[int, int] | None = None,
        lun: int | None = None,
        count: int | None = None,
        seconds: float | None = None,
        **parameters: int | str,
    ) -> DiskFault:
        """A fault in the disk path of each of ``nodes`` (None: one fault, for everybody), in force when this returns.

        ``kind`` and ``parameters`` are those of :data:`hil.scsi.faults.kinds.KINDS`; ``direction``: read, write, flush,
        reserve, other, media, any; ``lba``: first and last block of 512 bytes; ``count``: how many commands of each
        node (of everybody together, with None) it is for; ``seconds``: until it heals by itself.
        Healed by :meth:`DiskFault.heal`, at the end of a ``with`` too, or by :meth:`heal`. Raises
        :class:`UsageError`, :class:`hil.errors.InvalidRun`.
        """
        result = self._call(
            "inject_disk_fault",
            nodes=_ids(nodes),
            kind=kind,
            direction=direction,
            lba=None if lba is None else list(lba),
            lun=lun,
            count=count,
            seconds=seconds,
            parameters=parameters,
        )
        return DiskFault(self._cluster, kind, result["faults"])

    def heal(self, nodes: Iterable[Node] | Node | None = None, fault: int | None = None) -> dict[str, Any]:
        """Heal every disk fault of ``nodes`` (None: all there are), or the one with number ``fault``.

        What they held goes on. ``healed`` are their numbers, ``released`` how many commands went on. Fine if there
        are none.
        """
        return self._call("heal_disk", nodes=_ids(nodes), fault=fault)

    def database(self) -> tuple[int, int]:
        """First and last sector on the disk of what the nodes write of the membership: a range for a fault."""
        from guestd.membership import layout

        return layout.REGIONS_LBA, layout.region_lba(len(self._cluster.nodes), 0) - 1

    def journal(self, node: Node) -> tuple[int, int]:
        """First and last sector on the disk of that node's journal of the shared file system: a range for a fault."""
        from hil import sfs

        return sfs.journal(self._cluster.run_dir / DISK, node.id)

    def status(self) -> dict[str, Any]:
        """``faults``: those in force, each with its ``node`` and what it has ``held``; ``commands``: their number."""
        return self._cluster.caller.call("disk_status")

    def ledger(self) -> Iterator[Entry]:
        """Every command so far, in the order in which they took effect."""
        return read_ledger(self.ledger_path)

    def records(self) -> Iterator[Record]:
        """Every record of the ledger: commands, names of nexuses, ended registrations, faults, power losses."""
        return read_all(self.ledger_path)

    @property
    def ledger_path(self) -> Path:
        """The file; it stays when the cluster is down."""
        return self._cluster.run_dir / LEDGER

    def crash_states(self, lun: int = 0) -> CrashStates:
        """The disk as a power failure at each command would have left it; a context manager.

        Raises :class:`UsageError` for a cluster that does not keep data (``keep_data`` in the cluster file).
        """
        from hil.scsi.crash_states import CrashStates

        if not self._cluster.config.keep_data:
            raise UsageError(
                f"cluster {self._cluster.name!r} does not keep what is written: `hil up --keep-data`,"
                " or keep_data = true in the cluster file"
            )
        return CrashStates(self.ledger_path, self._cluster.run_dir / KEPT_DATA, lun)

    def _call(self, name: str, **arguments: Any) -> dict[str, Any]:
        result = self._cluster.caller.call(name, **arguments)
        self._cluster.catch_up_to_answer()
        return result


class DiskFault:
    """A fault that was injected, one per node that it was injected for; healed at the end of a ``with``."""

    def __init__(self, cluster: Cluster, kind: str, numbers: list[int]) -> None:
        self._cluster = cluster
        self.kind = kind
        self.numbers = numbers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.heal()

    def heal(self) -> int:
        """How many commands were held and go on now. Fine if it ended by itself."""
        return sum(int(self._cluster.disk.heal(fault=number)["released"]) for number in self.numbers)

    def wait_struck(self, timeout: float | None = None) -> View:
        """Wait until it has struck a command of each of its nodes: from then on it did take hold (spec S10.7).

        Raises :class:`UsageError` for a kind that strikes none.
        """
        if self.kind == VOLATILE_CACHE:
            raise UsageError(f"{self.kind} strikes no command; `hil power off` tells in its event what was lost")

        def why_not(view: View) -> str | None:
            missing = sorted(set(self.numbers) - view.struck)
            return f"fault {missing[0]} ({self.kind}) has struck no command yet" if missing else None

        return self._cluster.wait(why_not, timeout, about=f"disk fault {self.kind} strikes")


def _ids(nodes: Iterable[Node] | Node | None) -> list[int] | None:
    if nodes is None:
        return None
    return [node.id for node in nodes] if isinstance(nodes, Iterable) else [nodes.id]
