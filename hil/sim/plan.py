"""A fault plan: which faults strike whom and when, as a value that can be written down, shortened and played again.

A plan is drawn from a seed (:mod:`hil.sim.planning`) or written by hand. It is carried out in the simulator
(:mod:`hil.sim.faults`) or on any cluster (:mod:`hil.play`). A fault that is left out takes nothing from the others:
each says all about itself, and whom it strikes when that is decided by a role at that moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, NamedTuple

from guestd.core.config import DATA_DISKS_MAX
from hil.errors import UsageError
from hil.plan_table import plan_table

ROLES: Final = ("master", "other")
"""Instead of a node's number: the master at that moment; the lowest-numbered member that is not the master."""

DIRECTIONS: Final = ("out", "in")
"""Of a one-way cut: what the node sends is lost, or what it is sent."""


class Kind(NamedTuple):
    """What a kind of fault is, and the parameters that it must have."""

    meaning: str
    parameters: tuple[str, ...] = ("node",)
    lasts: bool = True
    """It has a ``for_ms`` after which it ends; else it is over at once."""


KINDS: Final[Mapping[str, Kind]] = {
    "crash": Kind("power off; switched on again for_ms later"),
    "doom": Kind("power off within for_ms, after so many more effects that others see", ("node", "effects")),
    "power-failure": Kind("power off at the same instant; switched on again for_ms later", ("nodes",)),
    "leave": Kind("asked to leave; whoever is off is switched on again", lasts=False),
    "panic": Kind("asked to panic", lasts=False),
    "freeze-process": Kind("the emulator stands: on waking the clock has jumped", ("node", "drops")),
    "freeze-vcpu": Kind("the processors stand: no time has passed", ("node", "drops")),
    "slow-cpu": Kind("each input takes so long", ("node", "cost_us")),
    "cut-node": Kind("the interconnect, both ways"),
    "cut-one-way": Kind("one direction of the links to those others", ("node", "others", "direction")),
    "cut-link": Kind("the links to those others, both ways", ("node", "others")),
    "split": Kind("all links between the groups", ("groups",)),
    "loss": Kind("a share of all datagrams", ("share",)),
    "disk-hang": Kind("no command is answered before the end"),
    "disk-hang-all": Kind("as disk-hang, of all nodes", ()),
    "delay-writes": Kind("writes stay in the disk's queue until the end"),
    "disk-errors": Kind("a share of the commands fails", ("node", "share")),
    "fence-hang": Kind("of one LUN: no reservation command is answered before the end", ("node", "lun")),
    "fence-errors": Kind("of one LUN: a share of the reservation commands fails", ("node", "lun", "share")),
}

_OFF: Final = frozenset({"crash", "power-failure"})
"""Those that may last no time at all: power is back at once, and the machine boots."""


@dataclass(frozen=True)
class Fault:
    """One fault. Raises :class:`hil.errors.UsageError` for what is no fault, and says what is legal.

    ``node``: a number or one of :data:`ROLES`; ``nodes``: those that lose power; ``others``: at the other end of a cut;
    ``groups``: those of a split, whoever is in none is cut from all; ``share``: per mille; ``effects``: how many more
    writes, commands and broadcasts; ``drops``: datagrams that come meanwhile are lost; ``cost_us``: microseconds;
    ``lun``: of a cluster without that one nothing is struck.
    """

    kind: str
    at_ms: int
    """Since the beginning of the run."""
    for_ms: int = 0
    node: int | str | None = None
    nodes: tuple[int, ...] | None = None
    others: tuple[int, ...] | None = None
    groups: tuple[tuple[int, ...], ...] | None = None
    direction: str | None = None
    share: int | None = None
    effects: int | None = None
    drops: bool | None = None
    cost_us: int | None = None
    lun: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"fault {self.kind!r} (legal: {', '.join(KINDS)})")
        kind = KINDS[self.kind]
        for name in PARAMETERS:
            given = getattr(self, name) is not None
            if given and name not in kind.parameters:
                raise self._wrong(f"has no {name} (it has: {', '.join(kind.parameters) or 'no parameters'})")
            if not given and name in kind.parameters:
                raise self._wrong(f"lacks {name}")
            if given and (legal := _why_not(name, getattr(self, name))) is not None:
                raise self._wrong(f"{name} = {getattr(self, name)!r} (legal: {legal})")
        if not _is_number(self.at_ms, 0):
            raise self._wrong("at_ms must be a whole number from 0")
        shortest = 0 if self.kind in _OFF else 1
        if kind.lasts and not _is_number(self.for_ms, shortest):
            raise self._wrong(f"for_ms = {self.for_ms!r} (legal: a whole number from {shortest})")
        if not kind.lasts and self.for_ms != 0:
            raise self._wrong(f"is over at once: for_ms = {self.for_ms!r} (legal: 0)")

    @property
    def shortest_ms(self) -> int:
        """The least that ``for_ms`` may be."""
        return int(KINDS[self.kind].lasts and self.kind not in _OFF)

    @property
    def end_ms(self) -> int:
        """When it ends."""
        return self.at_ms + self.for_ms

    def numbers(self) -> list[int]:
        """Every node that it names, in order, each once."""
        named = [*(self.nodes or ()), *(self.others or ()), *(one for group in self.groups or () for one in group)]
        return sorted({self.node, *named} if isinstance(self.node, int) else set(named))

    def parameters(self) -> dict[str, Any]:
        """Those that it has, by name."""
        return {name: getattr(self, name) for name in KINDS[self.kind].parameters}

    def as_dict(self) -> dict[str, Any]:
        """For TOML and JSON; ``Fault(**...)`` after :func:`from_dict` is the same again."""
        lasting = {"for_ms": self.for_ms} if KINDS[self.kind].lasts else {}
        return {"kind": self.kind, "at_ms": self.at_ms} | lasting | self.parameters()

    def source(self) -> str:
        """The Python expression that makes it."""
        given = {key: value for key, value in self.as_dict().items() if key not in ("kind", "at_ms")}
        shown = "".join(f", {key}={value!r}" for key, value in given.items()).replace("'", '"')
        return f'Fault("{self.kind}", {self.at_ms}{shown})'

    def whom(self) -> str:
        """Whom it strikes and how, for people."""
        return " ".join(
            _who(value) if name == "node" else f"{name} {_shown(value)}" for name, value in self.parameters().items()
        )

    def __str__(self) -> str:
        lasting = f" for {self.for_ms} ms" if KINDS[self.kind].lasts else ""
        return f"{self.kind} {self.whom()}".rstrip() + lasting

    def _wrong(self, what: str) -> UsageError:
        return UsageError(f"fault {self.kind} at {self.at_ms!r} ms: {what}")


PARAMETERS: Final = tuple(field.name for field in fields(Fault) if field.name not in ("kind", "at_ms", "for_ms"))


@dataclass(frozen=True)
class Plan:
    """``faults`` in the order in which those of one moment strike; at ``until_ms`` all that is in force is healed."""

    until_ms: int
    faults: tuple[Fault, ...] = ()

    def check(self, nodes: int) -> None:
        """Raises :class:`hil.errors.UsageError` unless it can be carried out in a cluster of that many nodes."""
        if not _is_number(self.until_ms, 1):
            raise UsageError(f"plan: until_ms = {self.until_ms!r} (legal: a whole number from 1)")
        for fault in self.faults:
            for number in fault.numbers():
                if number >= nodes:
                    raise UsageError(f"fault {fault.kind} at {fault.at_ms} ms: node {number} (legal: 0 to {nodes - 1})")
            if fault.others is not None and fault.node in fault.others:
                raise UsageError(f"fault {fault.kind} at {fault.at_ms} ms: node {fault.node} is one of the others")

    def table(self) -> list[str]:
        """One line for each fault, for people."""
        return plan_table([(one.at_ms, one.kind, one.for_ms, one.whom()) for one in self.faults], self.until_ms)


def from_dict(given: Mapping[str, Any]) -> Fault:
    """A fault as TOML and JSON have it. Raises :class:`hil.errors.UsageError`."""
    legal = [field.name for field in fields(Fault)]
    for name in given:
        if name not in legal:
            raise UsageError(f"a fault has no {name!r} (legal: {', '.join(legal)})")
    for name in ("kind", "at_ms"):
        if name not in given:
            raise UsageError(f"a fault lacks {name}: {dict(given)}")
    return Fault(**{name: _tuples(value) for name, value in given.items()})


def _tuples(value: Any) -> Any:
    return tuple(_tuples(one) for one in value) if isinstance(value, list) else value


def _is_number(value: Any, least: int, most: int | None = None) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole and value >= least and (most is None or value <= most)


def _are_nodes(value: Any) -> bool:
    return isinstance(value, tuple) and all(_is_number(one, 0) for one in value) and len(set(value)) == len(value) > 0


def _why_not(name: str, value: Any) -> str | None:
    """None for a legal value of that parameter, else what is legal."""
    if name == "node":
        return None if value in ROLES or _is_number(value, 0) else f"a node's number, {', '.join(ROLES)}"
    if name in ("nodes", "others"):
        return None if _are_nodes(value) else "numbers of nodes, each once"
    if name == "groups":
        fine = isinstance(value, tuple) and len(value) > 1 and all(_are_nodes(one) for one in value)
        fine = fine and _are_nodes(tuple(one for group in value for one in group))
        return None if fine else "two groups or more, each node in one of them"
    if name == "direction":
        return None if value in DIRECTIONS else ", ".join(DIRECTIONS)
    if name == "share":
        return None if _is_number(value, 1, 1000) else "1 to 1000, per mille"
    if name == "lun":
        return None if _is_number(value, 0, DATA_DISKS_MAX) else f"0 to {DATA_DISKS_MAX}"
    if name == "drops":
        return None if isinstance(value, bool) else "true, false"
    least = 0 if name == "effects" else 1
    return None if _is_number(value, least) else f"a whole number from {least}"


def _who(node: int | str) -> str:
    return node if isinstance(node, str) else f"n{node}"


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        nested = value and isinstance(value[0], tuple)
        return " | ".join(_shown(one) for one in value) if nested else " ".join(_who(one) for one in value)
    return str(value).lower()
