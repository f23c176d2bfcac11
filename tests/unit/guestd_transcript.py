"""What a cluster in memory did and what its levels show, as text that can be written into a test by hand."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from guestd.membership.states import NodeState
from guestd.transition.levels import Level
from guestd.transition.states import SUBSYSTEM_STATES, SubsystemState
from tests.unit.guestd_world import World

STATES = {"join": "joining", "leave": "leaving", "forced-leave": "forced-leaving"}


def transcript(world: World, since: int = 0) -> list[str]:
    """One line per step: the transition, the subsystem and barrier, the nodes told, the nodes that have acknowledged.

    Two steps of one node that overlap anywhere would make more lines than there are steps.
    """
    lines = []
    entries = [one for one in world.journal[since:] if one[1] in ("notified", "acknowledged")]
    for step, group in groupby(entries, key=lambda one: _step(one[2])):
        nodes: dict[str, list[int]] = {"notified": [], "acknowledged": []}
        for node, kind, _ in group:
            nodes[kind].append(node)
        told, done = (" ".join(f"n{node}" for node in sorted(nodes[kind])) for kind in ("notified", "acknowledged"))
        lines.append(f"{step} | {told} | {done}".strip())
    return lines


def _step(fields: dict[str, Any]) -> str:
    state = STATES[fields["transition"]]
    return f"n{fields['subject']} {state} | {fields['subsystem']} {fields['barrier']}"


def picture(world: World) -> list[str]:
    """A row per level, the highest first: for each node in turn what its subsystem there marks every node as.

    The row of the membership manager is the state of the node as a whole. A subsystem marks the state that comes after
    a transition when it acknowledges the last barrier, as in the document. '-' is a node that does not run.
    """
    nodes = range(world.config.nodes)
    rows = [[one.name, *(_column(world, node, one.order) for node in nodes)] for one in _levels(world)]
    return [" | ".join(row) for row in reversed(rows)]


def _levels(world: World) -> list[Level]:
    """The levels, bottom-up."""
    stacks = [machine.stack for machine in world.machines if machine.stack is not None]
    if not stacks:
        return []
    return list(stacks[0].levels)


def drawn(text: str) -> list[str]:
    """The lines of a picture or a transcript that was written by hand: blanks do not count."""
    return [" ".join(line.split()) for line in text.strip().splitlines()]


def _column(world: World, node: int, order: int) -> str:
    return " ".join(_mark(world, node, order, subject) for subject in range(world.config.nodes))


def _mark(world: World, node: int, order: int, subject: int) -> str:
    stack = world.machines[node].stack
    if stack is None:
        return "-"
    member = stack._manager.member
    if order == 0:
        # Before it is a member a node has no say about the others.
        return str((member.view.entries[subject].state if member.role.inside else NodeState.INACTIVE).value)
    state = member.participant.states(order)[subject]
    for position in member.participant.acknowledged():
        here = (position.subject, position.level) == (subject, order)
        last = position.barrier + 1 >= member.levels[order].barriers_of(position.transition)
        if here and last and state.value == position.state.value:
            return str(SUBSYSTEM_STATES.next(SubsystemState(state.value), "complete").value)
    return str(state.value)
