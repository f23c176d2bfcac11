"""The event manager's place in the transition framework (spec S7, S8).

It does no work in a transition yet: it is registered with `real=False` and acknowledges at once.
"""

from __future__ import annotations

from guestd.transition.subsystem import Subsystem


def subsystem() -> Subsystem:
    """The subsystem at level 40."""
    return Subsystem("event-manager", order=40, real=False)
