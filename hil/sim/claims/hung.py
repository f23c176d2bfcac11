"""Claim: a node is lost to a program only that hangs or is dead (S4.13).

What a program waits for that others have to do is no hang: an event manager that lives says that it works until that
comes, or finds that it will not come. So a transition that one node holds up costs that node, and nobody else.

It says nothing while the shared file system has not answered it: who gets no answer in time, from a slow disk or since
files of the dead are being recovered, is no better than one that hangs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from hil.checkers.checker import Checker
from hil.checkers.observation import Observation
from hil.checkers.panics import hung_subsystem
from hil.sim.stores import IDLE

if TYPE_CHECKING:
    from hil.checkers.checker import Bench
    from hil.checkers.observation import Life
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
            waits_for_files = manager.store is not None and manager.store.doing != IDLE
            if its_own and manager.works and not waits_for_files:
                self.fail(f"node {node.number} panicked for its event manager, which {manager.shown()}")
        for program in self.world.programs.all:
            if program.name == name and (program.node.number, program.life) == life and program.works:
                self.fail(f"node {node.number} panicked for {name}, which works on {sorted(program.unacknowledged)}")
