"""A running cluster: its verbs, and waits that end as soon as they cannot succeed any more."""

from __future__ import annotations

import contextlib
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

from hil import checkpoint, roles
from hil.bench import address
from hil.client.backend import Backend, Guests, check_guests, settings_of
from hil.client.connection import Caller, Event
from hil.client.disk import Disk
from hil.client.node import Node, console_tail
from hil.client.services import Services
from hil.client.simulation import Simulation
from hil.config import ClusterConfig, TimingOverrides, make_config
from hil.errors import (
    BenchDied,
    ClaimFailed,
    GuestdExited,
    HilError,
    LaboratoryError,
    MachineLost,
    UnknownCluster,
    UnknownNode,
    UsageError,
)
from hil.evidence.layout import BENCH_LOG
from hil.view import View

if TYPE_CHECKING:
    from hil.faults.injection import Injection
    from hil.workloads import Workload

Whom = int | str | Node | Iterable[int | str | Node]
"""Whom a fault strikes."""

Predicate = Callable[[View], str | None]
"""None when the condition holds, else the phrase why not yet."""

DOWN_TIMEOUT_S = 60.0
CATCH_UP_TIMEOUT_S = 10.0
LOCKS_AGAIN_S = 0.05


def list_clusters() -> list[str]:
    """The names of the running clusters of this user."""
    return address.running_clusters()


class Cluster:
    """A client of one bench. Any number of clients may be connected to one cluster."""

    def __init__(self, name: str, backend: Backend | None = None) -> None:
        """Connect to the running cluster ``name``; :meth:`connect` and :meth:`up` are the usual ways.

        ``backend``: what it runs on; None: guests, in a bench of that name.
        """
        self.name = name
        self.backend: Backend = Guests(name) if backend is None else backend
        self.caller = self.backend.caller
        self._reader = self.backend.reader()
        self.view = View(0)
        try:
            first = self._first_event()
        except BaseException:
            self._reader.close()
            raise
        self.first_event = first
        self.run_dir = self.backend.run_dir(first)
        self.view = View(first["nodes"])
        self.view.apply(first)
        self.settings = settings_of(self.run_dir)
        self.config: ClusterConfig = make_config(**self.settings["config"])
        self.nodes = [Node(self, i) for i in range(self.config.nodes)]
        self.disk = Disk(self)
        self.services = Services(self)
        self.simulation = Simulation(self)
        self.on_event: Callable[[Event, View], None] | None = None
        self._backlog = deque(self._after_first)

    def __repr__(self) -> str:
        return f"<cluster {self.name}>"

    @classmethod
    def connect(cls, name: str | None = None) -> Self:
        """The cluster ``name``, or the only running one, with all that has happened so far in its view.

        Raises :class:`hil.errors.UnknownCluster`.
        """
        cluster = cls(address.choose(name))
        cluster.catch_up()
        return cluster

    @classmethod
    def up(
        cls,
        config: ClusterConfig,
        *,
        cold: bool = False,
        on_event: Callable[[Event, View], None] | None = None,
        on_image: Callable[[str, int, int], None] | None = None,
    ) -> Self:
        """Check the host, see to the image, start the bench and connect; the nodes then boot by themselves.

        ``cold``: every node really boots; else those start from saved machines that were started before.
        ``on_image(stage, done, total)`` is told of the image's build, if it has to be built. Raises
        :class:`hil.errors.PreflightFailed`, :class:`hil.errors.AlreadyUp`.
        """
        from hil.bench.start import start

        check_guests()
        start(config, on_image, cold=cold)
        cluster = cls._connected(config.name)
        cluster.on_event = on_event
        return cluster

    @classmethod
    def _connected(cls, name: str) -> Self:
        """To the cluster that was just started."""
        try:
            return cls(name)
        except BaseException:  # Ctrl-C too: nobody else knows of the bench, so nobody else would end it
            with contextlib.suppress(HilError), contextlib.closing(Caller(name)) as caller:
                caller.call("down")
                Guests(name).await_gone(time.monotonic() + DOWN_TIMEOUT_S)
            raise

    @classmethod
    def restored(
        cls,
        saved: str | Path,
        name: str | None = None,
        *,
        on_image: Callable[[str, int, int], None] | None = None,
    ) -> Self:
        """A cluster that goes on from a checkpoint (its name, or its directory), under ``name`` (None: its own).

        Returns when it does. Raises :class:`hil.errors.UnknownCheckpoint`, and ``UsageError`` for one that is damaged
        or of another image.
        """
        from hil.bench.start import restore

        check_guests()
        _, config = restore(checkpoint.load(_place(saved)), name, on_image)
        cluster = cls._connected(config.name)
        cluster.wait_set_up()
        return cluster

    def checkpoint(self, saved: str | Path, *, replace: bool = False) -> Path:
        """Save the whole cluster as a checkpoint, by name or as a new directory; it goes on. Where it is."""
        self.backend.require("checkpoint")
        path = _place(saved).absolute()
        result = self.caller.call("save_checkpoint", path=str(path), replace=replace)
        self.catch_up_to_answer()
        return Path(result["path"])

    def restore(self, saved: str | Path) -> None:
        """Take this cluster down and have it go on from a checkpoint, under its name.

        Raises ``UsageError``, and nothing has happened, for a checkpoint of a cluster of another shape.
        """
        self.backend.require("checkpoint")
        path = _place(saved)
        config = checkpoint.load(path).config(self.name)
        # A checkpoint has the times that its nodes have, not those that somebody chose.
        own = self.config.model_copy(update={"timing": TimingOverrides(**self.settings["settings"]["timing"])})
        if config != own:
            wrong = [key for key in type(config).model_fields if getattr(config, key) != getattr(own, key)]
            raise UsageError(
                f"checkpoint {path.name} is of a cluster of another shape ({', '.join(wrong)} differ); `hil checkpoint"
                f" restore {path.name} --name OTHER` starts it as a cluster of its own"
            )
        self.down()
        listener = self.on_event
        again = type(self).restored(path, self.name)
        self.__dict__.update(again.__dict__)
        for node in self.nodes:
            node.cluster = self
        self.disk = Disk(self)
        self.services = Services(self)
        self.simulation = Simulation(self)
        self.on_event = listener

    def close(self) -> None:
        """Hang up; the cluster goes on."""
        self.caller.close()
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- who is who ----------------------------------------------------------------------------------------------

    def node(self, node_id: int) -> Node:
        """Node number ``node_id``; raises :class:`UnknownNode` listing the ones that exist."""
        if not 0 <= node_id < len(self.nodes):
            raise UnknownNode(f"no node {node_id} in cluster {self.name!r}; there are 0 to {len(self.nodes) - 1}")
        return self.nodes[node_id]

    @property
    def master(self) -> Node | None:
        """The master of the newest epoch, None if there is none."""
        self.poll()
        return None if self.view.master is None else self.nodes[self.view.master]

    def any_other(self, *than: Node) -> Node:
        """The lowest-numbered joined node that is none of ``than``. Raises :class:`ClaimFailed` if there is none."""
        self.poll()
        for node in self.nodes:
            if node not in than and node.view.state == "joined":
                return node
        raise ClaimFailed(f"no joined node other than {', '.join(map(repr, than))}")

    def minority(self) -> list[Node]:
        """As many members as may go without the others' losing the majority; the master is not among them."""
        return self.in_role("minority")

    def runs(self, service: str) -> Node:
        """The node on which that client service is registered. Raises :class:`ClaimFailed` if there is none."""
        return self._only(roles.Role("runs", service))

    def holder_of(self, lock: str, timeout: float | None = None) -> Node:
        """A node of which a program holds that lock, in a mode above NL, when it was asked; waits until there is one.

        ``lock``: parts of its name with / between them. Raises :class:`ClaimFailed`.
        """
        limit_s = self.default_timeout_s if timeout is None else timeout
        deadline = self.clock + limit_s
        while not (holders := self.in_role(f"holder_of({lock})")):
            if self.clock > deadline:
                raise ClaimFailed(f"nobody holds lock {lock!r}: not within {limit_s:.0f} s")
            self.pass_time(LOCKS_AGAIN_S)
        return holders[0]

    def in_role(self, role: str | int | roles.Role) -> list[Node]:
        """Who is in that role (:mod:`hil.roles`) at this moment, ascending. Raises :class:`UsageError` for none."""
        self.poll()
        wanted = role if isinstance(role, roles.Role) else roles.parse(role, len(self.nodes))
        known = self.locks() if wanted.needs_locks else None
        return [self.nodes[node] for node in wanted.candidates(self.view, known)]

    def locks(self) -> dict[int, dict[str, Any]]:
        """What the lock manager of each member knows, by node; of those that stand still nothing is known."""
        self.poll()
        frozen = {node for node, faults in self.view.faults.items() if any(one.startswith("freeze") for one in faults)}
        asked = [node for node in roles.members(self.view) if node not in frozen]
        return {node: self.backend.locks_of(self.nodes[node]) for node in asked}

    def _only(self, role: roles.Role) -> Node:
        nodes = self.in_role(role)
        if not nodes:
            raise ClaimFailed(f"no node is {role}")
        return nodes[0]

    # -- load ----------------------------------------------------------------------------------------------------

    def workload(self, *kinds: str) -> Workload:
        """Programs that use the cluster from now on, on each member: a context manager (:mod:`hil.workloads`).

        ``kinds``: files, locks, volumes, services. Raises :class:`UsageError` for what is none of them.
        """
        from hil.workloads import workload

        return workload(self, kinds)

    # -- verbs ---------------------------------------------------------------------------------------------------

    def power_off(self, nodes: Iterable[Node] | None = None) -> dict[str, Any]:
        """Pull the plug of ``nodes`` (all) at the same instant; returns when every machine is off."""
        return self._verb("power_off", nodes)

    def power_on(self, nodes: Iterable[Node] | None = None) -> dict[str, Any]:
        """Switch ``nodes`` (all) on; returns when every machine runs (their kernels are only starting)."""
        return self._verb("power_on", nodes)

    def power_cycle(self, nodes: Iterable[Node] | None = None) -> dict[str, Any]:
        """Off and on again, ``nodes`` or all."""
        return self._verb("power_cycle", nodes)

    def reset(self, node: Node) -> dict[str, Any]:
        """Press the reset button."""
        return self._verb("reset", [node])

    def shutdown(self, node: Node) -> dict[str, Any]:
        """Have the node leave gracefully and halt; see :meth:`wait_off`."""
        return self._verb("shutdown", [node])

    def panic(self, node: Node, reason: str = "ordered by the operator") -> dict[str, Any]:
        """Have the node's kernel panic; see :meth:`wait_crashed`."""
        return self._verb("panic", [node], reason=reason)

    def cut_link(
        self, node: Node, how: str = "carrier", direction: str = "both", others: Iterable[Node] | None = None
    ) -> dict[str, Any]:
        """Cut the node's interconnect: ``how`` "carrier" or "silent", the latter in ``direction`` both, in or out.

        With ``others`` a silent cut is between the node and those alone.
        """
        ids = None if others is None else [other.id for other in others]
        return self._verb("cut_link", [node], how=how, direction=direction, others=ids)

    def split(self, *groups: Iterable[Node]) -> dict[str, Any]:
        """Cut the interconnect silently between nodes of different ``groups``, everywhere at the same instant.

        :meth:`heal_link` of every node but those of one group undoes it.
        """
        result = self.caller.call("split", groups=[[node.id for node in group] for group in groups])
        self.catch_up_to_answer()
        return result

    def heal_link(self, node: Node) -> dict[str, Any]:
        """Undo every cut that the node's interconnect has a part in."""
        return self._verb("heal_link", [node])

    def freeze(self, node: Node, how: str = "vcpu") -> dict[str, Any]:
        """Have the node stand still: "vcpu" (it sees no time pass) or "process" (it sees time jump at the thaw)."""
        return self._verb("freeze", [node], how=how)

    def thaw(self, node: Node) -> dict[str, Any]:
        """Let a frozen node go on; fine if it is not frozen."""
        return self._verb("thaw", [node])

    def inject(self, kind: str, whom: Whom, /, **parameters: Any) -> Injection:
        """A fault of the library (docs/faults.md), which has taken hold when this returns, verified (spec S10.7).

        ``whom``: nodes, their numbers, roles (:mod:`hil.roles`), one or several, resolved now. Ended and verified by
        :meth:`Injection.heal`, or at the end of a ``with``. Raises :class:`InvalidRun` if it does not take hold,
        :class:`UsageError` for what is not legal or this back end cannot do.
        """
        from hil.faults.injection import inject

        # By what has happened so far: the same in each run of a seed, and not the same node for ever.
        draw = random.Random(f"fault of seed {self.settings['settings'].get('seed', 0)} after {self.catch_up().n}")
        return inject(self, kind, whom, parameters, draw)

    def injections(self) -> list[Injection]:
        """The faults of the library that are in force, whoever has injected them."""
        from hil.faults.injection import in_force

        return in_force(self)

    def down(self) -> None:
        """End the cluster; returns when nothing of it is left. Fine if it is gone already."""
        with contextlib.suppress(BenchDied, UnknownCluster):
            self.caller.call("down")
        deadline = self.clock + DOWN_TIMEOUT_S
        while not self._reader.ended:
            if self.clock > deadline:
                raise LaboratoryError(f"the bench of {self.name!r} does not end; see {self.run_dir / BENCH_LOG}")
            self._take(1.0)
        self.backend.await_gone(deadline)
        self.close()

    def _verb(self, call: str, nodes: Iterable[Node] | None, **arguments: Any) -> dict[str, Any]:
        chosen = self.nodes if nodes is None else nodes
        result = self.caller.call(call, nodes=[node.id for node in chosen], **arguments)
        self.catch_up_to_answer()
        return result

    # -- time -----------------------------------------------------------------------------------------------------

    @property
    def clock(self) -> float:
        """Seconds of the back end's monotonic clock: the host's; of a simulated cluster the virtual one."""
        return self.backend.now()

    def pass_time(self, seconds: float) -> View:
        """Let the cluster go on for so long: what ``time.sleep`` is for guests only. The view afterwards."""
        self.backend.pass_time(seconds)
        return self.poll()

    # -- what happens --------------------------------------------------------------------------------------------

    def catch_up(self) -> View:
        """Read events until the view is as new as the bench's own was when this was called."""
        self.caller.call("status")
        self._read_up_to(self.caller.position)
        return self.view

    def catch_up_to_answer(self) -> None:
        """Read what has happened up to the end of the verb that was called last."""
        self._read_up_to(self.caller.position)

    def _read_up_to(self, position: int) -> None:
        # Answers and events come over two lines: what a verb did is seen when the second has caught up.
        while self.view.n < position and self._take(CATCH_UP_TIMEOUT_S):
            pass
        self.poll()

    def poll(self) -> View:
        """Read every event that has come and return the view; what was written just now may still be on its way."""
        while self._take(0.0):
            pass
        return self.view

    def events(self, since: int = 0, *, follow: bool = False) -> Iterator[Event]:
        """All events after number ``since``, over a connection of its own; with ``follow`` also what comes."""
        reader = self.backend.reader(since, follow=follow)
        try:
            while events := reader.read(None):
                yield from events
        finally:
            reader.close()

    def wait(
        self, predicate: Predicate, timeout: float | None = None, *, about: str, alive: Iterable[Node] = ()
    ) -> View:
        """Wait until ``predicate(view)`` is None; it is asked after every event.

        Raises :class:`ClaimFailed` with the predicate's phrase when ``timeout`` seconds (default: by the measured
        speed of this machine) have passed, and at once :class:`MachineLost` or :class:`GuestdExited` when a node of
        ``alive`` ended, and :class:`BenchDied` when the bench did.
        """
        limit_s = self.default_timeout_s if timeout is None else timeout
        needed = list(alive)
        deadline = self.clock + limit_s
        self.poll()
        while (why_not := predicate(self.view)) is not None:
            self._give_up_if_hopeless(needed, about)
            left = deadline - self.clock
            if left <= 0:
                raise ClaimFailed(f"{about}: not within {limit_s:.0f} s: {why_not}{self._consoles(needed)}")
            if not self._take(left, stop=lambda: predicate(self.view) is None) and self._reader.ended:
                self._give_up_if_hopeless(needed, about)
                raise self._bench_died(about)
        return self.view

    def listen(self, seconds: float, *, about: str) -> View:
        """Let time pass until something happens, at most so long. Raises as :meth:`wait`."""
        self._give_up_if_hopeless([], about)
        if not self._take(seconds) and self._reader.ended:
            raise self._bench_died(about)
        return self.view

    def wait_set_up(self) -> None:
        """Wait until the bench has set everything up. Raises :class:`LaboratoryError` with the reason if it cannot."""
        try:
            self.caller.call("disk_status")  # which is answered then
        except LaboratoryError as error:
            while self._take(1.0):
                pass
            self.close()
            raise LaboratoryError(f"cluster {self.name!r} cannot start: {self.view.stopping or error}") from None
        self.catch_up_to_answer()

    def wait_joined(self, nodes: Iterable[Node] | None = None, timeout: float | None = None) -> View:
        """Wait until ``nodes`` (all) are joined and agree on it."""
        chosen = list(self.nodes if nodes is None else nodes)
        wanted = [node.id for node in chosen]
        about = f"nodes {', '.join(map(str, wanted))} joined"
        return self.wait(lambda view: view.why_not_joined(wanted), timeout, about=about, alive=chosen)

    def wait_state(self, node: Node, state: str, timeout: float | None = None) -> View:
        """Wait until every other running node sees ``node`` in ``state`` (spec S2.4)."""

        def why_not(view: View) -> str | None:
            watchers = [n for n in view.nodes if n.id != node.id and n.power == "running" and n.state == "joined"]
            for watcher in watchers:
                seen = watcher.membership.nodes.get(node.id, ("inactive", 0))[0]
                if seen != state:
                    return f"node {watcher.id} sees node {node.id} as {seen}"
            return None if watchers else "no other node is joined"

        return self.wait(why_not, timeout, about=f"node {node.id} seen as {state}")

    def wait_off(self, node: Node, timeout: float | None = None) -> View:
        """Wait until the machine is off."""

        def why_not(view: View) -> str | None:
            power = view.nodes[node.id].power
            if power == "crashed":
                raise MachineLost(f"node {node.id} off: it crashed instead:\n{console_tail(node.console_path)}")
            if view.nodes[node.id].guestd == "exited":  # it halts its node by ending with status 0, which is no event
                self._give_up_on_guestd(node, f"node {node.id} off")
            return None if power == "off" else f"node {node.id}'s machine is {power}"

        return self.wait(why_not, timeout, about=f"node {node.id} off")

    def wait_crashed(self, node: Node, timeout: float | None = None) -> View:
        """Wait until libvirt has reported the crash of the node's machine and its reason is known."""

        def why_not(view: View) -> str | None:
            seen = view.nodes[node.id]
            if seen.power == "off":
                raise MachineLost(f"node {node.id} crashed: its machine is off")
            return None if seen.power == "crashed" else f"node {node.id}'s machine is {seen.power}"

        return self.wait(why_not, timeout, about=f"node {node.id} crashed")

    # -- inside --------------------------------------------------------------------------------------------------

    def _first_event(self) -> Event:
        """The stream begins with ``bench-started``; a bench that dies before it says why in its log."""
        events = self._reader.read(30.0)
        if not events:
            raise BenchDied(f"the bench of {self.name!r} ended before it started:\n{self._bench_log_tail(None)}")
        self._after_first = events[1:]
        return events[0]

    def _take(self, timeout: float, stop: Callable[[], bool] | None = None) -> bool:
        """Apply the next events; False if none came. Stops after the event that makes ``stop()`` true."""
        if not self._backlog:
            self._backlog.extend(self._reader.read(timeout))
        taken = bool(self._backlog)
        while self._backlog:
            # What is left, by `stop` or by whoever raises, is for the next wait: a state that passes by must not be
            # missed.
            event = self._backlog.popleft()
            self.view.apply(event)
            if self.on_event is not None:
                self.on_event(event, self.view)
            if stop is not None and stop():
                break
        return taken

    def _give_up_if_hopeless(self, needed: list[Node], about: str) -> None:
        if self.view.stopping is not None:
            raise LaboratoryError(f"{about}: the bench is ending: {self.view.stopping}")
        if self.view.broken is not None:
            raise LaboratoryError(f"{about}: {self.view.broken}\n{self._bench_log_tail(self.run_dir)}")
        for node in needed:
            seen = node.view
            # A machine that was never on is about to be switched on: the bench starts all of them.
            gone = seen.power == "crashed" or (seen.power == "off" and seen.power_on_t is not None)
            if gone:
                reason = seen.panic_reason or seen.off_reason
                why = f": {reason}" if reason else ""
                raise MachineLost(
                    f"{about}: node {node.id}'s machine is {seen.power}{why}\n{console_tail(node.console_path)}"
                )
            if seen.guestd == "exited":
                self._give_up_on_guestd(node, about)

    def _give_up_on_guestd(self, node: Node, about: str) -> NoReturn:
        why = f": {node.view.refused}" if node.view.refused else ""
        raise GuestdExited(
            f"{about}: guestd on node {node.id} ended with status {node.view.guestd_status}{why}\n"
            f"{console_tail(node.console_path)}"
        )

    def _consoles(self, nodes: list[Node]) -> str:
        return "".join(f"\n  console of node {node.id}:\n{console_tail(node.console_path, 5)}" for node in nodes)

    def _bench_died(self, about: str) -> BenchDied:
        return BenchDied(f"{about}: the bench of {self.name!r} died\n{self._bench_log_tail(self.run_dir)}")

    def _bench_log_tail(self, run_dir: Path | None) -> str:
        from hil import paths

        directory = run_dir or paths.latest_run_dir(self.name)
        return console_tail(directory / BENCH_LOG) if directory else "    (no run directory)"

    @property
    def default_timeout_s(self) -> float:
        """How long a wait lasts that is not told how long."""
        return 30.0 * self.speed_factor

    @property
    def speed_factor(self) -> float:
        """By how much this cluster may be slower than one on a fast machine."""
        return self.backend.speed_factor(self.settings["settings"]["accelerator"])


def _place(saved: str | Path) -> Path:
    """A checkpoint's directory: a path is one itself, a text is a name."""
    return saved if isinstance(saved, Path) else checkpoint.place(saved)
