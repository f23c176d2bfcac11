"""Kinds of fault that answer late, or never: hang, delay-writes, slow, reset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hil.scsi.command import ABORTED, Command, Outcome

if TYPE_CHECKING:
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
        table.release_later(delay_s, command, fault)
    return full


def reset(table: FaultTable, fault: Fault, command: Command, run: Run) -> Outcome | None:
    """The connection ends, before the command is executed or after; either way it gets no answer.

    The command is over here, and not when the connection is: what others do in between takes effect after it, and
    comes after it in the ledger. None: a later fault holds it, and it waits or is aborted as that one's commands are.
    """
    outcome = run() if fault.values["when"] == "after" else ABORTED
    table.drop_connection(command, f"reset by fault {fault.number}")
    return None if outcome is None else ABORTED
