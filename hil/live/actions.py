"""What the keys of the live view do to nodes: the verbs of the command line, on those that are chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hil.client import Cluster, Node

PANIC_REASON: Final = "ordered in the live view"


def named(nodes: Sequence[int]) -> str:
    """As "node 1", "nodes 0, 2"."""
    return ("node " if len(nodes) == 1 else "nodes ") + ", ".join(map(str, nodes))


@dataclass(frozen=True)
class Action:
    """One key."""

    key: str
    name: str
    """One word, for the line of keys."""
    help: str
    verb: Callable[[Cluster, list[Node]], str]
    """Does it to the nodes; the sentence that tells what came of it."""
    in_footer: bool = True


def _power(verb: str, done: str) -> Callable[[Cluster, list[Node]], str]:
    """At the same instant for all of the nodes; those that were so already are told."""

    def act(cluster: Cluster, nodes: list[Node]) -> str:
        changed = getattr(cluster, verb)(nodes)["changed"]
        told = [f"{named(changed)}: {done}"] if changed else []
        told += [f"node {node.id}: is {node.view.power} already" for node in nodes if node.id not in changed]
        return "; ".join(told)

    return act


def _each(verb: str, done: str, *arguments: Any) -> Callable[[Cluster, list[Node]], str]:
    """One node after another."""

    def act(cluster: Cluster, nodes: list[Node]) -> str:
        for node in nodes:
            getattr(cluster, verb)(node, *arguments)
        return f"{named([node.id for node in nodes])}: {done}"

    return act


ACTIONS: Final = (
    Action("o", "on", "power on", _power("power_on", "powered on")),
    Action("f", "off", "power off: pull the plug, of all chosen nodes at the same instant",
           _power("power_off", "powered off")),
    Action("c", "cycle", "power off and on again", _power("power_cycle", "power-cycled")),
    Action("r", "reset", "press the reset button", _each("reset", "reset"), in_footer=False),
    Action("s", "shutdown", "shut down: leave the cluster level by level, then halt",
           _each("shutdown", "leaves the cluster"), in_footer=False),
    Action("x", "cut", "cut the interconnect silently: no packet passes",
           _each("cut_link", "interconnect cut silently", "silent")),
    Action("l", "carrier", "take the carrier of the interconnect away",
           _each("cut_link", "interconnect cut, no carrier", "carrier"), in_footer=False),
    Action("h", "heal", "heal the interconnect, however it was cut", _each("heal_link", "interconnect healed")),
    Action("z", "freeze", "freeze the virtual processors: the node sees no time pass",
           _each("freeze", "frozen (vcpu)", "vcpu")),
    Action("Z", "freeze process", "freeze the emulator: the node sees time jump at the thaw",
           _each("freeze", "frozen (process)", "process"), in_footer=False),
    Action("t", "thaw", "let a frozen node go on", _each("thaw", "goes on")),
    Action("p", "panic", "panic the kernel", _each("panic", "ordered to panic", PANIC_REASON)),
)  # fmt: skip
