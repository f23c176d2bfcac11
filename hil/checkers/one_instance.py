"""Claim: no two services where one is allowed: of one name one program at a time is registered with a node (S4.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hil.checkers.checker import Checker

if TYPE_CHECKING:
    from hil.checkers.observation import Life


class OneInstance(Checker):
    """Programs that are registered, by (node, life, name)."""

    claim = "no two programs of one name on one node (S4.1)"
    kinds = ("program",)

    def __init__(self) -> None:
        self._registered: set[tuple[int, int, str]] = set()

    def emitted(self, node: Life, kind: str, fields: dict[str, Any]) -> None:
        """A program's registration. One that is silent counts: its node is still to answer for it."""
        program = (node.number, node.life, fields["program"])
        if fields["state"] == "ended":
            self._registered.discard(program)
        elif fields["state"] == "registered":
            if program in self._registered:
                self.fail(f"{fields['program']} is registered twice with node {node.number}")
            self._registered.add(program)
