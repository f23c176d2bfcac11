"""Programs on the nodes that make virtual disks, change them and take them away, as ``guestctl vdisk`` does.

Each has disks of its own, so that it is known which there are, and looks at everybody's. What they may believe is the
claim :mod:`hil.sim.claims.volumes`.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any, Final, Protocol

from guestd.core.inputs import ProgramMessage
from guestd.vdm.programs import UNIT_SIZE
from hil.sim.randomness import child

if TYPE_CHECKING:
    from hil.sim.nodes import Node
    from hil.sim.options import Options
    from hil.sim.queue import Queue

CONNECTIONS: Final = 2_000_000
"""Their connections are numbered from here on."""

_STEP_US_MIN: Final = 20_000
_STEP_US_MAX: Final = 3_000_000
_ANSWER_US: Final = 100
_DISKS_MAX: Final = 3  # of one program
_UNITS_MAX: Final = 3  # by which a disk grows, and with which it begins


class VolumeUser:
    """One program of one life of a node."""

    def __init__(self, node: Node, connection: int) -> None:
        self.node = node
        self.life = node.life
        self.connection = connection
        self.disks: dict[str, int] = {}  # its own, with their units
        self.asked: dict[str, Any] | None = None  # what it waits for
        self.begun: object = None

    @property
    def runs(self) -> bool:
        """Whether its node does, in the life in which it began."""
        return self.node.stack is not None and self.node.life == self.life


class Listener(Protocol):
    """Hears what they do, and what they are told."""

    def changes(self, name: str) -> None:
        """One is about to make, to change or to take away that virtual disk."""

    def changed(self, user: VolumeUser, name: str, units: int) -> None:
        """It was told that it has that many units now; 0: it is gone."""

    def looks(self) -> object:
        """One is about to ask for all. What is returned is given back with the answer."""

    def has_looked(self, user: VolumeUser, begun: object, disks: list[dict[str, Any]]) -> None:
        """It was told that these are all that there are."""


class VolumeUsers:
    """All of them."""

    def __init__(self, queue: Queue, randomness: random.Random, options: Options) -> None:
        self.listener: Listener | None = None
        self.counts = {"created": 0, "changed": 0, "deleted": 0, "listed": 0, "refused": 0}
        self.enabled = True
        """False: nobody asks for anything any more."""
        self._queue = queue
        self._random = [child(randomness) for _ in range(options.nodes)]
        self.count = options.volume_users  # on each node, from its next boot on
        self._all: list[VolumeUser] = []

    def start(self, node: Node) -> None:
        """After a boot."""
        for _ in range(self.count):
            delay_us = self._random[node.number].randint(0, _STEP_US_MAX)
            self._queue.after(delay_us, self._begin, node, node.life)

    def answer(self, node: Node, connection: int, message: dict[str, Any]) -> None:
        """A node says something to one of them; over a socket, so in order."""
        told = json.loads(json.dumps(message))
        self._queue.after(_ANSWER_US, self._hear, self._all[connection - CONNECTIONS], told)

    def look_over(self, node: Node) -> VolumeUser:
        """One more program there: it asks for all of them, and ends."""
        user = self._made(node)
        self._ask(user, {"do": "list"})
        return user

    def busy(self) -> str | None:
        """One that waits for an answer; None if there is none."""
        for user in self._all:
            if user.runs and user.asked is not None:
                return f"a program on node {user.node.number} waits for {json.dumps(user.asked)}"
        return None

    # -- how they run

    def _begin(self, node: Node, life: int) -> None:
        if node.life == life and node.stack is not None and self.enabled:
            self._later(self._made(node))

    def _made(self, node: Node) -> VolumeUser:
        user = VolumeUser(node, CONNECTIONS + len(self._all))
        self._all.append(user)
        return user

    def _later(self, user: VolumeUser) -> None:
        delay_us = self._random[user.node.number].randint(_STEP_US_MIN, _STEP_US_MAX)
        self._queue.after(delay_us, self._step, user)

    def _step(self, user: VolumeUser) -> None:
        if not user.runs or not self.enabled:
            return
        if user.node.frozen is None and user.asked is None:
            self._ask(user, self._drawn(user, self._random[user.node.number]))
        self._later(user)

    def _drawn(self, user: VolumeUser, draw: random.Random) -> dict[str, Any]:
        what = draw.random()
        if what < 0.2:
            return {"do": "list"}
        if not user.disks or (len(user.disks) < _DISKS_MAX and what < 0.5):
            name = f"v{user.connection - CONNECTIONS}-{self.counts['created']}-{draw.randint(0, 999)}"
            size = draw.randint(1, _UNITS_MAX) * UNIT_SIZE
            return {"do": "create", "name": name, "size": size, "mirrored": draw.random() < 0.3}
        name = draw.choice(sorted(user.disks))
        if what < 0.7:
            return {"do": "grow", "name": name, "size": (user.disks[name] + draw.randint(1, _UNITS_MAX)) * UNIT_SIZE}
        if what < 0.8 and user.disks[name] > 1:
            return {"do": "shrink", "name": name, "size": (user.disks[name] - 1) * UNIT_SIZE}
        return {"do": "delete", "name": name}

    def _ask(self, user: VolumeUser, asked: dict[str, Any]) -> None:
        user.asked = asked
        if self.listener is not None:
            if asked["do"] == "list":
                user.begun = self.listener.looks()
            else:
                self.listener.changes(asked["name"])
        user.node.give(user.life, ProgramMessage(user.connection, json.dumps({"vdisk": asked})))

    def _hear(self, user: VolumeUser, message: dict[str, Any]) -> None:
        if not user.runs:
            return
        if user.node.frozen is not None:
            user.node.keep(self._hear, user, message)
            return
        asked, user.asked = user.asked, None
        told = message["vdisk"]
        assert asked is not None, f"nobody has asked for {message}"
        if "error" in told:
            # Whether it was done after all is not known: a disk command may have failed at its end.
            self.counts["refused"] += 1
            user.disks.pop(asked.get("name", ""), None)
        elif asked["do"] == "list":
            self.counts["listed"] += 1
            if self.listener is not None:
                self.listener.has_looked(user, user.begun, told["disks"])
        else:
            self._done(user, asked)

    def _done(self, user: VolumeUser, asked: dict[str, Any]) -> None:
        name, units = asked["name"], asked.get("size", 0) // UNIT_SIZE
        kinds = {"create": "created", "delete": "deleted"}
        self.counts[kinds.get(asked["do"], "changed")] += 1
        if units:
            user.disks[name] = units
        else:
            del user.disks[name]
        if self.listener is not None:
            self.listener.changed(user, name, units)
