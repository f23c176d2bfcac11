"""A claim about a run: it hears of what happens, and says at once what does not hold.

One file per claim. The same code judges simulated and real runs; what it hears is :mod:`hil.checkers.observation`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Protocol

from hil.checkers.observation import Observation
from hil.errors import ClaimFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guestd.membership.position import Position
    from guestd.membership.records import Ballot, Match
    from guestd.membership.view import View
    from hil.checkers.observation import Life, Listener, Removal


class Violation(ClaimFailed):
    """``claim``: which one does not hold."""

    def __init__(self, claim: str, what: str) -> None:
        super().__init__(f"{claim}: {what}")
        self.claim = claim
        self.what = what


class Bench(Protocol):
    """Where the observations come from."""

    @property
    def provides(self) -> Sequence[Observation]:
        """What there is to observe of this run."""

    def acknowledged(self, node: int, incarnation: int) -> Sequence[Position] | None:
        """What that life of a node has acknowledged (``Observation.ACKNOWLEDGED``); None: it does not run any more."""


class Checker:
    """Base of all; hears everything and says nothing. ``claim``: in one sentence."""

    claim = ""
    kinds: ClassVar[tuple[str, ...]] = ()
    """The events that it hears."""
    needs: ClassVar[tuple[Observation, ...]] = (Observation.EVENTS,)
    """Without these the claim is not judged."""
    also: ClassVar[tuple[Observation, ...]] = ()
    """With these it is judged by more."""

    def begin(self, bench: Bench) -> None:
        """Before anything happens."""
        self.bench = bench

    def sees(self, what: Observation) -> bool:
        """Whether that is among the observations of this run."""
        return what in self.bench.provides

    def fail(self, what: str) -> NoReturn:
        """Raises :class:`Violation`."""
        raise Violation(self.claim, what)

    def booted(self, node: Life) -> None:
        """A new life begins."""

    def emitted(self, node: Life, kind: str, fields: dict[str, Any]) -> None:
        """An event of a node (docs/events.md), of one of ``kinds``."""

    def landed(self, node: Life, life: int, lba: int, data: bytes) -> None:
        """Data of that node has reached the medium; ``life``: of the node, as its machine counts."""

    def committed(self, node: Life, life: int, view: View) -> None:
        """A commit has landed, one copy of it at least."""

    def voted(self, node: Life, life: int, ballot: Ballot) -> None:
        """A ballot has landed, one copy of it at least."""

    def contended(self, node: Life, life: int, match: Match) -> None:
        """A match of mode ``dekker`` has landed, one copy of it at least."""

    def unmoved(self, node: Life) -> None:
        """A node has heard that the disk refuses its write, and runs on (``Observation.INSIDE``)."""

    def command_failed(self, node: Life) -> None:
        """A node has heard that one of its commands to the disk has failed (``Observation.INSIDE``)."""

    def keyed(self, node: int, incarnation: int) -> None:
        """That life's key is registered on the disk."""

    def removed(self, removal: Removal) -> None:
        """A registration is gone from the disk."""

    def data_landed(self, lun: int, node: Life, life: int, lba: int, data: bytes) -> None:
        """Data of that node has reached the medium of a further LUN, 1, 2 …; ``life`` as in :meth:`landed`."""

    def data_keyed(self, lun: int, node: int, incarnation: int) -> None:
        """That life's key is registered on a further LUN."""

    def data_removed(self, lun: int, removal: Removal) -> None:
        """A registration is gone from a further LUN."""

    def told(self, program: Listener, told: tuple[int, int, str, int]) -> None:
        """A program was notified: (node, incarnation, transition, barrier)."""

    def ended(self, node: Life) -> None:
        """A life has ended: a panic, an exit or a loss of power."""

    def finished(self) -> None:
        """The run is over, all is healed and all have joined."""


def by_kind(checkers: Sequence[Checker]) -> dict[str, list[Checker]]:
    """Who hears of an event, by its kind."""
    hears: dict[str, list[Checker]] = {}
    for checker in checkers:
        for kind in checker.kinds:
            hears.setdefault(kind, []).append(checker)
    return hears


def listening(checkers: Sequence[Checker], observation: str) -> list[Checker]:
    """Those that have a method of their own of that name: nobody else need be told, and most hear little."""
    plain = getattr(Checker, observation)
    return [checker for checker in checkers if getattr(type(checker), observation) is not plain]
