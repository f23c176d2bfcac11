"""What the services' database says, as one who sees every read and every write of it knows it.

A transaction is certain when its writer was told that it is on the medium, or when another life of a node has read it:
a node's own reads may find what is in its cache only, and dies with it. What a life is told or does that is over, or
whose key was removed from the disk, counts for nothing.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from guestd.events.effects import AppendStore, ReadStore, ReplaceStore
from guestd.services.database import Database
from guestd.services.service import NOWHERE

if TYPE_CHECKING:
    from guestd.events.inputs import StoreDone
    from guestd.services.service import Service
    from hil.sim.event_managers import Manager

_FILE = 1  # the model reads one file only

Change = Callable[[dict[str, "Service"], dict[str, "Service"]], None]


class Registry:
    """``database``: to the last transaction that is certain. ``on_change`` hears of each: services before and after."""

    def __init__(self, now_us: Callable[[], int]) -> None:
        self.database = Database()
        self.lines: dict[int, bytes] = {}  # number -> transaction
        self.at_us: dict[int, int] = {}  # number -> when it became certain
        self.life_us = 0  # when the cluster came up last
        self.added_us: dict[str, int] = {}  # of each service
        self.registered_us: dict[tuple[str, int], int] = {}  # of each registration, its beginning
        self.signed_us: dict[tuple[int, int], int] = {}  # when that life of a node has begun to take part
        self.on_change: list[Change] = []
        self.on_conflict: Callable[[str], None] = lambda _what: None
        self._now_us = now_us
        self.over_us: dict[tuple[int, int], int] = {}  # (node, incarnation) -> since when
        self._own: dict[tuple[int, int], dict[int, bytes]] = {}  # what a life has read that may be in its cache only

    def over(self, node: int, incarnation: int) -> None:
        """That life has ended, or its writes are refused from now on."""
        if incarnation:
            self.over_us.setdefault((node, incarnation), self._now_us())
            self._own.pop((node, incarnation), None)

    def is_over(self, node: int, incarnation: int) -> bool:
        """Whether that life harms nobody any more."""
        return (node, incarnation) in self.over_us

    def hear(self, manager: Manager, effect: Any, done: StoreDone) -> None:
        """An operation on the database has ended."""
        life = (manager.node.number, manager.node.incarnation)
        if done.errno or life in self.over_us:
            return
        if isinstance(effect, ReadStore):
            self._take(life, done.data, written=False)
        elif isinstance(effect, (AppendStore, ReplaceStore)):
            self._take(life, effect.data, written=True)

    def writer(self) -> tuple[int, int]:
        """Node and incarnation of who has written the last transaction that is certain."""
        found = _parsed(self.lines[self.database.number])
        assert found is not None, "it was read"
        node, incarnation = found["by"]
        return node, incarnation

    def registered(self) -> list[tuple[Service, int, int, int]]:
        """(service, registration, node, incarnation) of all that are."""
        return [
            (service, one.registration, one.node, one.incarnation)
            for service in self.database.services.values()
            for one in service.instances
            if one.node != NOWHERE and one.state.value == "registered"
        ]

    def _take(self, life: tuple[int, int], data: bytes, *, written: bool) -> None:
        for line in data.split(b"\n")[:-1]:
            found = _parsed(line)
            if found is None:
                return
            number = found["n"]
            if "all" in found:
                self._compare(life, number, found["set"])
            elif self.lines.get(number, line) != line:
                known = self.lines[number].decode()
                self.on_conflict(f"node {life[0]} has transaction {line.decode()}, and others have {known}")
            elif number > self.database.number:
                if not written and tuple(found["by"]) == life:
                    self._own.setdefault(life, {})[number] = line
                else:
                    self._certain(life, number, line)

    def _certain(self, life: tuple[int, int], number: int, line: bytes) -> None:
        for before in range(self.database.number + 1, number):
            own = self._own.get(life, {}).get(before)
            if own is None:
                self.on_conflict(f"node {life[0]} has transaction {number}, and nobody has {before}")
                return
            self._apply(before, own)
        self._apply(number, line)

    def _apply(self, number: int, line: bytes) -> None:
        before, cluster_life = self.database.services.copy(), self.database.life
        self.lines[number], self.at_us[number] = line, self._now_us()
        self.database.take(_FILE, line + b"\n")
        if self.database.life != cluster_life:
            self.life_us = self._now_us()
        for name in self.database.services:
            if name not in before:
                self.added_us[name] = self._now_us()
        for node, member in self.database.members.items():
            self.signed_us.setdefault((node, member.incarnation), self._now_us())
        for service in self.database.services.values():
            for one in service.instances:
                self.registered_us.setdefault((service.name, one.registration), self._now_us())
        for hear in self.on_change:
            hear(before, self.database.services)

    def _compare(self, life: tuple[int, int], number: int, everything: dict[str, Any]) -> None:
        own = json.loads(json.dumps(self.database.everything()))
        if number == self.database.number and json.loads(json.dumps(everything)) != own:
            self.on_conflict(f"node {life[0]} has {everything} as of transaction {number}, and others have {own}")


def _parsed(line: bytes) -> dict[str, Any] | None:
    """None: torn, or wrong."""
    checksum, _, text = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(text):
        return None
    found: dict[str, Any] = json.loads(text)
    return found
