"""Claims about a simulated run, one per file: each hears of what happens and says at once what does not hold.

A checker knows what a person with a logic analyser could know: the events of the nodes, what lands on the disk, what
programs are told; and, where an acknowledgement is in question, what a node's own stack has acknowledged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from hil.errors import ClaimFailed

if TYPE_CHECKING:
    from guestd.membership.records import Ballot
    from guestd.membership.view import View
    from hil.sim.disk import Removal
    from hil.sim.nodes import Node
    from hil.sim.programs import Program
    from hil.sim.world import World


class Violation(ClaimFailed):
    """``claim``: which one does not hold."""

    def __init__(self, claim: str, what: str) -> None:
        super().__init__(f"{claim}: {what}")
        self.claim = claim
        self.what = what


class Checker:
    """Base of all; hears everything and says nothing. ``claim``: in one sentence."""

    claim = ""

    def begin(self, world: World) -> None:
        """Before anything happens."""
        self.world = world

    def fail(self, what: str) -> NoReturn:
        """Raises :class:`Violation`."""
        raise Violation(self.claim, what)

    def emitted(self, node: Node, kind: str, fields: dict[str, Any]) -> None:
        """An event of a node (docs/events.md)."""

    def landed(self, node: Node, life: int, lba: int, data: bytes) -> None:
        """Data of that node has reached the medium; ``life``: of the node, as its machine counts."""

    def committed(self, node: Node, life: int, view: View) -> None:
        """A commit has landed, one copy of it at least."""

    def voted(self, node: Node, life: int, ballot: Ballot) -> None:
        """A ballot has landed, one copy of it at least."""

    def removed(self, removal: Removal) -> None:
        """A registration is gone from the disk."""

    def told(self, program: Program, told: tuple[int, int, str, int]) -> None:
        """A program was notified: (node, incarnation, transition, barrier)."""

    def ended(self, node: Node) -> None:
        """A node has panicked or exited."""

    def finished(self) -> None:
        """The run is over, all is healed and all have joined."""


def every_checker() -> list[Checker]:
    """One of each claim, for one run."""
    from hil.sim.checkers.fence import Fence
    from hil.sim.checkers.forced_out import ForcedOut
    from hil.sim.checkers.history import History
    from hil.sim.checkers.incarnations import Incarnations
    from hil.sim.checkers.one_owner import OneOwner
    from hil.sim.checkers.one_writer import OneWriter
    from hil.sim.checkers.panics import Panics
    from hil.sim.checkers.programs import ProgramsTold
    from hil.sim.checkers.promise import Promise
    from hil.sim.checkers.steps import Steps
    from hil.sim.checkers.transitions import Transitions

    return [
        OneOwner(),
        OneWriter(),
        Fence(),
        Promise(),
        History(),
        Incarnations(),
        Steps(),
        Transitions(),
        ProgramsTold(),
        ForcedOut(),
        Panics(),
    ]
