"""Room for one more cluster: a start that does not fit waits for its turn, and the kernel keeps the queue.

Starts of one user take turns by an exclusive lock on one file, which the kernel drops when its holder dies: nothing is
reserved that a killed process could leave behind. Whoever has the turn counts the clusters that run, waits until one
of them ends if there is no room, starts its own, and hands the turn on when its nodes have joined. So a big cluster is
not overtaken for ever by small ones, and clusters do not boot side by side. Emulated, that would take as long and be
less safe: a node that boots takes a whole core (figures: `hil/capacity.py`).

``hil up`` on the command line does not queue, but the clusters that it started are counted.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import select
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from hil import paths
from hil.bench import address
from hil.capacity import Running, capacity, resident_mib
from hil.client.connection import EventReader
from hil.config import ClusterConfig, make_config
from hil.errors import BadConfig, BenchDied, PreflightFailed, UnknownCluster
from hil.evidence import layout

ANSWER_TIMEOUT_S = 10.0
"""For a bench to tell how big it is; one that is just starting on a loaded machine takes a second or two."""

NAME_PERIOD_S = 0.005
"""A name is free milliseconds after its bench has hung up, and nothing tells of that."""


@contextlib.contextmanager
def turn(config: ClusterConfig, tell: Callable[[str], None]) -> Iterator[None]:
    """Wait until there is room for ``config``, which the block starts, and waits for; ``tell`` hears why it waits.

    Raises :class:`PreflightFailed` at once for a cluster that this machine can never carry.
    """
    capacity(config).check_ever(config)
    with open(paths.cache_dir() / "room.lock", "a", encoding="ascii") as lock:
        _lock(lock, tell)
        told = None
        while (why_not := _why_not_now(config)) is not None:
            text, names = why_not
            if text != told:
                tell(f"waiting for room: {text}")
                told = text
            await_end_of_any(names)
        yield


def _lock(lock: TextIO, tell: Callable[[str], None]) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        tell("waiting for room: another cluster is to start first")
        fcntl.flock(lock, fcntl.LOCK_EX)


def _why_not_now(config: ClusterConfig) -> tuple[str, list[str]] | None:
    """Why ``config`` cannot start now, and the clusters whose end may change that; None if there is room."""
    limit, running = capacity(config), running_now()
    why_not = limit.why_not_now(config, running)
    if why_not is None:
        return None
    if not running:
        raise PreflightFailed(f"no room for cluster {config.name!r}: {why_not}, and no other cluster runs")
    return why_not, [cluster.name for cluster in running]


def crowding(config: ClusterConfig) -> str | None:
    """A warning for somebody who starts ``config`` whatever else runs: more nodes than cores for them; else None."""
    limit, nodes = capacity(config), sum(cluster.nodes for cluster in running_now()) + config.nodes
    if nodes <= limit.nodes_max:
        return None
    return (
        f"these are {nodes} nodes at once, and this machine carries {limit.nodes_max} ({limit.why}):"
        " nodes may be slow to join, or be taken for dead"
    )


def running_now() -> list[Running]:
    """The calling user's clusters, with what they take."""
    names = address.running_clusters()
    resident = resident_mib(names)
    found = []
    for name in names:
        config = _config_of(name)
        if config is not None:
            found.append(Running(name, config.nodes, config.memory_mib, resident[name]))
    return found


def _config_of(name: str) -> ClusterConfig | None:
    """What the cluster ``name`` was asked to be; None if it has just ended, or cannot be read."""
    run_dir = paths.latest_run_dir(name)
    with contextlib.suppress(UnknownCluster, BenchDied), contextlib.closing(EventReader(name)) as reader:
        events = reader.read(ANSWER_TIMEOUT_S)
        if events:
            told = events[0].get("run_dir")  # a bench that could not even begin tells only why it ends
            run_dir = None if told is None else Path(told)
        elif reader.ended:
            return None
    if run_dir is None:
        return None
    try:
        asked = json.loads((run_dir / layout.CLUSTER).read_text(encoding="utf-8"))
        return make_config(**asked["config"])
    except (OSError, ValueError, KeyError, BadConfig):
        return None


def await_end_of_any(names: Sequence[str]) -> None:
    """Return when one of the clusters ``names`` has ended: a bench hangs up on all of its clients when it ends."""
    ending = _await_hang_up(names)
    if ending in address.running_clusters():
        time.sleep(NAME_PERIOD_S)


def _await_hang_up(names: Sequence[str]) -> str:
    """The first of ``names`` whose bench hangs up, or does not answer the call any more."""
    with contextlib.ExitStack() as stack:
        poll, by_descriptor = select.poll(), {}
        for name in names:
            try:
                connection = stack.enter_context(address.connect(name))
            except UnknownCluster:
                return name
            by_descriptor[connection.fileno()] = name
            poll.register(connection, select.POLLRDHUP)  # a hang-up is always reported; nothing else is said unasked
        return by_descriptor[poll.poll()[0][0]]
