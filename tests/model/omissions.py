"""Every step of the protocol left out, one at a time: which claim breaks then, or that none does.

Where the table of docs/election.md says "none" the search was exhaustive within the bounds, and the page says why.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from tests.model.cases import LITERAL, MODES
from tests.model.checker import Found, explore
from tests.model.protocol import AGREEMENT, FENCE, MUTUAL_EXCLUSION, NO_LOST_VIEW, PROMISE
from tests.model.rules import Bounds, Rules


class Omission(NamedTuple):
    """A rule left out. `claim`: the one that is looked at; `breaks`: whether a counter-example is expected."""

    mode: str
    what: str
    rules: Rules
    bounds: Bounds
    claim: str
    breaks: bool = True

    def told(self) -> str:
        """Its name."""
        return f"{self.mode}: {self.what}: {self.claim}"


ONE = Bounds()
LOST = Bounds(lost=1)
CRASH = Bounds(restarts=1)
EPOCHS = Bounds(epochs=2, rounds=1)
EPOCHS_CRASH = Bounds(epochs=2, restarts=1)

NO_ABORT = Rules(boot=("register", "read"))
READ_FIRST = Rules(boot=("read", "abort", "register"))
REGISTER_FIRST = Rules(boot=LITERAL)
FORGOTTEN, ERASED = Rules(records="forgotten"), Rules(records="erased")
UNVERIFIED = Rules(verified=False)
# In mode `dekker` nobody goes past an epoch but who must not bid for it: its earlier life's block was damaged.
NO_OWNER, NO_REREAD = Rules(records="repaired", force_owner=False), Rules(records="repaired", reread=False)

_NO_ABORT = "the old life's writes are not aborted"
_READ_FIRST = "own records are read before the abort"
_REGISTER_FIRST = "the new key replaces the old one before the abort"
_FORGOTTEN = "the own contest record is forgotten on restart"
_ERASED = "the own contest record is erased on restart"
_PREEMPT = "PREEMPT without ABORT"
_SECOND = "no second read"
_LATE = "fence after the commit"
_NEVER = "no fence at all"
_UNRESERVED = "no reservation on the disk"
_UNVERIFIED = "fence not verified"
_NO_BID = "commit without bid"
_REJOIN = "bids for an epoch that others have gone past"
_OWNER = "the owner of an epoch that was gone past is left alone"
_REREAD = "no read behind the fence of such an owner"

OMISSIONS = (
    Omission("paxos", _NO_ABORT, NO_ABORT, CRASH, MUTUAL_EXCLUSION),
    Omission("paxos", _NO_ABORT, NO_ABORT, CRASH, PROMISE),
    Omission("paxos", _NO_ABORT, NO_ABORT, CRASH, FENCE),
    Omission("paxos", _REGISTER_FIRST, REGISTER_FIRST, CRASH, FENCE),
    Omission("paxos", _REGISTER_FIRST, REGISTER_FIRST, CRASH, MUTUAL_EXCLUSION, breaks=False),
    Omission("paxos", _READ_FIRST, READ_FIRST, CRASH, PROMISE),
    Omission("paxos", _READ_FIRST, READ_FIRST, CRASH, MUTUAL_EXCLUSION, breaks=False),
    Omission("paxos", _FORGOTTEN, FORGOTTEN, CRASH, PROMISE),
    Omission("paxos", _FORGOTTEN, FORGOTTEN, CRASH, AGREEMENT),
    Omission("paxos", _FORGOTTEN, FORGOTTEN, EPOCHS_CRASH, MUTUAL_EXCLUSION, breaks=False),
    Omission("paxos", _ERASED, ERASED, CRASH, PROMISE),
    Omission("paxos", _ERASED, ERASED, CRASH, AGREEMENT),
    Omission("paxos", _ERASED, ERASED, EPOCHS_CRASH, MUTUAL_EXCLUSION, breaks=False),
    Omission("paxos", _SECOND, Rules(second_read=False), ONE, MUTUAL_EXCLUSION),
    Omission("paxos", _PREEMPT, Rules(fence="PREEMPT"), ONE, FENCE),
    Omission("paxos", _LATE, Rules(fence_first=False), ONE, FENCE),
    Omission("paxos", _NEVER, Rules(fence="none"), ONE, FENCE),
    Omission("paxos", _UNRESERVED, Rules(reservation=0), ONE, FENCE),
    Omission("paxos", _UNVERIFIED, UNVERIFIED, LOST, FENCE),
    Omission("paxos", f"{_UNVERIFIED}, and none gets lost", UNVERIFIED, EPOCHS_CRASH, FENCE, breaks=False),
    Omission("paxos", _NO_BID, Rules(contest=False), ONE, MUTUAL_EXCLUSION),
    Omission("paxos", _REJOIN, Rules(rejoin=False), EPOCHS_CRASH, PROMISE),
    Omission("paxos", _REJOIN, Rules(rejoin=False), EPOCHS_CRASH, AGREEMENT),
    Omission("paxos", _OWNER, Rules(force_owner=False), EPOCHS, NO_LOST_VIEW),
    Omission("paxos", _REREAD, Rules(reread=False), EPOCHS, NO_LOST_VIEW),
    Omission("dekker", _NO_ABORT, NO_ABORT, CRASH, MUTUAL_EXCLUSION),
    Omission("dekker", _REGISTER_FIRST, REGISTER_FIRST, CRASH, FENCE),
    Omission("dekker", _REGISTER_FIRST, REGISTER_FIRST, CRASH, MUTUAL_EXCLUSION),
    Omission("dekker", _READ_FIRST, READ_FIRST, CRASH, MUTUAL_EXCLUSION),
    Omission("dekker", _FORGOTTEN, FORGOTTEN, CRASH, MUTUAL_EXCLUSION),
    Omission("dekker", _ERASED, ERASED, CRASH, MUTUAL_EXCLUSION),
    Omission("dekker", _SECOND, Rules(second_read=False), ONE, MUTUAL_EXCLUSION),
    Omission("dekker", _PREEMPT, Rules(fence="PREEMPT"), ONE, MUTUAL_EXCLUSION),
    Omission("dekker", _LATE, Rules(fence_first=False), ONE, MUTUAL_EXCLUSION),
    Omission("dekker", _NEVER, Rules(fence="none"), ONE, MUTUAL_EXCLUSION),
    Omission("dekker", _UNRESERVED, Rules(reservation=0), ONE, FENCE),
    Omission("dekker", _UNVERIFIED, UNVERIFIED, LOST, MUTUAL_EXCLUSION),
    Omission("dekker", f"{_UNVERIFIED}, and none gets lost", UNVERIFIED, EPOCHS_CRASH, FENCE, breaks=False),
    Omission("dekker", _NO_BID, Rules(contest=False), ONE, MUTUAL_EXCLUSION),
    Omission("dekker", _OWNER, NO_OWNER, EPOCHS_CRASH, NO_LOST_VIEW),
    Omission("dekker", _REREAD, NO_REREAD, EPOCHS_CRASH, NO_LOST_VIEW),
)


@cache
def tried(omission: Omission) -> Found:
    """Once per process: the test and the table ask. Other claims are not looked at: they may break earlier."""
    protocol = MODES[omission.mode](omission.rules, omission.bounds, frozenset({omission.claim}))
    return explore(protocol, most=500_000)


def table() -> str:
    """As in docs/election.md."""
    lines = ["| mode | left out | bounds | claim | counter-example |", "|---|---|---|---|---|"]
    for one in OMISSIONS:
        found = tried(one)
        steps = "none" if found.trace is None else f"{len(found.trace)} steps"
        bounds = one.bounds.told(one.mode)
        lines.append(f"| {one.mode} | {one.what} | {bounds} | {one.claim} | {steps}, {found.states:,} states |")
    return "\n".join(lines) + "\n"
