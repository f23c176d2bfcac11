"""Plays a plan of faults on a running cluster, whatever is behind it: the library's, or one of the simulator.

::

    PLAN = Plan(until_ms=12_000, faults=(Fault("cut-node", 8000, 3000, node="master"),))

    @pytest.mark.cluster(nodes=3, joined=False)
    def test_the_master_is_cut_off(cluster):
        play(cluster, PLAN)
        cluster.wait_joined()

Times count from the call, so with ``joined=False`` from power on, as in the simulator. Whoever is off and is not kept
off by the plan is switched on again within a second, as by the simulator's operator; with ``operator=False`` nobody is
but by the end of a fault. A node may panic: which ones do is for the checkers to judge, not for the plan.

:class:`Player` goes on by being called, so a plan is also played beside a scenario (:mod:`hil.beside`).

Differences from the simulator (``hil sim --play``), which repeats the very run: a share of ``disk-errors`` is 1000;
``drops`` is the machine's own affair.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final, overload

from guestd.core.timing import Timing
from hil.errors import InvalidRun, NothingToStrike, UsageError
from hil.faults.fault import backend_of
from hil.faults.injection import HOLD_S, Injection, begin
from hil.faults.pace import Pace
from hil.faults.plan import OPERATOR_S, FaultPlan, Step
from hil.faults.simulated_plan import ONLY_SIMULATED, steps_of
from hil.sim.plan import Fault, Plan

if TYPE_CHECKING:
    from hil.client import Cluster
    from hil.scenario import ScenarioCluster

__all__ = ["ONLY_SIMULATED", "Fault", "FaultPlan", "Plan", "Player", "play"]

LOOK_S: Final = 0.1
"""How often it is looked whether a fault has taken hold, or is undone."""


@overload
def play(cluster: ScenarioCluster, plan: Plan, *, operator: bool = True) -> list[Fault]: ...


@overload
def play(cluster: ScenarioCluster, plan: FaultPlan) -> list[Step]: ...


def play(cluster: ScenarioCluster, plan: Plan | FaultPlan, *, operator: bool = True) -> list[Fault] | list[Step]:
    """Carry out ``plan``, heal all, and wait as long as somebody may yet be forced out for it.

    ``operator``: of a plan of the simulator; the library's say it themselves. Returns when all faults are undone and,
    with ``operator``, all machines are on. The result: the faults that found nothing to strike (the node was off, or
    nobody was the master). Raises :class:`hil.errors.UsageError`, and nothing has happened, for a plan that this
    cluster cannot carry out; :class:`InvalidRun` for a fault that was not undone.
    """
    if isinstance(plan, Plan):
        plan.check(len(cluster.nodes))
        # The order of a plan counts among faults of one moment, and so do its faults in the answer.
        steps = steps_of(plan, len(cluster.nodes))
        library_plan = FaultPlan("simulated", plan.until_ms, steps, operator=operator)
    else:
        library_plan = plan
    library_plan.check(len(cluster.nodes), backend_of(cluster))
    for node in cluster.nodes:
        cluster.allow_panic(node)
    player = Player(cluster, library_plan, strict=False)
    player.begin()
    while (due_s := player.act()) is not None:
        cluster.pass_time(max(0.0, due_s - cluster.clock))
    times = Timing(**cluster.settings["settings"]["timing"])
    # Who was silent until now may be forced out for it yet.
    end_s = cluster.clock + (times.death_ms + times.agreed_ms_max) / 1000
    while (left_s := end_s - cluster.clock) > 0:
        cluster.pass_time(min(left_s, OPERATOR_S))
        player.switch_on()
    if isinstance(plan, Plan):
        in_order = sorted(plan.faults, key=lambda fault: fault.at_ms)
        return [in_order[library_plan.steps.index(step)] for step in player.passed_over]
    return player.passed_over


class Player:
    """Of one plan on one cluster. After :meth:`begin`, :meth:`act` is to be called whenever its time has come.

    ``strict``: a fault at a fixed time that finds nobody to strike, or meets nothing, makes the run invalid; one that
    was drawn is passed over in any case.
    """

    def __init__(self, cluster: Cluster, plan: FaultPlan, *, strict: bool) -> None:
        self.passed_over: list[Step] = []
        self.struck: list[Step] = []
        self.over = False
        self._cluster = cluster
        self._plan = plan
        self._strict = strict
        self._waiting = list(plan.steps)
        self._open: list[tuple[Step, Injection, float]] = []  # with the time until which it must have taken hold
        self._healing: list[tuple[Injection, float]] = []  # with the time until which it must be undone
        self.begun_s = 0.0
        self._pace = Pace(plan.rejoined_ms, 0.0, 0.0)
        self._operator_s = 0.0
        self._crashes = list(plan.crashed_ms)
        self._ends = [node.view.ends for node in cluster.nodes]  # at its last panic
        self._crash_due_s: float | None = None

    def begin(self) -> None:
        """The times of the plan count from now on."""
        self._cluster.caller.call("note_plan", step="begun", about=self._plan.as_dict())
        self.begun_s = self._operator_s = self._cluster.clock
        self._pace = Pace(self._plan.rejoined_ms, self.begun_s, self._cluster.default_timeout_s)

    def act(self) -> float | None:
        """Do what is due; when to be called again, by the cluster's clock, None: it is over.

        Raises :class:`InvalidRun`.
        """
        self._cluster.poll()
        self._look_joined()
        self._look()
        self._end_due()  # of two at one moment one may begin where the other ends
        self._begin_due()
        self._look()
        self._end_due()
        self._look_undone()
        if self._cluster.clock >= self._operator_s:
            self._operator_s = self._cluster.clock + OPERATOR_S
            self.switch_on()
        if self._is_over and not self._open and not self._healing:
            self._finish()
            return None
        return self._due_s()

    def stop(self) -> None:
        """Before its time is over: nothing more begins, and what is in force is healed. Raises :class:`InvalidRun`."""
        if self.over:
            return
        self._waiting.clear()
        for step, injection, _ in self._open:
            self._heal(step, injection)
        self._open.clear()
        while self._healing:
            self._look_undone()
            if self._healing:
                self._cluster.pass_time(LOOK_S)
        self._finish()

    def switch_on(self) -> None:
        """Whoever has panicked, has left or was switched off, unless it is to be off."""
        if not self._plan.operator:
            return
        kept = {node.id for _, injection, _ in self._open if injection.fault.boots for node in injection.nodes}
        kept |= {node.id for injection, _ in self._healing if injection.fault.boots for node in injection.nodes}
        seen = [(node, node.view.power) for node in self._cluster.nodes if node.id not in kept]
        if crashed := [node for node, power in seen if power == "crashed"]:
            self._cluster.power_cycle(crashed)
        if off := [node for node, power in seen if power == "off" and node.view.power_on_t is not None]:
            self._cluster.power_on(off)

    # -- time

    def _look_joined(self) -> None:
        undone = [step.at_ms for step in self._waiting] + [step.end_ms for step, _, _ in self._open]
        while self._pace.is_next(undone):
            apart = self._cluster.view.why_not_joined([node.id for node in self._cluster.nodes])
            if not self._pace.go_on(self._cluster.clock, joined=apart is None):
                return

    @property
    def _is_over(self) -> bool:
        end_s = self._pace.due_s(self._plan.until_ms)
        return end_s is not None and self._cluster.clock >= end_s

    def _due_s(self) -> float:
        now_s = self._cluster.clock
        again_s = now_s + LOOK_S
        end_s = self._pace.due_s(self._plan.until_ms)
        due = [self._operator_s, again_s if end_s is None else max(end_s, again_s)]
        begins = [self._pace.due_s(step.at_ms) for step in self._waiting[:1]]
        due += [again_s if due_s is None else due_s for due_s in begins]
        panics = [self._pace.due_s(at_ms + 1) for at_ms, _ in self._crashes[:1]]
        due += [max(due_s, again_s) for due_s in panics if due_s is not None]
        for step, injection, _ in self._open:
            ends_s = self._ends_s(step)
            due.append(again_s if ends_s is None else max(ends_s, now_s + LOOK_S * (injection.step == "begun")))
        if self._healing or any(injection.step == "begun" for _, injection, _ in self._open):
            due.append(again_s)
        return min(due)

    def _ends_s(self, step: Step) -> float | None:
        return self._pace.due_s(min(step.end_ms, self._plan.until_ms))

    # -- faults

    def _begin_due(self) -> None:
        while self._waiting and self._is_due(self._pace.due_s(self._waiting[0].at_ms)):
            step = self._waiting.pop(0)
            if step.at_ms >= self._plan.until_ms:
                continue
            draw = None if step.seed is None else random.Random(step.seed)
            try:
                injection = begin(self._cluster, step.kind, step.whom, step.parameters, draw)
            except (NothingToStrike, UsageError) as error:
                # Legal it is, that was checked: its machine went off, or it has no others in the role that it is in.
                self._pass_over(step, error)
            else:
                self._open.append((step, injection, self._cluster.clock + injection.hold_s))

    def _is_due(self, due_s: float | None) -> bool:
        return due_s is not None and self._cluster.clock >= due_s

    def _look(self) -> None:
        for step, injection, _ in self._open:
            if injection.step == "begun" and injection.looks_held() is None:
                self.struck.append(step)

    def _stand(self) -> None:
        """In a recorded plan time does not pass the end of a fault that has not struck yet, nor a panic that has not
        come.
        """
        now_s = self._cluster.clock
        for step, injection, held_s in self._open if self._plan.recorded else ():
            if injection.step == "begun" and not step.drawn and now_s < held_s:
                self._pace.stand(min(step.end_ms, self._plan.until_ms), now_s, now_s + LOOK_S)
        while self._crashes and self._has_crashed(*self._crashes[0]):
            self._crashes.pop(0)
            self._crash_due_s = None

    def _has_crashed(self, at_ms: int, node: int) -> bool:
        """Whether that panic has come, or is given up; else time stands there."""
        view, now_s = self._cluster.nodes[node].view, self._cluster.clock
        if view.power == "crashed" and view.ends > self._ends[node]:
            self._ends[node] = view.ends
            return True
        # What has led to it may have been in the same moment, what followed was later.
        stood = self._pace.stand(at_ms + 1, now_s, now_s + LOOK_S)
        if stood and self._crash_due_s is None:
            self._crash_due_s = now_s
        return self._crash_due_s is not None and now_s >= self._crash_due_s + HOLD_S * self._cluster.speed_factor

    def _end_due(self) -> None:
        self._stand()
        for entry in list(self._open):
            step, injection, held_s = entry
            # What ends a life by itself, as a leave does, is let come to its end.
            waits = injection.step == "begun" and injection.fault.boots and self._cluster.clock < held_s
            if self._is_due(self._ends_s(step)) and not waits:
                self._open.remove(entry)
                self._heal(step, injection)

    def _heal(self, step: Step, injection: Injection) -> None:
        if injection.step == "begun" and (why := injection.looks_held()) is not None:
            error = InvalidRun(f"{injection} did not take hold: {why}")
            injection.give_up(error)
            self._pass_over(step, error)
            return
        if step not in self.struck:
            self.struck.append(step)
        injection.begin_to_heal()
        self._healing.append((injection, self._cluster.clock + injection.undo_s))

    def _look_undone(self) -> None:
        for entry in list(self._healing):
            injection, undone_s = entry
            if (why := injection.looks_undone()) is None or self._lost_again(injection):
                self._healing.remove(entry)
            elif self._cluster.clock > undone_s:
                raise InvalidRun(f"{injection} was not undone within {injection.undo_s:.0f} s: {why}")

    def _lost_again(self, injection: Injection) -> bool:
        """Another fault keeps its machines off: they boot when that is over."""
        kept = {node.id for _, other, _ in self._open if other.fault.boots for node in other.nodes}
        if injection.fault.boots and kept & set(injection.fault.ids):
            injection.take_over()
            return True
        return False

    def _pass_over(self, step: Step, error: Exception) -> None:
        self.passed_over.append(step)
        if self._strict and not step.drawn:
            raise InvalidRun(f"plan {self._plan.name}, at {step.at_ms} ms: {error}")

    def _finish(self) -> None:
        self.switch_on()
        self.over = True
        told = {"name": self._plan.name, "seed": self._plan.seed}
        counts = {"struck": len(self.struck), "passed_over": len(self.passed_over)}
        self._cluster.caller.call("note_plan", step="over", about=told | counts)
