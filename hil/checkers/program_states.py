"""Claim: a notification has the state of every node, those that did not change included (S4.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hil.checkers.checker import Checker
from hil.checkers.observation import Observation

if TYPE_CHECKING:
    from hil.checkers.observation import Listener

_STATES: Final[dict[str, tuple[str, ...]]] = {
    "": ("inactive",),
    "join": ("joining", "joined"),
    "leave": ("leaving", "inactive"),
    "forced-leave": ("forced-leaving", "inactive"),
}
"""A node's state for a program that was told that of it last: while it is processed, and after all have."""


class ProgramStates(Checker):
    """What each program was told last of each node."""

    claim = "a notification has the state of every node (S4.3)"
    needs = (Observation.TOLD,)

    def __init__(self) -> None:
        self._last: dict[tuple[int, int], str] = {}  # (id of the program, subject) -> transition

    def told(self, program: Listener, told: tuple[int, int, str, int]) -> None:
        """Once for each transition that the notification tells of."""
        for node, state in enumerate(program.states):
            now = next((transition for subject, _, transition, _ in program.notified if subject == node), None)
            legal = _STATES[self._last.get((id(program), node), "")] if now is None else _STATES[now][:1]
            if state not in legal:
                self.fail(
                    f"{program.name} on node {program.node.number} (life {program.life}) was told {told} with node "
                    f"{node} {state} (legal: {', '.join(legal)})"
                )
        for subject, _, transition, _ in program.notified:
            self._last[id(program), subject] = transition
