"""Claim: all event managers read one history of the services: under one number there is one transaction (S9.1)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from hil.checkers.checker import Checker
from hil.checkers.observation import Observation

if TYPE_CHECKING:
    from guestd.events.inputs import StoreDone
    from hil.checkers.checker import Bench
    from hil.sim.event_managers import Manager
    from hil.sim.world import World


class OneHistory(Checker):
    """By every read and write (:mod:`hil.sim.registry`), and by what each makes of them."""

    claim = "all event managers read one history of the services (S9.1)"
    needs = (Observation.INSIDE,)

    def __init__(self) -> None:
        self._made: dict[int, Any] = {}  # number -> everything, as the first one had it

    def begin(self, bench: Bench) -> None:
        """Of a simulated cluster."""
        super().begin(bench)
        self.world = cast("World", bench)
        self.world.registry.on_conflict = self.fail
        self.world.event_managers.on_store.append(self._read)

    def _read(self, manager: Manager, _effect: Any, _done: StoreDone) -> None:
        """What it had before this: what it was told last is certain by now."""
        node, database = manager.node, manager.database
        registry = self.world.registry
        if database is None or registry.is_over(node.number, node.incarnation):
            return
        if database.number > registry.database.number:  # in its own cache only
            return
        seen = self._made.get(database.number)
        if seen is None:
            self._made[database.number] = (database.everything(), json.dumps(database.everything()))
        elif seen[0] != database.everything():
            self.fail(f"node {node.number} has {database.everything()} as of {database.number}, another one {seen[1]}")

    def finished(self) -> None:
        """All have the same."""
        for manager in self.world.event_managers.all:
            if manager.runs and manager.database is not None and manager.database.number:
                seen = self._made.setdefault(manager.database.number, (manager.database.everything(), ""))
                if seen[0] != manager.database.everything():
                    self.fail(f"node {manager.node.number} has something else as of {manager.database.number}")
