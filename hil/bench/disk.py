"""The bench's verbs on the shared disk: faults of its paths, told as events."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from hil.bench import target
from hil.bench.disk_control import DiskControl, FaultControl
from hil.bench.log import EventLog
from hil.errors import HilError, LaboratoryError, UnknownNode, UsageError
from hil.scsi.faults.kinds import VOLATILE_CACHE


def check_nodes(nodes: list[int], count: int) -> None:
    """Raises :class:`UnknownNode` listing the nodes that exist."""
    unknown = [node for node in nodes if not 0 <= node < count]
    if unknown:
        raise UnknownNode(f"no node {unknown[0]}; there are 0 to {count - 1}")


class DiskVerbs(ABC):
    """Verbs are called from the clients' threads."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self._disk: FaultControl | None = None

    @abstractmethod
    def node_count(self) -> int:
        """How many nodes there are."""

    def connect_disk(self, control: Path) -> None:
        """The SCSI target listens at this control socket."""
        self._disk = DiskControl(control, self.report_fault)

    def inject_disk_fault(
        self,
        nodes: list[int] | None,
        kind: str,
        direction: str | None = None,
        lba: list[int] | None = None,
        lun: int | None = None,
        count: int | None = None,
        seconds: float | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Inject a fault into the disk path of each of ``nodes``, or (None) one into everybody's; their numbers."""
        request = {
            "fault": kind,
            "direction": direction,
            "lba": lba,
            "lun": lun,
            "count": count,
            "seconds": seconds,
            "parameters": parameters,
        }
        if nodes is not None:
            check_nodes(nodes, self.node_count())
        if kind == VOLATILE_CACHE and nodes is not None and len(nodes) > 1:
            raise UsageError(f"{kind}: the disk has one cache, so for one node's writes or for all, not for {nodes}")
        portals = [None] if nodes is None else [target.portal_address(node) for node in nodes]
        numbers: list[int] = []
        try:
            for portal in portals:
                numbers.append(self.disk.inject({**request, "portal": portal}))  # noqa: PERF401 - kept if one fails
        except HilError:
            self.disk.heal(numbers)  # all of them or none
            raise
        return {"nodes": nodes, "faults": numbers}

    def heal_disk(self, nodes: list[int] | None, fault: int | None = None) -> dict[str, Any]:
        """Heal all disk faults of ``nodes``, or (None) all that there are, or one; fine if there are none."""
        if nodes is not None:
            check_nodes(nodes, self.node_count())
        healed, everybodys = [], []
        for about in self.disk.status()["faults"]:
            mine = nodes is None or target.node_of_portal(about["portal"]) in nodes
            if mine and fault in (None, about["number"]):
                healed.append(about["number"])
            elif about["portal"] is None:
                everybodys.append(about["number"])
        released = self.disk.heal(healed)
        return {"nodes": nodes, "healed": healed, "released": released, "everybodys": everybodys}

    def disk_status(self) -> dict[str, Any]:
        """The disk's faults, each with its node and the commands that it holds; how many commands there were."""
        found = self.disk.status()
        for about in found["faults"]:
            about["node"] = target.node_of_portal(about["portal"])
            for held in about["held"]:
                held["node"] = target.node_of_portal(held["portal"])
        return found

    @property
    def disk(self) -> FaultControl:
        """The connection to the SCSI target."""
        if self._disk is None:
            raise LaboratoryError("the shared disk is not there yet")
        return self._disk

    def lose_cache(self, nodes: list[int]) -> dict[str, Any]:
        """``nodes`` have lost power: what they left in a volatile cache of the disk is gone; how many blocks."""
        if not nodes:
            return {}
        try:
            lost = self.disk.ask({"power-loss": [target.initiator_name(node) for node in nodes]})["blocks"]
        except LaboratoryError:
            return {}  # the disk is gone, which is reported elsewhere; the machines are off all the same
        except UsageError as error:
            return {"cache_error": str(error)}
        return {"cache_blocks_lost": lost} if lost else {}

    def report_fault(self, event: dict[str, Any]) -> None:
        """The target says what a fault of it does."""
        node = target.node_of_portal(event["portal"])
        about: dict[str, Any] = {} if node is None else {"node": node}
        about |= {"fault": f"disk-{event['fault']}", "number": event["number"]}
        if event["event"] == "fault-injected":
            about |= {"verified": True, "count": event["left"]}
            about |= {key: event[key] for key in ("lun", "directions", "lba", "seconds", "parameters")}
        elif event["event"] == "fault-healed":
            about |= {"verified": True, "why": event["why"], "struck": event["struck"]}
        self.log.emit(event["event"], **about)
