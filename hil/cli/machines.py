"""Verbs that act on machines and links: ``power``, ``reset``, ``shutdown``, ``link``, ``freeze``, ``panic``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from hil.cli.nodes import connected, connected_node, parse_nodes
from hil.cli.options import Name, NodeArgument, NodeArguments


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to ``app``."""
    app.command("power")(power)
    app.command("reset")(reset)
    app.command("shutdown")(shutdown)
    app.command("link")(link)
    app.command("split")(split)
    app.command("freeze")(freeze)
    app.command("thaw")(thaw)
    app.command("panic")(panic)


class PowerAction(StrEnum):
    """What ``hil power`` does."""

    ON = "on"
    OFF = "off"
    CYCLE = "cycle"


class FreezeWay(StrEnum):
    """What ``hil freeze --how`` stops."""

    VCPU = "vcpu"
    PROCESS = "process"


class LinkAction(StrEnum):
    """What ``hil link`` does."""

    CUT = "cut"
    HEAL = "heal"


class LinkDirection(StrEnum):
    """Which frames ``hil link cut --silent`` drops, as the node sees it."""

    BOTH = "both"
    IN = "in"
    OUT = "out"


def _named(nodes: list[int]) -> str:
    return ("node " if len(nodes) == 1 else "nodes ") + ", ".join(str(node) for node in nodes)


def power(
    action: Annotated[PowerAction, typer.Argument(help="on, off, or off and on again.")],
    nodes: NodeArguments,
    name: Name = None,
) -> None:
    """Switch the power of nodes: at the same instant for all that are named, and without a warning to them."""
    with connected(name) as cluster:
        chosen = [cluster.nodes[i] for i in parse_nodes(nodes, len(cluster.nodes))]
        before = {node.id: node.view.power for node in chosen}
        verbs = {"off": cluster.power_off, "on": cluster.power_on, "cycle": cluster.power_cycle}
        changed = verbs[action](chosen)["changed"]
    done = {PowerAction.ON: "powered on", PowerAction.OFF: "powered off", PowerAction.CYCLE: "power-cycled"}[action]
    for node in chosen:
        if node.id not in changed:
            print(f"node {node.id}: was {before[node.id]} already")
    if changed:
        print(f"{_named(changed)}: {done}")


def reset(node: NodeArgument, name: Name = None) -> None:
    """Press a node's reset button: it boots again, and no power was lost."""
    with connected_node(name, node) as target:
        target.cluster.reset(target)
    print(f"node {target.id}: reset")


def shutdown(node: NodeArgument, name: Name = None) -> None:
    """Shut a node down: it leaves the cluster level by level, top-down, and switches itself off."""
    with connected_node(name, node) as target:
        target.cluster.shutdown(target)
        target.cluster.wait_off(target)
    print(f"node {target.id}: left the cluster and is off")


def link(
    action: Annotated[LinkAction, typer.Argument(help="cut it or heal it.")],
    node: NodeArgument,
    silent: Annotated[
        bool, typer.Option("--silent", help="Drop every packet; the node's card still sees a carrier.")
    ] = False,
    direction: Annotated[
        LinkDirection, typer.Option("--direction", help="Of a silent cut: what the node sends (out), hears (in), both.")
    ] = LinkDirection.BOTH,
    others: Annotated[
        str | None, typer.Option("--from", metavar="NODES", help="A silent cut from these nodes alone, as 0,2.")
    ] = None,
    name: Name = None,
) -> None:
    """Cut or heal a node's interconnect; verified before it returns (status 4 if it did not take hold)."""
    from hil.errors import UsageError

    if action is LinkAction.HEAL and (silent or others is not None or direction is not LinkDirection.BOTH):
        raise UsageError("link heal: it heals a link however it was cut; leave --silent, --direction and --from out")
    with connected_node(name, node) as target:
        cluster = target.cluster
        if action is LinkAction.CUT:
            apart = (
                None
                if others is None
                else [cluster.nodes[i] for i in parse_nodes(others.split(","), len(cluster.nodes))]
            )
            cluster.cut_link(target, "silent" if silent else "carrier", direction.value, apart)
            done = "cut silently" if silent else "cut, no carrier"
            done += "" if direction is LinkDirection.BOTH else f", {direction.value} only"
            done += "" if apart is None else f", from {_named([other.id for other in apart])}"
        else:
            target.cluster.heal_link(target)
            done = "healed"
    print(f"node {target.id}: interconnect {done}")


def split(
    groups: Annotated[
        list[str], typer.Argument(metavar="GROUP...", help="Nodes that go on hearing each other, as 0,1 2,3.")
    ],
    name: Name = None,
) -> None:
    """Split the interconnect into groups: silently, everywhere at the same instant; `hil link heal N` undoes it."""
    with connected(name) as cluster:
        chosen = [[cluster.nodes[i] for i in parse_nodes(group.split(","), len(cluster.nodes))] for group in groups]
        cluster.split(*chosen)
    print(f"split: {' | '.join(_named([node.id for node in group]) for group in chosen)}")


def freeze(
    node: NodeArgument,
    how: Annotated[
        FreezeWay, typer.Option("--how", help="vcpu: it sees no time pass; process: it sees time jump at the thaw.")
    ] = FreezeWay.VCPU,
    name: Name = None,
) -> None:
    """Have a node stand still; verified before it returns (status 4 if it did not take hold)."""
    with connected_node(name, node) as target:
        target.cluster.freeze(target, how.value)
    print(f"node {target.id}: frozen ({how.value}); `hil thaw {target.id}` lets it go on")


def thaw(node: NodeArgument, name: Name = None) -> None:
    """Let a frozen node go on."""
    with connected_node(name, node) as target:
        thawed = target.cluster.thaw(target)["thawed"]
    print(f"node {target.id}: {'goes on' if thawed else 'was not frozen'}")


def panic(
    node: NodeArgument,
    reason: Annotated[str, typer.Option("--reason", help="What the console is to say.")] = "ordered by hil panic",
    name: Name = None,
) -> None:
    """Panic a node's kernel, with a reason on its console."""
    with connected_node(name, node) as target:
        target.cluster.panic(target, reason)
        target.cluster.wait_crashed(target)
    print(f"node {target.id}: panicked: {reason}")
