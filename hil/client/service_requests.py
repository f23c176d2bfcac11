"""What administrators ask of the client services of a running cluster (spec S9.6): one line to a node, one answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hil.errors import EventManagerAway, LaboratoryError, ServiceRefused

if TYPE_CHECKING:
    from hil.client.cluster import Cluster
    from hil.client.node import Node

LOOKING = ("list", "show")
AWAY_LIMIT_S = 20.0
"""Times the factor of the machine: how long a cluster that has just come up may be without an event manager."""
AGAIN_S = 0.3
NOT_NOW = ("(try again)", "(ask another node)")
"""How an event manager refuses that does not take part yet, or any more."""


class ServiceRequests:
    """Requests go to one joined node, and are carried out when they return: they are in the cluster's database then.

    Their results are the number of that transaction. What is not legal raises :class:`hil.errors.ServiceRefused`; a
    cluster without a node that answers :class:`hil.errors.EventManagerAway`.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def add(self, *what: Path | Mapping[str, Any]) -> int:
        """Add services, all or none: service files, or tables as such a file has them.

        Raises :class:`hil.errors.BadServiceFile`, with file and line of everything that is wrong, and nothing is sent.
        """
        files = [one for one in what if isinstance(one, Path)]
        tables = [dict(one) for one in what if not isinstance(one, Path)]
        return self.add_tables(tables + (self.read(files) if files else []))

    def add_tables(self, tables: list[dict[str, Any]]) -> int:
        """Add services that were read."""
        return int(self._ask({"do": "add", "services": tables})["number"])

    def change(self, *what: Path | Mapping[str, Any]) -> int:
        """Give services that there are other parameters and commands, all or none; nothing moves for that (S9.2).

        As ``add``.
        """
        files = [one for one in what if isinstance(one, Path)]
        tables = [dict(one) for one in what if not isinstance(one, Path)]
        return self.change_tables(tables + (self.read(files, there=True) if files else []))

    def change_tables(self, tables: list[dict[str, Any]]) -> int:
        """Change services that were read."""
        return int(self._ask({"do": "change", "services": tables})["number"])

    def read(self, files: Iterable[Path], *, there: bool = False) -> list[dict[str, Any]]:
        """The tables of service files, checked against this cluster; raises :class:`hil.errors.BadServiceFile`.

        there: of services that the cluster has already, and not of new ones.
        """
        from hil import service_files

        known = {one["name"]: one.get("parent") or "" for one in self.list()["services"]}
        return service_files.read(list(files), len(self._cluster.nodes), known, there=there)

    def remove(self, name: str) -> int:
        """De-register a service and all below it, and forget them."""
        return self._change("remove", name)

    def start(self, name: str) -> int:
        """Have it registered; where it has failed it may be tried again."""
        return self._change("start", name)

    def stop(self, name: str) -> int:
        """De-register it; it stays so until it is started."""
        return self._change("stop", name)

    def move(self, name: str, node: Node | int | None = None) -> int:
        """Transfer it to ``node``, or to the one that the choosing parameters prefer among the others."""
        return self._change("move", name, **({} if node is None else {"node": int(node)}))

    def list(self) -> dict[str, Any]:
        """``number`` of the newest transaction, ``services`` and ``nodes``, as the event manager of one node tells."""
        return self._ask({"do": "list"})

    def show(self, name: str, node: Node | None = None) -> dict[str, Any]:
        """One service: what ``list`` has of it, definition, instances, and why it is where it is.

        ``node``: who is asked (its last command of the service is among it); None: any.
        """
        return self._ask({"do": "show", "name": name}, node)

    # -- inside

    def _change(self, do: str, name: str, **more: Any) -> int:
        return int(self._ask({"do": do, "name": name, **more})["number"])

    def _ask(self, request: dict[str, Any], node: Node | None = None) -> dict[str, Any]:
        """Ask a joined node, in turn until one answers; its answer. What changes something is asked for once only."""
        cluster = self._cluster
        deadline = cluster.clock + AWAY_LIMIT_S * cluster.settings["settings"]["timing_factor"]
        while True:
            cluster.poll()
            asked = cluster.nodes if node is None else [node]
            away = "no node is joined (`hil power on all` starts them)"
            for one in asked:
                if one.view.state != "joined" or one.view.power != "running":
                    continue
                try:
                    told = cluster.backend.ask_event_manager(one, {"service": request})
                except EventManagerAway as error:
                    away = str(error)
                    continue
                except LaboratoryError as error:
                    if request["do"] in LOOKING:
                        away = str(error)
                        continue
                    raise LaboratoryError(
                        f"{error}\n  whether it was done is not known; `hil service list` tells"
                    ) from None
                cluster.poll()
                try:
                    return _answer(told)
                except EventManagerAway as error:
                    away = f"node {one.id}: {error}"
            if cluster.clock > deadline:
                raise EventManagerAway(away)
            cluster.pass_time(AGAIN_S)


def _answer(told: dict[str, Any]) -> dict[str, Any]:
    answer = told.get("service", told)
    if "error" not in answer:
        return dict(answer)
    why = str(answer["error"])
    if why.endswith(NOT_NOW):
        raise EventManagerAway(why)
    raise ServiceRefused(why)
