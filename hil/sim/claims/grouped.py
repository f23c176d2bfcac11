"""Claim: a child service runs only where its parent does, is started after it and stopped before it (S9.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from hil.checkers.checker import Checker
from hil.checkers.observation import Observation

if TYPE_CHECKING:
    from hil.checkers.checker import Bench
    from hil.sim.commands import Run
    from hil.sim.world import World


class Grouped(Checker):
    """Asked when a command begins."""

    claim = "a child service runs only where its parent does, is started after it and stopped before it (S9.4)"
    needs = (Observation.INSIDE,)

    def begin(self, bench: Bench) -> None:
        """Of a simulated cluster."""
        super().begin(bench)
        self.world = cast("World", bench)
        self.world.commands.on_begin.append(self._begins)

    def _begins(self, run: Run) -> None:
        if self.world.registry.is_over(run.node.number, run.incarnation):
            return
        if run.action == "start":
            self._after_its_parent(run)
        elif run.action == "stop":
            self._after_its_children(run)

    def _after_its_parent(self, run: Run) -> None:
        number, administrator = run.node.number, self.world.administrator
        parent = administrator.parent(run.service)
        if not parent:
            return
        registered = [one for one in self.world.registry.registered() if one[0].name == parent]
        if (number, run.incarnation) not in [(node, incarnation) for _, _, node, incarnation in registered]:
            self.fail(f"there is {run}, where its parent {parent} is not registered")
        here = [one for one in self.world.commands.instances if one.service == parent and one.node == number]
        if administrator.goes_on(parent) and not here:
            self.fail(f"there is {run}, where its parent {parent} does not run")

    def _after_its_children(self, run: Run) -> None:
        number = run.node.number
        for child in self.world.administrator.children(run.service):
            for instance in self.world.commands.instances:
                if (instance.service, instance.node) == (child, number):
                    self.fail(f"there is {run} while there is {instance}, its child")
            for other in self.world.commands.runs:
                if (other.service, other.node.number) == (child, number) and other.action in ("start", "stop"):
                    self.fail(f"there is {run} while there is {other}, its child")
