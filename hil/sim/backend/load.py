"""The load of a scenario: the simulator's own programs, started and looked over when the scenario says so.

What they are told is judged at every moment by :mod:`hil.sim.claims`; looking over is one more program on each node
that reads everything, so that what nobody has read since is judged, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from hil.errors import ClaimFailed, UsageError

if TYPE_CHECKING:
    from hil.sim.backend.world import ScenarioWorld
    from hil.sim.nodes import Node

KINDS: Final = ("files", "locks", "volumes")
ANSWER_S_MAX: Final = 120.0
"""Times the factor of the cluster: how long what a program has asked for may take while no fault holds it up."""

PassTime = Callable[[float], None]
_LOOK_S: Final = 0.05


class SimulatedLoad:
    """Of one cluster."""

    def __init__(self, world: ScenarioWorld, pass_time: PassTime) -> None:
        self._world = world
        self._pass_time = pass_time

    def begin(self, kinds: list[str]) -> None:
        """On each node, and after each boot from now on. Raises :class:`UsageError`."""
        for kind in kinds:
            if kind not in KINDS:
                raise UsageError(f"begin_load: kind {kind!r}; there are: {', '.join(KINDS)}")
        world = self._world
        for kind in kinds:
            if kind == "files":
                world.filers.count, world.filers.enabled = 1, True
            elif kind == "locks":
                world.lockers.count, world.lockers.enabled, world.lockers.draining = 1, True, False
            else:
                world.volume_users.count, world.volume_users.enabled = 1, True
        for node in self._running():
            if "files" in kinds and world.mounts.usable(node):
                world.filers.start(node)
            if "locks" in kinds:
                world.lockers.start(node)
            if "volumes" in kinds:
                world.volume_users.start(node)

    def end(self) -> None:
        """They end when they have done what they are at; what they hold is given up."""
        world = self._world
        world.filers.count = world.lockers.count = world.volume_users.count = 0
        world.filers.enabled = world.volume_users.enabled = False
        world.lockers.drain()

    def counts(self) -> dict[str, int]:
        """What each kind was told that it has, or that is done; of virtual disks all answers.

        Nobody takes away the disks of programs that died, so in the end there may be no room for new ones.
        """
        files, volumes = self._world.filers.counts, self._world.volume_users.counts
        return {
            "files": files["appended"] + files["counted"] + files["changed"],
            "locks": self._world.lockers.counts["granted"],
            "volumes": sum(volumes.values()),
        }

    def look_over(self, kinds: list[str]) -> None:
        """Everything is read on each node, and whoever waits for a lock is answered.

        Raises :class:`ClaimFailed`, also for whatever is found that must not be.
        """
        world = self._world
        nodes = [node for node in self._running() if node.frozen is None and world.mounts.usable(node)]
        read = [world.filers.look_over(node) for node in nodes] if "files" in kinds else []
        asked = [world.volume_users.look_over(node) for node in nodes] if "volumes" in kinds else []
        waiting = world.lockers.waiting() if "locks" in kinds else []

        def why_not() -> str | None:
            for filer in read:
                if filer.runs:
                    return f"a program on node {filer.node.number} {filer.doing}"
            for user in asked:
                if user.runs and user.asked is not None:
                    return f"a program on node {user.node.number} waits for the list of virtual disks"
            for locker, lock, since_us in waiting:
                if locker.runs and lock.number in locker.locks and lock.waits and lock.asked_us == since_us:
                    return f"a program on node {locker.node.number} waits for lock {'/'.join(lock.name)}"
            return None

        left_s = ANSWER_S_MAX * world.options.timing_factor
        while (phrase := why_not()) is not None:
            if left_s <= 0:
                raise ClaimFailed(f"the load is answered: not within {ANSWER_S_MAX:.0f} s: {phrase}")
            self._pass_time(_LOOK_S)
            left_s -= _LOOK_S

    def _running(self) -> list[Node]:
        return [node for node in self._world.nodes if node.stack is not None]
