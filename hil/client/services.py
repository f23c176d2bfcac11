"""The client services of a running cluster (spec S9): what administrators ask for, and waits until it is so."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from hil.errors import ClaimFailed, EventManagerAway, LaboratoryError, ServiceRefused
from hil.view_services import subject_of

if TYPE_CHECKING:
    from hil.client.cluster import Cluster
    from hil.client.node import Node
    from hil.view import View
    from hil.view_services import CommandView, ServiceView

LOOKING = ("list", "show")
AWAY_LIMIT_S = 20.0
"""Times the factor of the machine: how long a cluster that has just come up may be without an event manager."""
AGAIN_S = 0.3
FAILED_START = "start-failed"
"""How the events begin that tell of a failed start (docs/services.md)."""


class Step(NamedTuple):
    """One step of one service (spec S9.7)."""

    service: str
    state: str
    node: int | None
    flags: str
    registration: int
    why: str
    n: int
    t: float

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> Self:
        """Of an event."""
        return cls(
            event["service"],
            event["state"],
            subject_of(event),
            event.get("flags", ""),
            event.get("registration", 0),
            event.get("why", ""),
            event["n"],
            event["t"],
        )


class Services:
    """``cluster.services``.

    Requests go to one joined node, and are carried out when they return: they are in the cluster's database then. Their
    results are the number of that transaction. What is not legal raises :class:`hil.errors.ServiceRefused`; a cluster
    without a node that answers :class:`hil.errors.EventManagerAway`.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    # -- requests

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

    def read(self, files: Iterable[Path]) -> list[dict[str, Any]]:
        """The tables of service files, checked against this cluster; raises :class:`hil.errors.BadServiceFile`."""
        from hil import service_files

        known = {one["name"]: one.get("parent") or "" for one in self.list()["services"]}
        return service_files.read(list(files), len(self._cluster.nodes), known)

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

    # -- what has happened

    def steps(self, name: str | None = None, since: int = 0) -> builtins.list[Step]:
        """What was decided of a service (None: of all) after event ``since``, in the order in which it was decided."""
        told = [event for event in self._cluster.events(since) if event["kind"] == "service"]
        told.sort(key=lambda event: (event.get("number", 0), event["n"]))
        return [Step.of(event) for event in told if name in (None, event["service"])]

    def commands(self, name: str | None = None, since: int = 0) -> builtins.list[dict[str, Any]]:
        """The events of kind `service-command` after event ``since``: commands of a service (None: of all)."""
        told = [event for event in self._cluster.events(since) if event["kind"] == "service-command"]
        return [event for event in told if name in (None, event["service"])]

    # -- waits

    def wait_registered(self, name: str, on: Node | int | None = None, timeout: float | None = None) -> View:
        """Wait until the service is registered (on that node).

        Fails at once when it cannot succeed: the service was removed, that node has lost its machine, every node that
        it may run on has failed to start it. Raises :class:`ClaimFailed`, :class:`hil.errors.MachineLost`.
        """
        return self._wait(
            name,
            lambda seen: _why_not_registered(seen, on),
            f"service {name} registered" + ("" if on is None else f" on node {int(on)}"),
            timeout,
            on=on,
            starting=True,
        )

    def wait_transferred(self, name: str, before: int, timeout: float | None = None) -> View:
        """Wait until it is registered with a number above ``before``, and no transfer of it is under way.

        Where that is, is for the caller to judge: a start that fails is followed by one on the next node.
        """

        def why_not(seen: ServiceView | None) -> str | None:
            newest = None if seen is None else seen.newest
            if newest is None or newest.number <= before or newest.state != "registered" or newest.lost:
                return f"it is {seen}"
            return None

        return self._wait(name, why_not, f"service {name} moved", timeout, starting=True)

    def wait_deregistered(self, name: str, timeout: float | None = None) -> View:
        """Wait until it is registered nowhere, no command of it runs, and no transfer of it is under way."""

        def why_not(seen: ServiceView | None) -> str | None:
            if seen is None:
                return None
            return f"it is {seen}" if seen.live else "it is being transferred" if "T" in seen.flags else None

        return self._wait(name, why_not, f"service {name} de-registered", timeout, removed=True)

    def wait_removed(self, name: str, timeout: float | None = None) -> View:
        """Wait until it has been forgotten."""
        return self._wait(
            name,
            lambda seen: None if seen is None else f"it is {seen}",
            f"service {name} removed",
            timeout,
            removed=True,
        )

    def wait_state(self, name: str, state: str, on: Node | int | None = None, timeout: float | None = None) -> View:
        """Wait until a registration of it is in ``state`` (on that node): starting, registered, stopping, recovering.

        States pass by quickly: begin to wait before they can come.
        """

        def why_not(seen: ServiceView | None) -> str | None:
            if seen is None:
                return "nothing was told of it"
            there = [one for one in seen.running if one.state == state and (on is None or one.node == int(on))]
            return None if there else f"it is {seen}"

        where = "" if on is None else f" on node {int(on)}"
        return self._wait(name, why_not, f"service {name} {state}{where}", timeout, on=on, starting=state == "starting")

    def wait_command(
        self, name: str, action: str, on: Node | int, since: int = 0, timeout: float | None = None
    ) -> CommandView:
        """Wait until a command (start, stop, notify, recovery) that ended after event ``since`` has ended there."""

        def ended(view: View) -> CommandView | None:
            one = view.service_commands.get((name, action, int(on)))
            return one if one is not None and one.n > since and not one.running else None

        def why_not(view: View) -> str | None:
            if ended(view) is not None:
                return None
            one = view.service_commands.get((name, action, int(on)))
            return "it runs" if one is not None and one.running else "it has not begun"

        about = f"{action} command of service {name} on node {int(on)} ended"
        view = self._cluster.wait(why_not, timeout, about=about, alive=[self._cluster.node(int(on))])
        found = ended(view)
        assert found is not None
        return found

    def wait_shown(self, name: str, timeout: float | None = None, **fields: Any) -> dict[str, Any]:
        """Wait until an event manager shows these fields of the service, as ``flags="M"``; all that it shows then.

        For what no event tells: the cluster is asked again and again. Raises :class:`ClaimFailed`.
        """
        cluster = self._cluster
        limit_s = cluster.default_timeout_s if timeout is None else timeout
        deadline = cluster.clock + limit_s
        while True:
            shown = self.show(name)
            wrong = {key: shown.get(key) for key, value in fields.items() if shown.get(key) != value}
            if not wrong:
                return shown
            if cluster.clock > deadline:
                raise ClaimFailed(f"service {name} shown with {fields}: not within {limit_s:.0f} s: {wrong}")
            cluster.pass_time(AGAIN_S)

    def _wait(
        self,
        name: str,
        why_not: Callable[[ServiceView | None], str | None],
        about: str,
        timeout: float | None,
        *,
        on: Node | int | None = None,
        starting: bool = False,
        removed: bool = False,
    ) -> View:
        """``removed``: that it is gone is no failure. ``starting``: that it cannot be started is one."""
        known = name in self._cluster.poll().services
        if not known and not removed:
            self.show(name)  # which raises if there is none
        asked_at = 0

        def predicate(view: View) -> str | None:
            nonlocal known, asked_at
            seen = view.services.get(name)
            if (phrase := why_not(seen)) is None:
                return None
            if seen is None and known and not removed:
                raise ClaimFailed(f"{about}: it was removed")
            known |= seen is not None
            if starting and seen is not None and _start_has_failed(seen) and asked_at < view.n:
                asked_at = view.n
                if (hopeless := self._why_hopeless(name)) is not None:
                    raise ClaimFailed(f"{about}: {hopeless}")
            return phrase

        alive = [] if on is None else [self._cluster.node(int(on))]
        return self._cluster.wait(predicate, timeout, about=about, alive=alive)

    def _why_hopeless(self, name: str) -> str | None:
        """A start of it has failed: why no other node will try; None if one may."""
        shown = self.show(name)
        if shown["state"] != "-" or not shown.get("enabled", True):
            return None
        nodes = {one["node"]: one for one in shown.get("explain", [])}
        left = [one for one in nodes.values() if one.get("chosen") or one.get("eligible")]
        if left or not shown.get("failed"):
            return None
        return f"its start has failed on node {', '.join(map(str, _failed(shown)))}, and no other node may have it"

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
                return _answer(told)
            if cluster.clock > deadline:
                raise EventManagerAway(away)
            cluster.pass_time(AGAIN_S)


def _answer(told: dict[str, Any]) -> dict[str, Any]:
    answer = told.get("service", told)
    if "error" in answer:
        raise ServiceRefused(str(answer["error"]))
    return dict(answer)


def _why_not_registered(seen: ServiceView | None, on: Node | int | None) -> str | None:
    if seen is None:
        return "nothing was told of it"
    there = seen.registered_on
    return None if there and (on is None or int(on) in there) else f"it is {seen}"


def _start_has_failed(seen: ServiceView) -> bool:
    return not seen.live and seen.newest is not None and seen.newest.why.startswith((FAILED_START, "stopped"))


def _failed(shown: dict[str, Any]) -> list[int]:
    return sorted({one if isinstance(one, int) else int(one[0]) for one in shown["failed"]})
