"""One seed: faults, healing, coming together; the verdict and what it takes to repeat it."""

from __future__ import annotations

import contextlib
import gc
import shlex
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from guestd.core.timing import SYNCHRONIZE_MS
from hil.checkers.checker import Checker, Violation
from hil.errors import ClaimFailed
from hil.sim import speed
from hil.sim.claims import every_claim
from hil.sim.contents import wrong_on
from hil.sim.coverage import Row, counting
from hil.sim.options import Options, draw
from hil.sim.plan import Plan
from hil.sim.settled import unsettled
from hil.sim.trace import Told
from hil.sim.world import World

STORY_LINES: Final = 40
_DRAIN_US_MAX: Final = 30_000_000  # for all locks to be given up, times the cluster's factor
_SETTLE_US_MAX: Final = 90_000_000  # for all services to be in their places, times the cluster's factor
_LOOK_US: Final = 100_000  # between two looks whether all have joined
CONVERGES: Final = "after healing all nodes join within a bound (liveness)"
QUIET: Final = "when all have joined nothing changes any more (S5.2)"
GIVEN_UP: Final = "every wait for a lock ends, and locks that are given up are forgotten (S7.1)"
SETTLES: Final = "every client service comes to where it should be, within a bound, and stays there (S9)"
ANSWERED: Final = "every request to files and virtual disks is answered (S7.2, S7.3)"
WHOLE: Final = "fsck finds nothing wrong, and no two virtual disks have the same extents (S7.2, S7.3)"
NO_FAULT_OF_ITS_OWN: Final = "guestd finds no fault of its own"


@dataclass
class Result:
    """What became of one seed. ``violation`` None: passed."""

    options: Options
    plan: Plan
    digest: str
    simulated_ms: int
    wall_s: float
    events: int
    faults: dict[str, int]
    converged_ms: int | None
    panics: int
    violation: str | None = None
    claim: str | None = None
    details: list[str] = field(default_factory=list)
    story: list[str] = field(default_factory=list)
    error: str | None = None
    """The type of what guestd raised, if that is what went wrong."""
    file: str | None = None
    """What was played, if it was a file."""
    coverage: Counter[Row] = field(default_factory=Counter)
    """Look-ups in guestd's state tables, if they were counted."""

    @property
    def passed(self) -> bool:
        """Whether every claim held."""
        return self.violation is None

    @property
    def command(self) -> str:
        """What repeats it."""
        options = self.options
        if self.file is not None:
            return shlex.join(["hil", "sim", "--play", self.file])
        seed, size = options.seed, f"--nodes {options.nodes}"
        if options.data_disks != draw(seed, options.preset, options.nodes).data_disks:
            size += f" --data-disks {options.data_disks}"
        return f"hil sim --seeds {seed}:{seed + 1} --preset {options.preset} {size}"


def run(
    options: Options,
    plan: Plan | None = None,
    *,
    recording: bool = False,
    checkers: Sequence[Checker] | None = None,
    coverage: bool = False,
) -> Result:
    """Simulate. plan: the faults; None: those of the seed. recording: keep the story; coverage: count rows of state
    tables. Either is slower and the same run.

    Raises :class:`hil.errors.UsageError` for a plan that names nodes that there are not.
    """
    began = time.perf_counter()
    gc.collect()
    gc.disable()  # a run leaves next to nothing in cycles, and looking for it takes a tenth of the time
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(speed.installed())
            counts = stack.enter_context(counting()) if coverage else Counter()
            heard = every_claim(election=options.election) if checkers is None else checkers
            world = World(options, heard, plan=plan, recording=recording)
            result = _run(world, began)
            result.coverage = counts
            return result
    finally:
        gc.enable()


def _run(world: World, began: float) -> Result:
    violation: Violation | None = None
    error_type: str | None = None
    details: list[str] = []
    converged_ms = None
    try:
        converged_ms = simulate(world)
    except ClaimFailed as failed:
        violation = failed if isinstance(failed, Violation) else Violation("a claim", str(failed))
    except Exception as error:  # noqa: BLE001 - whatever guestd raises is a finding, with its traceback
        error_type = type(error).__name__
        violation = Violation(NO_FAULT_OF_ITS_OWN, f"{error_type}: {error}")
        details = traceback.format_exc().splitlines()[-12:]
    if violation is not None and violation.claim in (CONVERGES, QUIET, GIVEN_UP, ANSWERED, SETTLES):
        details = world.pending()
    return Result(
        options=world.options,
        plan=world.faults.plan,
        digest=world.trace.hexdigest(),
        simulated_ms=world.queue.now_us // 1000,
        wall_s=time.perf_counter() - began,
        events=world.queue.handled,
        faults=dict(sorted((world.faults.counts + _struck(world)).items())),
        converged_ms=converged_ms,
        panics=sum(len(node.panics) for node in world.nodes),
        violation=None if violation is None else violation.what,
        claim=None if violation is None else violation.claim,
        details=details,
        error=error_type,
        story=[str(told) for told in _story(world)] if world.trace.recording and violation is not None else [],
    )


def run_and_tell(options: Options, *, coverage: bool = False) -> Result:
    """Simulate; if a claim fails, once more with the story."""
    result = run(options, coverage=coverage)
    return result if result.passed else run(options, recording=True, coverage=coverage)


def simulate(world: World) -> int:
    """Both phases; how long (ms) it took after healing until all had joined. Raises :class:`Violation`."""
    options, queue = world.options, world.queue
    world.begin()
    world.faults.begin()
    queue.run_until(world.faults.plan.until_ms * 1000)
    world.heal()
    healed_us = queue.now_us
    # Who was silent until now may be forced out for it yet.
    queue.run_until(healed_us + (options.timing.death_ms + options.timing.agreed_ms_max) * 1000)
    while (why := world.why_not_converged()) is not None:
        if queue.now_us - healed_us > options.converge_ms * 1000:
            raise Violation(CONVERGES, f"not within {options.converge_ms} ms: {why}")
        queue.run_until(queue.now_us + _LOOK_US)
    converged_ms = (queue.now_us - healed_us) // 1000
    epoch = world.epoch()
    queue.run_until(queue.now_us + options.quiet_ms * 1000)
    if (why := world.why_not_converged()) is not None or world.epoch() != epoch:
        raise Violation(QUIET, why or f"epoch {epoch} has become {world.epoch()}")
    if options.services:
        _settle(world)
    if options.filers or options.volume_users or options.services:
        _look_over(world)
    if options.lockers:
        _give_locks_up(world)
    for checker in world.checkers:
        checker.finished()
    return converged_ms


def _settle(world: World) -> None:
    """Every client service is where it should be, and stays there."""
    until_us = world.queue.now_us + round(_SETTLE_US_MAX * world.options.timing_factor)
    while (why := unsettled(world)) is not None:
        if world.queue.now_us > until_us:
            raise Violation(SETTLES, why)
        world.queue.run_until(world.queue.now_us + _LOOK_US)
    number = world.registry.database.number
    world.queue.run_until(world.queue.now_us + world.options.quiet_ms * 1000)
    if (why := unsettled(world)) is not None:
        raise Violation(SETTLES, f"it was settled as of transaction {number}, and then: {why}")


def _look_over(world: World) -> None:
    """Every request is answered, all nodes find the same, and nothing is wrong with what is on the disk then."""
    world.filers.enabled = world.volume_users.enabled = False
    for turn in range(2):
        until_us = world.queue.now_us + round(_DRAIN_US_MAX * world.options.timing_factor)
        while (why := world.filers.busy() or world.volume_users.busy()) is not None:
            if world.queue.now_us > until_us:
                raise Violation(ANSWERED, why)
            world.queue.run_until(world.queue.now_us + _LOOK_US)
        for node in world.nodes if turn == 0 else ():
            world.filers.look_over(node)
            world.volume_users.look_over(node)
    world.queue.run_until(world.queue.now_us + 2 * SYNCHRONIZE_MS * 1000)  # clocks may run slow
    wrong = wrong_on(world.disk.contents(), world.config.cluster_id, shared=world.shared)
    if wrong:
        raise Violation(WHOLE, "; ".join(wrong[:5]))


def _give_locks_up(world: World) -> None:
    """Every wait ends, and no lock manager remembers anything then."""
    world.lockers.drain()
    until_us = world.queue.now_us + round(_DRAIN_US_MAX * world.options.timing_factor)
    while (why := world.lockers.left() or world.remembered()) is not None:
        if world.queue.now_us > until_us:
            raise Violation(GIVEN_UP, why)
        world.queue.run_until(world.queue.now_us + _LOOK_US)


def _struck(world: World) -> Counter[str]:
    """Those that struck a datagram or a command by their rates."""
    datagrams = Counter({f"datagram-{kind}": count for kind, count in world.network.counts.items() if kind != "sent"})
    sectors = Counter({f"sector-{kind}": count for kind, count in world.disk.damage.counts.items()})
    programs = Counter({f"program-{kind}": count for kind, count in world.programs.counts.items()})
    locks = Counter({f"lock-{kind}": count for kind, count in world.lockers.counts.items()})
    files = Counter({f"file-{kind}": count for kind, count in world.filers.counts.items()})
    disks = Counter({f"vdisk-{kind}": count for kind, count in world.volume_users.counts.items()})
    commands = Counter({f"command-{kind}": count for kind, count in world.commands.counts.items()})
    managers = Counter({f"event-manager-{kind}": count for kind, count in world.event_managers.counts.items()})
    raw = Counter({f"raw-write-{kind}": count for kind, count in world.disk_writers.counts.items()})
    services = Counter({f"service-{kind}": count for kind, count in world.administrator.counts.items()})
    return +(datagrams + sectors + programs + locks + files + disks + commands + managers + services + raw)


def _story(world: World) -> list[Told]:
    return world.trace.causes(STORY_LINES)
