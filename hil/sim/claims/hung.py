"""Claim: a node is lost to a program only that hangs or is dead (S4.13).

What a program waits for that others have to do is no hang: an event manager that lives says that it works until that
comes, or finds that it will not come. So a transition that one node holds up costs that node, and nobody else.

An event manager says so of the shared file system, too, which may have files of the dead to recover; but it has no more
patience with one operation than PATIENCE_MS, or nobody would find a file system that hangs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from guestd.services.transactions import PATIENCE_MS
from hil.checkers.checker import Checker
from hil.checkers.observation import Observation
from hil.checkers.panics import hung_subsystem

if TYPE_CHECKING:
    from hil.checkers.checker import Bench
    from hil.checkers.observation import Life
    from hil.sim.event_managers import Manager
    from hil.sim.world import World


class Hung(Checker):
    """Asked at the moment of a panic: what the program that is to blame is at."""

    claim = "a node is lost to a program only that hangs or is dead (S4.13)"
    kinds = ("panic",)
    needs = (Observation.INSIDE,)

    def begin(self, bench: Bench) -> None:
        """Of a simulated cluster."""
        super().begin(bench)
        self.world = cast("World", bench)

    def emitted(self, node: Life, kind: str, fields: dict[str, Any]) -> None:
        """Why it panics."""
        if fields["cause"] != "subsystem-hung":
            return
        name, life = hung_subsystem(fields["reason"]), (node.number, node.life)
        for manager in self.world.event_managers.all:
            its_own = manager.name == name and (manager.node.number, manager.life) == life
            if its_own and manager.works and not self._has_lost_patience(manager):
                self.fail(f"node {node.number} panicked for its event manager, which {manager.shown()}")
        for program in self.world.programs.all:
            if program.name == name and (program.node.number, program.life) == life and program.works:
                self.fail(f"node {node.number} panicked for {name}, which works on {sorted(program.unacknowledged)}")

    def _has_lost_patience(self, manager: Manager) -> bool:
        asked_us = manager.asked_us
        return asked_us is not None and self.world.queue.now_us - asked_us >= PATIENCE_MS * 1000
