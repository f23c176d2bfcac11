"""An administrator: defines the client services when the cluster is new; then moves, stops, starts, removes, adds some.

Each is asked of any node whose event manager answers. Who asks may never hear how it ended: the node dies, or its event
manager. What holds in the end is what the database says.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

from guestd.services.definition import of_table
from hil.sim.randomness import child

if TYPE_CHECKING:
    from guestd.services.definition import Definition
    from hil.sim.event_managers import EventManagers, Manager
    from hil.sim.options import Options
    from hil.sim.queue import Queue
    from hil.sim.trace import Trace

_FIRST_US_MAX: Final = 3_000_000
_STEP_US_MIN: Final = 200_000
_STEP_US_MAX: Final = 8_000_000
_AGAIN_US: Final = 1_000_000  # until it asks another node, when nobody is there to be asked
_DEPTH_MAX: Final = 3
_CHILD_SHARE: Final = 0.4


class Administrator:
    """One for the cluster. ``tables``: of each service that was ever asked for, by its name."""

    def __init__(
        self, queue: Queue, randomness: random.Random, options: Options, trace: Trace, managers: EventManagers
    ) -> None:
        self.tables: dict[str, dict[str, Any]] = {}
        self.enabled = True
        self.counts = {"added": 0, "removed": 0, "started": 0, "stopped": 0, "moved": 0, "refused": 0}
        self.refusals: list[str] = []
        self._queue = queue
        self._trace = trace
        self._managers = managers
        self._nodes = options.nodes
        self._wanted = options.services
        self._define, self._choose, self._pause = child(randomness), child(randomness), child(randomness)
        self._to_add: list[list[dict[str, Any]]] = []  # groups of services, parents first
        self._asked: dict[int, tuple[str, list[str]]] = {}  # connection -> what, and of which services
        self._there: list[str] = []  # services that were added and not removed, as far as it knows
        self._connections = 0
        self._made = 0
        managers.on_answer = self._answered

    def begin(self) -> None:
        """When the cluster is new."""
        if self._wanted:
            while self._made < self._wanted:
                self._to_add.append(self._group())
            self._queue.after(self._pause.randint(0, _FIRST_US_MAX), self._step)

    def waits(self) -> str | None:
        """What it has not asked for yet; None: nothing."""
        return f"the administrator has to add {self._to_add[0][0]['name']}" if self._to_add else None

    def another_asks(self, request: dict[str, Any]) -> None:
        """Somebody else is about to ask for that: it knows of the services, and so do the claims."""
        asked = request.get("service")
        tables = asked.get("services") if isinstance(asked, dict) else None
        for table in tables if isinstance(tables, list) else []:
            if isinstance(table, dict) and isinstance(table.get("name"), str):
                self.tables.setdefault(table["name"], table)

    # -- what it knows of services

    def parent(self, name: str) -> str:
        """Of that service; "": it has none."""
        return str(self.tables[name].get("parent", ""))

    def children(self, name: str) -> list[str]:
        """Of that service."""
        return [child for child, table in self.tables.items() if table.get("parent") == name]

    def root(self, name: str) -> Definition:
        """Whose choosing parameters count for it."""
        while self.parent(name):
            name = self.parent(name)
        return of_table(self.tables[name])

    def on_all(self, name: str) -> bool:
        """Whether it is registered on every allowable node."""
        return self.root(name).on_all

    def goes_on(self, name: str) -> bool:
        """Whether something runs from its start to its stop. A start that nothing stops leaves nothing behind."""
        return "stop_command" in self.tables[name]

    # -- what it asks

    def _step(self) -> None:
        if not self.enabled and not self._to_add:
            return
        manager = self._anybody()
        if manager is None:
            self._queue.after(_AGAIN_US, self._step)
            return
        if self._to_add:
            self._add(manager, self._to_add.pop(0))
            self._queue.after(self._pause.randint(1, _STEP_US_MIN), self._step)
            return
        self._do_something(manager)
        self._queue.after(self._pause.randint(_STEP_US_MIN, _STEP_US_MAX), self._step)

    def _anybody(self) -> Manager | None:
        managers = [one for number in range(self._nodes) if (one := self._managers.of_number(number)) is not None]
        return self._choose.choice(managers) if managers else None

    def _do_something(self, manager: Manager) -> None:
        if not self._there:
            self._add(manager, self._group())
            return
        what, name = self._choose.random(), self._choose.choice(self._there)
        if what < 0.4:
            node = self._choose.randrange(self._nodes)
            self._ask(manager, "move", [name], {"name": name} | ({"node": node} if what < 0.25 else {}))
        elif what < 0.6:
            self._ask(manager, "stop", [name], {"name": name})
        elif what < 0.85:
            self._ask(manager, "start", [name], {"name": name})
        elif what < 0.93:
            self._ask(manager, "remove", [name], {"name": name})
        else:
            self._add(manager, self._group())

    def _add(self, manager: Manager, tables: list[dict[str, Any]]) -> None:
        self._ask(manager, "add", [table["name"] for table in tables], {"services": tables})

    def _ask(self, manager: Manager, what: str, names: list[str], asked: dict[str, Any]) -> None:
        self._connections += 1
        self._asked[self._connections] = (what, names)
        shown = f"{' '.join(names)} {asked.get('node', '')}".rstrip()
        self._trace.tell(manager.node.number, f"the administrator asks: {what} {shown}")
        self._managers.ask(manager, self._connections, {"service": {"do": what, **asked}})

    def _answered(self, connection: int, message: dict[str, Any]) -> None:
        what, names = self._asked.pop(connection, ("", []))
        told = message.get("service", {})
        if "error" in told:
            self.counts["refused"] += 1
            self.refusals.append(f"{what} {' '.join(names)}: {told['error']}")
            self._trace.tell(None, f"the administrator is refused: {self.refusals[-1]}")
            if what == "add" and "try again" in told["error"]:
                self._to_add.append([self.tables[name] for name in names])
                if not self.enabled:
                    self._queue.after(_AGAIN_US, self._step)
        elif what == "add":
            self.counts["added"] += len(names)
            self._there += names
        elif what:
            self.counts[{"remove": "removed", "start": "started", "stop": "stopped", "move": "moved"}[what]] += 1
            if what == "remove":
                self._there = [name for name in self._there if name not in names]

    # -- what services there are

    def _group(self) -> list[dict[str, Any]]:
        """One service with a parent's choosing parameters, and perhaps some below it."""
        tables = [self._root()]
        depths = {tables[0]["name"]: 1}
        while len(tables) < 4 and self._define.random() < _CHILD_SHARE:
            parent = self._define.choice([name for name, depth in depths.items() if depth < _DEPTH_MAX])
            table = self._named() | {"parent": parent} | self._commands()
            depths[table["name"]] = depths[parent] + 1
            tables.append(table)
            self.tables[table["name"]] = table
        return tables

    def _named(self) -> dict[str, Any]:
        self._made += 1
        return {"name": f"s{self._made}"}

    def _root(self) -> dict[str, Any]:
        draw = self._define
        table = self._named()
        numbers = list(range(self._nodes))
        allowable = numbers if draw.random() < 0.5 else sorted(draw.sample(numbers, draw.randint(1, self._nodes)))
        if allowable != numbers or draw.random() < 0.3:
            table["allowable_nodes"] = allowable
        if draw.random() < 0.6:
            preferred = draw.sample(allowable, draw.randint(1, len(allowable)))
            table["node_preferences"] = preferred if draw.random() < 0.7 else {"unordered": sorted(preferred)}
        if draw.random() < 0.15:
            table["disallowable_nodes"] = [draw.choice(numbers)]
        table["auto_register"] = draw.choices(["auto", "manual", "previous"], [6, 1, 1])[0]
        if draw.random() < 0.2:
            table["placement_policy"] = "register_on_all"
        if draw.random() < 0.5:
            table["transfer_cost"] = "free"
        if draw.random() < 0.4:
            table["maturity_count"] = draw.randint(1, self._nodes)
        if draw.random() < 0.4 or "maturity_count" in table:
            table["maturity_time"] = draw.choice([1, 3, 10])
        table |= self._commands()
        self.tables[table["name"]] = table
        return table

    def _commands(self) -> dict[str, Any]:
        draw = self._define
        table: dict[str, Any] = {}
        runs = draw.random()
        if runs < 0.8:  # something that goes on until it is stopped
            table["start_command"], table["stop_command"] = ["/sim/start"], ["/sim/stop"]
        elif runs < 0.9:
            table["start_command"] = ["/sim/once"]
        for kind, share in (("notify", 0.4), ("recovery", 0.5)):
            if draw.random() < share:
                table[f"{kind}_command"] = [f"/sim/{kind}"]
        for kind in ("start", "stop", "notify", "recovery"):
            table[f"{kind}_timeout"] = draw.choice([2, 4, 8])
        return table
