"""The six lock modes and which of them may be held at once: the matrix of OpenVMS and of Linux's dlm (spec S7.1).

| mode | what its holder does | what it lets others do |
|---|---|---|
| NL, null | nothing: keeps the resource and its value block alive | everything |
| CR, concurrent read | reads, unprotected | write too |
| CW, concurrent write | writes, unprotected | write too |
| PR, protected read | reads | read: nobody writes |
| PW, protected write | writes | read unprotected: nobody else writes |
| EX, exclusive | writes | nothing |
"""

from __future__ import annotations

from guestd.core.enumeration import Enum


class Mode(Enum):
    """From the weakest to the strongest; the value is the mode's code in messages."""

    NL = 0
    CR = 1
    CW = 2
    PR = 3
    PW = 4
    EX = 5


_NL, _CR, _CW, _PR, _PW, _EX = Mode.NL, Mode.CR, Mode.CW, Mode.PR, Mode.PW, Mode.EX

COMPATIBLE = {
    _NL: (_NL, _CR, _CW, _PR, _PW, _EX),
    _CR: (_NL, _CR, _CW, _PR, _PW),
    _CW: (_NL, _CR, _CW),
    _PR: (_NL, _CR, _PR),
    _PW: (_NL, _CR),
    _EX: (_NL,),
}
"""mode -> the modes in which others may hold the same resource."""

WRITES = (_PW, _EX)
"""Who gives up one of these modes may leave a new value in the value block."""

PROTECTED = (_PR, _PW, _EX)
"""While somebody holds one of these, nobody else can have changed the value block."""


def are_compatible(one: Mode, other: Mode) -> bool:
    """Whether two locks on one resource may be held in these modes at once."""
    return other in COMPATIBLE[one]


def common(one: Mode, other: Mode) -> Mode:
    """The strongest mode that allows its holder nothing which either of the two does not.

    So much a holder may rely on while a conversion from one to the other is under way: the weaker of the two, or CR
    between CW and PR.
    """
    return max((mode for mode in Mode if is_down(one, mode) and is_down(other, mode)), key=lambda mode: mode.value)


def is_down(held: Mode, wanted: Mode) -> bool:
    """Whether a conversion gives up only: whoever was compatible stays so. It is never refused and never waits."""
    return all(other in COMPATIBLE[wanted] for other in COMPATIBLE[held])
