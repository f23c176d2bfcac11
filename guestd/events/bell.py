"""How the event managers learn that the database has changed: a lock of the lock manager that all of them hold.

Each holds it in PR. Who has written the database converts it to EX, so that all others are asked for it: they give it
up, ask for it again, and read when they are granted it.

    writer:   PR -> NL -> EX -> PR            NL first: of two writers that convert PR to EX each waits for the other
    others:   PR -> (blocks) -> NL -> PR      granted when the writer has its PR again

It carries no data, and nothing rests on it but speed: the database is looked at now and then without it.
"""

from __future__ import annotations

from guestd.core.enumeration import Enum
from guestd.core.machine import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LOCK = 1  # its number on this connection
NAME = ["services"]


class BellState(Enum):
    """What this one has of the lock."""

    ABSENT = "absent"  # nothing that it could rely on
    ASKING = "asking"  # waits for PR: somebody rings, perhaps
    LISTENING = "listening"  # holds PR
    YIELDING = "yielding"  # gives PR up, because somebody rings
    PREPARING = "preparing"  # gives PR up, to ring
    RINGING = "ringing"  # waits for EX


BELL = Table(
    "bell",
    BellState,
    {
        BellState.ABSENT: {"begin": BellState.ASKING},
        BellState.ASKING: {"granted": BellState.LISTENING, "denied": BellState.ABSENT},
        BellState.LISTENING: {"blocks": BellState.YIELDING, "ring": BellState.PREPARING},
        BellState.YIELDING: {"granted": BellState.ASKING, "denied": BellState.ABSENT},
        BellState.PREPARING: {"granted": BellState.RINGING, "denied": BellState.ABSENT},
        BellState.RINGING: {"granted": BellState.ASKING, "denied": BellState.ABSENT},
    },
)

_WANTS = {
    BellState.ASKING: "PR",
    BellState.YIELDING: "NL",
    BellState.PREPARING: "NL",
    BellState.RINGING: "EX",
}


class Bell:
    """One event manager's. What `take_said` returns after each call is to be sent to guestd."""

    def __init__(self) -> None:
        self.state = BellState.ABSENT
        self._due = False  # to ring, as soon as it can
        self._blocks = False  # somebody waits for this one
        self._known = False  # the lock manager knows this lock
        self._said: list[dict[str, Any]] = []

    def begin(self) -> None:
        """Ask for the lock, if it has none: at the beginning, and now and then."""
        if self.state is BellState.ABSENT:
            self._enter("begin")

    def ring(self) -> None:
        """The database has changed."""
        self._due = True
        self._go_on()

    def heard(self, message: dict[str, Any]) -> bool:
        """guestd has said that; whether the database is to be read."""
        wanted = _WANTS.get(self.state)
        if "granted" in message:
            self._known = True
            if message["granted"]["mode"] != wanted:
                return False
            self._enter("granted")
            if self.state is BellState.LISTENING:
                self._go_on()
                return True
        elif "blocks" in message:
            self._blocks = True
            self._go_on()
        elif "denied" in message:
            self._known = message["denied"]["mode"] is not None
            if wanted is not None:
                self._enter("denied")
        elif "gone" in message or "lock-error" in message:
            self.state, self._known = BellState.ABSENT, False
        return False

    def take_said(self) -> list[dict[str, Any]]:
        """For guestd."""
        said, self._said = self._said, []
        return said

    def _go_on(self) -> None:
        if self.state is not BellState.LISTENING:
            return
        if self._blocks:  # who waits is let in first; this one's own turn comes when it listens again
            self._blocks = False
            self._enter("blocks")
        elif self._due:
            self._due = False
            self._enter("ring")

    def _enter(self, trigger: str) -> None:
        self.state = BELL.next(self.state, trigger)
        wanted = _WANTS.get(self.state)
        if wanted is None:
            return
        if self._known:
            self._said.append({"convert": {"id": LOCK, "mode": wanted}})
        else:
            # The others are to hear of what is decided while the recovery after a dead node is under way.
            self._said.append({"lock": {"id": LOCK, "name": NAME, "mode": wanted, "recovery": True}})
