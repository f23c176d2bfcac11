"""Kinds of fault that answer late, or never: hang, delay-writes, slow, reset."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hil.scsi.command import Command, Outcome
    from hil.scsi.faults.fault import Fault, Run
    from hil.scsi.faults.table import FaultTable

_SLOWEST_TIMES_MEAN = 20  # an exponential distribution has no end, a test has


def hang(table: FaultTable, fault: Fault, command: Command, run: Run) -> Outcome | None:
    """Until the fault is healed, and executed then; until then it can be aborted."""
    return table.hold(fault, command, run)


def slow(table: FaultTable, fault: Fault, command: Command, run: Run) -> Outcome | None:
    """Executed after a while; of commands that wait for different times a later one may come first."""
    mean_s = fault.number_of("ms") / 1000
    spread = fault.values["spread"]
    delay_s = mean_s
    if spread == "uniform":
        delay_s = fault.random.uniform(0, 2 * mean_s)
    elif spread == "exponential":
        delay_s = min(fault.random.expovariate(1 / mean_s), _SLOWEST_TIMES_MEAN * mean_s)
    full = table.hold(fault, command, run)
    if full is None:
        table.later(delay_s, lambda: table.release(command, fault))
    return full


def reset(table: FaultTable, fault: Fault, command: Command, run: Run) -> Outcome | None:
    """The connection ends, before the command is executed or after; either way it gets no answer.

    The connection that the command came by cannot be dropped while it is being received from: right after.
    """
    full = table.hold(fault, command, run)
    if full is None:
        if fault.values["when"] == "after":
            run()
        table.later(0, lambda: table.drop_session(command.nexus, f"reset by fault {fault.number}"))
    return full
