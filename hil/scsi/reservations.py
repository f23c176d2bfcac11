"""Reservations of one logical unit: a pure state machine (SPC-4 5.13, and RESERVE and RELEASE (6) of SPC-2).

``State`` is who is registered with which key, which reservation there is, and whose. ``change`` takes a service
action of PERSISTENT RESERVE OUT and gives the next state with what has to be done about it; nothing is done here, so
whoever calls may write the next state to a disk first. A service action that may not be raises ``Conflict``
(RESERVATION CONFLICT) or ``Refused`` (CHECK CONDITION), and nothing has changed.

An I_T nexus is initiator name and portal, whatever the ISID: a registration outlives its session.

One point the standard leaves open: PREEMPT with the sender's own key removes every other registration with this key
and keeps the sender's own (as Linux' target does), so a node may abort what its earlier life left behind.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from hil.scsi.sense import Refused, Sense, invalid_field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Identity = tuple[str, str]  # initiator name, portal

RESERVATIONS_PREEMPTED: Final = Sense(0x6, 0x2A, 0x03)
RESERVATIONS_RELEASED: Final = Sense(0x6, 0x2A, 0x04)
REGISTRATIONS_PREEMPTED: Final = Sense(0x6, 0x2A, 0x05)
INVALID_FIELD_IN_PARAMETER_LIST: Final = Sense(0x5, 0x26, 0x00)
INVALID_RELEASE: Final = Sense(0x5, 0x26, 0x04)


class Type(IntEnum):
    """What a reservation keeps off, and whom not (SPC-4 table 48)."""

    WRITE_EXCLUSIVE = 1  # writes of all but the holder
    EXCLUSIVE_ACCESS = 3  # reads too
    WRITE_EXCLUSIVE_REGISTRANTS_ONLY = 5  # writes of who is not registered
    EXCLUSIVE_ACCESS_REGISTRANTS_ONLY = 6
    WRITE_EXCLUSIVE_ALL_REGISTRANTS = 7  # the same, and everybody registered is a holder
    EXCLUSIVE_ACCESS_ALL_REGISTRANTS = 8


ALL_REGISTRANTS: Final = frozenset({Type.WRITE_EXCLUSIVE_ALL_REGISTRANTS, Type.EXCLUSIVE_ACCESS_ALL_REGISTRANTS})
SHARED: Final = ALL_REGISTRANTS | {Type.WRITE_EXCLUSIVE_REGISTRANTS_ONLY, Type.EXCLUSIVE_ACCESS_REGISTRANTS_ONLY}


class Conflict(Exception):
    """The command ends with RESERVATION CONFLICT."""


class State(NamedTuple):
    """``keys`` in the order of registration, never changed in place. ``holder`` is None with the two types of which
    all registrants are holders. ``reserved_by`` is who holds the reservation of SPC-2, by RESERVE (6); it never
    exists together with registrations.
    """

    keys: Mapping[Identity, int] = {}
    type: Type | None = None
    holder: Identity | None = None
    generation: int = 0
    aptpl: bool = False
    reserved_by: Identity | None = None

    def holds(self, nexus: Identity) -> bool:
        """Whether ``nexus`` is a holder of the persistent reservation."""
        return nexus in self.keys if self.type in ALL_REGISTRANTS else self.type is not None and nexus == self.holder

    @property
    def holder_key(self) -> int:
        """As READ RESERVATION tells it: 0 when all registrants are holders."""
        return 0 if self.holder is None else self.keys[self.holder]


class Request(NamedTuple):
    """A PERSISTENT RESERVE OUT: who, both keys, APTPL; ``type`` is the byte of scope and type, whatever it says."""

    nexus: Identity
    key: int
    action_key: int = 0
    type: int = 0
    aptpl: bool = False


class Change(NamedTuple):
    """The next state, and what goes with it: unit attentions to establish, nexuses whose registration ended, and
    nexuses whose commands are to be aborted before the answer is sent.
    """

    state: State
    told: tuple[tuple[Identity, Sense], ...] = ()
    removed: tuple[Identity, ...] = ()
    aborted: tuple[Identity, ...] = ()


class Action(NamedTuple):
    """A row: ``keyed`` service actions need a registered nexus that gives its key."""

    name: str
    keyed: bool
    run: Callable[[State, Request], Change]


def change(state: State, action: int, request: Request) -> Change:
    """The service action ``action`` (a key of ``ACTIONS``). Raises ``Conflict``, ``Refused``."""
    row = ACTIONS[action]
    if state.reserved_by is not None:  # SPC-2 5.5.1: whoever asks
        raise Conflict
    if row.keyed and state.keys.get(request.nexus) != request.key:
        raise Conflict
    return row.run(state, request)


def _register(state: State, request: Request) -> Change:
    if state.keys.get(request.nexus, 0) != request.key:
        raise Conflict
    return _register_anyway(state, request)


def _register_anyway(state: State, request: Request) -> Change:
    """SPC-4 5.13.7; with a service action key of 0 the registration ends, if there is one."""
    nexus = request.nexus
    if request.action_key:
        keys = {**state.keys, nexus: request.action_key}
        return Change(_counted(state._replace(keys=keys, aptpl=request.aptpl)))
    if nexus not in state.keys:
        return Change(state)
    others = {other: key for other, key in state.keys.items() if other != nexus}
    left = state._replace(keys=others, aptpl=request.aptpl)
    over = not others if state.type in ALL_REGISTRANTS else state.holder == nexus
    if not over:
        return Change(_counted(left), removed=(nexus,))
    told = _tell(others, RESERVATIONS_RELEASED) if state.type in SHARED else ()
    return Change(_counted(left._replace(type=None, holder=None)), told, removed=(nexus,))


def _reserve(state: State, request: Request) -> Change:
    """SPC-4 5.13.9: once more by a holder is no error, with another type it is."""
    kind = _type(request)
    if state.type is None:
        return Change(_reserved(state, kind, request.nexus))
    if state.holds(request.nexus) and state.type == kind:
        return Change(state)
    raise Conflict


def _release(state: State, request: Request) -> Change:
    """SPC-4 5.13.11.2: without effect for who holds none."""
    if not state.holds(request.nexus):
        return Change(state)
    if request.type != state.type:
        raise Refused(INVALID_RELEASE)
    others = (other for other in state.keys if other != request.nexus)
    told = _tell(others, RESERVATIONS_RELEASED) if state.type in SHARED else ()
    return Change(state._replace(type=None, holder=None), told)


def _clear(state: State, request: Request) -> Change:
    """SPC-4 5.13.11.2.8."""
    others = (other for other in state.keys if other != request.nexus)
    cleared = _counted(state._replace(keys={}, type=None, holder=None))
    return Change(cleared, _tell(others, RESERVATIONS_PREEMPTED), removed=tuple(sorted(state.keys)))


def _preempt(state: State, request: Request) -> Change:
    """SPC-4 5.13.11.2.4: removes registrations, and takes the reservation over if it was theirs."""
    nexus, victim_key = request.nexus, request.action_key
    everybody = not victim_key and state.type in ALL_REGISTRANTS
    if not victim_key and not everybody:
        raise Refused(INVALID_FIELD_IN_PARAMETER_LIST)
    if victim_key and victim_key not in state.keys.values():
        raise Conflict
    takes_over = everybody or (state.holder is not None and victim_key == state.holder_key)
    kind = _type(request) if takes_over else None
    removed = tuple(
        other for other in sorted(state.keys) if other != nexus and (everybody or state.keys[other] == victim_key)
    )
    left = state._replace(keys={other: key for other, key in state.keys.items() if other not in removed})
    told = _tell(removed, REGISTRATIONS_PREEMPTED)
    if kind is not None:
        if kind != state.type:
            told += _tell((other for other in left.keys if other != nexus), RESERVATIONS_RELEASED)
        left = _reserved(left, kind, nexus)
    return Change(_counted(left), told, removed)


def _preempt_and_abort(state: State, request: Request) -> Change:
    """SPC-4 5.13.11.2.7: the same, and commands of every nexus that had the key are aborted, also of our own."""
    done = _preempt(state, request)
    own = (request.nexus,) if state.keys[request.nexus] == request.action_key else ()
    return done._replace(aborted=done.removed + own)


def _type(request: Request) -> Type:
    """Raises ``Refused`` for another scope than the logical unit (0), too: it is in the same byte."""
    try:
        return Type(request.type)
    except ValueError:
        raise invalid_field(2) from None


def _reserved(state: State, kind: Type, nexus: Identity) -> State:
    return state._replace(type=kind, holder=None if kind in ALL_REGISTRANTS else nexus)


def _counted(state: State) -> State:
    return state._replace(generation=(state.generation + 1) & 0xFFFFFFFF)


def _tell(nexuses: Iterable[Identity], sense: Sense) -> tuple[tuple[Identity, Sense], ...]:
    return tuple((nexus, sense) for nexus in sorted(nexuses))


# Service action (SPC-4 table 223). REGISTER AND MOVE (07h) and REPLACE LOST RESERVATION (08h) are not supported.
ACTIONS: Final[dict[int, Action]] = {
    0x00: Action("REGISTER", False, _register),
    0x01: Action("RESERVE", True, _reserve),
    0x02: Action("RELEASE", True, _release),
    0x03: Action("CLEAR", True, _clear),
    0x04: Action("PREEMPT", True, _preempt),
    0x05: Action("PREEMPT AND ABORT", True, _preempt_and_abort),
    0x06: Action("REGISTER AND IGNORE EXISTING KEY", False, _register_anyway),
}


def reserve_6(state: State, nexus: Identity) -> State:
    """RESERVE (6): SPC-2, and with registrations SPC-4 5.13.3 (CRH). Raises ``Conflict``."""
    if state.keys:
        return _untouched(state, nexus)
    if state.reserved_by not in (None, nexus):
        raise Conflict
    return state._replace(reserved_by=nexus)


def release_6(state: State, nexus: Identity) -> State:
    """RELEASE (6): without effect for who holds none. Raises ``Conflict``."""
    return _untouched(state, nexus) if state.keys else end_reserve_6(state, nexus)


def end_reserve_6(state: State, nexus: Identity | None = None) -> State:
    """The reservation of SPC-2 ends if it is ``nexus``' (its session was lost), or anybody's (None: a reset)."""
    return state._replace(reserved_by=None) if nexus in (None, state.reserved_by) else state


def _untouched(state: State, nexus: Identity) -> State:
    """SPC-4 5.13.3: GOOD without effect for a holder or, with a shared type, a registrant; else as SPC-2 has it."""
    if state.holds(nexus) or (state.type in SHARED and nexus in state.keys):
        return state
    raise Conflict
