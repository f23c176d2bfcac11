"""What a registered subsystem that is a program is told (spec S4.2, S4.3; docs/programs.md)."""

from __future__ import annotations

from guestd.core.value import Value


class Transition(Value):
    """One node's transition, at one barrier of it."""

    node: int
    incarnation: int
    transition: str  # join, leave or forced-leave
    barrier: int  # from 0


class Notification(Value):
    """What is to be processed now, and acknowledged then."""

    number: int
    transitions: tuple[Transition, ...]
    states: tuple[str, ...]  # of every configured node for this subsystem (spec S4.7)
