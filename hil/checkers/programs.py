"""Claim: a program is told of each node's transitions once, in order, barrier after barrier (S4.5, S4.7, S4.12)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hil.checkers.checker import Checker
from hil.checkers.observation import Observation

if TYPE_CHECKING:
    from hil.checkers.observation import Listener

_FOLLOWS: Final[dict[str, tuple[str, ...]]] = {
    "": ("join",),
    "join": ("leave", "forced-leave"),
    "leave": ("join", "forced-leave"),
    "forced-leave": ("join",),
}


class ProgramsTold(Checker):
    """What each program was told last of each node."""

    claim = "a program is told each transition once, in order (S4.5, S4.7)"
    needs = (Observation.TOLD,)

    def __init__(self) -> None:
        self._last: dict[tuple[int, int], tuple[int, str, int]] = {}

    def told(self, program: Listener, told: tuple[int, int, str, int]) -> None:
        """One transition of one node."""
        node, incarnation, transition, barrier = told
        key = (id(program), node)
        life, before, at = self._last.get(key, (0, "", 0))
        if (life, before) == (incarnation, transition):
            legal = barrier == at + 1 and barrier < program.barriers.get(transition, 1)
        else:
            newer = incarnation > life if transition == "join" else incarnation == life
            whole = transition == "forced-leave" or not before or at + 1 == program.barriers.get(before, 1)
            legal = barrier == 0 and newer and transition in _FOLLOWS[before] and whole
        if not legal:
            self.fail(
                f"{program.name} on node {program.node.number} (life {program.life}) was told {transition} of node "
                f"{node} ({incarnation}), barrier {barrier}, after {before or 'nothing'} ({life}), barrier {at}"
            )
        self._last[key] = (incarnation, transition, barrier)
