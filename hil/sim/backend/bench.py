"""The bench of a simulated cluster: the verbs and the event stream of the real one, in this process.

Nothing happens between two calls: the virtual clock goes on only in :meth:`SimBench.run_until_told` and
:meth:`SimBench.pass_time`. A verb takes no time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from guestd.core.config import Config
from guestd.core.timing import Timing
from guestd.dlm import shown
from hil.bench.disk import DiskVerbs, check_nodes
from hil.bench.injections import InjectionVerbs
from hil.bench.links import LinkVerbs
from hil.bench.log import EventLog
from hil.bench.target import serial_number
from hil.checkers.checker import Violation
from hil.config import ClusterConfig
from hil.errors import BadConfig, EventManagerAway, HilError, InvalidRun, LaboratoryError, UsageError
from hil.evidence import layout, manifest
from hil.scsi import identity
from hil.sim.backend.control import DirectControl
from hil.sim.backend.links import SimulatedLinks
from hil.sim.backend.load import SimulatedLoad
from hil.sim.backend.machine import WAYS, Machine
from hil.sim.backend.network import CapturedNetwork
from hil.sim.backend.world import ScenarioWorld
from hil.sim.claims import every_claim
from hil.sim.options import Options
from hil.sim.programs import Program
from hil.sim.run import NO_FAULT_OF_ITS_OWN
from hil.sim.world import CLUSTER_ID
from hil.view import RECORDING

ACCELERATOR = "sim"
UNTRUE = frozenset({"torn", "lost", "misdirected", "flip", "stale"})
"""Disk faults after which an answer of the disk, on which all claims rest, may not be true."""

OF_THE_CLIENT = ("ask_event_manager", "show_locks", "begin_load", "load_counts", "look_load_over", "end_load")
"""Verbs in the place of what goes to a guest over SSH."""
ONLY_HERE = ("lose_datagrams", "slow_down", "drift")
"""Verbs that guests do not have."""
OF_FAULTS = ("delay_link", "kill_guestd", "start_mute", "end_mute", "set_clock_rate", "machine_facts")
"""Verbs in the place of what faults do over SSH to a guest."""

COST_MS_MAX = 1000
ANSWER_S_MAX = 600.0
CONNECTIONS = 1 << 30
"""To event managers: numbered from here on."""
DRIFT_PPM_MAX = 100_000  # A19
REASON_SIZE_MAX = 800
"""Of a panic, as on guests."""


class SimBench(DiskVerbs, LinkVerbs, InjectionVerbs):
    """All machines of one simulated cluster; :meth:`begin` switches them on."""

    def __init__(self, config: ClusterConfig, options: Options, run_dir: Path) -> None:
        """Its evidence goes to ``run_dir``. Raises :class:`BadConfig` for times that contradict each other."""
        try:
            times = config.timing.resolved(options.timing_factor)
        except ValueError as refusal:
            raise BadConfig(f"cluster {config.name!r}: {refusal}") from None
        self.config = config
        self.options = options
        self.run_dir = run_dir
        self.settings = {
            "accelerator": ACCELERATOR,
            "timing": times,
            "timing_factor": options.timing_factor,
            "seed": options.seed,
            "simulation": asdict(options),
        }
        written = {"config": config.model_dump(), "settings": self.settings}
        (run_dir / layout.CLUSTER).write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
        manifest.write(run_dir, manifest.describe(manifest.SIM, written["config"], self.settings))
        world = ScenarioWorld(
            options,
            Config(
                bytes.fromhex(CLUSTER_ID),
                config.name,
                config.nodes,
                Timing(**times),
                config.fence,
                config.election,
                config.data_disks,
            ),
            run_dir,
            config.disk_mib,
            config.shared_mib,
            keep_data=config.keep_data,
            capture=config.capture,
            checkers=every_claim(fence=config.fence, election=config.election),
        )
        self.world = world
        DiskVerbs.__init__(self, EventLog(run_dir / layout.EVENTS, config.nodes, clock=self.now))
        LinkVerbs.__init__(self)
        InjectionVerbs.__init__(self)
        self.links = self._links = SimulatedLinks(world.network, config.nodes)
        self._disk = DirectControl(world.target_disk.target, self.report_fault)
        wwid = identity.wwid(serial_number(config.disk_mib))
        self.machines = [
            Machine(world, node, self.log, run_dir / layout.console(node.number), wwid) for node in world.nodes
        ]
        world.on_event = lambda node, kind, fields: self.machines[node.number].says(kind, fields)
        world.on_end = lambda node: self.machines[node.number].ended()
        self._answers: dict[int, dict[str, Any]] = {}  # of event managers, by connection
        self._asked = 0
        self._beside: Callable[[], float | None] | None = None
        self._beside_us = 0
        self._mute: dict[tuple[int, str], Program] = {}
        world.event_managers.on_answer = self._answers.__setitem__
        self._load = SimulatedLoad(world, self.pass_time)

    def begin(self) -> None:
        """The first events, and all machines are switched on."""
        self.log.emit(
            "bench-started",
            recording=RECORDING,
            cluster=self.config.name,
            cluster_id=CLUSTER_ID,
            nodes=self.config.nodes,
            accelerator=ACCELERATOR,
            image=None,
            timing=self.settings["timing"],
            timing_factor=self.options.timing_factor,
            seed=self.options.seed,
        )
        self.log.emit("disk-started", pid=None)
        if self.config.capture:
            self.log.emit("capture-started", file=layout.CAPTURE)
        self._power(list(range(self.config.nodes)), "on", Machine.power_on)

    # -- time

    def now(self) -> float:
        """Seconds of the virtual clock, since the cluster began."""
        return self.world.queue.now_us / 1e6

    def pass_time(self, seconds: float) -> None:
        """All that happens within ``seconds``. Raises :class:`Violation` when a claim does not hold."""
        self._run(self._deadline(seconds), lambda: False)

    def run_until_told(self, position: int, seconds: float) -> None:
        """Until there is an event after number ``position``, for at most ``seconds``. Raises :class:`Violation`."""
        self._run(self._deadline(seconds), lambda: self.log.position > position)

    def beside(self, act: Callable[[], float | None]) -> Callable[[], None]:
        """Of ``hil.client.backend.Backend``: ``act`` is called while time passes, at the time that it has asked for."""
        assert self._beside is None, "one plan at a time"
        self._beside = act
        self._beside_us = self.world.queue.now_us

        def stop() -> None:
            self._beside = None

        return stop

    def _act_beside(self) -> None:
        """What ``act`` does lets time pass, too: then it is not called again before it is done."""
        act, self._beside = self._beside, None
        assert act is not None, "somebody is due"
        due_s = act()
        if due_s is not None:
            self._beside = act
            self._beside_us = max(self.world.queue.now_us + 1, math.ceil(due_s * 1e6))

    def _deadline(self, seconds: float) -> int:
        return self.world.queue.now_us + math.ceil(max(0.0, seconds) * 1_000_000)

    def _run(self, end_us: int, enough: Callable[[], bool]) -> None:
        queue = self.world.queue
        try:
            while not enough():
                due = self._beside is not None and self._beside_us <= end_us
                if queue.run_next(self._beside_us if due else end_us):
                    continue
                if not due:
                    break
                self._act_beside()
        except HilError:
            raise
        except Exception as error:  # whatever guestd raises is a finding
            raise Violation(NO_FAULT_OF_ITS_OWN, f"{type(error).__name__}: {error}") from error
        finally:
            self.world.target_disk.flush()

    # -- verbs

    def status(self) -> dict[str, Any]:
        """The current view as plain data."""
        return self.log.status()

    def power_off(self, nodes: list[int]) -> dict[str, Any]:
        """Pull the plug of ``nodes`` at the same instant. What they left in a volatile cache of the disk is lost."""
        return self._power(nodes, "off", Machine.power_off, self.lose_cache)

    def power_on(self, nodes: list[int]) -> dict[str, Any]:
        """Switch ``nodes`` on at the same instant."""
        return self._power(nodes, "on", Machine.power_on)

    def power_cycle(self, nodes: list[int]) -> dict[str, Any]:
        """Off, then on, all of ``nodes``."""
        self.power_off(nodes)
        return self.power_on(nodes)

    def reset(self, nodes: list[int]) -> dict[str, Any]:
        """Press the reset button of ``nodes``."""
        for machine in self._chosen(nodes):
            machine.reset()
        return {"nodes": nodes}

    def shutdown(self, nodes: list[int]) -> dict[str, Any]:
        """Order ``nodes`` to leave the cluster gracefully and halt."""
        for machine in self._chosen(nodes):
            machine.order("leave")
        return {"nodes": nodes}

    def panic(self, nodes: list[int], reason: str) -> dict[str, Any]:
        """Order the kernels of ``nodes`` to panic."""
        if len(reason.encode()) > REASON_SIZE_MAX:
            raise UsageError(f"panic: a reason of {len(reason.encode())} bytes; legal are up to {REASON_SIZE_MAX}")
        for machine in self._chosen(nodes):
            machine.order("panic", reason=reason)
        return {"nodes": nodes}

    def freeze(self, nodes: list[int], how: str) -> dict[str, Any]:
        """Have ``nodes`` stand still: ``how`` is "vcpu" or "process"."""
        if how not in WAYS:
            raise UsageError(f"freeze: how is {' or '.join(WAYS)}, not {how!r}")
        for machine in self._chosen(nodes):
            machine.freeze(how)
            self.log.emit("fault-injected", fault=f"freeze-{how}", node=machine.number, verified=True)
        return {"nodes": nodes}

    def thaw(self, nodes: list[int]) -> dict[str, Any]:
        """Let ``nodes`` go on; fine if none of them is frozen."""
        thawed = []
        for machine in self._chosen(nodes):
            how = machine.thaw()
            if how is not None:
                self.log.emit("fault-healed", fault=f"freeze-{how}", node=machine.number, verified=True)
                thawed.append(machine.number)
        return {"nodes": nodes, "thawed": thawed}

    def standing(self, nodes: list[int]) -> dict[str, Any]:
        """How ``nodes`` stand still at this moment, each "vcpu", "process", or None."""
        return {"how": [machine.frozen for machine in self._chosen(nodes)]}

    def ask_event_manager(self, node: int, request: dict[str, Any]) -> dict[str, Any]:
        """Ask the event manager of a node; its answer, for which time passes. Raises :class:`EventManagerAway`."""
        check_nodes([node], len(self.machines))
        managers = self.world.event_managers
        manager = managers.of_number(node)
        if manager is None:
            raise EventManagerAway(f"node {node}: no event manager has registered there")
        self.world.administrator.another_asks(request)
        self._asked += 1
        connection = CONNECTIONS + self._asked
        managers.ask(manager, connection, request)
        self._run(self._deadline(ANSWER_S_MAX), lambda: connection in self._answers or not manager.runs)
        managers.hang_up(manager, connection)
        if connection not in self._answers:
            raise LaboratoryError(f"node {node}: its event manager has ended, or has not answered in {ANSWER_S_MAX} s")
        return self._answers.pop(connection)

    def show_locks(self, node: int) -> dict[str, Any]:
        """What the lock manager of a node knows. Raises :class:`LaboratoryError` if guestd does not run there."""
        check_nodes([node], len(self.machines))
        stack = self.world.nodes[node].stack
        if stack is None:
            raise LaboratoryError(f"node {node}: guestd does not run")
        return shown.everything(stack.kernel.locks.manager)

    def begin_load(self, kinds: list[str]) -> dict[str, Any]:
        """Programs of these kinds run on each node from now on, after each boot too."""
        self._load.begin(kinds)
        return {}

    def load_counts(self) -> dict[str, Any]:
        """What each kind was told so far that it has, or that is done."""
        return self._load.counts()

    def look_load_over(self, kinds: list[str]) -> dict[str, Any]:
        """On each node everything is read that programs of these kinds have done. Raises :class:`Violation`."""
        self._load.look_over(kinds)
        return {}

    def end_load(self) -> dict[str, Any]:
        """They end."""
        self._load.end()
        return {}

    # -- verbs that guests do not have

    def lose_datagrams(self, share: float) -> dict[str, Any]:
        """The interconnect loses that share of all datagrams; 0: it is as the options have it."""
        if not 0 <= share <= 1:
            raise UsageError(f"lose_datagrams: a share of {share:g}; legal are 0 to 1")
        usual = self.options.loss_share / 1000
        self.world.network.loss = max(share, usual)
        kind = "fault-injected" if share else "fault-healed"
        self.log.emit(kind, fault="datagram-loss", share=share, verified=True)
        return {"share": share}

    def slow_down(self, nodes: list[int], cost_ms: float) -> dict[str, Any]:
        """Each input takes the processors of ``nodes`` so long, in their present life; 0: none."""
        if not 0 <= cost_ms <= COST_MS_MAX:
            raise UsageError(f"slow_down: {cost_ms:g} ms; legal are 0 to {COST_MS_MAX}")
        for machine in self._chosen(nodes):
            machine.slow_down(round(cost_ms * 1000))
            kind = "fault-injected" if cost_ms else "fault-healed"
            self.log.emit(kind, fault="slow-cpu", node=machine.number, ms=cost_ms, verified=True)
        return {"nodes": nodes}

    def drift(self, nodes: list[int], ppm: int) -> dict[str, Any]:
        """From their next boot on the clocks of ``nodes`` run so many millionths too fast."""
        if abs(ppm) > DRIFT_PPM_MAX:
            raise UsageError(f"drift: {ppm} ppm; legal are -{DRIFT_PPM_MAX} to {DRIFT_PPM_MAX}")
        for machine in self._chosen(nodes):
            machine.drift(ppm)
        return {"nodes": nodes}

    # -- verbs of faults, for what they do over SSH on guests

    def delay_link(self, number: int, pairs: list[list[int]], ms: int) -> dict[str, Any]:
        """What the first node of each pair sends to the second arrives so much later; ``mend_link`` ends it."""
        check_nodes([node for pair in pairs for node in pair], len(self.machines))
        self._links.impair(number, [(one, other) for one, other in pairs], 0, ms * 1000)
        return {}

    def kill_guestd(self, nodes: list[int]) -> dict[str, Any]:
        """End the guestd of ``nodes`` as SIGKILL does; their kernels stay."""
        for machine in self._chosen(nodes):
            machine.kill_guestd()
        return {"nodes": nodes}

    def start_mute(self, node: int, program: str, level: int) -> dict[str, Any]:
        """A program registers at that level of a node, and acknowledges nothing."""
        (machine,) = self._chosen([node])
        machine.check_runs()
        self._mute[node, program] = self.world.programs.start_mute(machine.node, program, level)
        return {}

    def end_mute(self, node: int, program: str) -> dict[str, Any]:
        """That program is killed; fine if it has ended with its node."""
        mute = self._mute.pop((node, program), None)
        if mute is not None:
            self.world.programs.kill(mute)
        return {}

    def set_clock_rate(self, nodes: list[int], ppm: int) -> dict[str, Any]:
        """The clocks of ``nodes`` run so many millionths too fast from now on, and after the next boots."""
        self.drift(nodes, ppm)
        for machine in self._chosen(nodes):
            machine.node.drift(ppm)
        return {"nodes": nodes}

    def machine_facts(self, nodes: list[int]) -> dict[str, Any]:
        """Of ``nodes``: by how much their clocks run too fast, and how long an input takes their processors."""
        chosen = self._chosen(nodes)
        return {
            "ppm": [machine.node.ppm for machine in chosen],
            "cost_us": [machine.node.cost_us for machine in chosen],
        }

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
        """As on guests. After a fault by which the disk does not do what it says, the live checkers hear no more."""
        done = super().inject_disk_fault(nodes, kind, direction, lba, lun, count, seconds, parameters)
        if kind in UNTRUE:
            self.world.stop_checking()
        return done

    def down(self) -> dict[str, Any]:
        """The end; the evidence is complete."""
        self.log.emit("bench-stopping", reason="down")
        if isinstance(network := self.world.network, CapturedNetwork):
            network.close()
            self.log.emit("capture-ended", frames=network.counts["sent"] + network.counts["told"], dropped=0)
        self.log.close()
        self.world.target_disk.close()
        return {}

    # -- inside

    def node_count(self) -> int:
        """Of ``DiskVerbs`` and ``LinkVerbs``."""
        return len(self.machines)

    def carrier(self, node: int) -> str:
        """Of ``LinkVerbs``."""
        return self._links.carrier(node)

    def seen_carrier(self, node: int) -> str:
        """Of ``LinkVerbs``."""
        return "absent" if self.log.power(node) == "off" else self._links.carrier(node)

    def set_carrier(self, node: int, state: str) -> None:
        """Of ``LinkVerbs``."""
        self._links.set_carrier(node, state)

    def _chosen(self, nodes: list[int]) -> list[Machine]:
        check_nodes(nodes, len(self.machines))
        return [self.machines[node] for node in nodes]

    def _power(
        self,
        nodes: list[int],
        action: str,
        verb: Callable[[Machine], bool],
        then: Callable[[list[int]], dict[str, Any]] = lambda changed: {},
    ) -> dict[str, Any]:
        changed = [machine.number for machine in self._chosen(nodes) if verb(machine)]
        more = then(changed)
        self.log.emit("power", action=action, nodes=nodes, changed=changed, spread_s=0.0, **more)
        if "cache_error" in more:
            raise InvalidRun(f"the disk's cache was not lost as it should be: {more['cache_error']}")
        return {"nodes": nodes, "changed": changed, "spread_s": 0.0}
