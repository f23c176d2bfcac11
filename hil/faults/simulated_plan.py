"""A fault of the simulator's plans (:mod:`hil.sim.plan`) as one of the library."""

from __future__ import annotations

from typing import Any, Final

from hil.errors import UsageError
from hil.faults.plan import Step
from hil.sim.plan import Fault, Plan

ONLY_SIMULATED: Final = {
    "doom": "no machine can be stopped between two effects of one input",
    "slow-cpu": "no machine takes a given time for each input",
    "fence-errors": "no target refuses a reservation command without a reason",
}
"""Kinds of faults that no bench has, and why."""

_KINDS: Final = {
    "crash": "power-off",
    "power-failure": "power-off",
    "leave": "shutdown",
    "panic": "panic",
    "freeze-process": "freeze-process",
    "freeze-vcpu": "freeze-vcpu",
    "cut-node": "link-silent",
    "cut-one-way": "link-silent",
    "cut-link": "link-silent",
    "split": "link-split",
    "loss": "link-loss",
    "disk-hang": "disk-hang",
    "disk-hang-all": "disk-hang",
    "delay-writes": "disk-delay-writes",
    "disk-errors": "disk-error",
    "fence-hang": "disk-hang",
}
_ROLES: Final = {"other": "any_other"}


def of_simulated(fault: Fault, nodes: int | None = None) -> Step:
    """Raises :class:`UsageError` for what only the simulator can. ``nodes``: of the cluster, where that is known."""
    only = "only `hil sim --play` can"
    if fault.kind in ONLY_SIMULATED:
        raise UsageError(f"fault {fault.kind} at {fault.at_ms} ms: {ONLY_SIMULATED[fault.kind]}; {only}")
    if fault.kind == "disk-errors" and fault.share != 1000:
        raise UsageError(
            f"fault disk-errors at {fault.at_ms} ms: share = {fault.share} (legal: 1000): a target refuses all"
            f" commands or none; {only}"
        )
    parameters: dict[str, Any] = {}
    if fault.others is not None:
        parameters["others"] = list(fault.others)
    if fault.direction is not None:
        parameters["direction"] = fault.direction
    if fault.groups is not None:
        parameters["groups"] = _groups(fault, nodes)
    if fault.kind == "fence-hang":
        parameters |= {"direction": "reserve", "lun": fault.lun}
    if fault.kind == "loss":
        parameters["share"] = fault.share
    if fault.nodes is not None:
        whom = ",".join(map(str, fault.nodes))
    else:
        whom = "all" if fault.node is None else _ROLES.get(str(fault.node), str(fault.node))
    return Step(_KINDS[fault.kind], whom, fault.at_ms, fault.for_ms, parameters)


def _groups(fault: Fault, nodes: int | None) -> list[list[int]]:
    """Whoever is in none of its groups is cut from all."""
    named = {number for group in fault.groups or () for number in group}
    alone = [[number] for number in range(nodes or 0) if number not in named]
    return [list(group) for group in fault.groups or ()] + alone


def steps_of(plan: Plan, nodes: int) -> tuple[Step, ...]:
    """In the order in which they begin. Raises :class:`UsageError`."""
    steps = [of_simulated(fault, nodes) for fault in plan.faults]
    return tuple(sorted(steps, key=lambda step: step.at_ms))
