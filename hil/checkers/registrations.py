"""Which of the events of programs tell that a registration has ended (docs/programs.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hil.checkers.observation import Life


class Registrations:
    """Fed with every event of the kind ``program``; programs are known by (node, life, name)."""

    def __init__(self) -> None:
        self._silent: set[tuple[int, int, str]] = set()

    def has_ended(self, node: Life, fields: dict[str, Any]) -> bool:
        """Whether nothing of that name is registered with the node from this event on.

        A program that asks to take the place of a dead one, for which its node answers, and ends before it has it, ends
        nothing: the dead one is waited for as before.
        """
        program = (node.number, node.life, fields["program"])
        if fields["state"] == "silent":
            self._silent.add(program)
        if fields["state"] != "ended" or (program in self._silent and fields["why"] != "replaced"):
            return False
        self._silent.discard(program)
        return True
