"""What is behind the client of a simulated cluster (:mod:`hil.client.backend`)."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hil import paths
from hil.bench.calls import CALLS, bound
from hil.client.backend import Calls, Reader
from hil.client.connection import Event
from hil.config import ClusterConfig
from hil.errors import BenchDied, LaboratoryError, UsageError
from hil.evidence import retention
from hil.sim.backend.bench import OF_FAULTS, OF_THE_CLIENT, ONLY_HERE, SimBench
from hil.sim.backend.options import scenario_options

if TYPE_CHECKING:
    from hil.client.node import Node

REFUSED: Final = {
    "checkpoint": "a simulated cluster is repeated from its seed, not saved",
    "save_checkpoint": "a simulated cluster is repeated from its seed, not saved",
    "open_ssh": "a simulated node runs guestd and nothing else: no shell, no SSH",
}
"""What a simulation cannot do, and why."""

FOR_EVER_S: Final = 3600.0
"""Of virtual time: in so long a cluster that is to say something at all has said it."""


class Simulated:
    """One simulated cluster. It has begun when this returns, and waits for somebody to let time pass."""

    simulated = True

    def __init__(self, config: ClusterConfig, seed: int, asked: Mapping[str, Any] | None = None) -> None:
        """``asked``: options of the simulation instead of those drawn from the seed. Raises :class:`UsageError`."""
        options = scenario_options(seed, config.nodes, asked)
        self.name = config.name
        retention.prune()
        self.bench = SimBench(config, options, paths.new_run_dir(config.name))
        self.caller: Calls = SimCaller(self)
        self.bench.begin()

    def reader(self, since: int = 0, *, follow: bool = True) -> Reader:
        """The events after number ``since``."""
        return SimReader(self.bench, since, follow=follow)

    def run_dir(self, first: Event) -> Path:
        """Not in the stream, which is the same wherever it runs."""
        return self.bench.run_dir

    def now(self) -> float:
        """The virtual clock."""
        return self.bench.now()

    def pass_time(self, seconds: float) -> None:
        """It goes on."""
        self.bench.pass_time(seconds)

    def speed_factor(self, accelerator: str) -> float:
        """A virtual clock does not depend on the machine; slow times make slow clusters."""
        return self.bench.options.timing_factor

    def require(self, what: str) -> None:
        """Raises :class:`UsageError` for what a simulation cannot do."""
        if what in REFUSED:
            raise UsageError(f"{what}: {REFUSED[what]}; guests can (`--backend qemu`)")

    def ask_event_manager(self, node: Node, request: dict[str, Any]) -> dict[str, Any]:
        """A verb of the bench. Raises :class:`UsageError` where it has none."""
        return self.caller.call("ask_event_manager", node=node.id, request=request)

    def locks_of(self, node: Node) -> dict[str, Any]:
        """A verb of the bench."""
        return self.caller.call("show_locks", node=node.id)

    def await_gone(self, deadline: float) -> None:
        """Nothing of it is outside of this process."""

    def another(self) -> Simulated:
        """There is one world."""
        return self

    def beside(self, act: Callable[[], float | None]) -> Callable[[], None]:
        """Between two of the world's events."""
        return self.bench.beside(act)


class SimCaller:
    """Of ``hil.client.backend.Calls``. Arguments and results are checked and are plain data, as over a socket."""

    def __init__(self, backend: Simulated) -> None:
        self.position = 0
        self._backend = backend
        self._over = False

    def call(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Call verb ``name``; its result. Raises what the verb raises."""
        self._backend.require(name)
        if name not in (*CALLS, *ONLY_HERE, *OF_THE_CLIENT, *OF_FAULTS):
            raise UsageError(f"no call {name!r}; there are: events, {', '.join((*CALLS, *ONLY_HERE))}")
        if self._over:
            raise BenchDied(f"the bench of {self._backend.name!r} has ended")
        bench = self._backend.bench
        verb = bound(getattr(bench, name), json.loads(json.dumps(arguments)))
        try:
            result = verb()
        finally:
            self._over = name == "down"
            self.position = bench.log.position
            if not self._over:
                bench.world.target_disk.flush()
        plain: dict[str, Any] = json.loads(json.dumps(result))
        return plain

    def call_for_socket(self, name: str, **arguments: Any) -> socket.socket:
        """There is no verb here that has one. Raises :class:`UsageError`."""
        self._backend.require(name)
        raise UsageError(f"{name} answers with no socket")

    def close(self) -> None:
        """Nothing to hang up."""


class SimReader:
    """Of ``hil.client.backend.Reader``: reading lets the virtual clock go on until there is something to be told."""

    def __init__(self, bench: SimBench, since: int, *, follow: bool) -> None:
        self.ended = False
        self._bench = bench
        self._position = since
        self._follow = follow

    def read(self, timeout: float | None) -> list[Event]:
        """The next events; waits up to ``timeout`` seconds of the virtual clock for the first (None: for an hour)."""
        log = self._bench.log
        if self.ended:
            return []
        if log.position <= self._position and self._follow and not log.closed:
            self._bench.run_until_told(self._position, FOR_EVER_S if timeout is None else timeout)
        lines = b"".join(log.follow(self._position, follow=False)).splitlines()
        self._position += len(lines)
        self.ended = not lines and (log.closed or not self._follow)
        if not lines and not self.ended and timeout is None:
            raise LaboratoryError(f"nothing has happened for {FOR_EVER_S:.0f} s of virtual time")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        """Nothing to hang up."""
