"""Claim: what a node tells are steps of guestd's state machines (docs/state-machines.md), by the tables themselves.

Each node's stream is replayed against its tables. Not every step is told: a node may have missed views, and that a
transition is complete at a level is told by the master alone. So a stream is legal if there is any legal way through
the table that tells this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from guestd.core.machine import IllegalTrigger
from guestd.membership.roles import ROLES, Role
from guestd.membership.states import NODE_STATES, NodeState
from guestd.transition.registration import REGISTRATIONS, Registration
from guestd.transition.states import SUBSYSTEM_STATES, SubsystemState
from hil.checkers.checker import Checker

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hil.checkers.observation import Life

NOT_TOLD: Final = {
    "bid (Disk Paxos)": "the phases of a bid",
    "match (mode dekker)": "the phases of a contest",
}
"""Tables whose steps no node tells: no stream can be held against them."""

_UNKNOWN: Final = frozenset(SubsystemState)
_UNDER_WAY: Final = {
    "join": SubsystemState.JOINING,
    "leave": SubsystemState.LEAVING,
    "forced-leave": SubsystemState.FORCED_LEAVING,
}


def _reachable(state: NodeState, triggers: Iterable[str]) -> frozenset[NodeState]:
    """Every state to which these triggers lead, the state itself included."""
    found, row = {state}, [state]
    for one in row:
        for trigger in triggers:
            if NODE_STATES.takes(one, trigger) and (following := NODE_STATES.next(one, trigger)) not in found:
                found.add(following)
                row.append(following)
    return frozenset(found)


_SAME_LIFE: Final = {state: _reachable(state, ("complete", "leave", "force")) for state in NodeState}
_SAME_EPOCH: Final = {state: _reachable(state, ("complete",)) for state in NodeState}


class _Machines:
    """All machines of one life of a node, as far as its stream tells."""

    def __init__(self) -> None:
        self.role = Role.STARTING
        self.state = NodeState.INACTIVE
        self.order = (0, 0)
        self.entries: dict[int, tuple[NodeState, int]] = {}
        self.told: dict[str, dict[str, Any]] = {}  # the same, in the words of the last view
        self.programs: dict[str, Registration] = {}
        self.seats: dict[str, dict[tuple[int, int], frozenset[SubsystemState]]] = {}
        self.seated: set[str] = set()  # programs: they know of nobody when they register
        self.stood_in: set[str] = set()  # programs that have ended: what a built-in one was told meanwhile is not known
        self.newcomers: set[tuple[int, int]] = set()  # lives that began while this node was joined


class Tables(Checker):
    """Where each table stands, by (node, life)."""

    claim = "every step is one of the state machines' tables (S2.4, S4.7)"
    kinds = ("incarnation", "membership", "state", "left", "panic", "notified", "program")

    def __init__(self) -> None:
        self._machines: dict[tuple[int, int], _Machines] = {}
        self._take: dict[str, Any] = {
            "incarnation": self._announced,
            "membership": self._membership,
            "state": self._state,
            "left": self._left,
            "panic": self._expelled,
            "notified": self._notified,
            "program": self._program,
        }

    _PLACE: ClassVar = ("kind", "epoch", "step", "subject", "subsystem", "transition", "barrier", "program", "state")

    def emitted(self, node: Life, kind: str, fields: dict[str, Any]) -> None:
        """One event."""
        take = self._take.get(kind)
        if take is None:
            return
        life = (node.number, node.life)
        machines = self._machines.get(life)
        if machines is None:
            machines = self._machines[life] = _Machines()
        try:
            take(machines, node, fields)
        except IllegalTrigger as illegal:
            told = ", ".join(f"{key} {fields[key]}" for key in self._PLACE if key in fields)
            self.fail(f"node {node.number} (incarnation {node.incarnation}): {kind} {told}: {illegal}")

    # -- roles

    def _announced(self, machines: _Machines, node: Life, fields: dict[str, Any]) -> None:
        machines.role = ROLES.next(machines.role, "announced")

    def _left(self, machines: _Machines, node: Life, fields: dict[str, Any]) -> None:
        machines.role = ROLES.next(machines.role, "left")

    def _expelled(self, machines: _Machines, node: Life, fields: dict[str, Any]) -> None:
        if fields.get("cause") != "ordered":  # that one ends the machine whatever its role is
            machines.role = ROLES.next(machines.role, "expelled")

    def _membership(self, machines: _Machines, node: Life, fields: dict[str, Any]) -> None:
        own = fields["master"] == node.number
        if machines.role is Role.MASTER:
            trigger = "" if own else "deposed"
        elif machines.role is Role.MEMBER:
            trigger = "elected" if own else ""
        else:
            trigger = "elected" if own else "admitted"
        if trigger:
            machines.role = ROLES.next(machines.role, trigger)
        self._nodes(machines, fields)

    # -- states of the nodes

    def _nodes(self, machines: _Machines, fields: dict[str, Any]) -> None:
        order = (fields["epoch"], fields["step"])
        same_epoch = machines.order[0] == order[0]
        legal_in = _SAME_EPOCH if same_epoch else _SAME_LIFE
        # The next step moves each node on by one row at most; of several steps only the way is known.
        one_step = order == (machines.order[0], machines.order[1] + 1)
        for number, entry in fields["nodes"].items():
            if machines.told.get(number) == entry:
                continue  # most of them
            machines.told[number] = entry
            subject, state, incarnation = int(number), NodeState(entry["state"]), entry["incarnation"]
            before, life = machines.entries.get(subject, (NodeState.INACTIVE, 0))
            machines.entries[subject] = (state, incarnation)
            if not machines.order[0] or (incarnation > life and not same_epoch):
                if incarnation > life and machines.state is NodeState.JOINED:
                    machines.newcomers.add((subject, incarnation))
                continue
            if state is before and incarnation == life:
                continue
            legal = legal_in[before] if incarnation == life else frozenset()
            if one_step and state != before and state not in _after(before):
                legal = frozenset()
            if state not in legal:
                where = "in the same epoch" if same_epoch else "in a new epoch"
                could_be = ", ".join(sorted(one.value for one in legal_in[before]))
                raise IllegalTrigger(
                    f"{NODE_STATES.name}: node {subject} was {before.value} ({life}) and cannot be {state.value}"
                    f" ({incarnation}) {where} (it could be: {could_be})"
                )
        machines.order = order

    def _state(self, machines: _Machines, node: Life, fields: dict[str, Any]) -> None:
        previous, state = NodeState(fields["previous"]), NodeState(fields["state"])
        legal = _SAME_LIFE[previous] | ({NodeState.JOINING, NodeState.JOINED} if not machines.order[0] else frozenset())
        if previous is not machines.state or state not in legal:
            raise IllegalTrigger(
                f"{NODE_STATES.name}: {machines.state.value} was told last, and cannot become {state.value}"
                f' from "{previous.value}" (it takes: {", ".join(sorted(NODE_STATES.rows[machines.state]))})'
            )
        machines.state = state

    # -- subsystems

    def _notified(self, machines: _Machines, node: Life, fields: dict[str, Any]) -> None:
        name, transition = fields["subsystem"], fields["transition"]
        subject = (fields["subject"], fields["incarnation"])
        seat = machines.seats.setdefault(name, {})
        known = subject in machines.newcomers or subject[0] == node.number
        fresh = name in machines.seated or (known and name not in machines.stood_in)
        may_be = seat.get(subject, frozenset((SubsystemState.INACTIVE,)) if fresh else _UNKNOWN)
        if fields["barrier"]:
            under_way = _UNDER_WAY[transition]
            if under_way not in may_be:
                raise _illegal(may_be, f"barrier {fields['barrier']} of {transition}")
            seat[subject] = frozenset((under_way,))
            return
        # That a transition is complete here is not told.
        may_be |= {SUBSYSTEM_STATES.next(one, "complete") for one in may_be if SUBSYSTEM_STATES.takes(one, "complete")}
        following = {
            SUBSYSTEM_STATES.next(one, transition) for one in may_be if SUBSYSTEM_STATES.takes(one, transition)
        }
        if not following:
            raise _illegal(may_be, transition)
        seat[subject] = frozenset(following)

    # -- programs

    def _program(self, machines: _Machines, node: Life, fields: dict[str, Any]) -> None:
        name = fields["program"]
        following = REGISTRATIONS.next(machines.programs.get(name, Registration.ASKING), fields["why"])
        if following.value != fields["state"]:
            raise IllegalTrigger(f'{REGISTRATIONS.name}: "{fields["why"]}" leads to {following.value}')
        machines.programs[name] = following
        if following is Registration.REGISTERED:
            machines.seats[name] = {}
            machines.seated.add(name)
            machines.stood_in.discard(name)
        elif following is Registration.ENDED:
            del machines.programs[name]
            # If there is a subsystem that stood in for it, nothing is known of what that was told meanwhile.
            machines.seats.pop(name, None)
            machines.seated.discard(name)
            machines.stood_in.add(name)


def _after(state: NodeState) -> list[NodeState]:
    """One row on, within an epoch."""
    return [NODE_STATES.next(state, "complete")] if NODE_STATES.takes(state, "complete") else []


def _illegal(may_be: Iterable[SubsystemState], trigger: str) -> IllegalTrigger:
    states = sorted(may_be, key=lambda one: one.value)
    takes = sorted({trigger for one in states for trigger in SUBSYSTEM_STATES.rows[one]})
    named = " or ".join(one.value for one in states)
    return IllegalTrigger(f'{SUBSYSTEM_STATES.name}: {named} cannot take "{trigger}" (it takes: {", ".join(takes)})')
