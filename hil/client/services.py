"""The client services of a running cluster (spec S9): ``cluster.services``, requests and waits until it is so."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from hil.client.service_requests import AGAIN_S, ServiceRequests
from hil.errors import ClaimFailed
from hil.view_services import subject_of

if TYPE_CHECKING:
    from hil.client.cluster import Predicate
    from hil.client.node import Node
    from hil.view import View
    from hil.view_services import CommandView, ServiceView

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


class Services(ServiceRequests):
    """A wait raises :class:`ClaimFailed` when its time is over, and at once when it cannot succeed any more."""

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

    def wait_ready(self, nodes: Iterable[Node] | None = None, timeout: float | None = None) -> None:
        """Wait until services may be registered on ``nodes`` (all): they are joined, their event managers take part.

        No event tells, so the cluster is asked again and again. Raises :class:`ClaimFailed`.
        """
        cluster = self._cluster
        wanted = [node.id for node in (cluster.nodes if nodes is None else nodes)]
        limit_s = cluster.default_timeout_s if timeout is None else timeout
        deadline = cluster.clock + limit_s
        while missing := [one["node"] for one in self.list()["nodes"] if one["node"] in wanted and not one["up"]]:
            if cluster.clock > deadline:
                told = ", ".join(map(str, missing))
                raise ClaimFailed(f"event managers take part: not within {limit_s:.0f} s: not those of node {told}")
            cluster.pass_time(AGAIN_S)

    def wait_until(
        self,
        name: str,
        why_not: Predicate,
        about: str,
        timeout: float | None = None,
        *,
        on: Node | int | None = None,
    ) -> View:
        """Wait until a start of the service has led to what is wanted: ``why_not`` is None then.

        Fails at once when the service was removed, when it cannot be started anywhere, and when ``on`` has ended.
        """
        return self._wait_view(name, why_not, about, timeout, on=on, starting=True)

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
        def of_the_view(view: View) -> str | None:
            return why_not(view.services.get(name))

        return self._wait_view(name, of_the_view, about, timeout, on=on, starting=starting, removed=removed)

    def _wait_view(
        self,
        name: str,
        why_not: Predicate,
        about: str,
        timeout: float | None,
        *,
        on: Node | int | None = None,
        starting: bool = False,
        removed: bool = False,
    ) -> View:
        """``removed``: that it is gone is no failure. ``starting``: that it cannot be started is one."""
        known = name in self._cluster.poll().services
        group = [name]
        if not known and not removed:
            group += self._ancestors(name)  # which raises if there is no such service
        cluster = self._cluster
        limit_s = cluster.default_timeout_s if timeout is None else timeout
        deadline = cluster.clock + limit_s
        looked_at = 0

        def failed_again(view: View) -> int | None:
            """The number of the event that told of a failed start, here or above it, if nobody was asked since."""
            seen = [view.services[one] for one in group if one in view.services] if starting else []
            failed = [one.newest.n for one in seen if one.newest is not None and _start_has_failed(one)]
            return max((n for n in failed if n > looked_at), default=None)

        def predicate(view: View) -> str | None:
            nonlocal known
            if (phrase := why_not(view)) is None or failed_again(view) is not None:
                return None
            if known and not removed and name not in view.services:
                raise ClaimFailed(f"{about}: it was removed")
            known |= name in view.services
            return phrase

        alive = [] if on is None else [cluster.node(int(on))]
        while True:
            left_s = max(0.0, deadline - cluster.clock) if looked_at else limit_s
            view = cluster.wait(predicate, left_s, about=about, alive=alive)
            if (n := failed_again(view)) is None or why_not(view) is None:
                return view
            looked_at = n
            # Not from within the wait: who asks reads events, too.
            for one in reversed(group):
                if (hopeless := self._why_hopeless(one)) is not None:
                    whose = "its" if one == name else f"{one} above it is registered nowhere: its"
                    raise ClaimFailed(f"{about}: {whose} {hopeless}")

    def _ancestors(self, name: str) -> builtins.list[str]:
        """The services above it. Raises :class:`hil.errors.ServiceRefused` if there is no service of that name."""
        above = []
        while name := self.show(name)["parent"] or "":
            above.append(name)
        return above

    def _why_hopeless(self, name: str) -> str | None:
        """A start of it has failed: why no other node will try; None if one may."""
        shown = self.show(name)
        if shown["state"] != "-" or not shown.get("enabled", True):
            return None
        nodes = {one["node"]: one for one in shown.get("explain", [])}
        left = [one for one in nodes.values() if one.get("chosen") or one.get("eligible")]
        if left or not shown.get("failed"):
            return None
        return f"start has failed on node {', '.join(map(str, _failed(shown)))}, and no other node may have it"


def _why_not_registered(seen: ServiceView | None, on: Node | int | None) -> str | None:
    if seen is None:
        return "nothing was told of it"
    there = seen.registered_on
    return None if there and (on is None or int(on) in there) else f"it is {seen}"


def _start_has_failed(seen: ServiceView) -> bool:
    return not seen.live and seen.newest is not None and seen.newest.why.startswith((FAILED_START, "stopped"))


def _failed(shown: dict[str, Any]) -> list[int]:
    return sorted({one if isinstance(one, int) else int(one[0]) for one in shown["failed"]})
