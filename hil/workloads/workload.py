"""What the loads of both back ends have in common: when they begin and end, services, what is checked."""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final, Self

from hil import sfs
from hil.errors import ClaimFailed, UsageError
from hil.evidence.layout import DISK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hil.client.cluster import Cluster

SERVICES: Final = 3
_LOOK_S: Final = 0.1
_LOADED: Final[weakref.WeakSet[Cluster]] = weakref.WeakSet()

STAMPED: Final = "mkdir -p /shared/load && echo {word} $HIL_REGISTRATION $HIL_NODE >>{file} && sync {file} /shared/load"
"""What a command does: a stamp of its instance, on the medium before the command has succeeded."""


class Workload(ABC):
    """A context manager: the programs begin with the block and end with it.

    Whoever leaves the block without an exception has had everything checked: :meth:`check` is called if it was not.
    """

    def __init__(self, cluster: Cluster, kinds: Sequence[str]) -> None:
        self.cluster = cluster
        self.kinds = tuple(kinds)
        self.services = [f"load-{number}" for number in range(SERVICES)] if "services" in kinds else []
        self._programs = [kind for kind in kinds if kind != "services"]
        self._checked = False

    def __enter__(self) -> Self:
        """Raises :class:`UsageError` if another load of this cluster goes on."""
        if self.cluster in _LOADED:
            raise UsageError("a load of this cluster goes on: name all kinds in one `workload(...)`")
        _LOADED.add(self.cluster)
        try:
            self._begin()
        except BaseException:
            self._leave()
            raise
        try:
            if self.services:
                self._add_services()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None and not self._checked:
                self.check()
        finally:
            self._leave()

    def _leave(self) -> None:
        _LOADED.discard(self.cluster)
        self._end()

    # -- what a scenario asks of it

    @abstractmethod
    def resume(self) -> None:
        """Have the programs run on every member, also on those that have booted since they began.

        In a simulation they begin with each boot by themselves.
        """

    @abstractmethod
    def acknowledged(self) -> dict[str, int]:
        """How much each kind of program was told so far that it has, or that is done; services are not counted."""

    def wait_progress(self, more: int = 3, timeout: float | None = None) -> None:
        """Wait until each kind of program has been told ``more`` things. Raises :class:`ClaimFailed`: one hangs."""
        cluster = self.cluster
        limit_s = cluster.default_timeout_s if timeout is None else timeout
        before, deadline = self.acknowledged(), cluster.clock + limit_s
        while True:
            done = self.acknowledged()
            slow = [kind for kind in self._programs if done[kind] < before[kind] + more]
            if not slow:
                return
            if cluster.clock > deadline:
                told = ", ".join(f"{kind}: {done[kind] - before[kind]} of {more}" for kind in slow)
                raise ClaimFailed(f"the load goes on: not within {limit_s:.0f} s: {told}{self._why_slow()}")
            cluster.pass_time(_LOOK_S)

    def check(self) -> dict[str, int]:
        """Nothing that was told is untrue, each service runs once, the file system is sound; how much was looked at.

        While the programs go on, as often as one likes. Some node must be a member. Raises :class:`ClaimFailed`.
        """
        self._checked = True
        found = self._check_programs()
        for name in self.services:
            self.cluster.services.wait_registered(name)
        for name in self.services:
            self._check_service(name)
        if self.services:
            found["services"] = len(self.services)
        if wrong := sfs.examined(self.cluster.run_dir / DISK).wrong:
            raise ClaimFailed(f"fsck: {'; '.join(wrong[:5])}")
        return found

    # -- services

    def _add_services(self) -> None:
        nodes = len(self.cluster.nodes)
        self.cluster.services.wait_ready(self.cluster.in_role("any"))
        there = {one["name"] for one in self.cluster.services.list()["services"]}  # of an earlier load
        new = [
            self._service(name, number % nodes, nodes) for number, name in enumerate(self.services) if name not in there
        ]
        if new:
            self.cluster.services.add(*new)
        for name in self.services:
            self.cluster.services.wait_registered(name)

    @staticmethod
    def _service(name: str, first: int, nodes: int) -> dict[str, Any]:
        file = f"/shared/load/{name}"
        commands = {word: ["/bin/sh", "-c", STAMPED.format(word=word, file=file)] for word in ("start", "stop")}
        return {
            "name": name,
            "node_preferences": [(first + step) % nodes for step in range(nodes)],
            "start_command": commands["start"],
            "stop_command": commands["stop"],
        }

    def _check_service(self, name: str) -> None:
        seen = self.cluster.poll().services.get(name)
        if seen is None or len(seen.registered_on) != 1:
            raise ClaimFailed(f"service {name} runs once: it is {seen}")

    # -- of each back end

    @abstractmethod
    def _begin(self) -> None:
        """On all members."""

    @abstractmethod
    def _end(self) -> None:
        """Wherever they run."""

    @abstractmethod
    def _check_programs(self) -> dict[str, int]:
        """Raises :class:`ClaimFailed`."""

    def _why_slow(self) -> str:
        """For people."""
        return ""
