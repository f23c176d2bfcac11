"""The event manager's place in the transition framework (spec S7, S8).

The event manager is a program of its own. Until it has registered, and after it has ended, this stands in for it: it is
registered with `real=False` and acknowledges at once.
"""

from __future__ import annotations

from guestd.transition.subsystem import Subsystem

NAME = "event-manager"
LEVEL = 40


def subsystem() -> Subsystem:
    """The subsystem at level 40."""
    return Subsystem(NAME, LEVEL, real=False)
