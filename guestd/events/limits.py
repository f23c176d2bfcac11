"""How much the event daemon takes from a watcher, and how long it waits for one."""

from __future__ import annotations

from guestd.core.value import Value


class Limits(Value):
    """Times in milliseconds. Those of a watcher's program are counted in time in which the node ran."""

    ping_ms: int = 5_000  # from a watcher's answer to the next question whether it is there
    answer_ms: int = 10_000  # so long it may be silent then: Python on an emulated processor, with all else that runs
    start_ms: int = 60_000  # from the start of a watcher's program to its connection
    idle_ms: int = 10_000  # a watcher of the system's that no event needs is ended after that
    pause_ms: int = 1_000  # from the end of a watcher's program to the next start, when it failed once
    pause_ms_max: int = 60_000  # it doubles with each failure up to that
    steady_ms: int = 60_000  # a watcher that was connected for that long has not failed before
    messages: int = 100  # that a watcher may send in a period
    messages_per_watch: int = 60  # and so many more for each event that it watches for
    messages_period_ms: int = 10_000
    step_ms: int = 1_000  # more than that at once has not passed for the programs of this node: it was frozen
    seldom_ms: int = 10_000  # the host is told no more often that a watcher has come, or cannot watch for an event
    transitions: int = 64  # that are kept for a watcher that is about to come back
    watchers: int = 64  # that may be connected
