"""Claim: a service that is registered on one node runs on one at most, at any instant; one that is registered on all,
once on each (S9.1, A6).

Its start, stop and recovery commands count as running, too: who starts it while another one stops it is too soon. A
life counts for nothing once it has ended, or its key was removed from the disk: what runs there harms nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from hil.checkers.checker import Checker
from hil.checkers.observation import Observation

if TYPE_CHECKING:
    from hil.checkers.checker import Bench
    from hil.sim.commands import Instance, Run
    from hil.sim.world import World

_OCCUPY = ("start", "stop", "recovery")


class OnePlace(Checker):
    """Asked whenever a command begins or an instance is there."""

    claim = "a service runs on one node at most, or once on each (S9.1, A6)"
    needs = (Observation.INSIDE,)

    def begin(self, bench: Bench) -> None:
        """Of a simulated cluster."""
        super().begin(bench)
        self.world = cast("World", bench)
        self.world.commands.on_begin.append(self._begins)
        self.world.commands.on_instance.append(self._runs)

    def _begins(self, run: Run) -> None:
        if run.action not in _OCCUPY or self.world.registry.is_over(run.node.number, run.incarnation):
            return
        everywhere = self.world.administrator.on_all(run.service)
        if everywhere and run.action == "recovery":
            return
        self._only(run, run.service, run.node.number, everywhere=everywhere)
        if run.action == "start" and self.world.administrator.goes_on(run.service):
            self._none_yet(run, run.service, run.node.number, everywhere=everywhere)

    def _runs(self, instance: Instance) -> None:
        if not self.world.registry.is_over(*instance.life):
            everywhere = self.world.administrator.on_all(instance.service)
            self._none_yet(instance, instance.service, instance.node, everywhere=everywhere)

    def _only(self, one: Run, service: str, node: int, *, everywhere: bool) -> None:
        for other in self.world.commands.runs:
            if other is one or other.service != service or other.action not in _OCCUPY:
                continue
            if everywhere and (other.node.number != node or other.action == "recovery"):
                continue
            if not self.world.registry.is_over(other.node.number, other.incarnation):
                self.fail(f"there is {one} while there is {other}")

    def _none_yet(self, one: Any, service: str, node: int, *, everywhere: bool) -> None:
        for other in self.world.commands.instances:
            if other is one or other.service != service or (everywhere and other.node != node):
                continue
            if not self.world.registry.is_over(*other.life):
                self.fail(f"there is {one} while there is {other}")
